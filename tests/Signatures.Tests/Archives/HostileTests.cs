using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Diagnostics;
using System.Text;
using Vmsweep.Golden;
using Vmsweep.Signatures.Archives;
using Vmsweep.Signatures.Archives.Decoders;

namespace Vmsweep.Signatures.Tests.Archives;

/// <summary>Archives that are damaged, that lie, and that are bombs: members or a gap, within time and memory.</summary>
public sealed class HostileTests : IDisposable
{
    private readonly Scratch _scratch = new();

    public static TheoryData<string> Kinds { get; } = [.. Small.Kinds];

    public void Dispose() => _scratch.Dispose();

    /// <summary>A file that is taken for an archive by chance is a gap: of a million files with random content hardly one may be.</summary>
    [Fact]
    public void Random_content_is_no_archive()
    {
        const int Most = 4096, Count = 1_000_000;
        byte[] content = new byte[Count + Most];
        new Random(1).NextBytes(content);
        var met = new ConcurrentBag<(string Name, int At)>();
        Parallel.For(0, Count, at =>
        {
            foreach (IArchiveFormat format in ArchiveFormats.All.Asked(content.AsSpan(at, Most)))
            {
                if (format.Fits(content.AsSpan(at, Most)))
                {
                    met.Add((format.Name, at));
                }
            }
        });
        Assert.Empty(met);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    [Trait("Category", "Slow")]
    public void Damaged_archives_give_members_or_gaps_within_time_and_memory(string kind)
    {
        const long MostAllocated = 96 << 20;
        byte[] sound = Small.Make(kind, _scratch.Folder);
        Assert.NotEmpty(Opened.Of(sound).Members);
        var limits = new ArchiveLimits { Time = TimeSpan.FromSeconds(20), Depth = 3, Members = 1000 };
        int threads = Environment.ProcessorCount, count = Mutations.Times * Mutations.PerFormat / 10;
        ConcurrentBag<string> wrong = [];
        Parallel.For(0, threads, thread =>
        {
            byte[] damaged = [.. sound];
            for (int i = thread; i < count; i += threads)
            {
                var random = new Random(i);
                List<(int At, byte[] Old)> undo = [];
                Mutations.Damage(damaged, [(0, Math.Min(sound.Length, 512)), (Math.Max(0, sound.Length - 256), Math.Min(256, sound.Length))], random, undo);
                byte[] given = random.Next(16) == 0 ? damaged[..random.Next(damaged.Length)] : [.. damaged];
                if (random.Next(2) == 0)
                {
                    Small.Repair(kind, given);
                }

                long before = GC.GetAllocatedBytesForCurrentThread();
                long started = Stopwatch.GetTimestamp();
                try
                {
                    Opened opened = Opened.Of(given, limits, memory: 32 << 20);
                    if (opened.Gaps.Exists(g => g.Fault == ArchiveFault.Timeout) || Stopwatch.GetElapsedTime(started) > TimeSpan.FromSeconds(20))
                    {
                        wrong.Add($"mutation {i}: took {Stopwatch.GetElapsedTime(started)}");
                    }
                }
                catch (Exception e)
                {
                    wrong.Add($"mutation {i}: {e}");
                }

                long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
                if (allocated > MostAllocated)
                {
                    wrong.Add($"mutation {i}: allocated {allocated}");
                }

                foreach ((int at, byte[] old) in Enumerable.Reverse(undo))
                {
                    old.CopyTo(damaged, at);
                }
            }
        });
        Assert.True(wrong.IsEmpty, string.Join('\n', wrong.Take(5)));
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void A_cut_archive_has_all_its_members_or_a_gap(string kind)
    {
        byte[] sound = Small.Make(kind, _scratch.Folder);
        string[] members = [.. Opened.Of(sound).Members.Select(m => m.Inside + m.Sha256)];
        // The program in front of an installer tells nothing of what comes behind it.
        int first = kind.StartsWith("nsis", StringComparison.Ordinal) ? sound.AsSpan().IndexOf("NullsoftInst"u8) + 24 : sound.Length / 3;
        for (int length = first; length < sound.Length - 40; length += Math.Max(1, sound.Length / 23))
        {
            Opened opened = Opened.Of(sound[..length]);

            // .Z has neither length nor checksum; of a mail's text any part is a mail, and of a PDF's streams any number a document.
            bool isWhole = members.All(opened.Members.Select(m => m.Inside + m.Sha256).Contains);
            Assert.True(isWhole || opened.Gaps.Count > 0 || kind is "compress" or "mail" or "pdf", $"{length} of {sound.Length}\n{opened}");
        }
    }

    [Fact]
    public void What_only_looks_like_an_archive_is_no_gap()
    {
        byte[][] heads =
        [
            [0x1F, 0x8B], [0x1F, 0x8B, 8, 0xFF], [0x1F, 0x9D, 0x90], [.. "BZh9"u8], [.. "PK\u0003\u0004"u8], [.. "Rar!\u001A\u0007\0"u8], [.. "Rar!\u001A\u0007\u0001\0"u8],
            [0x37, 0x7A, 0xBC, 0xAF, 0x27, 0x1C], [0xFD, 0x37, 0x7A, 0x58, 0x5A, 0], [0x28, 0xB5, 0x2F, 0xFD, 0x1F], [4, 0x22, 0x4D, 0x18], [.. "LZIP"u8], [.. "MSCF"u8],
            [.. "MSCF\0\0\0\0"u8], [.. "!<arch>\n"u8], [.. "070701"u8], [0xD0, 0xCF, 0x11, 0xE0], [.. "From: a\n"u8], [.. "MZ"u8], [.. "ustar"u8], [0x60, 0xEA], [.. "xar!\0\u001C\0\u0001"u8], [0x20, 0x20, .. "-lh5-"u8], [.. "a\0d\\a\0"u8], [.. "NB10"u8], [.. "%PDF-1.4"u8], [0x89, 0x50, 0x4E, 0x47],
        ];
        foreach (byte[] head in heads)
        {
            for (int seed = 0; seed < 20; seed++)
            {
                byte[] noise = new byte[4096];
                new Random(seed).NextBytes(noise);
                head.CopyTo(noise, 0);
                if (head.Length > 2 || seed == 0)
                {
                    noise[head.Length] |= 0x11;
                }

                Opened opened = Opened.Of(noise);
                Assert.True(opened.Gaps.Count == 0 && opened.Members.Count == 0, $"{Convert.ToHexString(head)} {seed}\n{opened}");
            }
        }
    }

    [Fact]
    public void A_bomb_of_zeros_ends_at_the_ratio()
    {
        byte[] bomb = Tool.RunRaw("bash", _scratch.Folder, "-c", "head -c 400M /dev/zero | bzip2 -9");
        Assert.True(bomb.Length < 2000);
        Opened opened = Opened.Of(bomb, memory: 512 << 20);
        Assert.Equal(("(bzip2)", ArchiveFault.Limit, "archive ratio"), (opened.Gaps[0].Inside, opened.Gaps[0].Fault, opened.Gaps[0].Structure));
        Assert.Single(opened.Gaps);
        Assert.True(opened.Walk.Bytes <= ArchiveLimits.FreeBytes + (64 << 10));
        Assert.True(opened.Walk.IsCut && !opened.Walk.IsLate);
    }

    [Fact]
    public void Members_that_overlap_are_counted_each()
    {
        // As in zip bombs without recursion: many entries of the directory share one packed megabyte.
        byte[] bomb = ZipWriter.Overlapping(new byte[1 << 20], 5000);
        Opened opened = Opened.Of(bomb);
        Assert.Equal("archive ratio", Assert.Single(opened.Gaps).Structure);
        Opened byBytes = Opened.Of(bomb, new ArchiveLimits { Bytes = 10 << 20, Ratio = int.MaxValue });
        Assert.Equal("archive bytes", Assert.Single(byBytes.Gaps).Structure);
        Assert.Equal(10, byBytes.Members.Count);
    }

    [Fact]
    public void A_million_members_end_at_their_budget()
    {
        byte[] many = ZipWriter.Overlapping([1], 1_000_000);
        Opened opened = Opened.Of(many);
        Assert.Equal((100_000, "archive members"), (opened.Walk.Members, Assert.Single(opened.Gaps).Structure));
        Assert.Equal(10, Opened.Of(many, new ArchiveLimits { Members = 10 }).Members.Count);
    }

    [Fact]
    public void Nesting_ends_at_its_depth_and_time_at_its_end()
    {
        byte[] content = "the innermost"u8.ToArray();
        for (int i = 0; i < 20; i++)
        {
            content = ZipWriter.Stored(("inner.zip", content));
        }

        Opened opened = Opened.Of(content);
        Assert.Equal("archive depth", Assert.Single(opened.Gaps).Structure);
        Assert.Equal(16, opened.Members.Count);
        Opened late = Opened.Of(content, new ArchiveLimits { Time = TimeSpan.Zero });
        Assert.Equal((ArchiveFault.Timeout, "archive time"), (late.Gaps[0].Fault, late.Gaps[0].Structure));
        Assert.True(late.Walk.IsLate);
    }

    [Fact]
    public void A_member_over_the_memory_is_matched_as_far_as_it_goes_and_a_packed_tar_member_by_member()
    {
        Tool.Shell(
            """
            head -c 30000000 /dev/urandom > big
            seq 1 1000 > small
            zip -q big.zip big
            tar -cf - big small | gzip -1 > both.tgz
            """,
            _scratch.Folder);
        Opened opened = Opened.Of(File.ReadAllBytes(_scratch["big.zip"]), memory: 10 << 20);
        Assert.Equal(("big", 10 << 20, true), (opened.Members[0].Inside, opened.Members[0].Length, opened.Members[0].IsPartial));
        Assert.Equal(("big", ArchiveFault.Limit, "member"), (opened.Gaps[0].Inside, opened.Gaps[0].Fault, opened.Gaps[0].Structure));
        Opened tar = Opened.Of(File.ReadAllBytes(_scratch["both.tgz"]), memory: 10 << 20);
        Assert.Contains(("(gzip) > small", Content.Sha256OfFile(_scratch["small"]), false), tar.Members.Select(m => (m.Inside, m.Sha256, m.IsPartial)));
        Assert.Equal(["(gzip)", "(gzip) > big"], tar.Gaps.Select(g => g.Inside));
    }

    [Fact]
    public void A_dictionary_that_is_only_declared_takes_no_memory()
    {
        // xz: LZMA2 with a dictionary of 4 GiB, for 15 bytes.
        byte[] xz = Tool.RunRaw("bash", _scratch.Folder, "-c", "echo some few bytes | xz --check=none");
        int at = 12;
        Assert.Equal(0x21, xz[at + 2]);
        xz[at + 4] = 40;
        BinaryPrimitives.WriteUInt32LittleEndian(xz.AsSpan(at + 8), Crc32.Of(xz.AsSpan(at, 8)));
        long before = GC.GetAllocatedBytesForCurrentThread();
        Opened opened = Opened.Of(xz, memory: 16 << 20);
        Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < 40 << 20);
        Assert.True(opened.Members.Count == 1 || opened.Gaps is [{ Fault: ArchiveFault.Limit }], opened.ToString());

        // RAR 5: a dictionary of 4 GiB for a packed member.
        byte[] rar = RarWriter.Rar5(("a", new byte[100]));
        byte[] body = [2, 2, 100, 4, .. RarWriter.Number(100), 0x20, 0, 0, 0, 0, .. RarWriter.Number((1 << 7) | (15 << 10)), 1, 1, (byte)'a'];
        byte[] large = [.. rar[..8], .. RarWriter.Header5([1, 0, 0]), .. RarWriter.Header5(body), .. new byte[100], .. RarWriter.Header5([5, 0, 0])];
        before = GC.GetAllocatedBytesForCurrentThread();
        Assert.Equal((ArchiveFault.Limit, "rar window"), Opened.Of(large, memory: 64 << 20).Gaps.Select(g => (g.Fault, g.Structure)).Single());
        Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < 10 << 20);
    }

