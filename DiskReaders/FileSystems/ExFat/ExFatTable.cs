using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.ExFat;

/// <summary>The active File Allocation Table (section 4.1): 32 bits for each cluster, paged. Most files do without it.</summary>
internal sealed class ExFatTable : IClusterTable, IDisposable
{
    private const uint EndOfChain = 0xFFFF_FFFF;
    private const int Pages = 256;

    private readonly ClusterHeap _heap;
    private readonly SliceSource _slice;
    private readonly PageCache _pages;

    public ExFatTable(IBlockSource volume, in ExFatBootSector boot, in ClusterHeap heap, ReadContext context)
    {
        _heap = heap;
        long start = Math.Min(boot.ActiveFat, volume.Length);
        _slice = new SliceSource(volume, start, Math.Min((boot.ClusterCount + 2L) * 4, volume.Length - start), "FAT");
        _pages = new PageCache(_slice, context, pages: Pages);
    }

    public uint Next(uint cluster)
    {
        Span<byte> entry = stackalloc byte[4];
        _pages.Read(cluster * 4L, entry);
        uint next = BinaryPrimitives.ReadUInt32LittleEndian(entry);
        return _heap.IsCluster(next) ? next : next == EndOfChain ? IClusterTable.End : IClusterTable.Broken;
    }

    public void Dispose()
    {
        _pages.Dispose();
        _slice.Dispose();
    }
}
