using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Xfs.Log;

/// <summary>
/// The log as a circle of sectors, and where its end lies. Specification: "XFS Algorithms &amp; Data Structures", "Journaling Log": each sector
/// begins with the number of the cycle in which it was written, a record's first with the magic number and then the cycle.
/// </summary>
internal sealed class LogArea
{
    // Records are written up to eight at once, so what is before the first old sector need not be whole.
    private const int WindowSectors = 8 * LogRecord.MostBytes / LogRecord.SectorBytes;
    private const int MostTornRecords = 8;

    private readonly IBlockSource _volume;
    private readonly ReadContext _context;
    private readonly XfsSuperblock _super;
    private readonly long _start;

    public LogArea(IBlockSource volume, ReadContext context, XfsSuperblock super, long start)
    {
        _volume = volume;
        _context = context;
        _super = super;
        _start = start;
        Sectors = (int)Math.Min(int.MaxValue, (long)super.LogBlocks << super.BlockShift >> 9);
    }

    public int Sectors { get; }

    /// <summary>The last whole record: where it begins, and where it ends. Null for a log that nothing was ever written to.</summary>
    /// <exception cref="DiskFormatException">There is no end to be found.</exception>
    public (int At, LogRecord Record, int End)? FindLast()
    {
        if (FindHead() is not { } head)
        {
            return null;
        }

        using RentedBuffer buffer = _context.Budget.Rent(LogRecord.MostBytes + (9 * LogRecord.SectorBytes));

        // The records before the head, nearest first; then forward again as far as they are whole. Unmounting waits for all before it.
        var found = new Stack<(int At, LogRecord Record)>();
        int back = 0;
        int at = head;
        while (found.Count <= MostTornRecords && back < Sectors && FindBefore(at, Math.Min(Sectors - back, 2 * WindowSectors)) is { } before)
        {
            back += Distance(before.At, at);
            if (found.Count == 0 && before.Record.Operations == 1 && before.Record.Sectors == back && Fault(before.At, before.Record, buffer.Span) is null)
            {
                return (before.At, before.Record, head);
            }

            found.Push(before);
            at = before.At;
        }

        (int At, LogRecord Record, int End)? last = null;
        while (found.TryPop(out (int At, LogRecord Record) next))
        {
            int left = Distance(next.At, head) is 0 ? Sectors : Distance(next.At, head);
            if (next.Record.Sectors > left || Fault(next.At, next.Record, buffer.Span) is not null)
            {
                if (last is not null)
                {
                    break;
                }

                continue;
            }

            last = (next.At, next.Record, (next.At + next.Record.Sectors) % Sectors);
        }

        return last ?? throw new DiskFormatException(Blocks.Fault.Corrupt, "xlog_rec_header", OffsetOf(head), "no whole record lies before the log's head");
    }

    public int Distance(int from, int to) => to >= from ? to - from : Sectors - from + to;

    public RentedBuffer Rent(LogRecord record) => _context.Budget.Rent(record.Sectors * LogRecord.SectorBytes);

    public long OffsetOf(int sector) => _start + ((long)sector * LogRecord.SectorBytes);

    /// <exception cref="DiskFormatException">There is no record at the sector.</exception>
    public LogRecord HeaderAt(int sector)
    {
        Span<byte> bytes = stackalloc byte[LogRecord.SectorBytes];
        Read(sector, bytes);
        return Header(sector, bytes);
    }

    /// <summary>Reads a record; null when it is whole, otherwise what is wrong.</summary>
    public string? Fault(int sector, LogRecord record, Span<byte> buffer)
    {
        Span<byte> bytes = buffer[..(record.Sectors * LogRecord.SectorBytes)];
        Read(sector, bytes);
        for (int i = 1; i < record.Sectors; i++)
        {
            uint cycle = CycleOf(bytes[(i * LogRecord.SectorBytes)..]);
            if (cycle != (sector + i < Sectors ? record.Cycle : NextCycle(record.Cycle)))
            {
                return $"sector {i} of the record is of cycle {cycle}, not {record.Cycle}";
            }
        }

        // mkfs and xfs_repair write the one record of a clean log without a checksum.
        bool isUnsummed = record.Checksum == 0 && record.Operations == 1;
        return _super.IsV5 && !isUnsummed && !record.ChecksumGood(bytes) ? "bad h_crc" : null;
    }