    [Fact]
    public void Sizes_and_checksums_that_lie_are_gaps_and_what_is_there_is_given()
    {
        byte[] data = Encoding.ASCII.GetBytes(string.Join('\n', Enumerable.Range(0, 5000)));
        foreach ((int field, uint value, string detail) in ((int, uint, string)[])[(16, 1, "checksum"), (24, 5, "bytes and not"), (24, 0x7FFF_FFFF, "bytes and not")])
        {
            byte[] zip = ZipWriter.Deflated(("a.txt", data));
            int central = zip.AsSpan().IndexOf("PK\u0001\u0002"u8);
            BinaryPrimitives.WriteUInt32LittleEndian(zip.AsSpan(central + field), value);
            Opened opened = Opened.Of(zip, keep: true);
            Assert.Contains(detail, Assert.Single(opened.Gaps).Detail, StringComparison.Ordinal);
            Assert.True(data.AsSpan().SequenceEqual(opened.Contents["a.txt"]));
            Assert.True(opened.Members[0].IsPartial);
        }
    }

    [Fact]
    public void Members_that_the_directory_hides_are_found()
    {
        byte[] shown = ZipWriter.Deflated(("shown.txt", "innocent"u8.ToArray()));
        byte[] hidden = ZipWriter.Deflated(("hidden.exe", "evil"u8.ToArray()));

        // One ZIP behind another: programs that go by the end see the second, those that go by the front the first.
        Opened opened = Opened.Of([.. hidden, .. shown]);
        Assert.Equal(["(hidden.exe not in the directory)", "shown.txt"], opened.Names.Order(StringComparer.Ordinal));

        // A ZIP behind a picture, and one with a comment.
        Assert.Equal(["shown.txt"], Opened.Of([.. "GIF89a"u8, .. new byte[1000], .. shown]).Names);
        Assert.Empty(opened.Gaps);
    }

