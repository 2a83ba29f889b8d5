using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Containers.Vhd;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Containers.Vhd;

internal static class Vhd
{
    public static readonly VhdFormat Format = new();

    /// <summary>Opens the first of the files, with the others beside it.</summary>
    public static VirtualDisk Open(ReadContext context, out FolderChain chain, params (string Name, byte[] Bytes)[] files)
    {
        chain = new FolderChain(files.ToDictionary(f => f.Name, f => f.Bytes), [Format], context);
        return chain.Open(files[0].Name);
    }

    /// <summary>The whole content; the budget must be free again afterwards.</summary>
    public static byte[] Read(params (string Name, byte[] Bytes)[] files) => Read(out _, files);

    public static byte[] Read(out IReadOnlyList<CoverageGap> gaps, params (string Name, byte[] Bytes)[] files)
    {
        var budget = new ScanBudget(16 << 20);
        var list = new GapList();
        byte[] content;
        using (VirtualDisk disk = Open(new ReadContext(budget, list), out FolderChain chain, files))
        using (chain)
        {
            content = disk.Content.ReadAll();
        }

        Assert.Equal(0, budget.InUse);
        gaps = list.ToList();
        return content;
    }

    /// <summary>The fault that opening or reading ends with; the budget must be free again afterwards.</summary>
    public static DiskFormatException Fault(params (string Name, byte[] Bytes)[] files)
    {
        var budget = new ScanBudget(16 << 20);
        DiskFormatException fault = Assert.Throws<DiskFormatException>(() =>
        {
            using VirtualDisk disk = Open(new ReadContext(budget, new GapList()), out FolderChain chain, files);
            using (chain)
            {
                byte[] buffer = new byte[64 << 10];
                for (long at = 0; at < disk.Content.Length; at += Math.Max(buffer.Length, disk.Content.Length / 1024))
                {
                    disk.Content.Read(at, buffer.AsSpan(0, (int)Math.Min(buffer.Length, disk.Content.Length - at)));
                }
            }
        });
        Assert.Equal(0, budget.InUse);
        return fault;
    }

    public static ImageFile File(byte[] bytes) => new("disk.vhd", 0, new MemorySource(bytes));
}
