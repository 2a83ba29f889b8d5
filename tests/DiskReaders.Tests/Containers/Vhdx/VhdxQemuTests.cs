using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Containers.Vhdx;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Containers.Vhdx;

/// <summary>Images that qemu-img makes, compared with what qemu-img reads from them.</summary>
public sealed class VhdxQemuTests
{
    private const string Writes =
        """
        qemu-io -f vhdx -c 'write -P 0x11 0 64k' -c 'write -P 0x22 1023k 3k' -c 'write -P 0x33 20M 5M' -c 'write -P 0x44 41M 512' \
            -c 'write -z 21M 1M' -c 'discard 22M 1M' -c 'write -P 0x55 47M 1M' d.vhdx > /dev/null
        """;

    [Theory]
    [InlineData("subformat=dynamic", "48M", "vhdx/dynamic")]
    [InlineData("subformat=dynamic,block_size=1M", "48M", "vhdx/dynamic")]
    [InlineData("subformat=dynamic,block_size=8M,log_size=4M", "48M", "vhdx/dynamic")]
    [InlineData("subformat=dynamic,block_size=32M", "48M", "vhdx/dynamic")]
    [InlineData("subformat=dynamic,block_size=256M,log_size=2M", "48M", "vhdx/dynamic")]
    [InlineData("subformat=dynamic,block_state_zero=off", "50331136", "vhdx/dynamic")]
    [InlineData("subformat=fixed", "48M", "vhdx/fixed")]
    [InlineData("subformat=fixed,block_size=8M", "50331136", "vhdx/fixed")]
    public void Content_and_extents_equal_those_of_qemu(string options, string size, string format)
    {
        using var scratch = new Scratch();
        string writes = size == "48M" ? Writes : Writes.Replace("47M 1M", "47M 1023k", StringComparison.Ordinal);
        Tool.Shell($"qemu-img create -q -f vhdx -o {options} d.vhdx {size}\n{writes}\nqemu-img convert -f vhdx -O raw d.vhdx d.raw", scratch.Folder);
        ReadContext context = Vhdx.Context();
        using (var file = new FileSource(scratch["d.vhdx"], 7))
        using (VirtualDisk disk = Vhdx.Open(file, context))
        {
            Assert.Equal(format, disk.Format);
            Assert.Equal(512, disk.SectorBytes);
            Assert.Equal(Content.Sha256OfFile(scratch["d.raw"]), disk.Content.Sha256(step: 1_000_003));
            AssertExtentsHold(disk.Content, scratch["d.vhdx"], scratch["d.raw"]);
            Assert.Empty(new VhdxFormat().References(new ImageFile("d.vhdx", 7, file)));
        }

        Assert.Equal(0, context.Budget.InUse);
        Assert.Empty(((GapList)context.Gaps).ToList());
    }

    [Fact]
    public void What_the_test_writer_builds_is_read_alike_by_qemu()
    {
        using var scratch = new Scratch();
        byte[] image = new VhdxWriter { DiskBytes = (9 << 20) - 512 }
            .Block(0, 6, VhdxWriter.Noise(1, 1 << 20)).Block(1, 0).Block(2, 2).Block(3, 1).Block(4, 3)
            .Block(8, 6, VhdxWriter.Noise(2, 1 << 20)).Block(5, 6, VhdxWriter.Noise(3, 1 << 20)).Build();
        File.WriteAllBytes(scratch["d.vhdx"], image);
        Tool.Run("qemu-img", "convert", "-f", "vhdx", "-O", "raw", scratch["d.vhdx"], scratch["d.raw"]);
        Assert.Equal(File.ReadAllBytes(scratch["d.raw"]), Vhdx.Read(image));
    }

    [Fact]
    public void Only_blocks_that_were_written_are_stored()
    {
        using var scratch = new Scratch();
        Tool.Shell($"qemu-img create -q -f vhdx -o subformat=dynamic,block_size=1M d.vhdx 48M\n{Writes}", scratch.Folder);
        using var file = new FileSource(scratch["d.vhdx"]);
        using VirtualDisk disk = Vhdx.Open(file, Vhdx.Context());
        var stored = new List<long>();
        for (long at = 0; at < disk.Content.Length; at += 1 << 20)
        {
            if (disk.Content.Locate(at, 1).IsStored)
            {
                stored.Add(at >> 20);
            }
        }

        Assert.Equal([0, 1, 20, 21, 22, 23, 24, 41, 47], stored);
        // qemu-img gives new blocks the state ZERO.
        Assert.Equal(new StoredExtent(ExtentKind.Zero, 18 << 20), disk.Content.Locate(2 << 20, 40 << 20));
    }

    /// <summary>
    /// qemu-img map knows no VHDX extents (it calls all of it data), so they are held to its content: what is stored lies in the
    /// file where the extent says, all else is zeros.
    /// </summary>
    private static void AssertExtentsHold(IBlockSource disk, string image, string raw)
    {
        using var file = new FileSource(image);
        using var content = new FileSource(raw);
        Assert.Equal(content.Length, disk.Length);
        byte[] expected = new byte[1 << 20];
        byte[] found = new byte[1 << 20];
        for (long at = 0; at < disk.Length;)
        {
            StoredExtent extent = disk.Locate(at, Math.Min(expected.Length, disk.Length - at));
            int count = (int)extent.Length;
            content.Read(at, expected.AsSpan(0, count));
            found.AsSpan(0, count).Clear();
            if (extent.IsStored)
            {
                Assert.Equal(7, extent.File);
                file.Read(extent.Position, found.AsSpan(0, count));
            }

            Assert.True(expected.AsSpan(0, count).SequenceEqual(found.AsSpan(0, count)), $"other bytes at {at}");
            at += count;
        }
    }
}