    /// <summary>Puts the first words of the record's sectors back where the cycle numbers stand.</summary>
    /// <returns>The operations.</returns>
    public static Span<byte> Unpack(LogRecord record, Span<byte> buffer)
    {
        Span<byte> data = buffer.Slice(record.HeaderSectors * LogRecord.SectorBytes, record.DataSectors * LogRecord.SectorBytes);
        for (int i = 0; i < record.DataSectors; i++)
        {
            int header = i / LogRecord.CyclesPerSector;
            int at = header == 0
                ? LogRecord.CycleDataField + (i * 4)
                : (header * LogRecord.SectorBytes) + 4 + (i % LogRecord.CyclesPerSector * 4);
            buffer.Slice(at, 4).CopyTo(data[(i * LogRecord.SectorBytes)..]);
        }

        return data[..record.Length];
    }

    private static uint NextCycle(uint cycle) => unchecked(cycle + 1) == LogRecord.Magic ? unchecked(cycle + 2) : unchecked(cycle + 1);

    private static uint CycleOf(ReadOnlySpan<byte> sector)
    {
        uint first = BinaryPrimitives.ReadUInt32BigEndian(sector);
        return first == LogRecord.Magic ? BinaryPrimitives.ReadUInt32BigEndian(sector[4..]) : first;
    }

    private LogRecord Header(int sector, ReadOnlySpan<byte> bytes)
    {
        var v = new BeView(bytes, "xlog_rec_header", OffsetOf(sector));
        var record = new LogRecord(v);
        v.Require((record.Lsn & uint.MaxValue) == (uint)sector && record.Lsn >> 32 == record.Cycle, 16, "h_lsn");
        return record;
    }

    private uint CycleAt(int sector)
    {
        Span<byte> bytes = stackalloc byte[8];
        _volume.Read(OffsetOf(sector), bytes);
        return CycleOf(bytes);
    }

    private void Read(int sector, Span<byte> destination)
    {
        int whole = (int)Math.Min(destination.Length, (Sectors - sector) * (long)LogRecord.SectorBytes);
        _volume.Read(OffsetOf(sector), destination[..whole]);
        if (whole < destination.Length)
        {
            _volume.Read(_start, destination[whole..]);
        }
    }

    // The sector after the last that was written: cycle numbers fall there by one, or to nothing in a log that was never full.
    private int? FindHead()
    {
        uint first = CycleAt(0);
        uint last = CycleAt(Sectors - 1);
        if (first == 0)
        {
            return null;
        }

        int head = first == last ? Sectors : Boundary(first);
        uint old = first == last ? unchecked(last - 1) : last;
        int window = Math.Min(Sectors, WindowSectors);
        using RentedBuffer buffer = _context.Budget.Rent(window * LogRecord.SectorBytes);
        if (head < window && last != 0)
        {
            // The end of the log may hold sectors of the cycle before that were never written over.
            int wrapped = window - head;
            if (FirstOf(Sectors - wrapped, wrapped, unchecked(old - 1), buffer.Span) is { } hole)
            {
                return hole;
            }
        }

        int from = Math.Max(0, head - window);
        head = FirstOf(from, head - from, old, buffer.Span) ?? head;
        return head % Sectors;
    }

    private int Boundary(uint first)
    {
        int low = 0, high = Sectors - 1;
        while (high - low > 1)
        {
            int middle = low + ((high - low) / 2);
            if (CycleAt(middle) == first)
            {
                low = middle;
            }
            else
            {
                high = middle;
            }
        }

        return high;
    }

    private int? FirstOf(int from, int count, uint cycle, Span<byte> buffer)
    {
        Span<byte> bytes = buffer[..(count * LogRecord.SectorBytes)];
        _volume.Read(OffsetOf(from), bytes);
        for (int i = 0; i < count; i++)
        {
            if (CycleOf(bytes[(i * LogRecord.SectorBytes)..]) == cycle)
            {
                return from + i;
            }
        }

        return null;
    }

    private (int At, LogRecord Record)? FindBefore(int sector, int most)
    {
        const int Piece = 256;
        using RentedBuffer buffer = _context.Budget.Rent(Piece * LogRecord.SectorBytes);
        for (int done = 0; done < most;)
        {
            _context.ThrowIfCancelled();
            int end = sector - done > 0 ? sector - done : sector - done + Sectors;
            int count = Math.Min(Piece, Math.Min(end, most - done));
            Span<byte> bytes = buffer.Span[..(count * LogRecord.SectorBytes)];
            _volume.Read(OffsetOf(end - count), bytes);
            for (int i = count - 1; i >= 0; i--)
            {
                ReadOnlySpan<byte> header = bytes.Slice(i * LogRecord.SectorBytes, LogRecord.SectorBytes);
                if (BinaryPrimitives.ReadUInt32BigEndian(header) != LogRecord.Magic || LogRecord.IsBlank(header))
                {
                    continue;
                }

                try
                {
                    return (end - count + i, Header(end - count + i, header));
                }
                catch (DiskFormatException)
                {
                    // Torn: the record before it may be whole.
                }
            }

            done += count;
        }

        return null;
    }
}
