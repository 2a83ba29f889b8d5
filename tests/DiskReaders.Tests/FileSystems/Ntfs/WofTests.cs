using System.Security.Cryptography;
using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.FileSystems.Ntfs;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Ntfs;

/// <summary>
/// Files as "compact /exe" leaves them: packed by wimlib, written by ntfs-3g (stream, hole of the full length, reparse point).
/// </summary>
public sealed class WofTests : IDisposable
{
    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Theory]
    [InlineData("xpress", 4096, 0)]
    [InlineData("lzx", 32768, 1)]
    [InlineData("xpress", 8192, 2)]
    [InlineData("xpress", 16384, 3)]
    public void Packed_files_read_as_what_was_packed(string codec, int chunkBytes, int algorithm)
    {
        string samples = CompressionTests.Samples(_scratch);
        Dictionary<string, byte[]> packed = WimImage.Pack(samples, _scratch.Folder, codec, chunkBytes);
        var expected = new SortedDictionary<string, string>(StringComparer.Ordinal);
        var script = new StringBuilder();
        foreach (string path in Directory.GetFiles(samples))
        {
            if (packed.TryGetValue(CompressionTests.Sha1(File.ReadAllBytes(path)), out byte[]? resource))
            {
                string name = Path.GetFileName(path);
                File.WriteAllBytes(_scratch[name + ".packed"], resource);
                expected[name] = Content.Sha256OfFile(path);
                script.AppendLine($"truncate -s {new FileInfo(path).Length} {name}; cat $S/{name}.packed > {name}:WofCompressedData; printf other > {name}:other");
                script.AppendLine($"setfattr -h -n system.ntfs_reparse_data -v {Reparse(2, algorithm)} {name}");
            }
        }

        string image = NtfsImage.Make(_scratch.Folder, "64M", "-c 4096", script.ToString());
        (SortedSet<string> lines, IReadOnlyList<CoverageGap> gaps) = NtfsImage.List(image);
        Assert.Empty(gaps);
        Assert.Equal(expected.Count * 2, lines.Count);
        Assert.All(expected, file => Assert.Contains(lines, l => l.StartsWith(file.Key + "\t", StringComparison.Ordinal) && l.EndsWith(file.Value, StringComparison.Ordinal)));
        Assert.DoesNotContain(lines, l => l.Contains("WofCompressedData", StringComparison.Ordinal));

        // Any slicing equals one read.
        using var source = new FileSource(image);
        var budget = new ScanBudget(8 << 20);
        using (IFileSystem fileSystem = new NtfsFormat().Open(source, new ReadContext(budget, new GapList())))
        {
            GuestFile mixed = fileSystem.Walk().First(f => f.StreamName.Length == 0 && NtfsImage.PathOf(f.Links[0], f) == "mixed");
            using IBlockSource content = fileSystem.OpenContent(mixed);
            byte[] whole = content.ReadAll();
            byte[] pieces = new byte[whole.Length];
            for (int at = 0; at < whole.Length; at += 10_007)
            {
                content.Read(at, pieces.AsSpan(at, Math.Min(10_007, whole.Length - at)));
            }

            Assert.Equal(whole, pieces);
            Assert.Equal(ExtentKind.Packed, content.Locate(50_000, 100).Kind);
        }

        Assert.Equal(0, budget.InUse);
    }

    [Fact]
    public void What_the_filter_cannot_unpack_is_a_fault_and_never_the_hole()
    {
        string image = NtfsImage.Make(_scratch.Folder, "16M", "", $"""
            truncate -s 9000 wim; setfattr -h -n system.ntfs_reparse_data -v {Reparse(1, 0)} wim
            truncate -s 9000 algorithm; printf x > algorithm:WofCompressedData; setfattr -h -n system.ntfs_reparse_data -v {Reparse(2, 4)} algorithm
            truncate -s 9000 nostream; setfattr -h -n system.ntfs_reparse_data -v {Reparse(2, 0)} nostream
            truncate -s 9000 short; printf x > short:WofCompressedData; setfattr -h -n system.ntfs_reparse_data -v {Reparse(2, 0)} short
            truncate -s 9000 bad; head -c 8000 /dev/zero > bad:WofCompressedData; setfattr -h -n system.ntfs_reparse_data -v {Reparse(2, 0)} bad
            printf 'plain bytes beside the packed ones' > both; printf x > both:WofCompressedData; setfattr -h -n system.ntfs_reparse_data -v {Reparse(2, 0)} both
            truncate -s 9000 dedup; setfattr -h -n system.ntfs_reparse_data -v 0x13000080080000000102030405060708 dedup
            truncate -s 9000 cloud; setfattr -h -n system.ntfs_reparse_data -v 0x1a0000900400000001020304 cloud
            head -c 9000 /dev/zero > hydrated; setfattr -h -n system.ntfs_reparse_data -v 0x1a0000900400000001020304 hydrated
            : > appexec; setfattr -h -n system.ntfs_reparse_data -v 0x1b0000800400000001020304 appexec
            mkfifo fifo
            printf 'bytes under a link' > symlink; setfattr -h -n system.ntfs_reparse_data -v {LinkTo(0xA000000C, @"\??\C:\Windows")} symlink
            mkdir junction; setfattr -h -n system.ntfs_reparse_data -v {LinkTo(0xA0000003, @"\??\C:\Users")} junction
            echo ordinary > wofname; echo y > wofname:WofCompressedData
            """, "streams_interface=windows,special_files=wsl");
        (SortedSet<string> lines, IReadOnlyList<CoverageGap> gaps) = NtfsImage.List(image);
        Assert.Empty(gaps);
        string all = string.Join('\n', lines);
        Assert.Contains("wim\t9000\tfault Unsupported", all, StringComparison.Ordinal);
        Assert.Contains("algorithm\t9000\tfault Unsupported", all, StringComparison.Ordinal);
        Assert.Contains("nostream\t9000\tfault Corrupt", all, StringComparison.Ordinal);
        Assert.Contains("short\t9000\terror WofCompressedData", all, StringComparison.Ordinal);
        Assert.Contains("bad\t9000\terror WofCompressedData", all, StringComparison.Ordinal);
        Assert.Contains("dedup\t9000\tfault Corrupt", all, StringComparison.Ordinal);
        Assert.Contains("cloud\t9000\tfault Unsupported", all, StringComparison.Ordinal);
        Assert.Contains("hydrated\t9000\t" + Convert.ToHexStringLower(SHA256.HashData(new byte[9000])), all, StringComparison.Ordinal);
        Assert.Contains("wofname:WofCompressedData\t2\t", all, StringComparison.Ordinal);

        using var source = new FileSource(image);
        List<GuestFile> files = NtfsImage.Files(source, out _);
        GuestFile Of(string path) => files.Single(f => NtfsImage.PathOf(f.Links[0], f) == path);
        Assert.Equal(GuestFileKind.Link, Of("appexec").Kind);
        Assert.Equal(GuestFileKind.Device, Of("fifo").Kind);
        Assert.Equal(GuestFileKind.System, Of("both:$DATA").Kind);
        Assert.Equal(34, Of("both:$DATA").SizeBytes);
        Assert.Equal(GuestFileKind.Link, Of("symlink").Kind);
        Assert.Equal(GuestFileKind.System, Of("symlink:$DATA").Kind);
        Assert.Equal(GuestFileKind.Link, Of("junction").Kind);
        Assert.Equal(@"\??\C:\Users".Length, Of("junction").SizeBytes);
    }

    /// <summary>[MS-FSCC] 2.1.2.4 and 2.1.2.5: the substitute name, then an equal print name.</summary>
    private static string LinkTo(uint tag, string target)
    {
        byte[] name = Encoding.Unicode.GetBytes(target);
        var bytes = new List<byte>();
        bytes.AddRange(BitConverter.GetBytes(tag));
        bytes.AddRange(BitConverter.GetBytes((uint)((tag == 0xA000000C ? 12 : 8) + (2 * name.Length) + 4)));
        foreach (int field in new[] { 0, name.Length, name.Length + 2, name.Length })
        {
            bytes.AddRange(BitConverter.GetBytes((ushort)field));
        }

        bytes.AddRange(new byte[tag == 0xA000000C ? 4 : 0]);
        bytes.AddRange([.. name, 0, 0, .. name, 0, 0]);
        return "0x" + Convert.ToHexString(bytes.ToArray());
    }

    private static string Reparse(int provider, int algorithm) => $"0x170000801000000001000000{provider:x2}00000001000000{algorithm:x2}000000";
}
