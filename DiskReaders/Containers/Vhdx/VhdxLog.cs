using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Vhdx;

/// <summary>
/// VHDX "Log". Spec: [MS-VHDX] 2.3. Little-endian. A ring of 4 KiB sectors that holds updates of the file's own structures which
/// were not yet written to their places when the writer stopped. They are replayed in memory: nothing is ever written.
/// </summary>
internal sealed class VhdxLog
{
    public const int SectorBytes = 4096;

    private const string Name = "VHDX Log";

    /// <summary>Hyper-V makes logs of 1 MiB; the field would allow 4 GiB.</summary>
    private const uint MostLogBytes = 64 << 20;

    /// <summary>Zero descriptors need no data sector: 64 MiB of log could hold two million.</summary>
    private const int MostWrites = 1 << 18;

    /// <summary>No file grows beyond this by replay.</summary>
    private const long MostFileBytes = 1L << 60;

    /// <summary>Entries may lie in one another, so a hostile log could have the same bytes checksummed thousands of times.</summary>
    private const int MostChecksumPasses = 16;

    private readonly RentedBuffer _bytes;
    private readonly long _offset;
    private readonly Guid _guid;
    private readonly int _sectors;
    private readonly Entry?[] _entries;
    private readonly bool[] _evaluated;
    private readonly ReadContext _context;
    private long _checksummed;

    private VhdxLog(RentedBuffer bytes, VhdxHeader header, ReadContext context)
    {
        _bytes = bytes;
        _offset = header.LogOffset;
        _guid = header.LogGuid;
        _sectors = bytes.Length / SectorBytes;
        _entries = new Entry?[_sectors];
        _evaluated = new bool[_sectors];
        _context = context;
    }

    /// <summary>The file as it is after the active sequence was replayed (2.3.3).</summary>
    /// <exception cref="DiskFormatException">The log has no valid sequence, or the file is shorter than the log says it was.</exception>
    public static ReplayedSource Replay(IBlockSource file, VhdxHeader header, ReadContext context)
    {
        if (header.LogLength > MostLogBytes)
        {
            throw new DiskFormatException(Fault.Limit, Name, header.LogOffset, $"a log of {header.LogLength} bytes is to be replayed; at most {MostLogBytes} are");
        }

        using RentedBuffer bytes = context.Budget.Rent((int)header.LogLength);
        file.Read(header.LogOffset, bytes.Span);
        var log = new VhdxLog(bytes, header, context);
        List<Entry> active = log.ActiveSequence();
        Entry head = active[^1];
        if (head.FlushedFileOffset > (ulong)file.Length)
        {
            throw new DiskFormatException(
                Fault.Truncated,
                Name,
                header.LogOffset + ((long)head.Sector * SectorBytes),
                $"the file had {head.FlushedFileOffset} bytes when the log was written (FlushedFileOffset), now {file.Length}");
        }

        return log.Apply(file, active);
    }

    /// <summary>2.3.3, steps 1 to 7: the newest sequence of valid entries that holds its own tail, from that tail on.</summary>
    private List<Entry> ActiveSequence()
    {
        List<Entry> active = [];
        ulong newest = 0;
        List<Entry> current = [];
        int tail = 0;
        while (true)
        {
            _context.ThrowIfCancelled();
            current.Clear();
            int head = tail;
            while (EntryAt(head) is { } entry && (current.Count == 0 || entry.SequenceNumber == current[^1].SequenceNumber + 1))
            {
                current.Add(entry);
                head = (head + entry.Sectors) % _sectors;
            }

            int begin = current.Count == 0 ? -1 : current.FindIndex(e => e.Sector == current[^1].TailSector);
            if (begin >= 0 && current[^1].SequenceNumber > newest)
            {
                newest = current[^1].SequenceNumber;
                active = current[begin..];
            }

            int next = begin < 0 ? (tail + 1) % _sectors : head;
            if (next <= tail)
            {
                break;
            }

            tail = next;
        }

        return active.Count > 0
            ? active
            : throw new DiskFormatException(Fault.Corrupt, Name, _offset, "the header's LogGuid says that there is a log, and it has no valid sequence of entries");
    }

    private Entry? EntryAt(int sector)
    {
        if (!_evaluated[sector])
        {
            _evaluated[sector] = true;
            _entries[sector] = Evaluate(sector);
        }

        return _entries[sector];
    }

    /// <summary>2.3.1: the entry that begins at a sector, or null where none is valid.</summary>
    private Entry? Evaluate(int sector)
    {
        LeView v = Sector(sector, 0, "VHDX Log Entry Header");
        uint length = v.U32(8);
        uint tail = v.U32(12);
        ulong sequence = v.U64(16);
        uint descriptors = v.U32(24);
        if (v.U32(0) != Entry.Signature
            || length == 0 || length % SectorBytes != 0 || length > _bytes.Length
            || tail % SectorBytes != 0 || tail >= _bytes.Length
            || sequence is 0 or ulong.MaxValue
            || descriptors > length / Entry.DescriptorBytes
            || v.MixedGuid(32) != _guid)
        {
            return null;
        }

        var entry = new Entry(sector, (int)(length / SectorBytes), (int)(tail / SectorBytes), sequence, (int)descriptors, v.U64(48), v.U64(56));
        return DescriptorsAreValid(entry) && ChecksumIsValid(entry) ? entry : null;
    }

