using System.Numerics;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Mbr;

/// <summary>
/// Whether sector 0 begins a file system instead of a partition table. Both end in 55 AA; what tells them apart is the
/// BIOS parameter block. Specs: Microsoft "FAT: General Overview of On-Disk Format" 1.03; "exFAT file system specification"
/// section 3.1; NTFS keeps FAT's block with zeros in the fields it has no use for.
/// </summary>
internal static class BootSector
{
    /// <summary>True when the block is sound, fits the disk, and what it points to is there.</summary>
    /// <param name="sector">At least 512 bytes of sector 0.</param>
    /// <param name="disk">The disk.</param>
    public static bool IsFileSystem(ReadOnlySpan<byte> sector, IBlockSource disk)
    {
        var v = new LeView(sector, "boot sector", 0);
        return v.Field(3, 8).SequenceEqual("NTFS    "u8) ? IsNtfs(v)
            : v.Field(3, 8).SequenceEqual("EXFAT   "u8) ? IsExFat(v)
            : IsFat(v, disk);
    }

    private static bool IsNtfs(LeView v) =>
        BitOperations.IsPow2(v.U16(11)) && v.U16(11) is >= 256 and <= 4096
        && v.U16(14) == 0 && v.U8(16) == 0 && v.U16(17) == 0 && v.U64(40) is > 0 and <= long.MaxValue / 4096;

    private static bool IsExFat(LeView v) =>
        v.Field(11, 53).IndexOfAnyExcept((byte)0) < 0 && v.U8(108) is >= 9 and <= 12 && v.U8(110) is 1 or 2;

    private static bool IsFat(LeView v, IBlockSource disk)
    {
        int sectorBytes = v.U16(11);
        int reserved = v.U16(14);
        byte media = v.U8(21);
        long sectors = v.U16(19) != 0 ? v.U16(19) : v.U32(32);
        long fatSectors = v.U16(22) != 0 ? v.U16(22) : v.U32(36);
        if (sectorBytes is not (512 or 1024 or 2048 or 4096) || !BitOperations.IsPow2(v.U8(13)) || reserved == 0
            || v.U8(16) is 0 or > 15 || media is not (0xF0 or >= 0xF8) || fatSectors == 0 || sectors <= reserved + fatSectors)
        {
            return false;
        }

        // The first entry of the table repeats the media byte; a block left over from an earlier format has something else there.
        long fat = (long)reserved * sectorBytes;
        if (fat > disk.Length - 4)
        {
            return false;
        }

        Span<byte> entry = stackalloc byte[4];
        disk.Read(fat, entry);
        return entry[0] == media && entry[1] == 0xFF && (entry[2] == 0xFF || v.U16(22) == 0);
    }
}
