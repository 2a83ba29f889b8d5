using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Erofs;

/// <summary>How the content of an inode is kept (<c>i_format</c>, bits 1 to 3).</summary>
internal enum ErofsLayout
{
    FlatPlain = 0,
    CompressedFull = 1,
    FlatInline = 2,
    CompressedCompact = 3,
    ChunkBased = 4,
}

/// <summary><c>struct erofs_inode_compact</c> (32 bytes) and <c>erofs_inode_extended</c> (64 bytes). Specification: erofs_fs.h. Little-endian.</summary>
internal readonly struct ErofsInode
{
    public const int CompactBytes = 32;
    public const int ExtendedBytes = 64;
    private const int KnownFormat = 0xF;

    public readonly ulong Nid;
    public readonly ErofsLayout Layout;
    public readonly ushort Mode;
    public readonly long SizeBytes;
    public readonly uint LinkCount;
    public readonly uint Uid;

    /// <summary><c>i_u</c>: a block address, or the format of chunks.</summary>
    public readonly uint Union;

    /// <summary>Where the inode lies on the volume.</summary>
    public readonly long Position;

    /// <summary>Byte behind the inode and its attributes: inline data or indexes follow.</summary>
    public readonly long End;

    /// <param name="bytes">64 bytes, or 32 of a compact one.</param>
    public ErofsInode(ulong nid, LeView v)
    {
        Nid = nid;
        Position = v.Offset;
        ushort format = v.U16(0);
        if ((format & ~KnownFormat) != 0)
        {
            throw v.Unsupported(0, "i_format");
        }

        Layout = (ErofsLayout)((format >> 1) & 7);
        if (Layout > ErofsLayout.ChunkBased)
        {
            throw v.Unsupported(0, $"data layout {(int)Layout}");
        }

        bool isExtended = (format & 1) != 0;
        int attributes = v.U16(2);
        Mode = v.U16(4);
        Union = v.U32(16);
        if (isExtended)
        {
            SizeBytes = v.NonNegative64(8, "i_size");
            Uid = v.U32(24);
            LinkCount = v.U32(44);
        }
        else
        {
            LinkCount = v.U16(6);
            SizeBytes = v.U32(8);
            Uid = v.U16(24);
        }

        // "inline xattrs": a header of 12 bytes and entries of 4, the first counted with the header.
        End = Position + (isExtended ? ExtendedBytes : CompactBytes) + (attributes == 0 ? 0 : 12 + (4 * (attributes - 1)));
    }

    /// <summary>POSIX file types.</summary>
    public GuestFileKind Kind => (Mode & 0xF000) switch
    {
        0x4000 => GuestFileKind.Folder,
        0x8000 => GuestFileKind.Regular,
        0xA000 => GuestFileKind.Link,
        0x1000 or 0x2000 or 0x6000 or 0xC000 => GuestFileKind.Device,
        _ => throw new DiskFormatException(Fault.Corrupt, "erofs inode", Position, $"i_mode 0{Convert.ToString(Mode, 8)}"),
    };
}
