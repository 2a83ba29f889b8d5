using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Xfs;

/// <summary>
/// The target of a symbolic link that does not fit its inode, on file systems of version 5: a <c>struct xfs_dsymlink_hdr</c> begins each extent.
/// Specification: "XFS Algorithms &amp; Data Structures", "Symbolic Links", "Extent Symbolic Links".
/// </summary>
internal static class RemoteLink
{
    public const int MostBytes = 1024;             // XFS_SYMLINK_MAXLEN
    private const int HeaderBytes = 56;
    private const int ChecksumField = 12;
    private const uint Magic = 0x5853_4C4D;        // XSLM

    /// <exception cref="DiskFormatException">The target cannot be read whole.</exception>
    public static byte[] Read(XfsVolume volume, ReadOnlySpan<byte> extents, ulong inode, int length)
    {
        byte[] target = new byte[length];
        int at = 0;
        Span<byte> header = stackalloc byte[HeaderBytes];
        for (int i = 0; i < extents.Length && at < length; i += BmbtRecord.Size)
        {
            var record = new BmbtRecord(extents[i..]);
            long offset = volume.ByteOf(record.FsBlock, record.Count, "xfs_bmbt_rec", volume.InodeOffset(inode));
            volume.Read(offset, header);
            var v = new BeView(header, "xfs_dsymlink_hdr", offset);
            v.Require(v.U32(0) == Magic, 0, "sl_magic");
            v.Require(v.U32(4) == at, 4, "sl_offset");
            v.Require(v.U64(32) == inode, 32, "sl_owner");
            v.Require(v.Uuid(16) == volume.Super.MetaUuid, 16, "sl_uuid");
            uint bytes = v.U32(8);
            v.Require(bytes > 0 && bytes <= length - at && bytes <= ((long)record.Count << volume.Super.BlockShift) - HeaderBytes, 8, "sl_bytes");
            volume.Read(offset + HeaderBytes, target.AsSpan(at, (int)bytes));
            CheckSum(volume, offset, (long)record.Count << volume.Super.BlockShift, inode);
            at += (int)bytes;
        }

        return at == length
            ? target
            : throw new DiskFormatException(Fault.Truncated, "xfs_dsymlink_hdr", volume.InodeOffset(inode), $"{at} of the target's {length} bytes are there");
    }

    private static void CheckSum(XfsVolume volume, long offset, long bytes, ulong inode)
    {
        const int LargestExtent = 64 << 10;        // no target needs more than a block of the largest size
        if (bytes > LargestExtent || volume.IsPatched(offset, bytes))
        {
            return;
        }

        using RentedBuffer buffer = volume.Context.Budget.Rent((int)bytes);
        volume.Read(offset, buffer.Span);
        if (!XfsChecksum.Good(buffer.Span, ChecksumField))
        {
            volume.Context.Gaps.Add(new CoverageGap(Fault.Corrupt, $"inode {inode}", "xfs_dsymlink_hdr", offset + ChecksumField, 0, "bad sl_crc"));
        }
    }
}
