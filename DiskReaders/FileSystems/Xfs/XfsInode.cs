using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Xfs;

/// <summary><c>di_format</c>.</summary>
internal enum XfsForkFormat
{
    Device = 0,
    Local = 1,
    Extents = 2,
    Btree = 3,
    Uuid = 4,
    MetadataBtree = 5,
}

/// <summary>
/// <c>struct xfs_dinode</c>. Specification: "XFS Algorithms &amp; Data Structures", "On-disk Inode". Big-endian. Versions 1 and 2 have a core of
/// 100 bytes, version 3 (file systems of version 5) one of 176.
/// </summary>
internal readonly ref struct XfsInode(ReadOnlySpan<byte> bytes)
{
    public const ushort Magic = 0x494E;
    public const int TypeFifo = 1, TypeCharacter = 2, TypeFolder = 4, TypeBlock = 6, TypeRegular = 8, TypeLink = 10, TypeSocket = 12;
    public const int ShortCoreBytes = 100;
    public const int LongCoreBytes = 176;
    public const int ChecksumField = 100;
    public const int LsnField = 112;

    private const ushort FlagRealtime = 1;
    private const ulong Flag2LargeExtentCounts = 0x10;
    private const ulong Flag2Metadata = 0x20;

    public ReadOnlySpan<byte> Bytes { get; } = bytes;

    public bool HasMagic => U16(0) == Magic;

    public ushort Mode => U16(2);

    public int Type => Mode >> 12;

    public byte Version => Bytes[4];

    public XfsForkFormat Format => (XfsForkFormat)Bytes[5];

    public uint Uid => U32(8);

    /// <summary>Version 1 counts names in <c>di_onlink</c>.</summary>
    public uint Links => Version == 1 ? U16(6) : U32(16);

    public ulong Size => U64(56);

    public ulong Number => U64(152);

    public Guid Uuid => new(Bytes.Slice(160, 16), bigEndian: true);

    public bool IsRealtime => (U16(90) & FlagRealtime) != 0;

    /// <summary>A file of the metadata directory tree: no file of the guest's.</summary>
    public bool IsMetadata => Version >= 3 && (U64(120) & Flag2Metadata) != 0;

    /// <summary>Extents of the data fork.</summary>
    public ulong Extents => Version >= 3 && (U64(120) & Flag2LargeExtentCounts) != 0 ? U64(24) : U32(76);

    public int ForkOffset => Version >= 3 ? LongCoreBytes : ShortCoreBytes;

    /// <summary>The data fork: from the core to the attribute fork, where there is one.</summary>
    /// <exception cref="DiskFormatException">The attribute fork would begin beyond the inode.</exception>
    public ReadOnlySpan<byte> DataFork(long offset)
    {
        int room = Bytes.Length - ForkOffset;
        int length = Bytes[82] == 0 ? room : Bytes[82] * 8;
        return length <= room
            ? Bytes.Slice(ForkOffset, length)
            : throw new DiskFormatException(Fault.Corrupt, "xfs_dinode", offset + 82, $"bad di_forkoff {Bytes[82]}");
    }

    /// <summary>The extents of a fork that holds them itself.</summary>
    /// <exception cref="DiskFormatException">There are more than fit.</exception>
    public ReadOnlySpan<byte> ExtentList(long offset)
    {
        ReadOnlySpan<byte> fork = DataFork(offset);
        return Extents <= (ulong)(fork.Length / BmbtRecord.Size)
            ? fork[..((int)Extents * BmbtRecord.Size)]
            : throw new DiskFormatException(Fault.Corrupt, "xfs_dinode", offset + 76, $"bad di_nextents {Extents}");
    }

    /// <summary>Why these bytes are not the inode of a number; null when they are.</summary>
    public string? Contradiction(XfsSuperblock super, ulong number) =>
        !HasMagic ? "no di_magic"
        : super.IsV5 ? Version != 3 ? $"di_version {Version}" : Number != number ? $"it says it is inode {Number}" : Uuid != super.MetaUuid ? "it belongs to another file system" : null
        : Version is not (1 or 2) ? $"di_version {Version}" : null;

    private ushort U16(int at) => BinaryPrimitives.ReadUInt16BigEndian(Bytes[at..]);

    private uint U32(int at) => BinaryPrimitives.ReadUInt32BigEndian(Bytes[at..]);

    private ulong U64(int at) => BinaryPrimitives.ReadUInt64BigEndian(Bytes[at..]);
}
