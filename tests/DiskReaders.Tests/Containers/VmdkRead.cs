using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Containers.Vmdk;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Containers;

/// <summary>Opens VMDK images that are held in memory, and sees to it that nothing rented is kept.</summary>
internal static class VmdkRead
{
    public static readonly IContainerFormat[] Formats = [new VmdkFormat()];

    /// <summary>The whole content of the first file's disk.</summary>
    public static byte[] All(params (string Name, byte[] Bytes)[] files) => All(out _, files);

    public static byte[] All(out IReadOnlyList<CoverageGap> gaps, params (string Name, byte[] Bytes)[] files)
    {
        byte[] content = [];
        gaps = With(files, disk => content = disk.Content.ReadAll());
        return content;
    }

    /// <summary>Opens the first file and hands the disk on; returns the gaps.</summary>
    public static IReadOnlyList<CoverageGap> With((string Name, byte[] Bytes)[] files, Action<VirtualDisk> use)
    {
        var budget = new ScanBudget(64 << 20);
        var gaps = new GapList();
        try
        {
            using var chain = new FolderChain(files.ToDictionary(f => f.Name, f => f.Bytes), Formats, new ReadContext(budget, gaps));
            using VirtualDisk disk = chain.Open(files[0].Name);
            use(disk);
        }
        finally
        {
            Assert.Equal(0, budget.InUse);
        }

        return gaps.ToList();
    }

    public static DiskFormatException Fails(params (string Name, byte[] Bytes)[] files) =>
        Assert.Throws<DiskFormatException>(() => All(files));

    /// <summary>A descriptor that fails, over one flat file of 8 sectors.</summary>
    public static DiskFormatException FailsText(string descriptor) =>
        Fails(("disk.vmdk", VmdkImages.Text(descriptor)), ("flat", new byte[8 * VmdkImages.Sector]));
}
