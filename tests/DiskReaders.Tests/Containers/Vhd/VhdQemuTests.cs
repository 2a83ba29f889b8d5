using System.Text.Json;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Containers.Vhd;

/// <summary>Images that qemu-img and qemu-io write, against what qemu-img reads from them.</summary>
public sealed class VhdQemuTests
{
    private const string Writes =
        """qemu-io -f vpc -c 'write -P 0x11 0 64k' -c 'write -P 0x22 2047k 3k' -c 'write -P 0x33 20M 5M' -c 'write -P 0x44 41M 512' -c 'write -P 0x55 46M 1M' d.vhd > /dev/null""";

    [Theory]
    [InlineData("subformat=dynamic", "48M", "vhd/dynamic")]
    [InlineData("subformat=dynamic,force_size=on", "48M", "vhd/dynamic")]
    [InlineData("subformat=dynamic,force_size=on", "49999872", "vhd/dynamic")]
    [InlineData("subformat=dynamic", "49999872", "vhd/dynamic")]
    [InlineData("subformat=fixed", "48M", "vhd/fixed")]
    [InlineData("subformat=fixed,force_size=on", "49999872", "vhd/fixed")]
    [InlineData("subformat=dynamic", "200G", "vhd/dynamic")]
    public void Content_and_extents_equal_those_of_qemu(string options, string size, string format)
    {
        using var scratch = new Scratch();
        Tool.Shell($"qemu-img create -q -f vpc -o {options} d.vhd {size}\n{Writes}", scratch.Folder);
        if (size != "200G")
        {
            Tool.Shell("qemu-img convert -f vpc -O raw d.vhd d.raw", scratch.Folder);
        }

        var budget = new ScanBudget(16 << 20);
        var gaps = new GapList();
        using (var chain = new FolderChain(scratch.Folder, [Vhd.Format], new ReadContext(budget, gaps)))
        using (VirtualDisk disk = chain.Open("d.vhd"))
        {
            Assert.Equal(format, disk.Format);
            Assert.Equal(Size(scratch["d.vhd"]), disk.Content.Length);
            if (size != "200G")
            {
                Assert.Equal(Content.Sha256OfFile(scratch["d.raw"]), disk.Content.Sha256(step: 1_000_003));
            }

            SameExtents(scratch["d.vhd"], disk.Content);
        }

        Assert.Equal(0, budget.InUse);
        Assert.Empty(gaps.ToList());
    }

    [Fact]
    public void What_the_test_writer_builds_is_read_alike_by_qemu()
    {
        using var scratch = new Scratch();
        byte[] image = new VhdWriter { DiskBytes = (9 << 20) - 512, BlockBytes = 2 << 20 }.Block(3, VhdWriter.Noise(1, 2 << 20)).Block(0, VhdWriter.Noise(2, 2 << 20)).Build();
        File.WriteAllBytes(scratch["d.vhd"], image);
        Tool.Run("qemu-img", "convert", "-f", "vpc", "-O", "raw", scratch["d.vhd"], scratch["d.raw"]);
        Assert.Equal(File.ReadAllBytes(scratch["d.raw"]), Vhd.Read(("d.vhd", image)));
    }

    private static long Size(string image)
    {
        using var json = JsonDocument.Parse(Tool.Run("qemu-img", "info", "-f", "vpc", "--output=json", image));
        return json.RootElement.GetProperty("virtual-size").GetInt64();
    }

    /// <summary>Stored and not stored, range by range, and the position in the file.</summary>
    private static void SameExtents(string image, IBlockSource content)
    {
        using var json = JsonDocument.Parse(Tool.Run("qemu-img", "map", "-f", "vpc", "--output=json", image));
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
