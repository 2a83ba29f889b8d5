using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Vma;

/// <summary>
/// Where the clusters of one device lie: 8 bytes each, in pages that are made when a cluster of theirs is seen. An entry has bit 63 set, the
/// place of the data in 512-byte steps, and the mask of its blocks in the low 16 bits.
/// </summary>
internal sealed class VmaClusters(ReadContext context) : IDisposable
{
    public const int ClusterBytes = 64 << 10;
    public const int BlockBytes = 4096;

    private const ulong There = 1UL << 63;
    private const int ClustersPerPage = 8192;
    private const int StepBytes = 512;

    private readonly Dictionary<long, RentedBuffer> _pages = [];

    /// <summary>False when the cluster was there before.</summary>
    public bool TryAdd(long cluster, long location, ushort mask)
    {
        (long page, long index) = Math.DivRem(cluster, ClustersPerPage);
        if (!_pages.TryGetValue(page, out RentedBuffer? buffer))
        {
            buffer = context.Budget.Rent(ClustersPerPage * sizeof(ulong));
            buffer.Span.Clear();
            _pages.Add(page, buffer);
        }

        Span<byte> entry = buffer.Span.Slice((int)index * sizeof(ulong), sizeof(ulong));
        if (BinaryPrimitives.ReadUInt64LittleEndian(entry) != 0)
        {
            return false;
        }

        BinaryPrimitives.WriteUInt64LittleEndian(entry, There | ((ulong)(location / StepBytes) << 16) | mask);
        return true;
    }

    /// <summary>False when the archive has no such cluster.</summary>
    public bool TryGet(long cluster, out long location, out ushort mask)
    {
        (long page, long index) = Math.DivRem(cluster, ClustersPerPage);
        ulong entry = _pages.TryGetValue(page, out RentedBuffer? buffer)
            ? BinaryPrimitives.ReadUInt64LittleEndian(buffer.Span.Slice((int)index * sizeof(ulong), sizeof(ulong)))
            : 0;
        location = (long)((entry & ~There) >> 16) * StepBytes;
        mask = (ushort)(entry & 0xFFFF);
        return entry != 0;
    }

    public void Dispose()
    {
        foreach (RentedBuffer page in _pages.Values)
        {
            page.Dispose();
        }

        _pages.Clear();
    }
}
