using System.Globalization;
using System.Text.Json;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Volumes;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Volumes;

public sealed class TableDifferentialTests
{
    private const string Primaries = "label: dos\nstart=2048,size=4096,type=7,bootable\nstart=8192,size=2000,type=83\nstart=63000,size=72,type=c\n";

    private const string Logicals = "label: dos\nstart=2048,size=4096,type=7\nstart=8192,size=80000,type=f\nstart=10240,size=3000,type=83\n"
        + "start=16384,size=1000,type=82\nstart=22528,size=3000,type=8e\nstart=90112,size=3000,type=fd\n";

    private const string Guids = "label: gpt\nstart=2048,size=4096,type=U,name=\"EFI système 日本\"\nstart=10240,size=3000\nstart=8192,size=1000,type=E6D6D379-F507-44C2-A23C-238F2A3DF928\n";

    [Theory]
    [InlineData(Primaries)]
    [InlineData(Logicals)]
    [InlineData(Guids)]
    public void Partitions_equal_sfdisk(string script) => Compare(script, 512, 512);

    [Theory]
    [InlineData("label: dos\nstart=256,size=512,type=83\nstart=1024,size=8000,type=5\nstart=1280,size=512,type=83\nstart=2048,size=100,type=83\n", 4096)]
    [InlineData("label: dos\nstart=256,size=512,type=83\nstart=1024,size=8000,type=5\nstart=1280,size=512,type=83\nstart=2048,size=100,type=83\n", 512)]
    [InlineData("label: gpt\nstart=256,size=512\nstart=1024,size=8000,name=\"four thousand\"\n", 4096)]
    [InlineData("label: gpt\nstart=256,size=512\nstart=1024,size=8000,name=\"four thousand\"\n", 512)]
    public void Partitions_of_a_disk_with_4096_byte_sectors_equal_sfdisk_whatever_was_declared(string script, int declared) => Compare(script, 4096, declared);

    [Fact]
    public void Two_hundred_gpt_entries_equal_sgdisk()
    {
        string[] partitions = [.. Enumerable.Range(1, 200).SelectMany(i => new[] { "-n", string.Create(CultureInfo.InvariantCulture, $"{i}:{2048 + (i * 8)}:{2048 + (i * 8) + 7}") })];
        byte[] disk = TableImages.Gpt(4, ["--resize-table=256", .. partitions]);
        (DiskLayout layout, IReadOnlyList<CoverageGap> gaps) = TableImages.Read(disk);
        Assert.Empty(gaps);
        Assert.Equal(Enumerable.Range(1, 200).Select(i => (i, (2048L + (i * 8)) * 512, 4096L)), layout.Partitions.Select(p => (p.Number, p.OffsetBytes, p.SizeBytes)));
    }

    [Fact]
    public void Partitions_equal_mmls_of_sleuth_kit()
    {
        using var scratch = new Scratch();
        string path = Make(scratch, Logicals, 512);
        var expected = Tool.Run("mmls", "-a", path).Split('\n')
            .Select(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries))
            .Where(f => f.Length > 5 && f[0].EndsWith(':') && f[1].Contains(':', StringComparison.Ordinal))
            .Select(f => (long.Parse(f[2], CultureInfo.InvariantCulture) * 512, long.Parse(f[4], CultureInfo.InvariantCulture) * 512));
        Assert.Equal(expected, TableImages.Read(File.ReadAllBytes(path)).Layout.Partitions.Select(p => (p.OffsetBytes, p.SizeBytes)));
    }

    private static void Compare(string script, int sectorBytes, int declared)
    {
        using var scratch = new Scratch();
        string path = Make(scratch, script, sectorBytes);
        (DiskLayout layout, IReadOnlyList<CoverageGap> gaps) = TableImages.Read(File.ReadAllBytes(path), declared);
        using var json = JsonDocument.Parse(File.ReadAllText(scratch["table.json"]));
        JsonElement table = json.RootElement.GetProperty("partitiontable");
        bool isGpt = table.GetProperty("label").GetString() == "gpt";
        var expected = table.GetProperty("partitions").EnumerateArray()
            .Select(p => (
                Start: p.GetProperty("start").GetInt64() * sectorBytes,
                Size: p.GetProperty("size").GetInt64() * sectorBytes,
                Type: p.GetProperty("type").GetString()!,
                Name: p.TryGetProperty("name", out JsonElement name) ? name.GetString()! : ""))
            .Where(p => p.Type is not ("5" or "f"))
            .OrderBy(p => p.Start)
            .Select(p => (p.Start, p.Size, isGpt ? p.Type : "0x" + p.Type.ToUpperInvariant().PadLeft(2, '0'), p.Name));
        Assert.Equal(expected, layout.Partitions.Select(p => (p.OffsetBytes, p.SizeBytes, p.TypeName.Split(' ')[0], p.Label)));
        Assert.Equal(isGpt ? "gpt" : "mbr", layout.Scheme);
        Assert.Empty(gaps);
    }

    // With volumes in the partitions, as on any real disk: an MBR alone does not tell its sector size.
    private static string Make(Scratch scratch, string script, int sectorBytes)
    {
        string path = scratch["disk.raw"];
        using (FileStream file = File.Create(path))
        {
            file.SetLength(96 << 20);
        }

        File.WriteAllText(scratch["script"], script);
        Tool.Shell(
            $"""
            device=$(losetup --find --show --sector-size {sectorBytes} disk.raw)
            trap 'losetup --detach "$device"' EXIT
            sfdisk --quiet --wipe=never --no-tell-kernel --no-reread "$device" < script
            sfdisk --json "$device" > table.json
            first=$(grep -m1 -o '"start": [0-9]*' table.json | grep -o '[0-9]*$')
            mke2fs -q -E offset=$((first * {sectorBytes})) disk.raw 1M
            """,
            scratch.Folder);
        return path;
    }
}
