using System.Numerics;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Vma;

/// <summary>One device: of each cluster, only blocks that are not zeros are stored, one behind the other. A cluster that is not in the archive is a fault.</summary>
/// <param name="clusters">Disposed with this.</param>
/// <param name="length">The device's size.</param>
internal sealed class VmaMap(VmaClusters clusters, long length) : IExtentMap, IDisposable
{
    /// <summary>Index of the source of bytes that are not there.</summary>
    public const int Missing = 1;

    private const ushort Whole = 0xFFFF;

    public long Length => length;

    public Extent Map(long offset, long count)
    {
        (long cluster, long within) = Math.DivRem(offset, VmaClusters.ClusterBytes);
        count = Math.Min(count, VmaClusters.ClusterBytes - within);
        if (!clusters.TryGet(cluster, out long location, out ushort mask))
        {
            return new Extent(ExtentKind.Data, count, offset, Missing);
        }

        if (mask is 0 or Whole)
        {
            return mask == 0 ? new Extent(ExtentKind.Zero, count) : new Extent(ExtentKind.Data, count, location + within);
        }

        int block = (int)(within / VmaClusters.BlockBytes);
        bool isStored = (mask >> block & 1) != 0;
        int end = block + 1;
        while (end < 16 && (mask >> end & 1) != 0 == isStored)
        {
            end++;
        }

        count = Math.Min(count, ((long)end * VmaClusters.BlockBytes) - within);
        if (!isStored)
        {
            return new Extent(ExtentKind.Zero, count);
        }

        int before = BitOperations.PopCount((uint)(mask & ((1 << block) - 1)));
        return new Extent(ExtentKind.Data, count, location + ((long)before * VmaClusters.BlockBytes) + (within % VmaClusters.BlockBytes));
    }

    public void Dispose() => clusters.Dispose();
}