    [Fact]
    public void Encrypted_members_are_gaps_and_others_beside_them_are_read()
    {
        Tool.Shell(
            """
            echo one > a; echo two > b
            zip -q -P unknown zc.zip a; zip -q zc.zip b
            7z a -bd -tzip -mem=AES256 -punknown aes.zip a >/dev/null; zip -q aes.zip b
            7z a -bd -punknown p.7z a >/dev/null
            7z a -bd -punknown -mhe=on h.7z a >/dev/null
            """,
            _scratch.Folder);
        foreach (string zip in (string[])["zc.zip", "aes.zip"])
        {
            Opened opened = Opened.Of(File.ReadAllBytes(_scratch[zip]));
            Assert.Equal(("a", ArchiveFault.Encrypted), opened.Gaps.Select(g => (g.Inside, g.Fault)).Single());
            Assert.Equal(["b"], opened.Names);
        }

        Assert.Equal(("a", ArchiveFault.Encrypted), Opened.Of(File.ReadAllBytes(_scratch["p.7z"])).Gaps.Select(g => (g.Inside, g.Fault)).Single());
        Assert.Equal(("", ArchiveFault.Encrypted), Opened.Of(File.ReadAllBytes(_scratch["h.7z"])).Gaps.Select(g => (g.Inside, g.Fault)).Single());
        foreach (string known in (string[])["zc.zip", "aes.zip", "p.7z", "h.7z"])
        {
            Opened opened = Opened.Of(File.ReadAllBytes(_scratch[known]), new ArchiveLimits { Passwords = ["infected", "unknown"] });
            Assert.Empty(opened.Gaps);
            Assert.Contains("a", opened.Names);
        }
    }

    [Fact]
    public void A_consumers_failure_is_not_an_archives()
    {
        using var memory = new MemberMemory(8 << 20);
        byte[] zip = ZipWriter.Deflated(("a", "b"u8.ToArray()));
        Assert.Throws<FormatException>(() => ArchiveWalk.Open(zip, new ArchiveLimits(), ArchiveFormats.All, memory, _ => new Failing(), () => { }, CancellationToken.None));
        using var stop = new CancellationTokenSource();
        stop.Cancel();
        Assert.Throws<OperationCanceledException>(() => ArchiveWalk.Open(zip, new ArchiveLimits(), ArchiveFormats.All, memory, _ => new Failing(), () => { }, stop.Token));
    }

    private sealed class Failing : IMemberConsumer
    {
        public bool OnMember(IReadOnlyList<string> inside, ReadOnlySpan<byte> content, bool isPartial) => throw new FormatException("ours");

        public void OnLeave()
        {
        }

        public void OnGap(IReadOnlyList<string> inside, ArchiveFault fault, string part, long offset, long bytes, string detail)
        {
        }
    }
}
