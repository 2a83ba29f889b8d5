using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Xfs;

/// <summary>
/// <c>struct xfs_btree_block</c> with long pointers, as mapping B+trees have it. Specification: "XFS Algorithms &amp; Data Structures", "Long
/// Format B+trees".
/// </summary>
internal static class LongBtreeBlock
{
    public const int HeaderV4 = 24;
    public const int HeaderV5 = 72;

    private const uint MagicV4 = 0x424D_4150;      // BMAP
    private const uint MagicV5 = 0x424D_4133;      // BMA3
    private const int RecordBytes = 16;            // a leaf's record, or an interior key and pointer
    private const int ChecksumField = 64;

    /// <summary>Reads a block of a mapping B+tree; returns how many records it has, which all lie within it.</summary>
    /// <exception cref="DiskFormatException">It is not the block that was looked for.</exception>
    public static int Read(XfsVolume volume, long offset, Span<byte> block, int level, ulong owner)
    {
        volume.Read(offset, block);
        var v = new BeView(block, "xfs_bmbt_block", offset);
        bool isV5 = volume.Super.IsV5;
        v.Require(v.U32(0) == (isV5 ? MagicV5 : MagicV4), 0, "bb_magic");
        v.Require(v.U16(4) == level, 4, "bb_level");
        int records = v.U16(6);
        v.Require(records > 0 && records <= (block.Length - (isV5 ? HeaderV5 : HeaderV4)) / RecordBytes, 6, "bb_numrecs");
        if (isV5)
        {
            v.Require(v.U64(24) == XfsVolume.SectorOf(offset), 24, "bb_blkno");
            v.Require(v.U64(56) == owner || volume.HasNewOwner(owner), 56, "bb_owner");
            v.Require(v.Uuid(40) == volume.Super.MetaUuid, 40, "bb_uuid");
            if (!volume.IsPatched(offset, block.Length) && !XfsChecksum.Good(block, ChecksumField))
            {
                volume.Context.Gaps.Add(new CoverageGap(v.Corrupt(ChecksumField, "bb_crc"), $"inode {owner}", 0));
            }
        }

        return records;
    }
}

/// <summary>
/// <c>struct xfs_btree_block</c> with short pointers, as inode B+trees have it. Specification: "XFS Algorithms &amp; Data Structures", "Short
/// Format B+trees".
/// </summary>
internal static class ShortBtreeBlock
{
    public const int HeaderV4 = 16;
    public const int HeaderV5 = 56;
    public const int RecordBytes = 16;
    public const int KeyBytes = 4;

    private const uint MagicV4 = 0x4941_4254;      // IABT
    private const uint MagicV5 = 0x4941_4233;      // IAB3
    private const int ChecksumField = 52;

    /// <summary>Reads a block of an inode B+tree; returns how many records it has, which all lie within it.</summary>
    /// <exception cref="DiskFormatException">It is not the block that was looked for.</exception>
    public static int Read(XfsVolume volume, uint group, uint agBlock, Span<byte> block, int level)
    {
        long offset = volume.ByteOf(group, agBlock);
        volume.Read(offset, block);
        var v = new BeView(block, "xfs_inobt_block", offset);
        bool isV5 = volume.Super.IsV5;
        v.Require(v.U32(0) == (isV5 ? MagicV5 : MagicV4), 0, "bb_magic");
        v.Require(v.U16(4) == level, 4, "bb_level");
        int records = v.U16(6);
        int room = block.Length - (isV5 ? HeaderV5 : HeaderV4);
        v.Require(records <= room / (level == 0 ? RecordBytes : 2 * KeyBytes), 6, "bb_numrecs");
        if (isV5)
        {
            v.Require(v.U64(16) == XfsVolume.SectorOf(offset), 16, "bb_blkno");
            v.Require(v.U32(48) == group, 48, "bb_owner");
            v.Require(v.Uuid(32) == volume.Super.MetaUuid, 32, "bb_uuid");
            if (!volume.IsPatched(offset, block.Length) && !XfsChecksum.Good(block, ChecksumField))
            {
                volume.Context.Gaps.Add(new CoverageGap(v.Corrupt(ChecksumField, "bb_crc"), "", 0));
            }
        }

        return records;
    }
}
