using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Xfs;

/// <summary>
/// The entries of a directory's data block. Specification: "XFS Algorithms &amp; Data Structures", "Directories", "Block Directories" and
/// "Leaf Directories": in both, entries and free space follow each other up to the block's end or to the leaf part of a single block.
/// </summary>
internal ref struct DirectoryEntries
{
    public const int ChecksumField = 4;

    private const uint BlockV4 = 0x5844_3242;      // XD2B
    private const uint DataV4 = 0x5844_3244;       // XD2D
    private const uint BlockV5 = 0x5844_4233;      // XDB3
    private const uint DataV5 = 0x5844_4433;       // XDD3
    private const int HeaderV4 = 16;
    private const int HeaderV5 = 64;
    private const int TailBytes = 8;
    private const int LeafEntryBytes = 8;
    private const int Alignment = 8;
    private const int NameAt = 9;
    private const int TagBytes = 2;
    private const ushort FreeTag = 0xFFFF;

    private readonly BeView _view;
    private readonly int _end;
    private readonly int _typeBytes;
    private int _at;

    /// <param name="v">The whole block.</param>
    /// <param name="super">The variant.</param>
    /// <param name="folder">The inode that the block must be of.</param>
    /// <exception cref="DiskFormatException">It is no block of this directory.</exception>
    public DirectoryEntries(BeView v, XfsSuperblock super, ulong folder)
    {
        uint magic = v.U32(0);
        bool single = magic == (super.IsV5 ? BlockV5 : BlockV4);
        v.Require(single || magic == (super.IsV5 ? DataV5 : DataV4), 0, "magic of a directory's block");
        if (super.IsV5)
        {
            v.Require(v.U64(8) == XfsVolume.SectorOf(v.Offset), 8, "blkno");
            v.Require(v.Uuid(24) == super.MetaUuid, 24, "uuid");
            v.Require(v.U64(40) == folder, 40, "owner");
        }

        _view = v;
        _typeBytes = super.HasFileType ? 1 : 0;
        _at = super.IsV5 ? HeaderV5 : HeaderV4;
        _end = v.Length;
        if (single)
        {
            uint count = v.U32(v.Length - TailBytes);
            v.Require(count <= (v.Length - TailBytes - _at) / LeafEntryBytes, v.Length - TailBytes, "count");
            _end = v.Length - TailBytes - ((int)count * LeafEntryBytes);
        }
    }

    public ulong Inode { get; private set; }

    public ReadOnlySpan<byte> Name { get; private set; }

    /// <summary>Goes to the next entry.</summary>
    /// <exception cref="DiskFormatException">An entry's length is impossible; what follows it in the block cannot be found.</exception>
    public bool Next()
    {
        while (_at < _end)
        {
            int at = _at;
            if (_view.U16(at) == FreeTag)
            {
                int free = _view.U16(at + 2);
                _view.Require(free >= Alignment && free % Alignment == 0 && free <= _end - at, at + 2, "length of free space");
                _at = at + free;
                continue;
            }

            int nameBytes = _view.U8(at + 8);
            int length = (NameAt + nameBytes + _typeBytes + TagBytes + Alignment - 1) & ~(Alignment - 1);
            _view.Require(nameBytes > 0 && length <= _end - at, at + 8, "namelen");
            _at = at + length;
            Inode = _view.U64(at);
            Name = _view.Field(at + NameAt, nameBytes);
            return true;
        }

        return false;
    }
}

/// <summary>The entries of a directory that lies in its inode ("Short Form Directories"): they follow the parent's number.</summary>
internal ref struct ShortFormEntries
{
    private const int CountsBytes = 2;
    private const int NameAt = 3;                  // after the name's length and offset

    private readonly BeView _view;
    private readonly int _typeBytes;
    private readonly int _numberBytes;
    private int _left;
    private int _at;

    public ShortFormEntries(BeView v, bool hasFileType)
    {
        _view = v;
        _typeBytes = hasFileType ? 1 : 0;
        int wide = v.U8(1);
        _left = v.U8(0);
        _numberBytes = wide > 0 ? 8 : 4;
        Parent = Number(CountsBytes);
        _at = CountsBytes + _numberBytes;
    }

    public ulong Parent { get; }

    public ulong Inode { get; private set; }

    public ReadOnlySpan<byte> Name { get; private set; }

    /// <summary>Goes to the next entry.</summary>
    /// <exception cref="DiskFormatException">The entries do not fit.</exception>
    public bool Next()
    {
        if (_left == 0)
        {
            return false;
        }

        _left--;
        int nameBytes = _view.U8(_at);
        _view.Require(nameBytes > 0, _at, "namelen");
        Name = _view.Field(_at + NameAt, nameBytes);
        Inode = Number(_at + NameAt + nameBytes + _typeBytes);
        _at += NameAt + nameBytes + _typeBytes + _numberBytes;
        return true;
    }

    private ulong Number(int at) => _numberBytes == 8 ? _view.U64(at) : _view.U32(at);
}