    private bool DescriptorsAreValid(Entry entry)
    {
        int data = entry.DescriptorSectors;
        for (int i = 0; i < entry.DescriptorCount; i++)
        {
            LeView d = Descriptor(entry, i);
            ulong offset = d.U64(16);
            ulong length = SectorBytes;
            if (d.U32(0) == Entry.ZeroSignature)
            {
                length = d.U64(8);
            }
            else if (d.U32(0) != Entry.DataSignature || !DataSectorIsValid(entry, data++))
            {
                return false;
            }

            if (d.U64(24) != entry.SequenceNumber || offset % SectorBytes != 0 || length % SectorBytes != 0)
            {
                return false;
            }
        }

        return data <= entry.Sectors;
    }

    private bool DataSectorIsValid(Entry entry, int index)
    {
        if (index >= entry.Sectors)
        {
            return false;
        }

        LeView s = Sector(entry.Sector, index, "VHDX Log Data Sector");
        return s.U32(0) == Entry.DataSectorSignature
            && s.U32(4) == (uint)(entry.SequenceNumber >> 32)
            && s.U32(4092) == (uint)(entry.SequenceNumber & uint.MaxValue);
    }

    private bool ChecksumIsValid(Entry entry)
    {
        _checksummed += (long)entry.Sectors * SectorBytes;
        if (_checksummed > (long)_bytes.Length * MostChecksumPasses)
        {
            throw new DiskFormatException(Fault.Limit, Name, _offset, "the log's entries lie in one another too often");
        }

        ReadOnlySpan<byte> header = Sector(entry.Sector, 0, Name).Bytes;
        uint state = Crc32C.Update(~0u, header[..4]);
        state = Crc32C.Update(state, stackalloc byte[4]);
        state = Crc32C.Update(state, header[8..]);
        for (int i = 1; i < entry.Sectors; i++)
        {
            state = Crc32C.Update(state, Sector(entry.Sector, i, Name).Bytes);
        }

        return ~state == Sector(entry.Sector, 0, Name).U32(4);
    }

    /// <summary>2.3.3: the writes of the sequence in their order, and the file's length after them.</summary>
    private ReplayedSource Apply(IBlockSource file, List<Entry> active)
    {
        List<ReplayedWrite> writes = [];
        RentedBuffer data = _context.Budget.Rent(SectorBytes * active.Sum(DataDescriptors));
        try
        {
            ulong end = Math.Max((ulong)file.Length, active[^1].LastFileOffset);
            int filled = 0;
            foreach (Entry entry in active)
            {
                int sector = entry.DescriptorSectors;
                for (int i = 0; i < entry.DescriptorCount; i++)
                {
                    LeView d = Descriptor(entry, i);
                    ulong offset = d.U64(16);
                    bool isData = d.U32(0) == Entry.DataSignature;
                    ulong length = isData ? SectorBytes : d.U64(8);
                    if (offset > MostFileBytes || length > MostFileBytes || writes.Count >= MostWrites)
                    {
                        throw d.TooLarge(0, "replayed write");
                    }

                    end = Math.Max(end, offset + length);
                    if (isData)
                    {
                        Span<byte> whole = data.Span.Slice(filled, SectorBytes);
                        d.Field(8, 8).CopyTo(whole); // LeadingBytes
                        Sector(entry.Sector, sector++, Name).Field(8, 4084).CopyTo(whole[8..]);
                        d.Field(4, 4).CopyTo(whole[4092..]); // TrailingBytes
                        writes.Add(new ReplayedWrite((long)offset, SectorBytes, filled));
                        filled += SectorBytes;
                    }
                    else if (length > 0)
                    {
                        writes.Add(new ReplayedWrite((long)offset, (long)length, ReplayedWrite.Zeros));
                    }
                }
            }

            return end <= MostFileBytes
                ? new ReplayedSource(file, (long)end, writes, data)
                : throw new DiskFormatException(Fault.Limit, Name, _offset, $"the file would grow to {end} bytes");
        }
        catch
        {
            data.Dispose();
            throw;
        }
    }

    private int DataDescriptors(Entry entry)
    {
        int count = 0;
        for (int i = 0; i < entry.DescriptorCount; i++)
        {
            count += Descriptor(entry, i).U32(0) == Entry.DataSignature ? 1 : 0;
        }

        return count;
    }

    private LeView Descriptor(Entry entry, int index)
    {
        (int sector, int slot) = Math.DivRem(index + Entry.HeaderSlots, Entry.DescriptorsInSector);
        return Sector(entry.Sector, sector, Name).Inner(slot * Entry.DescriptorBytes, Entry.DescriptorBytes, "VHDX Log Descriptor");
    }

    /// <summary>A sector of an entry; entries go on at the beginning of the ring.</summary>
    private LeView Sector(int first, int index, string structure)
    {
        int at = (first + index) % _sectors * SectorBytes;
        return new LeView(_bytes.Span.Slice(at, SectorBytes), structure, _offset + at);
    }

    /// <summary>A valid log entry: descriptor sectors, then one data sector for each data descriptor (2.3.1).</summary>
    private sealed record Entry(
        int Sector, int Sectors, int TailSector, ulong SequenceNumber, int DescriptorCount, ulong FlushedFileOffset, ulong LastFileOffset)
    {
        public const uint Signature = 0x6567_6F6C; // "loge"
        public const uint ZeroSignature = 0x6F72_657A; // "zero"
        public const uint DataSignature = 0x6373_6564; // "desc"
        public const uint DataSectorSignature = 0x6174_6164; // "data"
        public const int DescriptorBytes = 32;
        public const int DescriptorsInSector = SectorBytes / DescriptorBytes;

        /// <summary>The 64-byte header takes the place of two descriptors.</summary>
        public const int HeaderSlots = 2;

        public int DescriptorSectors => (DescriptorCount + HeaderSlots + DescriptorsInSector - 1) / DescriptorsInSector;
    }
}
