using System.Buffers.Binary;
using System.Numerics;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Qcow2;

/// <summary>
/// qcow2 "Cluster mapping" and "Extended L2 Entries": the L1 table points to L2 tables, these to clusters. Both are read in slices when
/// they are first needed. Compressed clusters are answered as data of a second source, which unpacks them.
/// </summary>
internal sealed class Qcow2Map : IExtentMap, ITableLoader, IDisposable
{
    /// <summary>Index of the image, or of its external data file, among the sources.</summary>
    public const int DataSource = 0;

    /// <summary>Index of the compressed clusters among the sources; their locations are guest offsets.</summary>
    public const int PackedSource = 1;

    private const ulong OffsetMask = 0x00FF_FFFF_FFFF_FE00;
    private const ulong CompressedFlag = 1UL << 62;
    private const ulong CopiedFlag = 1UL << 63;
    private const ulong ZeroFlag = 1;
    private const int SubclusterBits = 5;
    private const int Subclusters = 1 << SubclusterBits;

    // A chain may have 256 layers, each with these: 128 KiB of L2 reach over 1 GiB of disk in clusters of 64 KiB.
    private const int SliceBytes = 4096;
    private const int L2CacheBytes = 128 << 10;
    private const int L1Slots = 4;

    /// <summary>How many empty L1 entries one answer joins at most.</summary>
    private const int MostJoinedTables = 4096;

    /// <summary>Each of the caches has one table.</summary>
    private const int Owner = 0;

    private readonly ImageFile _file;
    private readonly long _dataLength;
    private readonly bool _externalData;
    private readonly int _version;
    private readonly int _clusterBits;
    private readonly int _entryBits;
    private readonly int _sliceClusterBits;
    private readonly int _tableClusterBits;
    private readonly ClusterTable _table;
    private readonly TableCache _l1;
    private readonly TableCache _l2;
    private readonly L1Loader _l1Loader;

    /// <param name="file">The image.</param>
    /// <param name="header">Its header.</param>
    /// <param name="table">The active disk's clusters, or a snapshot's.</param>
    /// <param name="data">The external data file; null when the image holds the clusters itself.</param>
    /// <param name="budget">Memory for table slices.</param>
    public Qcow2Map(ImageFile file, Qcow2Header header, ClusterTable table, ImageFile? data, ScanBudget budget)
    {
        _file = file;
        _dataLength = (data ?? file).Bytes.Length;
        _externalData = data is not null;
        _version = header.Version;
        _clusterBits = header.ClusterBits;
        _entryBits = header.EntryBits;
        _table = table;
        int sliceBytes = Math.Min(header.ClusterBytes, SliceBytes);
        _sliceClusterBits = BitOperations.Log2((uint)sliceBytes) - _entryBits;
        _tableClusterBits = _clusterBits - _entryBits;
        _l1Loader = new L1Loader(file.Bytes, table);
        _l1 = new TableCache(budget, SliceBytes, L1Slots);
        try
        {
            _l2 = new TableCache(budget, sliceBytes, L2CacheBytes / sliceBytes);
        }
        catch
        {
            _l1.Dispose();
            throw;
        }
    }

    public long Length => _table.VirtualBytes;

    public ImageFile File => _file;

    public int ClusterBits => _clusterBits;

    private long ClusterBytes => 1L << _clusterBits;

    public Extent Map(long offset, long count)
    {
        Extent extent = MapRaw(offset, count);
        return extent.Kind == ExtentKind.Packed ? new Extent(ExtentKind.Data, extent.Length, offset, PackedSource) : extent;
    }

    /// <summary>As <see cref="Map"/>, with compressed clusters as <see cref="ExtentKind.Packed"/> under their descriptors.</summary>
    public Extent MapRaw(long offset, long count)
    {
        count = Math.Min(count, Length - offset);
        long cluster = offset >> _clusterBits;
        long slice = cluster >> _sliceClusterBits;
        int slot = _l2.SlotOf(Owner, slice);
        while (true)
        {
            if (_l2.TryBegin(slot, Owner, slice, out int version))
            {
                Extent extent = Run(_l2.Slot(slot), offset, count, out ClusterFault fault, out ulong raw);
                if (_l2.IsUnchanged(slot, version))
                {
                    return fault == ClusterFault.None ? extent : throw Bad(cluster, fault, raw);
                }
            }
            else if (L1Entry(cluster >> _tableClusterBits) == 0)
            {
                return new Extent(ExtentKind.Hole, Math.Min(count, Unallocated(cluster >> _tableClusterBits, offset, count)));
            }
            else
            {
                _l2.Load(slot, Owner, slice, this);
            }
        }
    }

