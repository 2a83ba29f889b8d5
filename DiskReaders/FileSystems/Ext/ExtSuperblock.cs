using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ext;

[Flags]
internal enum ExtCompat : uint
{
    HasJournal = 0x4,
    SparseSuper2 = 0x200,
}

[Flags]
internal enum ExtIncompat : uint
{
    Compression = 0x1,
    FileType = 0x2,
    Recover = 0x4,
    JournalDev = 0x8,
    MetaBg = 0x10,
    Extents = 0x40,
    Bit64 = 0x80,
    Mmp = 0x100,
    FlexBg = 0x200,
    EaInode = 0x400,
    DirData = 0x1000,
    ChecksumSeed = 0x2000,
    LargeDir = 0x4000,
    InlineData = 0x8000,
    Encrypt = 0x1_0000,
    CaseFold = 0x2_0000,
}

[Flags]
internal enum ExtRoCompat : uint
{
    SparseSuper = 0x1,
    LargeFile = 0x2,
    BtreeDir = 0x4,
    GdtChecksum = 0x10,
    Bigalloc = 0x200,
    MetadataChecksum = 0x400,
    OrphanPresent = 0x1_0000,
}

/// <summary>
/// <c>struct ext4_super_block</c>. Specification: Linux "ext4 Data Structures and Algorithms", "Super Block". Little-endian, 1024 bytes, at
/// byte 1024 of the volume and, as copies, at the first block of some groups.
/// </summary>
internal sealed class ExtSuperblock
{
    public const int Size = 1024;
    public const int PrimaryOffset = 1024;
    public const ushort Magic = 0xEF53;

    private const int MostLogBlockSize = 6;       // 64 KiB, the largest the format allows
    private const int MostLogClusterSize = 20;    // EXT4_MAX_CLUSTER_LOG_SIZE: 1 GiB
    private const ulong MostBlocks = 1UL << 48;   // extents hold 48 bits

    public const ExtIncompat Known = ExtIncompat.FileType | ExtIncompat.Recover | ExtIncompat.JournalDev | ExtIncompat.MetaBg | ExtIncompat.Extents
        | ExtIncompat.Bit64 | ExtIncompat.Mmp | ExtIncompat.FlexBg | ExtIncompat.EaInode | ExtIncompat.ChecksumSeed | ExtIncompat.LargeDir
        | ExtIncompat.InlineData | ExtIncompat.Encrypt | ExtIncompat.CaseFold;

    public readonly uint InodesCount, BlocksPerGroup, InodesPerGroup, FirstDataBlock, FirstIno, FirstMetaBg, JournalInum, OrphanFileInum, ProjectQuotaInum, UserQuotaInum, GroupQuotaInum;
    public readonly long BlocksCount, Groups;
    public readonly int BlockBytes, BlockShift, InodeBytes, DescriptorBytes, ClusterBytes;
    public readonly ushort BlockGroupNr;
    public readonly ExtCompat Compat;
    public readonly ExtIncompat Incompat;
    public readonly ExtRoCompat RoCompat;
    public readonly uint ChecksumSeed;
    public readonly bool ChecksumGood;
    public readonly byte[] Uuid;
    public readonly string VolumeName;
    public readonly uint BackupGroup0, BackupGroup1;

