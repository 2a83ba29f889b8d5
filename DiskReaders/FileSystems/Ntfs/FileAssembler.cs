using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs;

/// <summary>Puts a file together from its base record and, where an attribute list says so, from the records it extends to.</summary>
internal sealed class FileAssembler(NtfsVolume volume, MasterFileTable table) : IDisposable
{
    /// <summary>What attribute lists of a whole walk may hold beyond the size of the MFT: each names records that are its own.</summary>
    private const long ListBytesBeyondTable = 64 << 20;

    /// <summary>A list with more faults than this is given up: it is no list.</summary>
    private const int MaxBadEntries = 16;

    private const uint StandardInformationWithSecurityId = 0x48;
    private readonly HashSet<long> _claimed = [];

    // What the current list has led to: the same attribute twice would be the same bytes again, as often as a list is long.
    private readonly HashSet<(long Segment, ushort Instance, AttributeType Type, long LowestVcn)> _followed = [];
    private readonly RentedBuffer _extension = volume.Context.Budget.Rent(volume.RecordBytes);
    private long _extensionNumber = -1;
    private long _listBytesLeft = checked(ListBytesBeyondTable + (table.Records * volume.RecordBytes));

    /// <summary>The records that some base record's attribute list led to.</summary>
    public IReadOnlySet<long> Claimed => _claimed;

    public AssembledFile File { get; } = new();

    /// <summary>Also puts $BITMAP attributes together, which only the $MFT's own reader wants.</summary>
    public bool WithBitmap { get; init; }

    /// <summary>Puts files together whose records are no longer in use.</summary>
    public bool OfDeleted { get; init; }

    /// <summary>Fills <see cref="File"/> from a base record. What cannot be read is in <see cref="AssembledFile.Damage"/>.</summary>
    public void Assemble(ReadOnlySpan<byte> bytes, long number)
    {
        File.Clear(number);
        try
        {
            var record = new FileRecord(bytes, table.OffsetOf(number));
            File.Sequence = record.SequenceNumber;
            File.IsFolder = record.IsFolder;
            if (HasList(record, out NtfsAttribute list) && FollowList(record, list))
            {
                return;
            }

            foreach (NtfsAttribute attribute in record.Attributes)
            {
                Add(attribute, number);
            }
        }
        catch (DiskFormatException e)
        {
            File.Damage ??= e;
        }
    }

    public void Dispose() => _extension.Dispose();

    private static bool HasList(FileRecord record, out NtfsAttribute list)
    {
        // Attributes are in the order of their types; the list is the second at most.
        foreach (NtfsAttribute attribute in record.Attributes)
        {
            if (attribute.Type == AttributeType.AttributeList)
            {
                list = attribute;
                return true;
            }

            if (attribute.Type > AttributeType.AttributeList)
            {
                break;
            }
        }

        list = default;
        return false;
    }

    /// <summary>False when the list cannot be read: then the base record's own attributes must do.</summary>
    private bool FollowList(FileRecord record, NtfsAttribute attribute)
    {
        try
        {
            using AttributeListReader list = AttributeListReader.Read(volume, attribute);
            _listBytesLeft -= list.Bytes;
            if (_listBytesLeft < 0)
            {
                throw new DiskFormatException(Fault.Limit, "ATTRIBUTE_LIST", record.Offset, "attribute lists hold more than the $MFT");
            }

            _followed.Clear();
            int bad = 0;
            foreach (AttributeListEntry entry in list.Entries)
            {
                try
                {
                    Follow(record, entry);
                }
                catch (DiskFormatException e) when (bad++ < MaxBadEntries)
                {
                    // One lost record must not hide what the others hold.
                    File.Damage ??= e;
                }
            }

            return true;
        }
        catch (DiskFormatException e)
        {
            bool some = File.Names.Count > 0 || File.Streams.Count > 0;
            File.Damage ??= e;
            return some;
        }
    }

    private void Follow(FileRecord record, AttributeListEntry entry)
    {
        if (entry.Type == AttributeType.AttributeList)
        {
            return;
        }

        if (!_followed.Add((entry.Segment.Number, entry.Instance, entry.Type, entry.LowestVcn)))
        {
            throw new DiskFormatException(Fault.Corrupt, "ATTRIBUTE_LIST_ENTRY", record.Offset, $"attribute {entry.Instance} of record {entry.Segment.Number} is named twice");
        }

        if (entry.Segment.Number == File.Number)
        {
            Add(record, entry, File.Number);
        }
        else
        {
            Add(Extension(entry.Segment), entry, entry.Segment.Number);
        }
    }

    private FileRecord Extension(FileReference segment)
    {
        if (_extensionNumber != segment.Number)
        {
            _extensionNumber = -1;
            if (table.Load(segment.Number, _extension.Span) != (OfDeleted ? RecordState.Free : RecordState.InUse))
            {
                throw new DiskFormatException(Fault.Corrupt, "FILE record", table.OffsetOfOrNone(segment.Number), $"record {segment.Number} that continues record {File.Number} is damaged or gone");
            }

            _extensionNumber = segment.Number;
        }

        var record = new FileRecord(_extension.Span, table.OffsetOf(segment.Number));
        bool isItsOwn = OfDeleted
            ? record.Base.MatchesFreed(File.Sequence) && segment.MatchesFreed(record.SequenceNumber)
            : record.Base.Matches(File.Sequence) && segment.Matches(record.SequenceNumber);
        if (record.Base.Value == 0 || record.Base.Number != File.Number || !isItsOwn)
        {
            throw new DiskFormatException(Fault.Corrupt, "FILE record", record.Offset, $"record {segment.Number} does not continue record {File.Number}");
        }

        _claimed.Add(segment.Number);
        return record;
    }

