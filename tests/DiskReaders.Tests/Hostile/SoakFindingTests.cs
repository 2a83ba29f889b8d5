using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.FileSystems.Ntfs;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Hostile;

/// <summary>What soaks found, each as the smallest image that shows it, so that it stays found.</summary>
public sealed class SoakFindingTests
{
    [Theory]
    [InlineData(long.MaxValue)]
    [InlineData(long.MaxValue / 512)]
    [InlineData(1L << 54)]
    public void An_NTFS_mirror_placed_beyond_all_bytes_is_no_overflow(long cluster)
    {
        using var scratch = new Scratch();
        Tool.Shell("truncate -s 1200K v; mkntfs -q -F -f -s 512 -c 512 v >/dev/null 2>&1", scratch.Folder);
        byte[] image = File.ReadAllBytes(scratch["v"]);
        long table = BinaryPrimitives.ReadInt64LittleEndian(image.AsSpan(0x30)) * 512;
        image[table] = 0;
        BinaryPrimitives.WriteInt64LittleEndian(image.AsSpan(0x38), cluster);

        var e = Assert.Throws<DiskFormatException>(() => new NtfsFormat().Open(new MemorySource(image), new ReadContext(new ScanBudget(64 << 20), new GapList())));
        Assert.Equal("$MFT", e.Structure);
    }
}
