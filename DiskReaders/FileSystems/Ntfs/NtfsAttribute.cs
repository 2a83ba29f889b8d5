using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs;

/// <summary>ATTRIBUTE_TYPE_CODE.</summary>
internal enum AttributeType : uint
{
    StandardInformation = 0x10,
    AttributeList = 0x20,
    FileName = 0x30,
    VolumeName = 0x60,
    VolumeInformation = 0x70,
    Data = 0x80,
    IndexRoot = 0x90,
    IndexAllocation = 0xA0,
    Bitmap = 0xB0,
    ReparsePoint = 0xC0,
    EaInformation = 0xD0,
    Ea = 0xE0,
    LoggedUtilityStream = 0x100,
}

/// <summary>The Flags of an attribute that say how its bytes are kept.</summary>
internal static class AttributeFlags
{
    public const ushort CompressionMask = 0x00FF;
    public const ushort Lznt1 = 0x0001;
    public const ushort Encrypted = 0x4000;
}

/// <summary>
/// ATTRIBUTE_RECORD_HEADER. Spec: Microsoft, "ATTRIBUTE_RECORD_HEADER structure". Little-endian; 24 bytes when the value is
/// resident, 64 when not (72 with TotalAllocated).
/// </summary>
internal readonly ref struct NtfsAttribute
{
    public const int ResidentHeaderBytes = 24;
    private const int NonresidentHeaderBytes = 64;
    private readonly LeView _view;

    /// <param name="view">The attribute's bytes.</param>
    /// <param name="position">Where it begins in its record.</param>
    public NtfsAttribute(LeView view, int position)
    {
        _view = view;
        Position = position;
        view.Require(view.U8(8) <= 1, 8, "FormCode");
        view.Require(!IsNonresident || view.Length >= NonresidentHeaderBytes, 4, "RecordLength");
    }

    public int Position { get; }

    public AttributeType Type => (AttributeType)_view.U32(0);

    public bool IsNonresident => _view.U8(8) != 0;

    public ushort Flags => _view.U16(12);

    public ushort Instance => _view.U16(14);

    /// <summary>UTF-16LE; empty for the unnamed attribute.</summary>
    public ReadOnlySpan<byte> Name => _view.U8(9) == 0 ? default : _view.Field(_view.U16(10), _view.U8(9) * 2);

    public LeView View => _view;

    /// <summary>The resident value.</summary>
    public LeView Value(string structure)
    {
        uint length = _view.U32(16);
        _view.Require(!IsNonresident, 8, "FormCode");
        _view.Require(length <= _view.Length, 16, "ValueLength");
        return _view.Inner(_view.U16(20), (int)length, structure);
    }

    /// <summary>Where the resident value begins in its record.</summary>
    public int ValuePosition => Position + _view.U16(20);

    public long LowestVcn => _view.NonNegative64(16, "LowestVcn");

    /// <summary>-1 when nothing is mapped.</summary>
    public long HighestVcn => _view.I64(24);

    public byte CompressionUnitShift => _view.U8(34);

    public long FileSize => _view.NonNegative64(48, "FileSize");

    public long ValidDataLength => _view.NonNegative64(56, "ValidDataLength");

    /// <summary>The mapping pairs up to the attribute's end.</summary>
    public ReadOnlySpan<byte> MappingPairs
    {
        get
        {
            int at = _view.U16(32);
            _view.Require(at >= NonresidentHeaderBytes && at < _view.Length, 32, "MappingPairsOffset");
            return _view.Bytes[at..];
        }
    }
}
