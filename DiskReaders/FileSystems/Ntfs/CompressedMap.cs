using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems.Ntfs.Compression;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs;

/// <summary>
/// A compressed stream: units of 2^n clusters. A unit whose clusters are all stored is plain, one of which none is stored is zeros,
/// and in any other the stored clusters, all in front, hold the unit in LZNT1. Spec: Microsoft, "ATTRIBUTE_RECORD_HEADER",
/// CompressionUnit; [MS-XCA] 2.5.
/// </summary>
internal sealed class CompressedMap : IPackedMap
{
    private const int MaxUnitShift = 8;

    /// <summary>Windows compresses with clusters of at most 4 KiB, 16 to a unit; more is left for other drivers.</summary>
    private const long MaxUnitBytes = 1 << 20;

    private readonly NtfsVolume _volume;
    private readonly RunMap _runs;
    private readonly long _unitClusters;

    private CompressedMap(NtfsVolume volume, RunMap runs, int unitShift)
    {
        _volume = volume;
        _runs = runs;
        _unitClusters = 1L << unitShift;
        UnitBytes = (int)(_unitClusters * volume.ClusterBytes);
    }

    public long Length => _runs.Length;

    public int UnitBytes { get; }

    /// <summary>True for units that an attribute may have.</summary>
    public static bool IsPossible(NtfsVolume volume, int unitShift) =>
        unitShift is > 0 and <= MaxUnitShift && volume.ClusterBytes << unitShift <= MaxUnitBytes;

    public static IBlockSource Open(NtfsVolume volume, RunMap runs, int unitShift)
    {
        if (!IsPossible(volume, unitShift))
        {
            throw new DiskFormatException(Fault.Corrupt, "compression unit", -1, $"2^{unitShift} clusters");
        }

        var map = new CompressedMap(volume, runs, unitShift);
        return new PackedSource(new MappedSource(map, volume.Sources, volume.Context, unpacker: map), map);
    }

    public Extent Map(long offset, long count)
    {
        if (offset >= _runs.ValidDataLength)
        {
            return new Extent(ExtentKind.Zero, count);
        }

        long unit = offset / UnitBytes;
        long stored = StoredClusters(unit * _unitClusters);
        if (stored == _unitClusters)
        {
            return _runs.Map(offset, Math.Min(count, UnitBytes - (offset % UnitBytes)));
        }

        long length = Math.Min(count, UnitBytes - (offset % UnitBytes));
        if (stored == 0)
        {
            return new Extent(ExtentKind.Hole, length);
        }

        return new Extent(ExtentKind.Packed, length, _runs.At(unit * _unitClusters).Lcn * _volume.ClusterBytes);
    }

    public void Unpack(long unitOffset, long location, Span<byte> unit)
    {
        long vcn = unitOffset / UnitBytes * _unitClusters;
        int packedBytes = (int)(StoredClusters(vcn) * _volume.ClusterBytes);
        using RentedBuffer packed = _volume.Context.Budget.Rent(packedBytes);
        Span<byte> rest = packed.Span;
        while (!rest.IsEmpty)
        {
            (long lcn, long clusters) = _runs.At(vcn);
            int bytes = (int)Math.Min(rest.Length, clusters * _volume.ClusterBytes);
            _volume.Bytes.Read(lcn * _volume.ClusterBytes, rest[..bytes]);
            rest = rest[bytes..];
            vcn += clusters;
        }

        // Behind the valid bytes the unit holds what was left over; the guest sees zeros.
        int valid = (int)Math.Min(unit.Length, _runs.ValidDataLength - unitOffset);
        Lznt1.Unpack(packed.Span, unit[..valid], location);
        unit[valid..].Clear();
    }

    public StoredExtent LocateUnit(long unitOffset)
    {
        long vcn = unitOffset / UnitBytes * _unitClusters;
        long end = vcn + StoredClusters(vcn);
        StoredExtent? place = null;
        while (vcn < end)
        {
            (long lcn, long clusters) = _runs.At(vcn);
            clusters = Math.Min(clusters, end - vcn);
            place = PackedSource.Locate(_volume.Bytes, lcn * _volume.ClusterBytes, clusters * _volume.ClusterBytes, place);
            vcn += clusters;
        }

        return place ?? new StoredExtent(ExtentKind.Hole, 1);
    }

    /// <summary>How many clusters of a unit are stored; they come first.</summary>
    private long StoredClusters(long vcn)
    {
        long stored = 0;
        bool hole = false;
        for (long at = vcn; at < vcn + _unitClusters;)
        {
            (long lcn, long clusters) = _runs.At(at);
            clusters = Math.Min(clusters, vcn + _unitClusters - at);
            if (lcn == MappingPairs.HoleLcn)
            {
                hole = true;
            }
            else if (hole)
            {
                throw new DiskFormatException(Fault.Corrupt, "compression unit", lcn * _volume.ClusterBytes, $"stored clusters behind a hole at VCN {at}");
            }
            else
            {
                stored += clusters;
            }

            at += clusters;
        }

        return stored;
    }
}