    void ITableLoader.Load(long slice, Span<byte> destination)
    {
        int slicesBits = _tableClusterBits - _sliceClusterBits;
        long table = slice >> slicesBits;
        ulong at = L1Entry(table);
        if ((at & (ulong)(ClusterBytes - 1)) != 0)
        {
            throw new DiskFormatException(Fault.Corrupt, "qcow2 L1 table", _table.L1At + (table * sizeof(ulong)), $"the L2 table of entry {table} is not aligned to a cluster");
        }

        Bounds.Check((long)at, ClusterBytes, _file.Bytes.Length, "qcow2 L2 table");
        _file.Bytes.Read((long)at + ((slice & ((1L << slicesBits) - 1)) * destination.Length), destination);
    }

    public void Dispose()
    {
        _l1.Dispose();
        _l2.Dispose();
    }

    /// <summary>The extent at an offset, over all neighbours in the slice that continue it. Compressed clusters stay alone.</summary>
    private Extent Run(ReadOnlySpan<byte> slice, long offset, long count, out ClusterFault fault, out ulong raw)
    {
        long unitBytes = _entryBits == 4 ? ClusterBytes >> SubclusterBits : ClusterBytes;
        long clustersMask = (1L << _sliceClusterBits) - 1;
        Cluster first = At(slice, offset, out raw);
        fault = first.Fault;
        if (fault != ClusterFault.None)
        {
            return default;
        }

        if (first.Kind == ExtentKind.Packed)
        {
            return new Extent(ExtentKind.Packed, Math.Min(count, ClusterBytes - (offset & (ClusterBytes - 1))), first.Location);
        }

        long location = first.Location + (offset & (ClusterBytes - 1));
        if (first.Kind == ExtentKind.Data && location >= _dataLength)
        {
            // What lies beyond the file's end is not there, not zero: an answer ends before it, and the next one fails.
            fault = ClusterFault.BeyondFile;
            return default;
        }

        long length = unitBytes - (offset & (unitBytes - 1));
        if (raw == 0 && _entryBits == 3)
        {
            length = Math.Min(length + ((long)Empty(slice, ((offset + length) >> _clusterBits) & clustersMask, count - length) << _clusterBits), count);
        }

        while (length < count)
        {
            long next = offset + length;
            if (((next >> _clusterBits) & clustersMask) == 0 && (next & (ClusterBytes - 1)) == 0)
            {
                break;
            }

            Cluster cluster = At(slice, next, out _);
            if (cluster.Fault != ClusterFault.None
                || cluster.Kind != first.Kind
                || (first.Kind == ExtentKind.Data && cluster.Location + (next & (ClusterBytes - 1)) != location + length))
            {
                break;
            }

            length += unitBytes;
        }

        length = Math.Min(length, count);
        return first.Kind == ExtentKind.Data
            ? new Extent(ExtentKind.Data, Math.Min(length, _dataLength - location), location, DataSource)
            : new Extent(first.Kind, length);
    }

    /// <summary>
    /// How many entries are zero from one on, at most those of <paramref name="most"/> bytes of the disk and to the slice's end. In a chain each layer is asked for
    /// every piece of the layers below, so that most entries that are looked at are these.
    /// </summary>
    private int Empty(ReadOnlySpan<byte> slice, long index, long most)
    {
        if (index == 0 || most <= 0)
        {
            return 0;
        }

        ReadOnlySpan<byte> entries = slice[(int)(index * sizeof(ulong))..];
        long wanted = ((most - 1) >> _clusterBits) + 1;
        entries = entries[..(int)Math.Min(entries.Length, wanted * sizeof(ulong))];
        int other = entries.IndexOfAnyExcept((byte)0);
        return (other < 0 ? entries.Length : other) / sizeof(ulong);
    }

