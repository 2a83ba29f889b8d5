using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Iso9660;

/// <summary>Directory Record. Spec: ECMA-119, section 9.1; numbers in both byte orders; 33 bytes, the name, and the System Use area.</summary>
internal readonly ref struct DirectoryRecord
{
    public const string Structure = "ISO 9660 directory record";
    public const int LeastBytes = 34;
    public const int MostBytes = 255;

    private const int NameAt = 33;
    private readonly LeView _v;

    public DirectoryRecord(LeView v)
    {
        _v = v;
        v.Require(v.Length >= LeastBytes, 0, "Length of Directory Record");
        v.Require(NameAt + v.U8(32) <= v.Length, 32, "Length of File Identifier");
    }

    public long Offset => _v.Offset;

    /// <summary>Where the data begins, behind an Extended Attribute Record.</summary>
    public long FirstBlock => (long)_v.U32(2) + _v.U8(1);

    public uint Extent => _v.U32(2);

    public uint DataBytes => _v.U32(10);

    public bool IsDirectory => (_v.U8(25) & 0x02) != 0;

    public bool IsAssociated => (_v.U8(25) & 0x04) != 0;

    /// <summary>Multi-Extent: another record of the same name goes on.</summary>
    public bool GoesOn => (_v.U8(25) & 0x80) != 0;

    public bool IsInterleaved => _v.U8(26) != 0 || _v.U8(27) != 0;

    public ReadOnlySpan<byte> Name => _v.Field(NameAt, _v.U8(32));

    /// <summary>The folder itself, or the one above.</summary>
    public bool IsDots => _v.U8(32) == 1 && _v.U8(NameAt) is 0 or 1;

    /// <summary>The System Use area; a name of even length is followed by a padding byte.</summary>
    public ReadOnlySpan<byte> SystemUse
    {
        get
        {
            int at = NameAt + _v.U8(32) + (1 - (_v.U8(32) & 1));
            return at < _v.Length ? _v.Bytes[at..] : default;
        }
    }

    public DiskFormatException Unsupported(string field) => _v.Unsupported(26, field);
}
