using System.Text.Json;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Containers.Vdi;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Containers.Vdi;

/// <summary>Images that qemu-img and qemu-io write, against what qemu-img reads from them.</summary>
public sealed class VdiQemuTests
{
    [Theory]
    [InlineData("static=off", "48M", "vdi/dynamic")]
    [InlineData("static=off", "49999872", "vdi/dynamic")]
    [InlineData("static=on", "48M", "vdi/fixed")]
    [InlineData("static=on", "49999872", "vdi/fixed")]
    public void Content_and_extents_equal_those_of_qemu(string options, string size, string format)
    {
        using var scratch = new Scratch();
        Tool.Shell(
            $"""
            qemu-img create -q -f vdi -o {options} d.vdi {size}
            qemu-io -f vdi -c 'write -P 0x55 46M 1M' -c 'write -P 0x11 0 64k' -c 'write -P 0x22 2047k 3k' -c 'write -P 0x33 20M 5M' -c 'write -P 0x44 41M 512' d.vdi > /dev/null
            qemu-img convert -f vdi -O raw d.vdi d.raw
            """,
            scratch.Folder);
        var budget = new ScanBudget(16 << 20);
        var gaps = new GapList();
        using (var chain = new FolderChain(scratch.Folder, [new VdiFormat()], new ReadContext(budget, gaps)))
        using (VirtualDisk disk = chain.Open("d.vdi"))
        {
            Assert.Equal(format, disk.Format);
            Assert.Equal(new FileInfo(scratch["d.raw"]).Length, disk.Content.Length);
            Assert.Equal(Content.Sha256OfFile(scratch["d.raw"]), disk.Content.Sha256(step: 1_000_003));
            SameExtents(scratch["d.vdi"], disk.Content);
        }

        Assert.Equal(0, budget.InUse);
        Assert.Empty(gaps.ToList());
    }

    [Fact]
    public void What_the_test_writer_builds_is_read_alike_by_qemu()
    {
        using var scratch = new Scratch();
        byte[] image = new VdiWriter { DiskBytes = (5 << 20) - 512, BlockBytes = 1 << 20 }
            .Block(3, VdiWriter.Noise(1, 1 << 20)).Block(4, VdiWriter.Noise(2, 1 << 20)).Entry(1, VdiWriter.Zero).Block(0, VdiWriter.Noise(3, 1 << 20)).Build();
        File.WriteAllBytes(scratch["d.vdi"], image);
        Tool.Run("qemu-img", "convert", "-f", "vdi", "-O", "raw", scratch["d.vdi"], scratch["d.raw"]);
        using var chain = new FolderChain(scratch.Folder, [new VdiFormat()], new ReadContext(new ScanBudget(16 << 20), new GapList()));
        using VirtualDisk disk = chain.Open("d.vdi");
        Assert.Equal(File.ReadAllBytes(scratch["d.raw"]), disk.Content.ReadAll());
    }

    /// <summary>Stored and not stored, range by range, and the position in the file.</summary>
    private static void SameExtents(string image, IBlockSource content)
    {
        using var json = JsonDocument.Parse(Tool.Run("qemu-img", "map", "-f", "vdi", "--output=json", image));
        foreach (JsonElement range in json.RootElement.EnumerateArray())
        {
            long start = range.GetProperty("start").GetInt64();
            long end = start + range.GetProperty("length").GetInt64();
            bool data = range.GetProperty("data").GetBoolean();
            for (long at = start; at < end;)
            {
                StoredExtent extent = content.Locate(at, end - at);
                if (extent.IsStored != data)
                {
                    // What the file system beneath keeps as a hole is data for qemu and nothing stored for us.
                    Assert.True(data && extent.Kind == ExtentKind.Hole, $"{at}: {extent} where qemu-img says data={data}");
                }
                else if (data)
                {
                    Assert.Equal(range.GetProperty("offset").GetInt64() + at - start, extent.Position);
                }

                at += extent.Length;
            }
        }
    }
}
