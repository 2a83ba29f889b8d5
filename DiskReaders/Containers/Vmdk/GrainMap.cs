using System.Buffers.Binary;
using System.Numerics;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Vmdk;

/// <summary>Where the tables of a sparse extent lie and how large they are.</summary>
/// <param name="LengthBytes">The extent's length.</param>
/// <param name="GrainBytes">A power of two.</param>
/// <param name="EntriesPerTable">A power of two.</param>
/// <param name="EntryBytes">4 or 8.</param>
/// <param name="DirectoryAt">Byte offset of the grain directory; -1 when it is not to be used.</param>
/// <param name="RedundantDirectoryAt">Byte offset of the redundant one; -1 without.</param>
internal readonly record struct GrainGeometry(
    long LengthBytes, long GrainBytes, int EntriesPerTable, int EntryBytes, long DirectoryAt, long RedundantDirectoryAt = -1)
{
    public int TableBytes => EntriesPerTable * EntryBytes;

    public long Grains => (LengthBytes + GrainBytes - 1) / GrainBytes;

    public long Tables => (Grains + EntriesPerTable - 1) / EntriesPerTable;
}

/// <summary>
/// The map of one sparse extent: a grain directory points to grain tables, these to grains. Tables are read when they are first needed.
/// Where the format keeps both twice, the second serves when the first is damaged; where both are sound but differ, it is reported.
/// </summary>
internal abstract class GrainMap : ITableLoader
{
    /// <summary>Directory entries are read in pieces of this size.</summary>
    public const int DirectoryPageBytes = 4096;

    /// <summary>How many empty tables one answer joins at most.</summary>
    private const int MostJoinedTables = 4096;

    private readonly GrainGeometry _geometry;
    private readonly ImageFile _file;
    private readonly int _owner;
    private readonly TableCache _tables;
    private readonly TableCache _directoryPages;
    private readonly ReadContext _context;
    private readonly DirectoryLoader _directory;
    private readonly DirectoryLoader? _redundantDirectory;
    private readonly HashSet<long> _reported = [];
    private readonly int _grainShift;
    private readonly int _tableShift;
    private readonly long _fileLength;

    /// <param name="file">The extent's file.</param>
    /// <param name="geometry">Validated by the caller.</param>
    /// <param name="owner">The extent's number in its disk: its part of the caches.</param>
    /// <param name="caches">Shared by the extents of a disk.</param>
    /// <param name="context">Where disagreements are reported.</param>
    protected GrainMap(ImageFile file, GrainGeometry geometry, int owner, GrainCaches caches, ReadContext context)
    {
        _file = file;
        _geometry = geometry;
        _owner = owner;
        _tables = caches.Tables(geometry.TableBytes);
        _directoryPages = caches.DirectoryPages;
        _context = context;
        _grainShift = BitOperations.Log2((ulong)geometry.GrainBytes);
        _tableShift = BitOperations.Log2((uint)geometry.EntriesPerTable);
        _fileLength = file.Bytes.Length;
        long directoryBytes = geometry.Tables * geometry.EntryBytes;
        bool first = Fits(geometry.DirectoryAt, directoryBytes);
        bool second = Fits(geometry.RedundantDirectoryAt, directoryBytes);
        if (!first && !second)
        {
            throw new DiskFormatException(
                Fault.Truncated, "grain directory", geometry.DirectoryAt, $"{directoryBytes} bytes for {geometry.LengthBytes} bytes of disk do not lie in the {_fileLength} of {file.Name}");
        }

        _directory = new DirectoryLoader(file.Bytes, first ? geometry.DirectoryAt : geometry.RedundantDirectoryAt, directoryBytes);
        _redundantDirectory = first && second ? new DirectoryLoader(file.Bytes, geometry.RedundantDirectoryAt, directoryBytes) : null;
    }

    /// <summary>Length in bytes.</summary>
    public long Length => _geometry.LengthBytes;

    public int GrainBytes => (int)_geometry.GrainBytes;

    public ImageFile File => _file;

    /// <summary>
    /// Maps a range of the extent, with positions in the extent's file. An answer joins grains that continue each other within a table;
    /// of packed grains it holds one.
    /// </summary>
    public Extent Map(long offset, long count)
    {
        count = Math.Min(count, Length - offset);
        long grain = offset >> _grainShift;
        long table = grain >> _tableShift;
        int slot = _tables.SlotOf(_owner, table);
        while (true)
        {
            if (_tables.TryBegin(slot, _owner, table, out int version))
            {
                Found found = Run(_tables.Slot(slot), offset, count);
                if (_tables.IsUnchanged(slot, version))
                {
                    return found.Sound ? found.Extent : throw Bad(grain, found.Raw);
                }
            }
            else if (IsUnallocated(table))
            {
                return new Extent(ExtentKind.Hole, Math.Min(count, Unallocated(table, offset, count)));
            }
            else
            {
                _tables.Load(slot, _owner, table, this);
            }
        }
    }

