using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Mbr;

/// <summary>Whether something that partitions begin with lies at an offset: tells in which sector size a table counts.</summary>
internal static class VolumeStart
{
    /// <summary>A boot or extended boot record, LVM2 label, LUKS, XFS, ext, Linux swap or Btrfs.</summary>
    public static bool IsKnown(IBlockSource disk, long offset) =>
        disk.HasAt(offset + 510, [0x55, 0xAA])
        || disk.HasAt(offset + 512, "LABELONE"u8)
        || disk.HasAt(offset, "LUKS"u8)
        || disk.HasAt(offset, "XFSB"u8)
        || disk.HasAt(offset + 1024 + 56, [0x53, 0xEF])
        || disk.HasAt(offset + 4086, "SWAPSPAC"u8)
        || disk.HasAt(offset + 0x10040, "_BHRfS_M"u8);
}