    public ExtSuperblock(LeView v)
    {
        v.Require(v.U16(0x38) == Magic, 0x38, "s_magic");
        InodesCount = v.U32(0x0);
        FirstDataBlock = v.U32(0x14);
        uint logBlock = v.U32(0x18);
        v.Require(logBlock <= MostLogBlockSize, 0x18, "s_log_block_size");
        BlockShift = 10 + (int)logBlock;
        BlockBytes = 1 << BlockShift;
        BlocksPerGroup = v.U32(0x20);
        InodesPerGroup = v.U32(0x28);
        bool dynamic = v.U32(0x4C) >= 1;
        FirstIno = dynamic ? v.U32(0x54) : 11;
        InodeBytes = dynamic ? v.U16(0x58) : 128;
        BlockGroupNr = v.U16(0x5A);
        Compat = dynamic ? (ExtCompat)v.U32(0x5C) : 0;
        Incompat = dynamic ? (ExtIncompat)v.U32(0x60) : 0;
        RoCompat = dynamic ? (ExtRoCompat)v.U32(0x64) : 0;
        Uuid = v.Field(0x68, 16).ToArray();
        VolumeName = Text(v.Field(0x78, 16));
        JournalInum = v.U32(0xE0);
        FirstMetaBg = v.U32(0x104);
        UserQuotaInum = v.U32(0x240);
        GroupQuotaInum = v.U32(0x244);
        BackupGroup0 = v.U32(0x24C);
        BackupGroup1 = v.U32(0x250);
        ProjectQuotaInum = v.U32(0x26C);
        OrphanFileInum = v.U32(0x280);
        ChecksumSeed = Incompat.HasFlag(ExtIncompat.ChecksumSeed) ? v.U32(0x270) : Crc32C.Update(uint.MaxValue, Uuid);
        ChecksumGood = !RoCompat.HasFlag(ExtRoCompat.MetadataChecksum) || Crc32C.Update(uint.MaxValue, v.Field(0, 0x3FC)) == v.U32(0x3FC);
        if (Incompat.HasFlag(ExtIncompat.JournalDev))
        {
            // The rest describes a file system that is not here.
            return;
        }

        ulong blocks = v.U32(0x4) | (Incompat.HasFlag(ExtIncompat.Bit64) ? (ulong)v.U32(0x150) << 32 : 0);
        v.Require(blocks > FirstDataBlock && blocks <= Math.Min(MostBlocks, (ulong)long.MaxValue >> BlockShift), 0x4, "s_blocks_count");
        BlocksCount = (long)blocks;
        v.Require(FirstDataBlock <= 1, 0x14, "s_first_data_block");
        bool bigalloc = RoCompat.HasFlag(ExtRoCompat.Bigalloc);
        uint logCluster = v.U32(0x1C);
        v.Require(!bigalloc || (logCluster >= logBlock && logCluster <= MostLogClusterSize), 0x1C, "s_log_cluster_size");
        ClusterBytes = bigalloc ? 1 << (10 + (int)logCluster) : BlockBytes;
        long mostPerGroup = 8L * BlockBytes * (ClusterBytes / BlockBytes);
        v.Require(BlocksPerGroup > 0 && BlocksPerGroup <= mostPerGroup, 0x20, "s_blocks_per_group");
        v.Require(InodesPerGroup > 0 && InodesPerGroup <= 8L * BlockBytes, 0x28, "s_inodes_per_group");
        v.Require(InodeBytes >= 128 && InodeBytes <= BlockBytes && int.IsPow2(InodeBytes), 0x58, "s_inode_size");
        DescriptorBytes = Incompat.HasFlag(ExtIncompat.Bit64) ? v.U16(0xFE) : 32;
        v.Require(DescriptorBytes >= 32 && DescriptorBytes <= Math.Min(1024, BlockBytes) && int.IsPow2(DescriptorBytes), 0xFE, "s_desc_size");
        Groups = ((BlocksCount - FirstDataBlock - 1) / BlocksPerGroup) + 1;
        v.Require(Groups <= uint.MaxValue && InodesCount == (ulong)Groups * InodesPerGroup, 0x0, "s_inodes_count");
        if (FirstIno < 11)
        {
            throw v.Corrupt(0x54, "s_first_ino");
        }
    }

    public long SizeBytes => BlocksCount << BlockShift;

    public bool HasMetadataChecksum => RoCompat.HasFlag(ExtRoCompat.MetadataChecksum);

    public bool HasGroupChecksum => HasMetadataChecksum || RoCompat.HasFlag(ExtRoCompat.GdtChecksum);

    public int DescriptorsPerBlock => BlockBytes / DescriptorBytes;

    /// <summary>What Linux would mount it as: ext4 when a feature is used that ext3 does not know, ext3 with a journal, else ext2.</summary>
    public string Kind
    {
        get
        {
            const ExtIncompat Ext3Incompat = ExtIncompat.FileType | ExtIncompat.Recover | ExtIncompat.MetaBg | ExtIncompat.JournalDev;
            const ExtRoCompat Ext3RoCompat = ExtRoCompat.SparseSuper | ExtRoCompat.LargeFile | ExtRoCompat.BtreeDir;
            return (Incompat & ~Ext3Incompat) != 0 || (RoCompat & ~Ext3RoCompat) != 0 ? "ext4"
                : Compat.HasFlag(ExtCompat.HasJournal) ? "ext3" : "ext2";
        }
    }

    public string UuidText => new Guid(Uuid, bigEndian: true).ToString();

    public long FirstBlockOfGroup(long group) => FirstDataBlock + (group * BlocksPerGroup);

    /// <summary>"Layout", sparse_super: copies in group 0 and in groups that are powers of 3, 5 and 7; sparse_super2: in two named groups.</summary>
    public bool HasSuper(long group)
    {
        if (group == 0)
        {
            return true;
        }

        if (Compat.HasFlag(ExtCompat.SparseSuper2))
        {
            return group == BackupGroup0 || group == BackupGroup1;
        }

        return group == 1 || !RoCompat.HasFlag(ExtRoCompat.SparseSuper) || IsPower(group, 3) || IsPower(group, 5) || IsPower(group, 7);
    }

    /// <summary>The features of the set that are not read, by name where the specification has one.</summary>
    public string UnknownIncompat()
    {
        ExtIncompat unknown = Incompat & ~Known;
        return unknown == 0 ? "" : $"incompatible feature {unknown} (0x{(uint)unknown:X})";
    }

    private static bool IsPower(long value, long of)
    {
        while (value % of == 0)
        {
            value /= of;
        }

        return value == 1;
    }

    private static string Text(ReadOnlySpan<byte> field)
    {
        int end = field.IndexOf((byte)0);
        return Encoding.UTF8.GetString(end < 0 ? field : field[..end]);
    }
}