    void ITableLoader.Load(long table, Span<byte> destination)
    {
        // The last table may be stored only as far as the extent reaches.
        int bytes = (int)Math.Min(_geometry.EntriesPerTable, _geometry.Grains - (table << _tableShift)) * _geometry.EntryBytes;
        destination = destination[.._geometry.TableBytes];
        destination[bytes..].Clear();
        if (_redundantDirectory is null)
        {
            ReadTable(_directory, table, destination[..bytes]);
            return;
        }

        using RentedBuffer other = _context.Budget.Rent(bytes);
        if (!TryReadTable(_redundantDirectory, table, other.Span))
        {
            ReadTable(_directory, table, destination[..bytes]);
        }
        else if (!TryReadTable(_directory, table, destination[..bytes]))
        {
            other.Span.CopyTo(destination);
        }
        else if (!destination[..bytes].SequenceEqual(other.Span))
        {
            Merge(table, destination[..bytes], other.Span);
        }
    }

    /// <summary>Decodes a grain directory entry.</summary>
    /// <param name="raw">The entry.</param>
    /// <param name="at">Byte offset of the table; 0 when there is none.</param>
    /// <returns>False for an entry that the format does not know.</returns>
    protected abstract bool TryTable(ulong raw, out long at);

    /// <summary>Decodes a grain table entry.</summary>
    /// <param name="raw">The entry.</param>
    /// <param name="kind">What the grain is.</param>
    /// <param name="location">Byte offset of its data.</param>
    /// <returns>False for an entry that the format does not know.</returns>
    protected abstract bool TryGrain(ulong raw, out ExtentKind kind, out long location);

    private Found Run(ReadOnlySpan<byte> table, long offset, long count)
    {
        int index = (int)(offset >> _grainShift) & (_geometry.EntriesPerTable - 1);
        long within = offset & (_geometry.GrainBytes - 1);
        ulong raw = Entry(table, index);
        if (!TryGrain(raw, out ExtentKind kind, out long location) || (kind is ExtentKind.Data or ExtentKind.Packed && location >= _fileLength))
        {
            return new Found(false, default, raw);
        }

        long length = _geometry.GrainBytes - within;
        if (kind == ExtentKind.Packed)
        {
            return new Found(true, new Extent(kind, Math.Min(length, count), location), raw);
        }

        if (raw == 0)
        {
            // Most of a large disk's tables are empty: their entries are not looked at one by one.
            ReadOnlySpan<byte> rest = table[(index * _geometry.EntryBytes)..(_geometry.EntriesPerTable * _geometry.EntryBytes)];
            int zeros = rest.IndexOfAnyExcept((byte)0);
            length = (((zeros < 0 ? rest.Length : zeros) / (long)_geometry.EntryBytes) << _grainShift) - within;
            return new Found(true, new Extent(kind, Math.Min(length, count)), raw);
        }

        long next = location;
        while (length < count && ++index < _geometry.EntriesPerTable)
        {
            next += _geometry.GrainBytes;
            if (!TryGrain(Entry(table, index), out ExtentKind nextKind, out long nextLocation)
                || nextKind != kind
                || (kind == ExtentKind.Data && nextLocation != next))
            {
                break;
            }

            length += _geometry.GrainBytes;
        }

        length = Math.Min(length, count);
        if (kind != ExtentKind.Data)
        {
            return new Found(true, new Extent(kind, length), raw);
        }

        // What lies beyond the file's end is not there, not zero: the answer ends before it, and the next one fails.
        location += within;
        long present = _fileLength - location;
        return present > 0
            ? new Found(true, new Extent(kind, Math.Min(length, present), location), raw)
            : new Found(false, default, raw);
    }

    /// <summary>One empty directory entry beside a full one is a damaged entry, not an empty table.</summary>
    private bool IsUnallocated(long table) =>
        IsUnallocated(_directory, table) && (_redundantDirectory is null || IsUnallocated(_redundantDirectory, table));

    /// <summary>A table that lies in a hole of its file is as empty as none; all tables of a new disk do, eight gigabytes of them for one of 62 TB.</summary>
    private bool IsUnallocated(DirectoryLoader directory, long table)
    {
        ulong raw = DirectoryEntry(directory, table);
        return raw == 0
            || (TryTable(raw, out long at) && at > 0 && at <= _fileLength - _geometry.TableBytes
                && _file.Bytes.Locate(at, _geometry.TableBytes) is { IsStored: false } hole && hole.Length == _geometry.TableBytes);
    }

    private long Unallocated(long table, long offset, long count)
    {
        int shift = _tableShift + _grainShift;
        long end = (table + 1) << shift;
        for (int joined = 0; end - offset < count && joined < MostJoinedTables && IsUnallocated(table + 1); joined++)
        {
            table++;
            end += 1L << shift;
        }

        return end - offset;
    }

    private ulong DirectoryEntry(DirectoryLoader directory, long table)
    {
        long at = table * _geometry.EntryBytes;
        long page = at / DirectoryPageBytes;
        int within = (int)(at % DirectoryPageBytes);
        int owner = (_owner * 2) + (ReferenceEquals(directory, _directory) ? 0 : 1);
        int slot = _directoryPages.SlotOf(owner, page);
        while (true)
        {
            if (_directoryPages.TryBegin(slot, owner, page, out int version))
            {
                ulong entry = Entry(_directoryPages.Slot(slot)[within..], 0);
                if (_directoryPages.IsUnchanged(slot, version))
                {
                    return entry;
                }
            }
            else
            {
                _directoryPages.Load(slot, owner, page, directory);
            }
        }
    }

