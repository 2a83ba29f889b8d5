using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Btrfs;

/// <summary><c>incompat_flags</c>. Btrfs "On-disk Format", "Superblock".</summary>
[Flags]
internal enum BtrfsIncompat : ulong
{
    MixedBackref = 1 << 0,
    DefaultSubvol = 1 << 1,
    MixedGroups = 1 << 2,
    CompressLzo = 1 << 3,
    CompressZstd = 1 << 4,
    BigMetadata = 1 << 5,
    ExtendedIref = 1 << 6,
    Raid56 = 1 << 7,
    SkinnyMetadata = 1 << 8,
    NoHoles = 1 << 9,
    MetadataUuid = 1 << 10,
    Raid1C34 = 1 << 11,
    Zoned = 1 << 12,
    ExtentTreeV2 = 1 << 13,
    RaidStripeTree = 1 << 14,
    SimpleQuota = 1 << 16,
}

/// <summary><c>btrfs_super_block</c>: 4096 bytes, little-endian, at 64 KiB, 64 MiB and 256 GiB of each device.</summary>
internal sealed class BtrfsSuperblock
{
    public const int Size = 4096;
    public const int MagicAt = 0x40;
    public const string Structure = "btrfs_super_block";
    public const int UuidBytes = 16;

    /// <summary>The largest address accepted, so that sums of two never overflow.</summary>
    public const long MostAddress = 1L << 60;

    private const int LeastSectorBytes = 4096;
    private const int MostNodeBytes = 65536;
    private const int MostSysChunkBytes = 2048;
    private const int MostLevel = 7;
    private const ulong Metadump = (1UL << 33) | (1UL << 34);

    private const BtrfsIncompat Known = BtrfsIncompat.MixedBackref | BtrfsIncompat.DefaultSubvol | BtrfsIncompat.MixedGroups | BtrfsIncompat.CompressLzo
        | BtrfsIncompat.CompressZstd | BtrfsIncompat.BigMetadata | BtrfsIncompat.ExtendedIref | BtrfsIncompat.Raid56 | BtrfsIncompat.SkinnyMetadata
        | BtrfsIncompat.NoHoles | BtrfsIncompat.MetadataUuid | BtrfsIncompat.Raid1C34 | BtrfsIncompat.Zoned | BtrfsIncompat.SimpleQuota;

    /// <exception cref="DiskFormatException">It is no superblock, or one that contradicts itself.</exception>
    public BtrfsSuperblock(LeView v)
    {
        v.Require(v.Field(MagicAt, 8).SequenceEqual("_BHRfS_M"u8), MagicAt, "magic");
        v.Require(v.U64(0x30) == (ulong)v.Offset, 0x30, "bytenr");
        if (v.U16(0xC4) > (ushort)CsumType.Blake2b)
        {
            throw v.Unsupported(0xC4, $"csum_type {v.U16(0xC4)}");
        }

        CsumType = (CsumType)v.U16(0xC4);
        v.Require(BtrfsChecksum.IsGood(CsumType, v.Bytes[BtrfsChecksum.MostBytes..], v.Bytes), 0, "csum");
        Fsid = v.Field(0x20, UuidBytes).ToArray();
        Flags = v.U64(0x38);
        Generation = v.U64(0x48);
        Root = v.NonNegative64(0x50, "root");
        ChunkRoot = v.NonNegative64(0x58, "chunk_root");
        LogRoot = v.NonNegative64(0x60, "log_root");
        NumDevices = v.U64(0x88);
        SectorBytes = v.I32(0x90);
        NodeBytes = v.I32(0x94);
        int sysChunkBytes = v.I32(0xA0);
        ChunkRootGeneration = v.U64(0xA4);
        Incompat = (BtrfsIncompat)v.U64(0xBC);
        RootLevel = v.U8(0xC6);
        ChunkRootLevel = v.U8(0xC7);
        LogRootLevel = v.U8(0xC8);
        v.Require(SectorBytes is >= LeastSectorBytes and <= MostNodeBytes && int.IsPow2(SectorBytes), 0x90, "sectorsize");
        v.Require(NodeBytes <= MostNodeBytes && NodeBytes >= SectorBytes && int.IsPow2(NodeBytes), 0x94, "nodesize");
        v.Require(sysChunkBytes is >= 0 and <= MostSysChunkBytes, 0xA0, "sys_chunk_array_size");
        v.Require(RootLevel <= MostLevel, 0xC6, "root_level");
        v.Require(ChunkRootLevel <= MostLevel, 0xC7, "chunk_root_level");
        v.Require(LogRootLevel <= MostLevel, 0xC8, "log_root_level");
        Device = new DeviceItem(v.Inner(0xC9, DeviceItem.Size, "btrfs_dev_item"));
        ReadOnlySpan<byte> label = v.Field(0x12B, 256);
        int end = label.IndexOf((byte)0);
        Label = Encoding.UTF8.GetString(end < 0 ? label : label[..end]);
        MetadataUuid = Incompat.HasFlag(BtrfsIncompat.MetadataUuid) ? v.Field(0x23B, UuidBytes).ToArray() : Fsid;
        SysChunkArray = v.Field(0x32B, sysChunkBytes).ToArray();
        Offset = v.Offset;
    }