    /// <summary>Decodes the L2 entry of an offset's cluster, and of its subcluster where there are such.</summary>
    private Cluster At(ReadOnlySpan<byte> slice, long offset, out ulong raw)
    {
        long cluster = offset >> _clusterBits;
        int at = (int)(cluster & ((1L << _sliceClusterBits) - 1)) << _entryBits;
        raw = BinaryPrimitives.ReadUInt64BigEndian(slice[at..]);
        if ((raw & CompressedFlag) != 0)
        {
            return _externalData ? Cluster.Bad(ClusterFault.PackedInDataFile) : new Cluster(ClusterFault.None, ExtentKind.Packed, (long)(raw & (CompressedFlag - 1)));
        }

        // Bits that are reserved are not looked at, as QEMU does not.
        long location = (long)(raw & OffsetMask);
        bool isAllocated = location != 0 || (_externalData && (raw & CopiedFlag) != 0);
        if (_entryBits == 4)
        {
            ulong bitmap = BinaryPrimitives.ReadUInt64BigEndian(slice[(at + sizeof(ulong))..]);
            int subcluster = (int)(offset >> (_clusterBits - SubclusterBits)) & (Subclusters - 1);
            if ((bitmap & (bitmap >> Subclusters) & uint.MaxValue) != 0)
            {
                return Cluster.Bad(ClusterFault.AllocatedAndZero);
            }

            if (!isAllocated && (bitmap & uint.MaxValue) != 0)
            {
                return Cluster.Bad(ClusterFault.AllocatedNowhere);
            }

            if ((bitmap >> (subcluster + Subclusters) & 1) != 0)
            {
                return new Cluster(ClusterFault.None, ExtentKind.Zero);
            }

            isAllocated = (bitmap >> subcluster & 1) != 0;
        }
        else if ((raw & ZeroFlag) != 0)
        {
            return _version < 3 ? Cluster.Bad(ClusterFault.ZeroInVersion2) : new Cluster(ClusterFault.None, ExtentKind.Zero);
        }

        if (!isAllocated)
        {
            return new Cluster(ClusterFault.None, ExtentKind.Hole);
        }

        if ((location & (ClusterBytes - 1)) != 0)
        {
            return Cluster.Bad(ClusterFault.Unaligned);
        }

        return _externalData && location != cluster << _clusterBits
            ? Cluster.Bad(ClusterFault.NotAtGuestOffset)
            : new Cluster(ClusterFault.None, ExtentKind.Data, location);
    }

    /// <summary>Bytes from an offset to the end of the empty L1 entries that begin with <paramref name="table"/>.</summary>
    private long Unallocated(long table, long offset, long count)
    {
        int shift = _tableClusterBits + _clusterBits;
        long length = (1L << shift) - (offset & ((1L << shift) - 1));
        for (int joined = 0; length < count && joined < MostJoinedTables && L1Entry(table + 1) == 0; joined++)
        {
            table++;
            length += 1L << shift;
        }

        return length;
    }

    /// <summary>The offset that an L1 entry holds; 0 when there is no L2 table.</summary>
    private ulong L1Entry(long index)
    {
        const int EntriesBits = 9;
        long slice = index >> EntriesBits;
        int slot = _l1.SlotOf(Owner, slice);
        while (true)
        {
            if (_l1.TryBegin(slot, Owner, slice, out int version))
            {
                ulong entry = BinaryPrimitives.ReadUInt64BigEndian(_l1.Slot(slot)[(int)((index & ((1 << EntriesBits) - 1)) * sizeof(ulong))..]);
                if (_l1.IsUnchanged(slot, version))
                {
                    return index < _table.L1Entries ? entry & OffsetMask : 0;
                }
            }
            else
            {
                _l1.Load(slot, Owner, slice, _l1Loader);
            }
        }
    }

    private DiskFormatException Bad(long cluster, ClusterFault fault, ulong raw)
    {
        string detail = $"cluster {cluster} of {_file.Name}, entry 0x{raw:x}, {Cluster.Describe(fault)}";
        return new DiskFormatException(fault == ClusterFault.BeyondFile ? Fault.Truncated : Fault.Corrupt, "qcow2 L2 table", -1, detail);
    }

    private sealed class L1Loader(IBlockSource source, ClusterTable table) : ITableLoader
    {
        public void Load(long slice, Span<byte> destination)
        {
            long from = slice * SliceBytes;
            source.Read(table.L1At + from, destination[..(int)Math.Min(SliceBytes, (table.L1Entries * sizeof(ulong)) - from)]);
        }
    }
}
