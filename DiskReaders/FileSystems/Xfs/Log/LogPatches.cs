using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Xfs.Log;

/// <summary>
/// The sectors that a replay of the log changes, in rented memory, and the volume with them laid over it. First they are collected, then read.
/// </summary>
internal sealed class LogPatches(IBlockSource volume, ScanBudget budget) : IDisposable
{
    public const int SectorShift = 9;
    public const int SectorBytes = 1 << SectorShift;
    private const int SlabShift = 18;
    private const int SectorsPerSlab = (1 << SlabShift) / SectorBytes;
    private const int PatchSource = 1;

    private readonly Dictionary<long, int> _slots = [];
    private readonly List<RentedBuffer> _slabs = [];
    private long[] _sectors = [];
    private int[] _places = [];

    /// <summary>Inodes whose mapping blocks the log gives to them (<c>XFS_ILOG_DOWNER</c>).</summary>
    public HashSet<ulong> NewOwners { get; } = [];

    public int Count => _slots.Count;

    /// <summary>Reads what the volume holds with the changes so far.</summary>
    public void Read(long offset, Span<byte> destination)
    {
        while (!destination.IsEmpty)
        {
            int within = (int)(offset & (SectorBytes - 1));
            int count = Math.Min(destination.Length, SectorBytes - within);
            if (_slots.TryGetValue(offset >> SectorShift, out int slot))
            {
                Slot(slot).Slice(within, count).CopyTo(destination);
            }
            else
            {
                volume.Read(offset, destination[..count]);
            }

            offset += count;
            destination = destination[count..];
        }
    }

    /// <summary>Changes bytes.</summary>
    /// <exception cref="DiskFormatException">They do not lie within the volume, or there is no more memory.</exception>
    public void Write(long offset, ReadOnlySpan<byte> bytes)
    {
        Bounds.Check(offset, bytes.Length, volume.Length, "log item");
        while (!bytes.IsEmpty)
        {
            int within = (int)(offset & (SectorBytes - 1));
            int count = Math.Min(bytes.Length, SectorBytes - within);
            bytes[..count].CopyTo(SlotOf(offset >> SectorShift)[within..]);
            offset += count;
            bytes = bytes[count..];
        }
    }

    /// <summary>Ends the collection; the volume as it would be after the replay.</summary>
    public IBlockSource Over(IBlockSource source)
    {
        _sectors = [.. _slots.Keys];
        _places = [.. _slots.Values];
        Array.Sort(_sectors, _places);
        return new MappedSource(new PatchMap(this, source.Length), [source, new Slabs(this)]);
    }

    public bool Touches(long offset, long count)
    {
        int index = Array.BinarySearch(_sectors, offset >> SectorShift);
        index = index < 0 ? ~index : index;
        return index < _sectors.Length && _sectors[index] <= (offset + count - 1) >> SectorShift;
    }

    public void Dispose()
    {
        _slabs.ForEach(s => s.Dispose());
        _slabs.Clear();
    }

    private Span<byte> Slot(int slot) => _slabs[slot / SectorsPerSlab].Span.Slice(slot % SectorsPerSlab * SectorBytes, SectorBytes);

    private Span<byte> SlotOf(long sector)
    {
        if (_slots.TryGetValue(sector, out int slot))
        {
            return Slot(slot);
        }

        slot = _slots.Count;
        if (slot / SectorsPerSlab == _slabs.Count)
        {
            _slabs.Add(budget.Rent(1 << SlabShift));
        }

        Span<byte> bytes = Slot(slot);
        bytes.Clear();
        volume.Read(sector << SectorShift, bytes[..(int)Math.Min(SectorBytes, volume.Length - (sector << SectorShift))]);
        _slots.Add(sector, slot);
        return bytes;
    }

    private sealed class PatchMap(LogPatches patches, long length) : IExtentMap
    {
        public long Length => length;

        public Extent Map(long offset, long count)
        {
            long sector = offset >> SectorShift;
            int index = Array.BinarySearch(patches._sectors, sector);
            if (index < 0)
            {
                index = ~index;
                long plain = index < patches._sectors.Length ? Math.Min(count, (patches._sectors[index] << SectorShift) - offset) : count;
                return new Extent(ExtentKind.Data, plain, offset);
            }

            long within = offset & (SectorBytes - 1);
            return new Extent(ExtentKind.Data, Math.Min(count, SectorBytes - within), ((long)patches._places[index] << SectorShift) + within, PatchSource);
        }
    }

    private sealed class Slabs(LogPatches patches) : IBlockSource
    {
        public long Length => (long)patches._slabs.Count << SlabShift;

        public void Read(long offset, Span<byte> destination)
        {
            Bounds.Check(offset, destination.Length, Length, "log patches");
            while (!destination.IsEmpty)
            {
                int within = (int)(offset & ((1 << SlabShift) - 1));
                int count = Math.Min(destination.Length, (1 << SlabShift) - within);
                patches._slabs[(int)(offset >> SlabShift)].Span.Slice(within, count).CopyTo(destination);
                offset += count;
                destination = destination[count..];
            }
        }

        public StoredExtent Locate(long offset, long count)
        {
            Bounds.Check(offset, count, Length, "log patches");
            return new StoredExtent(ExtentKind.Data, count, -1, offset);
        }

        public void Dispose()
        {
        }
    }
}
