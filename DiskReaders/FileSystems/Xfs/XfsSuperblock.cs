using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Xfs;

/// <summary>
/// <c>struct xfs_dsb</c>. Specification: "XFS Algorithms &amp; Data Structures", "Superblocks". Big-endian; begins every allocation group and
/// takes a sector.
/// </summary>
internal sealed class XfsSuperblock
{
    public const int Size = 304;
    public const int ChecksumField = 224;
    public const int LargestSector = 32 << 10;
    public const ulong NoInode = ulong.MaxValue;

    private const XfsIncompat Known = XfsIncompat.FileType | XfsIncompat.SparseInodes | XfsIncompat.MetaUuid | XfsIncompat.BigTime
        | XfsIncompat.NeedsRepair | XfsIncompat.LargeExtentCounts | XfsIncompat.ExchangeRange | XfsIncompat.ParentPointers | XfsIncompat.MetadataDirectory;

    private const int LeastGroupBlocks = 64;       // XFS_MIN_AG_BLOCKS
    private const int MostGroupBlocksLog = 31;
    private const int MostDirBlockLog = 16;        // 64 KiB
    private const int GroupInodeBits = 32;
    private const int BigClusterBytes = 8192;
    private const int LeastInodeBytes = 256;

    public readonly int BlockBytes, BlockShift, SectorBytes, InodeBytes, InodesPerBlockLog, GroupBlocksLog, DirBlockBytes, InodeClusterBytes;
    public readonly long BlocksCount;
    public readonly uint GroupBlocks, GroupCount, LogBlocks;
    public readonly ulong LogStart, RootInode, MetadataRoot;
    public readonly int Version;
    public readonly bool IsV5, HasFileType, HasSparseInodes;
    public readonly XfsIncompat Incompat;
    public readonly uint LogIncompat;
    public readonly Guid Uuid, MetaUuid;
    public readonly string Label;
    public readonly bool ChecksumGood;

    private readonly ulong[] _internal;

