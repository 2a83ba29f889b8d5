using System.Buffers.Binary;

namespace Vmsweep.DiskReaders.FileSystems.Btrfs.Trees;

/// <summary>What an item is. Btrfs "On-disk Format", "Item Types".</summary>
internal static class ItemType
{
    public const byte Inode = 1;
    public const byte InodeRef = 12;
    public const byte InodeExtRef = 13;
    public const byte Orphan = 48;
    public const byte DirLogItem = 60;
    public const byte DirLogIndex = 72;
    public const byte DirItem = 84;
    public const byte DirIndex = 96;
    public const byte ExtentData = 108;
    public const byte ExtentCsum = 128;
    public const byte Root = 132;
    public const byte RootRef = 156;
    public const byte Device = 216;
    public const byte Chunk = 228;
}

/// <summary>Object ids with a meaning of their own. Btrfs "On-disk Format", "Reserved objectids".</summary>
internal static class ObjectId
{
    public const ulong Devices = 1;
    public const ulong FsTree = 5;
    public const ulong RootTreeFolder = 6;
    public const ulong CsumTree = 7;
    public const ulong FirstFree = 256;
    public const ulong FirstChunkTree = 256;
    public const ulong LastFree = unchecked((ulong)-256L);
    public const ulong ExtentCsum = unchecked((ulong)-10L);
    public const ulong TreeLog = unchecked((ulong)-6L);
    public const ulong Orphan = unchecked((ulong)-5L);

    /// <summary>A tree that holds files: the top level or a subvolume.</summary>
    public static bool IsSubvolume(ulong tree) => tree is FsTree or (>= FirstFree and <= LastFree);
}

/// <summary><c>btrfs_disk_key</c>: 17 bytes, little-endian; trees are ordered by object id, type and offset, in this order.</summary>
internal readonly record struct BtrfsKey(ulong Id, byte Type, ulong Offset) : IComparable<BtrfsKey>
{
    public const int Size = 17;

    public static readonly BtrfsKey Least;
    public static readonly BtrfsKey Greatest = new(ulong.MaxValue, byte.MaxValue, ulong.MaxValue);

    public static bool operator <(BtrfsKey a, BtrfsKey b) => a.CompareTo(b) < 0;

    public static bool operator >(BtrfsKey a, BtrfsKey b) => a.CompareTo(b) > 0;

    public static bool operator <=(BtrfsKey a, BtrfsKey b) => a.CompareTo(b) <= 0;

    public static bool operator >=(BtrfsKey a, BtrfsKey b) => a.CompareTo(b) >= 0;

    public static BtrfsKey Read(ReadOnlySpan<byte> bytes) =>
        new(BinaryPrimitives.ReadUInt64LittleEndian(bytes), bytes[8], BinaryPrimitives.ReadUInt64LittleEndian(bytes[9..]));

    public int CompareTo(BtrfsKey other)
    {
        int order = Id.CompareTo(other.Id);
        order = order != 0 ? order : Type.CompareTo(other.Type);
        return order != 0 ? order : Offset.CompareTo(other.Offset);
    }

    public override string ToString() => FormattableString.Invariant($"({Id} {Type} {Offset})");
}
