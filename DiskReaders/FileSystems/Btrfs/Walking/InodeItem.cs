using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Btrfs.Walking;

/// <summary><c>btrfs_inode_item</c>: 160 bytes, little-endian.</summary>
internal readonly struct InodeItem
{
    public const int Size = 160;
    public const uint TypeMask = 0xF000;
    public const uint TypeFolder = 0x4000;

    private const ulong NoDataSum = 1;

    public InodeItem(LeView v)
    {
        v.Require(v.Length >= Size, 0, "size");
        Generation = v.U64(0);
        SizeBytes = v.U64(0x10);
        Links = v.U32(0x28);
        Uid = v.U32(0x2C);
        Mode = v.U32(0x34);
        Flags = v.U64(0x40);
    }

    public ulong Generation { get; }

    public ulong SizeBytes { get; init; }

    public uint Links { get; }

    public uint Uid { get; }

    public uint Mode { get; }

    public ulong Flags { get; }

    public bool IsFolder => (Mode & TypeMask) == TypeFolder;

    public bool IsRegular => (Mode & TypeMask) == 0x8000;

    public bool HasSums => (Flags & NoDataSum) == 0;
}
