using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs;

/// <summary>What stands in one slot of the <c>$MFT</c>.</summary>
internal enum RecordState
{
    /// <summary>A FILE record in use, whole.</summary>
    InUse,

    /// <summary>Never used, or a FILE record no longer in use.</summary>
    Free,

    /// <summary>Torn, marked bad or no FILE record.</summary>
    Damaged,
}

/// <summary>
/// The <c>$MFT</c> as an array of FILE records. Its own record 0 says where it lies; where the first four are damaged
/// <c>$MFTMirr</c> has a copy.
/// </summary>
internal sealed class MasterFileTable
{
    /// <summary><c>$MFTMirr</c> holds records 0 to 3: <c>$MFT</c>, <c>$MFTMirr</c>, <c>$LogFile</c>, <c>$Volume</c>.</summary>
    private const int MirroredRecords = 4;

    private readonly NtfsVolume _volume;
    private readonly RunMap _map;
    private readonly MappedSource _source;

    /// <exception cref="DiskFormatException">Neither copy of record 0 can be read, or its runs contradict themselves.</exception>
    public MasterFileTable(NtfsVolume volume)
    {
        _volume = volume;
        _map = new RunMap(volume);
        _source = volume.Open(_map);
        using RentedBuffer buffer = volume.Context.Budget.Rent(volume.RecordBytes);
        Span<byte> record = buffer.Span;
        long offset = volume.Boot.MftLcn * volume.ClusterBytes;
        if (ReadAt(offset, record) != RecordState.InUse)
        {
            MirrorUsed = true;
            offset = volume.MirrorOffset;
            if (offset < 0 || ReadAt(offset, record) != RecordState.InUse)
            {
                throw new DiskFormatException(Fault.Corrupt, "$MFT", volume.Boot.MftLcn * volume.ClusterBytes, "record 0 and its copy in $MFTMirr are damaged");
            }
        }

        Bootstrap(record, offset);
        _map.RequireMapped();
        _map.RequireDistinct("$MFT");
        if (_map.Length > volume.Bytes.Length)
        {
            throw new DiskFormatException(Fault.Corrupt, "$MFT", offset, $"{_map.Length} bytes of records on a volume of {volume.Bytes.Length}");
        }

        Records = Math.Min(_map.Length, _map.ValidDataLength) / volume.RecordBytes;
    }

    public long Records { get; }

    /// <summary>At least one of the first records was read from <c>$MFTMirr</c>.</summary>
    public bool MirrorUsed { get; private set; }

    /// <summary>Where a record begins on the volume.</summary>
    public long OffsetOf(long number) => _map.Map(number * _volume.RecordBytes, 1) is { Kind: ExtentKind.Data } extent ? extent.Location : -1;

    /// <summary>As <see cref="OffsetOf"/>, -1 for a record that does not exist.</summary>
    public long OffsetOfOrNone(long number) => number >= 0 && number < Records ? OffsetOf(number) : -1;

    /// <summary>Reads consecutive records as they are stored, without the update sequence applied.</summary>
    public void ReadRaw(long first, Span<byte> records) => _source.Read(first * _volume.RecordBytes, records);

    /// <summary>Where the bytes of a record lie in the end.</summary>
    public StoredExtent Locate(long number, long within, long count) => _source.Locate((number * _volume.RecordBytes) + within, count);

    /// <summary>Bytes from a record on that are not stored at all, so that a table on a thin disk is not read for nothing.</summary>
    public long HoleRecords(long first)
    {
        StoredExtent extent = _source.Locate(first * _volume.RecordBytes, (Records - first) * _volume.RecordBytes);
        return extent.IsStored ? 0 : extent.Length / _volume.RecordBytes;
    }

    /// <summary>Reads one record and applies its update sequence.</summary>
    /// <exception cref="DiskFormatException">The bytes below cannot be read.</exception>
    public RecordState Load(long number, Span<byte> record)
    {
        if (number < 0 || number >= Records)
        {
            return RecordState.Free;
        }

        ReadRaw(number, record);
        return Check(number, record);
    }