    private void Add(FileRecord record, AttributeListEntry entry, long number)
    {
        foreach (NtfsAttribute attribute in record.Attributes)
        {
            if (entry.IsFor(attribute))
            {
                Add(attribute, number);
                return;
            }
        }

        throw new DiskFormatException(Fault.Corrupt, "ATTRIBUTE_LIST_ENTRY", record.Offset, $"record {number} has no attribute 0x{(uint)entry.Type:X} with instance {entry.Instance}");
    }

    private void Add(NtfsAttribute attribute, long number)
    {
        switch (attribute.Type)
        {
            case AttributeType.StandardInformation:
                LeView information = attribute.Value("STANDARD_INFORMATION");
                File.FileAttributes = information.U32(0x20);
                File.SecurityId = information.Length >= StandardInformationWithSecurityId ? information.U32(0x34) : 0;
                break;
            case AttributeType.FileName:
                File.Names.Add(ReadName(attribute));
                break;
            case AttributeType.ReparsePoint:
                File.Reparse ??= ReadReparsePoint(attribute);
                break;
            case AttributeType.Data:
            case AttributeType.Ea:
            case AttributeType.Bitmap when WithBitmap:
            case >= AttributeType.LoggedUtilityStream when attribute.IsNonresident:
                AddStream(attribute, number);
                break;
        }
    }

    /// <summary>FILE_NAME. Spec: Microsoft, "FILE_NAME structure". Little-endian; 66 bytes and the name.</summary>
    public static AssembledName ReadName(NtfsAttribute attribute)
    {
        LeView v = attribute.Value("FILE_NAME");
        int chars = v.U8(0x40);
        v.Require(chars > 0, 0x40, "FileNameLength");
        v.Require(v.U8(0x41) <= (byte)NameSpace.Win32AndDos, 0x41, "Flags");
        return new AssembledName(new FileReference(v.U64(0)), (NameSpace)v.U8(0x41), Utf16Name.ToBytes(v.Field(0x42, chars * 2)));
    }

    private ReparsePoint ReadReparsePoint(NtfsAttribute attribute)
    {
        if (!attribute.IsNonresident)
        {
            return new ReparsePoint(attribute.Value("REPARSE_DATA_BUFFER"));
        }

        if (attribute.FileSize > ReparsePoint.MaxBytes + 24)
        {
            throw attribute.View.TooLarge(48, "size of the reparse point");
        }

        var map = new RunMap(volume) { Length = attribute.FileSize, ValidDataLength = attribute.ValidDataLength };
        map.Append(attribute.LowestVcn, attribute.MappingPairs);
        map.RequireMapped();
        using RentedBuffer buffer = volume.Context.Budget.Rent((int)attribute.FileSize);
        using MappedSource source = volume.Open(map);
        source.Read(0, buffer.Span);
        return new ReparsePoint(new LeView(buffer.Span, "REPARSE_DATA_BUFFER", -1));
    }

    private void AddStream(NtfsAttribute attribute, long number)
    {
        byte[] name = Utf16Name.ToBytes(attribute.Name);
        if (!attribute.IsNonresident)
        {
            LeView value = attribute.Value("resident value");
            if (attribute.Type == AttributeType.Data && name.Length == 0 && InterixFile.Is(File.FileAttributes, value.Bytes))
            {
                File.Interix = value.Bytes.ToArray();
            }

            File.Streams.Add(new AssembledStream(attribute.Type, name)
            {
                Flags = attribute.Flags,
                FileSize = value.Length,
                ValidDataLength = value.Length,
                ResidentRecord = number,
                ValuePosition = attribute.ValuePosition,
            });
            return;
        }

        long lowest = attribute.LowestVcn;
        AssembledStream? stream = lowest == 0 ? null : File.Find(attribute.Type, name);
        if (stream is null)
        {
            stream = new AssembledStream(attribute.Type, name);
            File.Streams.Add(stream);
            if (lowest == 0)
            {
                ReadSizes(stream, attribute);
            }
        }

        try
        {
            AddRuns(stream, attribute, lowest);
        }
        catch (DiskFormatException e)
        {
            stream.Fault ??= new DiskFormatException(e.Fault, e.Structure, attribute.View.Offset, e.Detail);
        }
    }

    private static void ReadSizes(AssembledStream stream, NtfsAttribute attribute)
    {
        try
        {
            stream.Flags = attribute.Flags;
            stream.FileSize = attribute.FileSize;
            stream.ValidDataLength = Math.Min(attribute.ValidDataLength, stream.FileSize);
            stream.CompressionUnitShift = attribute.CompressionUnitShift;
        }
        catch (DiskFormatException e)
        {
            stream.Fault = e;
        }
    }

    private void AddRuns(AssembledStream stream, NtfsAttribute attribute, long lowest)
    {
        attribute.View.Require(lowest == stream.NextVcn, 16, "LowestVcn");
        ReadOnlySpan<byte> pairs = attribute.MappingPairs;
        MappingPairs runs = volume.Runs(pairs, lowest);
        while (runs.MoveNext())
        {
            if (runs.Lcn == MappingPairs.HoleLcn)
            {
                stream.HasHoles = true;
            }
            else
            {
                stream.FirstLcn = stream.FirstLcn < 0 ? runs.Lcn : stream.FirstLcn;
                stream.StoredClusters += runs.NextVcn - runs.Vcn;
            }
        }

        attribute.View.Require(runs.NextVcn - 1 == attribute.HighestVcn, 24, "HighestVcn");
        stream.NextVcn = runs.NextVcn;
        var segment = new StreamSegment(lowest, pairs[..runs.Used].ToArray());
        if (lowest == 0)
        {
            stream.First = segment;
        }
        else
        {
            (stream.More ??= []).Add(segment);
        }
    }
}