    private void ReadTable(DirectoryLoader directory, long table, Span<byte> destination)
    {
        ulong raw = DirectoryEntry(directory, table);
        if (!TryTable(raw, out long at) || at == 0)
        {
            throw new DiskFormatException(Fault.Corrupt, "grain directory", directory.At + (table * _geometry.EntryBytes), $"entry {table} of {_file.Name} is 0x{raw:x}");
        }

        Bounds.Check(at, destination.Length, _fileLength, "grain table");
        _file.Bytes.Read(at, destination);
    }

    private bool TryReadTable(DirectoryLoader directory, long table, Span<byte> destination)
    {
        try
        {
            ReadTable(directory, table, destination);
            return true;
        }
        catch (DiskFormatException)
        {
            return false;
        }
    }

    /// <summary>Takes each entry from the copy in which it makes sense; the first where both do, but a grain rather than none.</summary>
    private void Merge(long table, Span<byte> first, ReadOnlySpan<byte> second)
    {
        int conflicts = 0;
        for (int at = 0; at < first.Length; at += _geometry.EntryBytes)
        {
            ulong one = Entry(first[at..], 0);
            ulong two = Entry(second[at..], 0);
            if (one == two)
            {
                continue;
            }

            bool oneSound = IsSound(one);
            bool twoSound = IsSound(two);
            if (twoSound && (!oneSound || one == 0))
            {
                second.Slice(at, _geometry.EntryBytes).CopyTo(first[at..]);
            }

            conflicts += oneSound && twoSound ? 1 : 0;
        }

        lock (_reported)
        {
            if (conflicts > 0 && _reported.Count < GapList.DefaultMost && _reported.Add(table))
            {
                _context.Gaps.Add(new CoverageGap(
                    Fault.Corrupt, _file.Name, "grain table", -1, conflicts * _geometry.GrainBytes, $"table {table} and its redundant copy differ in {conflicts} entries"));
            }
        }
    }

    private bool IsSound(ulong raw) => TryGrain(raw, out ExtentKind kind, out long location) && (kind is ExtentKind.Zero or ExtentKind.Hole || location < _fileLength);

    private DiskFormatException Bad(long grain, ulong raw) =>
        TryGrain(raw, out _, out long location)
            ? new DiskFormatException(Fault.Truncated, "grain", location, $"grain {grain} lies beyond the {_fileLength} bytes of {_file.Name}")
            : new DiskFormatException(Fault.Corrupt, "grain table", -1, $"the entry of grain {grain} of {_file.Name} is 0x{raw:x}");

    private ulong Entry(ReadOnlySpan<byte> table, int index) =>
        _geometry.EntryBytes == sizeof(uint)
            ? BinaryPrimitives.ReadUInt32LittleEndian(table[(index * sizeof(uint))..])
            : BinaryPrimitives.ReadUInt64LittleEndian(table[(index * sizeof(ulong))..]);

    private bool Fits(long at, long bytes) => at > 0 && at <= _fileLength && bytes <= _fileLength - at;

    private readonly record struct Found(bool Sound, Extent Extent, ulong Raw);

    private sealed class DirectoryLoader(IBlockSource source, long at, long bytes) : ITableLoader
    {
        public long At => at;

        public void Load(long table, Span<byte> destination)
        {
            long from = table * DirectoryPageBytes;
            source.Read(at + from, destination[..(int)Math.Min(DirectoryPageBytes, bytes - from)]);
        }
    }
}

/// <summary>The table caches that the extents of one disk share, so that memory does not grow with their number.</summary>
internal sealed class GrainCaches(ScanBudget budget) : IDisposable
{
    private const int TablesBytes = 1 << 20;
    private const int DefaultTableBytes = 2048;
    private const int DirectoryPageCount = 16;

    private readonly Dictionary<int, TableCache> _tables = [];
    private TableCache? _directoryPages;

    public TableCache DirectoryPages => _directoryPages ??= new TableCache(budget, GrainMap.DirectoryPageBytes, DirectoryPageCount);

    /// <summary>The cache for tables of a size; a disk has one or two sizes.</summary>
    public TableCache Tables(int tableBytes)
    {
        // Small tables share slots of one size, so that a hostile mixture of extents cannot ask for many caches.
        int slotBytes = Math.Max(tableBytes, DefaultTableBytes);
        if (!_tables.TryGetValue(slotBytes, out TableCache? cache))
        {
            cache = new TableCache(budget, slotBytes, TablesBytes / slotBytes);
            _tables.Add(slotBytes, cache);
        }

        return cache;
    }

    public void Dispose()
    {
        _directoryPages?.Dispose();
        foreach (TableCache cache in _tables.Values)
        {
            cache.Dispose();
        }
    }
}