    /// <summary>Applies the update sequence of a record that was read, taking the mirror's copy where there is one and it is needed.</summary>
    public RecordState Check(long number, Span<byte> record)
    {
        RecordState state = Apply(record);
        if (state != RecordState.Damaged || number >= MirroredRecords)
        {
            return state;
        }

        if (_volume.MirrorOffset >= 0 && ReadAt(_volume.MirrorOffset + (number * _volume.RecordBytes), record) == RecordState.InUse)
        {
            MirrorUsed = true;
            return RecordState.InUse;
        }

        return RecordState.Damaged;
    }

    private static RecordState Apply(Span<byte> record)
    {
        if (!record.StartsWith(FileRecord.Signature))
        {
            return record.IndexOfAnyExcept((byte)0) < 0 ? RecordState.Free : RecordState.Damaged;
        }

        if (!UpdateSequence.TryApply(record))
        {
            return RecordState.Damaged;
        }

        return (record[0x16] & 1) != 0 ? RecordState.InUse : RecordState.Free;
    }

    private RecordState ReadAt(long offset, Span<byte> record)
    {
        try
        {
            _volume.Bytes.Read(offset, record);
        }
        catch (DiskFormatException)
        {
            return RecordState.Damaged;
        }

        return Apply(record);
    }

    /// <summary>
    /// Builds the table's own map: the runs in record 0, then those in the records that its attribute list names, each of which
    /// lies within the part that is already mapped.
    /// </summary>
    private void Bootstrap(ReadOnlySpan<byte> bytes, long offset)
    {
        var record = new FileRecord(bytes, offset);
        AttributeListReader? list = null;
        bool found = false;
        foreach (NtfsAttribute attribute in record.Attributes)
        {
            if (attribute.Type == AttributeType.AttributeList)
            {
                list = AttributeListReader.Read(_volume, attribute);
            }
            else if (attribute.Type == AttributeType.Data && attribute.Name.IsEmpty && !found)
            {
                attribute.View.Require(attribute.IsNonresident && attribute.LowestVcn == 0, 8, "FormCode of the $MFT");
                found = true;
                _map.Length = attribute.FileSize;
                _map.ValidDataLength = attribute.ValidDataLength;
                _map.Append(0, attribute.MappingPairs);
            }
        }

        if (!found)
        {
            throw new DiskFormatException(Fault.Corrupt, "$MFT", offset, "record 0 has no $DATA");
        }

        if (list is null)
        {
            return;
        }

        using (list)
        {
            AppendFrom(list);
        }
    }

    private void AppendFrom(AttributeListReader list)
    {
        using RentedBuffer buffer = _volume.Context.Budget.Rent(_volume.RecordBytes);
        foreach (AttributeListEntry entry in list.Entries)
        {
            if (entry.Type != AttributeType.Data || !entry.Name.IsEmpty || entry.LowestVcn == 0)
            {
                continue;
            }

            long number = entry.Segment.Number;
            if (number >= _map.NextVcn * _volume.ClusterBytes / _volume.RecordBytes)
            {
                throw new DiskFormatException(Fault.Corrupt, "$MFT", -1, $"record {number} that maps a part of the $MFT lies in no part mapped before");
            }

            ReadRaw(number, buffer.Span);
            if (Apply(buffer.Span) != RecordState.InUse)
            {
                throw new DiskFormatException(Fault.Corrupt, "$MFT", OffsetOf(number), $"record {number} that maps a part of the $MFT is damaged");
            }

            var record = new FileRecord(buffer.Span, OffsetOf(number));
            if (record.Base.Number != 0 || record.Base.Value == 0 || !entry.Segment.Matches(record.SequenceNumber))
            {
                throw new DiskFormatException(Fault.Corrupt, "$MFT", OffsetOf(number), $"record {number} is no part of the $MFT");
            }

            foreach (NtfsAttribute attribute in record.Attributes)
            {
                if (entry.IsFor(attribute))
                {
                    _map.Append(attribute.LowestVcn, attribute.MappingPairs);
                    break;
                }
            }
        }
    }
}
