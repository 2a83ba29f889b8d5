using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Mbr;

/// <summary>Whether something that partitions begin with lies at an offset: tells in which sector size a table counts.</summary>
internal static class VolumeStart
{
    /// <summary>A boot or extended boot record, LVM2 label, LUKS, XFS, ext, Linux swap or Btrfs.</summary>
    public static bool IsKnown(IBlockSource disk, long offset)
    {
        Span<byte> bytes = stackalloc byte[8];
        return Has(disk, offset + 510, [0x55, 0xAA], bytes)
            || Has(disk, offset + 512, "LABELONE"u8, bytes)
            || Has(disk, offset, "LUKS"u8, bytes)
            || Has(disk, offset, "XFSB"u8, bytes)
            || Has(disk, offset + 1024 + 56, [0x53, 0xEF], bytes)
            || Has(disk, offset + 4086, "SWAPSPAC"u8, bytes)
            || Has(disk, offset + 0x10040, "_BHRfS_M"u8, bytes);
    }

    private static bool Has(IBlockSource disk, long offset, ReadOnlySpan<byte> wanted, Span<byte> buffer)
    {
        if (offset > disk.Length - wanted.Length)
        {
            return false;
        }

        buffer = buffer[..wanted.Length];
        disk.Read(offset, buffer);
        return buffer.SequenceEqual(wanted);
    }
}
