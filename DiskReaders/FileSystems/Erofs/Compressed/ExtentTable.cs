using System.Runtime.InteropServices;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Erofs.Compressed;

internal enum PclusterKind : byte
{
    /// <summary>Not packed; begins with the extent's first byte.</summary>
    Shifted,

    /// <summary>Not packed; each byte at its own place in the block, so that the extent wraps around.</summary>
    Interlaced,

    /// <summary>Packed.</summary>
    Packed,

    /// <summary>A range of the packed inode.</summary>
    Fragment,
}

/// <param name="Start">First byte in the file; the extent ends where the next begins.</param>
/// <param name="Location">Where the physical cluster is stored; of a fragment the offset in the packed inode.</param>
/// <param name="StoredBytes">Its stored size.</param>
/// <param name="IsPart">The cluster may hold more than this extent.</param>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct PclusterExtent(long Start, long Location, int StoredBytes, PclusterKind Kind, Algorithm Algorithm, bool IsPart);

/// <summary>The extents of one compressed file in order.</summary>
internal sealed class ExtentTable(long length, int blockBytes, ScanBudget budget) : IExtentMap, IDisposable
{
    /// <summary>Linux, Z_EROFS_PCLUSTER_MAX_DSIZE: nothing unpacks to more.</summary>
    public const int MostUnpackedBytes = 12 << 20;

    private const int VolumeSource = 0, PackedSource = 1, FragmentSource = 2;
    private const int AddressShift = 24;
    private const int BytesPerExtent = 32;
    private const int Step = 1024;

    private readonly List<PclusterExtent> _extents = [];
    private readonly List<BudgetReservation> _reserved = [];

    public long Length => length;

    public bool HasFragment { get; private set; }

    /// <summary>Unpacked bytes of the largest packed extent.</summary>
    public int LargestPacked { get; private set; }

    public int Count => _extents.Count;

    public void Add(PclusterExtent extent)
    {
        if (_extents.Count % Step == 0 && _extents.Count > 0)
        {
            _reserved.Add(budget.Reserve(Step * BytesPerExtent));
        }

        _extents.Add(extent);
        HasFragment |= extent.Kind == PclusterKind.Fragment;
    }

    public PclusterExtent Last => _extents[^1];

    public void ReplaceLast(PclusterExtent extent)
    {
        _extents[^1] = extent;
        HasFragment |= extent.Kind == PclusterKind.Fragment;
    }

    /// <summary>Checks all extents when they are complete.</summary>
    public void Seal()
    {
        for (int i = 0; i < _extents.Count; i++)
        {
            PclusterExtent extent = _extents[i];
            long bytes = LengthOf(i);
            if (bytes <= 0 || (extent.Kind is PclusterKind.Shifted or PclusterKind.Interlaced && bytes > extent.StoredBytes))
            {
                throw new DiskFormatException(Fault.Corrupt, "erofs cluster index", extent.Location, $"{bytes} bytes in a cluster of {extent.StoredBytes}");
            }

            if (extent.Kind == PclusterKind.Packed)
            {
                LargestPacked = bytes <= MostUnpackedBytes
                    ? Math.Max(LargestPacked, (int)bytes)
                    : throw new DiskFormatException(Fault.Limit, "erofs cluster index", extent.Location, $"a cluster that unpacks to {bytes} bytes");
            }
        }
    }

    public PclusterExtent this[int index] => _extents[index];

    public long LengthOf(int index) => (index + 1 < _extents.Count ? _extents[index + 1].Start : length) - _extents[index].Start;

    /// <summary>The number of an extent from an address in the space of unpacked extents.</summary>
    public static int IndexOf(long address) => (int)(address >> AddressShift);

    public static int WithinOf(long address) => (int)(address & ((1 << AddressShift) - 1));

    public Extent Map(long offset, long count)
    {
        int index = Find(offset);
        PclusterExtent extent = _extents[index];
        long within = offset - extent.Start;
        long bytes = Math.Min(count, LengthOf(index) - within);
        switch (extent.Kind)
        {
            case PclusterKind.Shifted:
                return new Extent(ExtentKind.Data, bytes, extent.Location + within, VolumeSource);
            case PclusterKind.Interlaced:
                long first = blockBytes - (extent.Start & (blockBytes - 1));
                return within < first
                    ? new Extent(ExtentKind.Data, Math.Min(bytes, first - within), extent.Location + extent.StoredBytes - first + within, VolumeSource)
                    : new Extent(ExtentKind.Data, bytes, extent.Location + within - first, VolumeSource);
            case PclusterKind.Fragment:
                return new Extent(ExtentKind.Data, bytes, extent.Location + within, FragmentSource);
            default:
                return new Extent(ExtentKind.Data, bytes, ((long)index << AddressShift) + within, PackedSource);
        }
    }

    public void Dispose()
    {
        _reserved.ForEach(r => r.Dispose());
        _reserved.Clear();
    }

    private int Find(long offset)
    {
        int low = 0, high = _extents.Count - 1;
        while (low < high)
        {
            int middle = low + ((high - low + 1) / 2);
            if (_extents[middle].Start <= offset)
            {
                low = middle;
            }
            else
            {
                high = middle - 1;
            }
        }

        return low;
    }
}
