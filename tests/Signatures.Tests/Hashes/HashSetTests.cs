using System.Security.Cryptography;
using System.Text;
using Vmsweep.Golden;
using Vmsweep.Signatures.Hashes;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Signatures.Tests.Hashes;

public sealed class HashSetTests : IDisposable
{
    private static readonly string Sha256 = Convert.ToHexStringLower(SHA256.HashData("bad"u8));
    private static readonly string Sha1 = new('b', 40);
    private static readonly string Md5 = new('c', 32);

    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Theory]
    [InlineData("zz")]
    [InlineData("abcdef")]
    [InlineData("0123456789012345678901234567890123456789012345678901234567890123456789")]
    [InlineData("\u0000\u0001\u0002")]
    [InlineData(",,,,,")]
    [InlineData("\"open quote")]
    [InlineData("a,b,c,d,e")]
    [InlineData("ba3aaf83f0be51ad0faf6ef64dd7f5ba7ec8edfdb0b8a2da1ab4c1f2b0aab18g")]
    [InlineData("\u00e9\u00e9")]
    public void A_line_without_a_hash_is_named_by_file_and_line_and_the_rest_is_used(string line)
    {
        using Built list = Build($"# list\r\n{line}\r\n{Sha256}\r\n");
        HashFault fault = Assert.Single(list.Faults);
        Assert.Equal(("list.txt", 2), (fault.File, fault.Line));
        Assert.Equal(1, list.Set.Facts.Count);
    }

    [Fact]
    public void A_wrong_length_is_said()
    {
        using Built list = Build(Sha256[..63]);
        Assert.Contains("63 hexadecimal digits", Assert.Single(list.Faults).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(LineKind.Wide, 3, "a line of more than 65536 bytes")]
    [InlineData(LineKind.Endless, 3, "a line of more than 65536 bytes")]
    [InlineData(LineKind.Many, 101, "900 more lines were left out")]
    public void Huge_lines_and_endless_faults_cost_no_memory(LineKind kind, int line, string message)
    {
        string odd = kind switch
        {
            LineKind.Wide => new string('a', 70_000) + "\n",
            LineKind.Endless => new string('a', 5 << 20) + "\n",
            _ => string.Concat(Enumerable.Repeat("what\n", 1000)),
        };
        using Built list = Build($"{Sha256}\n\n{odd}{Md5}\n");
        Assert.Equal(2, list.Set.Facts.Count);
        HashFault last = list.Faults[^1];
        Assert.Equal(message, last.Message);
        Assert.Equal(line, kind == LineKind.Many ? list.Faults.Count : last.Line);
    }

    public enum LineKind
    {
        Wide,
        Endless,
        Many,
    }

    [Theory]
    [InlineData("SQLite format 3\0", "SQLite")]
    [InlineData("PK\u0003\u0004", "compressed")]
    [InlineData("7z\u00bc\u00af", "compressed")]
    [InlineData("\u001f\u008b", "compressed")]
    [InlineData("VMSWHASH", "compiled set")]
    [InlineData("\u00ff\u00fea\0", "UTF-16")]
    [InlineData("a\0b\0", "UTF-16")]
    [InlineData("\0a\0b", "UTF-16")]
    public void What_is_no_text_is_said_once(string head, string message)
    {
        using Built list = Build([.. Encoding.Latin1.GetBytes(head), .. Encoding.ASCII.GetBytes($"\n{Sha256}\n")]);
        Assert.Contains(message, Assert.Single(list.Faults).Message, StringComparison.Ordinal);
        Assert.Equal(0, list.Set.Facts.Count);
    }

    [Theory]
    [InlineData("{0}", "", Severity.High)]
    [InlineData("{0} ", "", Severity.High)]
    [InlineData("{0},Evil.A", "Evil.A", Severity.High)]
    [InlineData("{0} , Evil.A , low", "Evil.A", Severity.Low)]
    [InlineData("{0};Evil.A;critical", "Evil.A", Severity.Critical)]
    [InlineData("Evil.A,{0},low", "Evil.A", Severity.Low)]
    [InlineData("\"{0}\",\"Evil, \"\"A\"\"\",info", "Evil, \"A\"", Severity.Info)]
    [InlineData("{0}  evil.exe", "evil.exe", Severity.High)]
    [InlineData("{0} *a, b.exe", "a, b.exe", Severity.High)]
    [InlineData("{0} # remark", "", Severity.High)]
    [InlineData("{0}\tEvil", "Evil", Severity.High)]
    [InlineData("cccccccccccccccccccccccccccccccc,bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb,{0},Evil", "Evil", Severity.High)]
    [InlineData("{0},Straße\u202e", "Straße\u202e", Severity.High)]
    public void Lists_of_hashes_and_tables_with_names_are_read(string form, string name, Severity severity)
    {
        foreach (string hash in new[] { Sha256, Sha256.ToUpperInvariant() })
        {
            using Built list = Build("\uFEFFhash,name,severity\r\n# c\n// c\n\n" + form.Replace("{0}", hash, StringComparison.Ordinal));
            Assert.Empty(list.Faults);
            Detection d = list.Set.TryMatch(SHA256.HashData("bad"u8))!;
            Assert.Equal((name.Length > 0 ? name : Sha256, "list.txt", severity, HashSet.EngineName), (d.Rule, d.Namespace, d.Severity, d.Engine));
            Assert.Equal(("sha256", Sha256), (d.Meta[0].Key, d.Meta[0].Value.Text));
            Assert.Null(list.Set.TryMatch(SHA256.HashData("good"u8)));
            Assert.False(list.Set.NeedsSha1 || list.Set.NeedsMd5);
        }
    }

    [Fact]
    public void Names_are_cut_and_no_byte_breaks_them()
    {
        using Built list = Build([.. Encoding.ASCII.GetBytes(Sha256 + ","), .. Enumerable.Repeat((byte)0xFF, 5000), (byte)'\n']);
        Assert.Equal(new string('\uFFFD', 256), list.Set.TryMatch(SHA256.HashData("bad"u8))!.Rule);
    }

    [Fact]
    public void Each_kind_of_hash_is_found_and_asked_for_only_when_listed()
    {
        using Built list = Build($"{Sha1},one\n{Md5},five\n");
        Assert.True(list.Set.NeedsSha1 && list.Set.NeedsMd5);
        Assert.Equal("one", list.Set.TryMatch(new byte[32], Convert.FromHexString(Sha1))!.Rule);
        Assert.Equal("five", list.Set.TryMatch(new byte[32], new byte[20], Convert.FromHexString(Md5))!.Rule);
        Assert.Null(list.Set.TryMatch(new byte[32], new byte[20], new byte[16]));
        Assert.Null(list.Set.TryMatch(default));
        Assert.Null(list.Set.TryMatch(new byte[31]));
    }

    // The memory makes it sort in one part, in some, and in more than may be open at once.
    [Theory]
    [InlineData(5_000, HashSetBuilder.DefaultMemoryBytes)]
    [InlineData(30_000, 1 << 20)]
    [InlineData(200_000, 0)]
    public void Every_one_of_many_hashes_is_found_and_no_other(int count, long memoryBytes)
    {
        byte[][] hashes = [.. Enumerable.Range(0, count).Select(i => SHA256.HashData(BitConverter.GetBytes(i)))];
        string text = string.Join('\n', hashes.Select((h, i) => $"{Convert.ToHexString(h)},n{i % 300}"));
        using Built list = Build(Encoding.ASCII.GetBytes($"{text}\n{Convert.ToHexString(hashes[7])},again\n{text}"), memoryBytes);
        Assert.Equal(count, list.Set.Facts.Sha256Count);
        Assert.All(hashes.Index(), h => Assert.Equal($"n{h.Index % 300}", list.Set.TryMatch(h.Item)!.Rule));
        Assert.All(Enumerable.Range(count, 2000), i => Assert.False(list.Set.Contains(SHA256.HashData(BitConverter.GetBytes(i)))));
        Assert.Equal(list.Set.Facts, HashSet.Verify(list.Path, HashSetKind.Bad));
    }

    [Fact]
    public void Hashes_that_begin_alike_and_the_first_and_last_ones_are_found()
    {
        byte[][] hashes = [new byte[32], [.. Enumerable.Repeat((byte)0xFF, 32)], .. Enumerable.Range(0, 40_000).Select(i => (byte[])[.. new byte[28], .. BitConverter.GetBytes(i + 1)])];
        using Built list = Build(Encoding.ASCII.GetBytes(string.Join('\n', hashes.Reverse().Select(Convert.ToHexString))), 0);
        Assert.Equal(hashes.Length, list.Set.Facts.Count);
        Assert.All(hashes, h => Assert.True(list.Set.Contains(h)));
    }

    [Fact]
    public void Equal_lists_have_equal_digests_and_others_have_not()
    {
        using Built a = Build(Md5 + ",x");
        using Built b = Build(Md5 + ",x\n");
        using Built c = Build(Md5 + ",y");
        Assert.Equal(a.Set.Facts.Digest, b.Set.Facts.Digest);
        Assert.NotEqual(a.Set.Facts.Digest, c.Set.Facts.Digest);
    }

    /// <summary>Broken as a signature; NIST names software by it.</summary>
#pragma warning disable CA5350
    private static byte[] Sha1Of(string content) => SHA1.HashData(Encoding.ASCII.GetBytes(content));
#pragma warning restore CA5350

    [Fact]
    public void The_RDS_of_NIST_is_read_in_its_text_forms_and_MD5_vouches_for_nothing()
    {
        // The heading and columns as NIST publishes them; version 2 and the export of version 3.
        byte[] known = Sha1Of("good");
        string sha1 = Convert.ToHexString(known);
        string rds2 = $"\"SHA-1\",\"MD5\",\"CRC32\",\"FileName\",\"FileSize\",\"ProductCode\",\"OpSystemCode\",\"SpecialCode\"\r\n\"{sha1}\",\"{Md5.ToUpperInvariant()}\",\"7E2C8F0A\",\"C# 100%, \"\"x\"\".dll\",4096,3095,\"WIN\",\"\"\r\n";
        string rds3 = $"sha256,sha1,md5,crc32,file_name,file_size,package_id\n\"{Sha256}\",\"{sha1}\",\"{Md5}\",\"7E2C8F0A\",\"a.dll\",\"4096\",\"12\"\n";
        using Built two = Build(Encoding.ASCII.GetBytes(rds2), kind: HashSetKind.KnownGood);
        using Built three = Build(Encoding.ASCII.GetBytes(rds3), kind: HashSetKind.KnownGood);
        using Built plain = Build(Encoding.ASCII.GetBytes($"{Sha256}\n{Md5}\n"), kind: HashSetKind.KnownGood);
        Assert.Empty(two.Faults);
        Assert.Empty(three.Faults);
        Assert.Contains("MD5 cannot vouch", Assert.Single(plain.Faults).Message, StringComparison.Ordinal);
        Assert.Equal((0, 1, 0), (two.Set.Facts.Sha256Count, two.Set.Facts.Sha1Count, two.Set.Facts.Md5Count));
        Assert.Equal((1, 0, 0), (three.Set.Facts.Sha256Count, three.Set.Facts.Sha1Count, three.Set.Facts.Md5Count));
        Assert.True(two.Set.Contains(new byte[32], known));
        Assert.True(three.Set.Contains(SHA256.HashData("bad"u8)));
    }

    [Fact]
    public void A_set_of_known_good_hashes_is_never_taken_for_one_of_malware()
    {
        using Built good = Build(Encoding.ASCII.GetBytes(Sha256), kind: HashSetKind.KnownGood);
        using Built bad = Build(Sha256);
        Assert.Contains("known-good hashes and not of malware", Assert.Throws<HashSetException>(() => HashSet.Open(good.Path, HashSetKind.Bad)).Message, StringComparison.Ordinal);
        Assert.Contains("malware and not of known-good", Assert.Throws<HashSetException>(() => HashSet.Verify(bad.Path, HashSetKind.KnownGood)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Sets_together_answer_as_the_first_one_that_knows()
    {
        using Built a = Build($"{Sha256},first");
        using Built b = Build($"{Sha256},second\n{Md5},five");
        using HashSets both = HashSets.Open([a.Path, b.Path], HashSetKind.Bad);
        Assert.Equal("first", both.TryMatch(SHA256.HashData("bad"u8), [], Convert.FromHexString(Md5))!.Rule);
        Assert.Equal("five", both.TryMatch(new byte[32], [], Convert.FromHexString(Md5))!.Rule);
        Assert.True(both is { NeedsMd5: true, NeedsSha1: false } && both.Contains(SHA256.HashData("bad"u8)));
        EngineFacts facts = HashSets.FactsOf([a.Set.Facts, b.Set.Facts]);
        Assert.Equal((3, Built.Date), (facts.Rules, facts.SignatureDate));
    }

    [Fact]
    public void A_damaged_or_cut_file_gives_a_clear_error_and_never_another()
    {
        using Built list = Build(string.Join('\n', Enumerable.Range(0, 300).Select(i => $"{Convert.ToHexString(SHA256.HashData(BitConverter.GetBytes(i)))},n{i}").Append(Sha1 + ",one").Append(Md5)));
        byte[] sound = File.ReadAllBytes(list.Path);
        byte[] hash = SHA256.HashData(BitConverter.GetBytes(7));
        string path = _scratch["damaged"];
        var random = new Random(5);
        for (int round = 0; round < 4000; round++)
        {
            byte[] bytes = round % 10 == 0 ? sound[..random.Next(sound.Length)] : [.. sound];
            // Half of them in the header, whose digest is mended, so that every field is met.
            bool inHeader = round % 2 == 0;
            for (int i = random.Next(1, 4); i > 0 && bytes.Length > 0; i--)
            {
                bytes[random.Next(inHeader ? Math.Min(480, bytes.Length) : bytes.Length)] = (byte)random.Next(256);
            }

            if (inHeader && bytes.Length >= 512)
            {
                SHA256.HashData(bytes.AsSpan(0, 480)).CopyTo(bytes, 480);
            }

            File.WriteAllBytes(path, bytes);
            Exception? e = Record.Exception(() =>
            {
                using HashSet set = HashSet.Open(path, HashSetKind.Bad);
                set.TryMatch(hash, Convert.FromHexString(Sha1), Convert.FromHexString(Md5));
                set.TryMatch(new byte[32], Convert.FromHexString(Sha1));
                set.TryMatch(new byte[32], [], Convert.FromHexString(Md5));
            });
            Assert.True(e is null or HashSetException, $"round {round}: {e}");
            if (!inHeader && !bytes.AsSpan().SequenceEqual(sound))
            {
                Assert.Throws<HashSetException>(() => HashSet.Verify(path, HashSetKind.Bad));
            }
        }
    }

    [Fact]
    public void A_list_that_is_not_there_is_a_fault_and_nothing_is_left_behind()
    {
        using (var builder = new HashSetBuilder(HashSetKind.Bad, _scratch.Folder))
        {
            builder.AddFile(_scratch["absent.txt"], TestContext.Current.CancellationToken);
            Assert.Contains("absent.txt", Assert.Single(builder.Faults).ToString(), StringComparison.Ordinal);
            Assert.Throws<DirectoryNotFoundException>(() => builder.Build(_scratch["no/such/folder/set"]));
        }

        Assert.Empty(Directory.GetFileSystemEntries(_scratch.Folder));
    }

    private Built Build(string text) => Build(Encoding.UTF8.GetBytes(text));

    private Built Build(byte[] text, long memoryBytes = HashSetBuilder.DefaultMemoryBytes, HashSetKind kind = HashSetKind.Bad)
    {
        using var builder = new HashSetBuilder(kind, _scratch.Folder, memoryBytes);
        builder.Add(new MemoryStream(text), "list.txt", Built.Date, TestContext.Current.CancellationToken);
        string path = _scratch[Path.GetRandomFileName()];
        HashSetFacts facts = builder.Build(path);
        var built = new Built(path, HashSet.Open(path, kind), builder.Faults);
        Assert.Equal(facts, built.Set.Facts);
        return built;
    }

    private sealed record Built(string Path, HashSet Set, IReadOnlyList<HashFault> Faults) : IDisposable
    {
        public static readonly DateTimeOffset Date = new(2026, 5, 4, 3, 2, 1, TimeSpan.Zero);

        public void Dispose() => Set.Dispose();
    }
}
