using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs;

/// <summary>
/// FILE_RECORD_SEGMENT_HEADER, with the update sequence already applied.
/// Spec: Microsoft, "FILE_RECORD_SEGMENT_HEADER structure". Little-endian; 42 or 48 bytes, attributes behind.
/// </summary>
internal readonly ref struct FileRecord
{
    private const int HeaderBytes = 0x2A;
    private readonly LeView _view;

    /// <exception cref="DiskFormatException">The header contradicts itself.</exception>
    public FileRecord(ReadOnlySpan<byte> bytes, long offset)
    {
        _view = new LeView(bytes, "FILE record", offset);
        _view.Require(UsedBytes is >= HeaderBytes && UsedBytes <= bytes.Length, 0x18, "first free byte");
        _view.Require(FirstAttributeOffset >= HeaderBytes && FirstAttributeOffset % 8 == 0 && FirstAttributeOffset <= UsedBytes, 0x14, "FirstAttributeOffset");
    }

    public static ReadOnlySpan<byte> Signature => "FILE"u8;

    public ushort SequenceNumber => _view.U16(0x10);

    public ushort FirstAttributeOffset => _view.U16(0x14);

    public bool InUse => (_view.U16(0x16) & 1) != 0;

    /// <summary>FILE_FILE_NAME_INDEX_PRESENT: the file is a folder.</summary>
    public bool IsFolder => (_view.U16(0x16) & 2) != 0;

    public uint UsedBytes => _view.U32(0x18);

    /// <summary>BaseFileRecordSegment: 0 for a base record.</summary>
    public FileReference Base => new(_view.U64(0x20));

    public long Offset => _view.Offset;

    public AttributeWalk Attributes => new(_view, FirstAttributeOffset, (int)UsedBytes);
}

/// <summary>MFT_SEGMENT_REFERENCE: 48 bits of record number, 16 bits of sequence number.</summary>
internal readonly record struct FileReference(ulong Value)
{
    private const ulong NumberMask = 0xFFFF_FFFF_FFFF;

    public long Number => (long)(Value & NumberMask);

    public ushort Sequence => (ushort)(Value >> 48);

    /// <summary>True when the record the reference leads to is still the one that was meant. 0 matches any.</summary>
    public bool Matches(ushort sequence) => Sequence == 0 || Sequence == sequence;

    /// <summary>As <see cref="Matches"/> for a record that is no longer in use: its number was counted on when it was freed.</summary>
    public bool MatchesFreed(ushort sequence) => Matches(sequence) || Sequence == unchecked((ushort)(sequence - 1));
}

/// <summary>Goes over the attributes of one FILE record.</summary>
internal ref struct AttributeWalk(LeView record, int first, int used)
{
    private const uint End = 0xFFFF_FFFF;
    private readonly LeView _record = record;
    private int _next = first;

    public NtfsAttribute Current { get; private set; }

    public readonly AttributeWalk GetEnumerator() => this;

    /// <exception cref="DiskFormatException">An attribute does not lie within the record.</exception>
    public bool MoveNext()
    {
        _record.Require(_next <= used - 4, _next, "attribute list end");
        if (_record.U32(_next) == End)
        {
            return false;
        }

        _record.Require(_next <= used - NtfsAttribute.ResidentHeaderBytes, _next, "TypeCode");
        uint length = _record.U32(_next + 4);
        _record.Require(length >= NtfsAttribute.ResidentHeaderBytes && length % 8 == 0 && length <= used - _next, _next + 4, "RecordLength");
        Current = new NtfsAttribute(_record.Inner(_next, (int)length, "ATTRIBUTE_RECORD_HEADER"), _next);
        _next += (int)length;
        return true;
    }
}
