using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Containers.Vhdx;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Containers.Vhdx;

/// <summary>Opens images in memory or in a folder; parents by the first candidate that is there.</summary>
internal sealed class FakeChain(VhdxFormat format, ReadContext context, IReadOnlyDictionary<string, byte[]> images) : IChainOpener
{
    public ImageFile OpenExtent(ImageFile from, ImageReference reference) => throw new NotSupportedException("a VHDX has no extents");

    public VirtualDisk OpenParent(ImageFile from, ImageReference reference)
    {
        foreach (string candidate in reference.Candidates)
        {
            if (images.TryGetValue(candidate, out byte[]? bytes))
            {
                return format.Open(new ImageFile(candidate, from.Id + 1, new MemorySource(bytes)), this, context);
            }
        }

        throw new DiskFormatException(Fault.MissingParent, "test", -1, reference.Display);
    }

    public IBlockSource OpenLuks(IBlockSource header, IBlockSource? payload) => throw new NotSupportedException("a VHDX is not encrypted");
}

internal static class Vhdx
{
    private static readonly Dictionary<string, byte[]> NoImages = [];

    public static ReadContext Context(long budgetBytes = 64 << 20) => new(new ScanBudget(budgetBytes), new GapList());

    public static VirtualDisk Open(byte[] image, ReadContext context, IReadOnlyDictionary<string, byte[]>? parents = null) =>
        Open(new MemorySource(image), context, parents);

    public static VirtualDisk Open(IBlockSource image, ReadContext context, IReadOnlyDictionary<string, byte[]>? parents = null)
    {
        var format = new VhdxFormat();
        return format.Open(new ImageFile("leaf.vhdx", 0, image), new FakeChain(format, context, parents ?? NoImages), context);
    }

    /// <summary>The whole content; the budget must be free again afterwards.</summary>
    public static byte[] Read(byte[] image, IReadOnlyDictionary<string, byte[]>? parents = null)
    {
        ReadContext context = Context();
        byte[] content;
        using (VirtualDisk disk = Open(image, context, parents))
        {
            content = disk.Content.ReadAll();
        }

        Assert.Equal(0, context.Budget.InUse);
        return content;
    }

    /// <summary>The fault that opening or reading ends with; the budget must be free again afterwards.</summary>
    public static DiskFormatException Fault(byte[] image, IReadOnlyDictionary<string, byte[]>? parents = null)
    {
        ReadContext context = Context();
        DiskFormatException fault = Assert.Throws<DiskFormatException>(() =>
        {
            using VirtualDisk disk = Open(image, context, parents);
            byte[] buffer = new byte[1 << 20];
            for (long at = 0; at < Math.Min(disk.Content.Length, 16 << 20); at += buffer.Length)
            {
                disk.Content.Read(at, buffer.AsSpan(0, (int)Math.Min(buffer.Length, disk.Content.Length - at)));
            }
        });
        Assert.Equal(0, context.Budget.InUse);
        return fault;
    }
}