    /// <param name="v">A whole sector, or as much of it as there is: the first bytes say how long it is.</param>
    public XfsSuperblock(BeView v)
    {
        v.Require(v.U32(0) == 0x5846_5342, 0, "sb_magicnum");
        int version = v.U16(100);
        Version = version & 0xF;
        v.Require(Version is >= 1 and <= 5, 100, "sb_versionnum");
        var bits = (XfsVersionBits)version;
        if (Version < 4 || !bits.HasFlag(XfsVersionBits.DirV2))
        {
            throw v.Unsupported(100, Version < 4 ? $"version {Version}" : "directories of version 1");
        }

        IsV5 = Version == 5;
        (BlockBytes, BlockShift) = Power(v, v.U32(4), v.U8(120), 9, 16, 4, "sb_blocksize");
        (SectorBytes, _) = Power(v, v.U16(102), v.U8(121), 9, 15, 102, "sb_sectsize");
        (InodeBytes, int inodeLog) = Power(v, v.U16(104), v.U8(122), IsV5 ? 9 : 8, 11, 104, "sb_inodesize");
        v.Require(InodeBytes <= BlockBytes && SectorBytes <= BlockBytes, 104, "sb_inodesize");
        InodesPerBlockLog = BlockShift - inodeLog;
        v.Require(v.U8(123) == InodesPerBlockLog, 123, "sb_inopblog");
        // mkfs clears it in the first superblock alone.
        v.Require(v.U8(126) == 0 || v.Offset != 0, 126, "sb_inprogress: the file system was never made to the end");
        BlocksCount = v.NonNegative64(8, "sb_dblocks");
        GroupBlocks = v.U32(84);
        GroupCount = v.U32(88);
        GroupBlocksLog = v.U8(124);
        v.Require(GroupBlocksLog <= MostGroupBlocksLog && GroupBlocks >= LeastGroupBlocks && GroupBlocks <= 1L << GroupBlocksLog && GroupBlocks > 1L << GroupBlocksLog >> 1, 84, "sb_agblocks");
        v.Require(GroupBlocksLog + InodesPerBlockLog <= GroupInodeBits, 124, "sb_agblklog");
        v.Require(GroupCount > 0 && BlocksCount <= long.MaxValue >> BlockShift, 88, "sb_agcount");
        v.Require(BlocksCount > (GroupCount - 1L) * GroupBlocks && BlocksCount <= (long)GroupCount * GroupBlocks, 8, "sb_dblocks");
        int dirLog = v.U8(192);
        v.Require(dirLog + BlockShift <= MostDirBlockLog, 192, "sb_dirblklog");
        DirBlockBytes = BlockBytes << dirLog;
        LogStart = v.U64(48);
        LogBlocks = v.U32(96);
        RootInode = v.U64(56);
        Uuid = v.Uuid(32);
        Label = LabelOf(v.Field(108, 12));
        var features2 = (XfsFeatures2)(v.U32(200) | v.U32(204));
        MetaUuid = Uuid;
        MetadataRoot = NoInode;
        List<ulong> hidden = [v.U64(64), v.U64(72)];
        if (IsV5)
        {
            Incompat = (XfsIncompat)v.U32(216);
            LogIncompat = v.U32(220);
            HasFileType = Incompat.HasFlag(XfsIncompat.FileType);
            HasSparseInodes = Incompat.HasFlag(XfsIncompat.SparseInodes);
            MetaUuid = Incompat.HasFlag(XfsIncompat.MetaUuid) ? v.Uuid(248) : Uuid;
            MetadataRoot = Incompat.HasFlag(XfsIncompat.MetadataDirectory) ? v.U64(264) : NoInode;
            hidden.Add(v.U64(232));
        }
        else
        {
            HasFileType = bits.HasFlag(XfsVersionBits.MoreBits) && features2.HasFlag(XfsFeatures2.FileType);
        }

        // Inodes are read and freed by clusters of 8 KiB, on version 5 of 32 inodes, where their alignment allows it.
        int scaled = IsV5 ? BigClusterBytes * (InodeBytes / LeastInodeBytes) : BigClusterBytes;
        InodeClusterBytes = Math.Max(BlockBytes, IsV5 && v.U32(180) >= scaled >> BlockShift ? scaled : BigClusterBytes);
        hidden.AddRange([v.U64(160), v.U64(168)]);
        if (v.U64(64) == NoInode && MetadataRoot == NoInode && RootInode < long.MaxValue)
        {
            // Copies need not know the realtime device's inodes; mkfs makes them follow the root.
            hidden.AddRange([RootInode + 1, RootInode + 2]);
        }

        hidden.RemoveAll(i => i is 0 or NoInode || i == RootInode);
        _internal = [.. hidden];
        ChecksumGood = !IsV5 || (v.Length >= SectorBytes && XfsChecksum.Good(v.Bytes[..SectorBytes], ChecksumField));
    }

    public long SizeBytes => BlocksCount << BlockShift;

    /// <summary>Bits of an inode number that count within its group.</summary>
    public int GroupInodesLog => GroupBlocksLog + InodesPerBlockLog;

    public string UuidText => Uuid.ToString("D");

    /// <summary>Bitmap, summary and quota inodes: in use, but no file.</summary>
    public bool IsInternal(ulong inode) => Array.IndexOf(_internal, inode) >= 0;

    /// <summary>The blocks of a group: the last one's may be fewer.</summary>
    public uint BlocksOf(uint group) => group == GroupCount - 1 ? (uint)(BlocksCount - ((GroupCount - 1L) * GroupBlocks)) : GroupBlocks;

    /// <summary>The first byte of a group.</summary>
    public long GroupOffset(uint group) => ((long)group * GroupBlocks) << BlockShift;

    /// <summary>The incompatible features that no reader here knows, for people; empty when all are known.</summary>
    public string UnknownIncompat()
    {
        uint unknown = (uint)(Incompat & ~Known);
        if (unknown == 0)
        {
            return "";
        }

        IEnumerable<string> names = Enumerable.Range(0, 32).Where(b => (unknown & (1u << b)) != 0).Select(b => b switch
        {
            9 => "zoned",
            10 => "zone gaps",
            _ => $"bit {b}",
        });
        return $"incompatible features {string.Join(", ", names)}";
    }

    private static (int Bytes, int Shift) Power(BeView v, uint bytes, int shift, int least, int most, int at, string field)
    {
        v.Require(shift >= least && shift <= most && bytes == 1u << shift, at, field);
        return ((int)bytes, shift);
    }

    private static string LabelOf(ReadOnlySpan<byte> bytes)
    {
        int end = bytes.IndexOf((byte)0);
        return Encoding.UTF8.GetString(end < 0 ? bytes : bytes[..end]);
    }
}