    public long Offset { get; }

    public CsumType CsumType { get; }

    public byte[] Fsid { get; }

    /// <summary>The id in every node's header.</summary>
    public byte[] MetadataUuid { get; }

    public ulong Flags { get; }

    public ulong Generation { get; }

    public long Root { get; }

    public long ChunkRoot { get; }

    public long LogRoot { get; }

    public ulong ChunkRootGeneration { get; }

    public ulong NumDevices { get; }

    public int SectorBytes { get; }

    public int NodeBytes { get; }

    public BtrfsIncompat Incompat { get; }

    public int RootLevel { get; }

    public int ChunkRootLevel { get; }

    public int LogRootLevel { get; }

    public DeviceItem Device { get; }

    public string Label { get; }

    public byte[] SysChunkArray { get; }

    public string FsidText => UuidText(Fsid);

    public static string UuidText(ReadOnlySpan<byte> uuid) => new Guid(uuid, bigEndian: true).ToString();

    /// <summary>Refuses what cannot be read, by name.</summary>
    public void RequireKnown()
    {
        BtrfsIncompat unknown = Incompat & ~Known;
        if (unknown != 0)
        {
            throw new DiskFormatException(Fault.Unsupported, Structure, Offset + 0xBC, $"incompat_flags: {unknown switch
            {
                BtrfsIncompat.ExtentTreeV2 => "extent tree v2",
                BtrfsIncompat.RaidStripeTree => "raid stripe tree",
                _ => $"0x{(ulong)unknown:x}",
            }}");
        }

        if ((Flags & Metadump) != 0)
        {
            throw new DiskFormatException(Fault.Unsupported, Structure, Offset + 0x38, "a metadata dump: it holds no files' data");
        }
    }
}

/// <summary><c>btrfs_dev_item</c>: 98 bytes. Which device of the file system this is.</summary>
internal sealed class DeviceItem
{
    public const int Size = 0x62;

    public DeviceItem(LeView v)
    {
        Id = v.U64(0);
        TotalBytes = v.NonNegative64(8, "total_bytes");
        BytesUsed = v.U64(16);
        Uuid = v.Field(0x42, BtrfsSuperblock.UuidBytes).ToArray();
        Fsid = v.Field(0x52, BtrfsSuperblock.UuidBytes).ToArray();
    }

    public ulong Id { get; }

    public long TotalBytes { get; }

    public ulong BytesUsed { get; }

    public byte[] Uuid { get; }

    /// <summary>Of the file system that made the device: another one's where it was a seed.</summary>
    public byte[] Fsid { get; }
}
