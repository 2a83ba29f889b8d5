using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.SquashFs;

/// <summary>Inode types; those of extended inodes are seven more. "SquashFS Binary Format", 4 "Inode Table".</summary>
internal enum InodeType : ushort
{
    Directory = 1,
    File = 2,
    Symlink = 3,
    BlockDevice = 4,
    CharDevice = 5,
    Fifo = 6,
    Socket = 7,
    ExtDirectory = 8,
    ExtFile = 9,
    ExtSymlink = 10,
    ExtBlockDevice = 11,
    ExtCharDevice = 12,
    ExtFifo = 13,
    ExtSocket = 14,
}

/// <summary>An inode, basic or extended. "SquashFS Binary Format", 4. Little-endian; a header of 16 bytes and a body by type.</summary>
internal readonly struct SquashFsInode
{
    public const uint NoFragment = uint.MaxValue;
    private const int HeaderBytes = 16;
    private const int MostBytes = HeaderBytes + 40;

    // Linux, fs/squashfs: a symbolic link is no longer than a page.
    private const int MostTargetBytes = 65535;

    public readonly InodeType Type;
    public readonly ushort UidIndex;
    public readonly uint Number;
    public readonly uint LinkCount = 1;

    /// <summary>Content, the listing of a folder, or a link's target.</summary>
    public readonly long SizeBytes;

    /// <summary>File: where its first block is stored. Folder: the metadata block of its listing, from the start of the directory table.</summary>
    public readonly long Start;

    /// <summary>File: offset of its end in the fragment. Folder: of its listing in the unpacked metadata block.</summary>
    public readonly uint Offset;

    public readonly uint Fragment = NoFragment;

    /// <summary>Address of what follows: block sizes, or a link's target.</summary>
    public readonly long Tail;

    /// <param name="table">The inode table.</param>
    /// <param name="address">Where the inode lies in it, unpacked.</param>
    public SquashFsInode(MetadataTable table, long address)
    {
        Span<byte> bytes = stackalloc byte[MostBytes];
        table.Read(address, bytes[..HeaderBytes]);
        long position = table.PositionOf(address);
        var v = new LeView(bytes, "squashfs inode", position);
        Type = (InodeType)v.U16(0);
        int bodyBytes = Type switch
        {
            InodeType.Directory => 16,
            InodeType.File => 16,
            InodeType.Symlink or InodeType.ExtSymlink => 8,
            InodeType.BlockDevice or InodeType.CharDevice => 8,
            InodeType.Fifo or InodeType.Socket => 4,
            InodeType.ExtDirectory => 24,
            InodeType.ExtFile => 40,
            InodeType.ExtBlockDevice or InodeType.ExtCharDevice => 12,
            InodeType.ExtFifo or InodeType.ExtSocket => 8,
            _ => throw v.Corrupt(0, "inode_type"),
        };
        table.Read(address + HeaderBytes, bytes.Slice(HeaderBytes, bodyBytes));
        UidIndex = v.U16(4);
        Number = v.U32(12);
        Tail = address + HeaderBytes + bodyBytes;
        const int Body = HeaderBytes;
        switch (Type)
        {
            case InodeType.Directory:
                Start = v.U32(Body);
                LinkCount = v.U32(Body + 4);
                SizeBytes = v.U16(Body + 8);
                Offset = v.U16(Body + 10);
                break;
            case InodeType.ExtDirectory:
                LinkCount = v.U32(Body);
                SizeBytes = v.U32(Body + 4);
                Start = v.U32(Body + 8);
                Offset = v.U16(Body + 18);
                break;
            case InodeType.File:
                Start = v.U32(Body);
                Fragment = v.U32(Body + 4);
                Offset = v.U32(Body + 8);
                SizeBytes = v.U32(Body + 12);
                break;
            case InodeType.ExtFile:
                Start = v.NonNegative64(Body, "blocks_start");
                SizeBytes = v.NonNegative64(Body + 8, "file_size");
                LinkCount = v.U32(Body + 24);
                Fragment = v.U32(Body + 28);
                Offset = v.U32(Body + 32);
                break;
            case InodeType.Symlink or InodeType.ExtSymlink:
                LinkCount = v.U32(Body);
                SizeBytes = v.U32(Body + 4);
                v.Require(SizeBytes <= MostTargetBytes, Body + 4, "target_size");
                break;
            default:
                LinkCount = v.U32(Body);
                break;
        }
    }

    public bool IsFolder => Type is InodeType.Directory or InodeType.ExtDirectory;

    public GuestFileKind Kind => Type switch
    {
        InodeType.Directory or InodeType.ExtDirectory => GuestFileKind.Folder,
        InodeType.File or InodeType.ExtFile => GuestFileKind.Regular,
        InodeType.Symlink or InodeType.ExtSymlink => GuestFileKind.Link,
        _ => GuestFileKind.Device,
    };
}
