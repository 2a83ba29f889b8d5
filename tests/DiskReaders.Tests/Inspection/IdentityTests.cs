using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Inspection;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Inspection;

/// <summary>What a volume is taken for when its bytes say more than one thing.</summary>
public sealed class IdentityTests
{
    private static readonly Lazy<(byte[] Ext, byte[] Ntfs)> Images = new(() =>
    {
        using var scratch = new Scratch();
        Tool.Shell("PATH=$PATH:/usr/sbin:/sbin; truncate -s 8M ntfs; mkntfs -q -F -f -s 512 -p 0 -H 16 -S 16 ntfs; mke2fs -q -F -t ext4 ext 8M", scratch.Folder);
        return (File.ReadAllBytes(scratch["ext"]), File.ReadAllBytes(scratch["ntfs"]));
    });

    [Fact]
    public void A_volume_that_says_two_things_names_both()
    {
        // A Linux guest reads ext4 whatever its first kibibyte holds.
        byte[] both = (byte[])Images.Value.Ext.Clone();
        Images.Value.Ntfs.AsSpan(0, 512).CopyTo(both);
        Assert.Equal(["ntfs", "ext"], FileSystemFormats.Identify(new MemorySource(both)).Names);
    }

    [Fact]
    public void A_copy_left_by_an_older_file_system_counts_for_nothing()
    {
        byte[] reused = (byte[])Images.Value.Ext.Clone();
        Images.Value.Ntfs.AsSpan(^512).CopyTo(reused.AsSpan(reused.Length - 512));
        Assert.Equal(["ext"], FileSystemFormats.Identify(new MemorySource(reused)).Names);
    }

    [Fact]
    public void A_copy_counts_when_nothing_else_is_there()
    {
        byte[] damaged = (byte[])Images.Value.Ntfs.Clone();
        damaged.AsSpan(0, 512).Clear();
        Assert.Equal(["ntfs"], FileSystemFormats.Identify(new MemorySource(damaged)).Names);
    }

    [Fact]
    public void Zeros_are_nothing_known_and_empty()
    {
        var context = new ReadContext(new ScanBudget(4 << 20), new GapList());
        var zeros = new MemorySource(new byte[3 << 20]);
        Assert.Empty(FileSystemFormats.Identify(zeros).Names);
        Assert.True(DiskInspector.IsEmpty(zeros, context));
        byte[] last = new byte[3 << 20];
        last[^1] = 1;
        Assert.False(DiskInspector.IsEmpty(new MemorySource(last), context));
        Assert.Equal(0, context.Budget.InUse);
    }
}
