using System.Buffers.Binary;
using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Volumes.Raid;

namespace Vmsweep.DiskReaders.Volumes.Md;

/// <summary>
/// struct mdp_superblock_1. Spec: Linux include/uapi/linux/raid/md_p.h and md(4), "MD SUPER BLOCK". Little-endian; 256 bytes and two for
/// each device. Version 1.0 lies in the last 8 KiB, 1.1 at the start, 1.2 at 4 KiB.
/// </summary>
internal static class SuperblockV1
{
    /// <summary>A superblock never takes more, which bounds its roles.</summary>
    public const int AreaBytes = 4096;

    private const string Structure = "mdp_superblock_1";
    private const int HeadBytes = 256;
    private const int ChecksumAt = 216;
    private const int SectorShift = 9;
    private const uint MostRoles = (AreaBytes - HeadBytes) / 2;

    /// <summary>As the kernel: a log of one page.</summary>
    private const int MostLogSectors = 8;

    private const uint RecoveryOffset = 2, ReshapeActive = 4, BadBlocks = 8, Replacement = 16, JournalFeature = 512, PartialParityLog = 1024, MultipleLogs = 2048, Raid0Layout = 4096;

    /// <summary>MD_FEATURE_ALL.</summary>
    private const uint KnownFeatures = 0x1FFF;

    private static readonly string[] Versions = ["1.1", "1.2", "1.0"];

    /// <summary>Where the versions lie on a member.</summary>
    public static IEnumerable<(long Offset, string Version)> Places(long memberBytes)
    {
        long sectors = memberBytes >> SectorShift;
        return new[] { 0L, 8, (sectors - 16) & ~7L }.Zip(Versions, (sector, version) => (sector << SectorShift, version)).Where(p => p.Item1 >= 0);
    }

    /// <summary>True when a superblock that belongs to this place begins here. What lies at the end may be a last partition's.</summary>
    public static bool IsAt(IBlockSource member, long offset)
    {
        Span<byte> head = stackalloc byte[HeadBytes];
        return member.TryRead(offset, head)
            && BinaryPrimitives.ReadUInt32LittleEndian(head) == MdPlaces.Magic
            && BinaryPrimitives.ReadUInt32LittleEndian(head[4..]) == 1
            && BinaryPrimitives.ReadUInt64LittleEndian(head[144..]) == (ulong)offset >> SectorShift;
    }

    /// <exception cref="DiskFormatException">The superblock is not sound.</exception>
    public static MdSuperblock Read(IBlockSource member, long offset, string version, ReadContext context)
    {
        using RentedBuffer buffer = context.Budget.Rent(AreaBytes);
        int bytes = (int)Math.Min(AreaBytes, member.Length - offset);
        member.Read(offset, buffer.Span[..bytes]);
        LeView v = new(buffer.Span[..bytes], Structure, offset);
        uint maxDevices = v.U32(220);
        v.Require(maxDevices <= MostRoles, 220, "max_dev");
        LeView whole = v.Inner(0, HeadBytes + (2 * (int)maxDevices), Structure);
        v.Require(Checksum(whole.Bytes) == v.U32(ChecksumAt), ChecksumAt, "sb_csum");

        uint features = v.U32(8);
        long dataOffset = Sectors(v, 128, "data_offset");
        long dataBytes = Sectors(v, 136, "data_size");
        long deviceBytes = Sectors(v, 80, "size");
        int level = v.I32(72);
        uint raidDisks = v.U32(92);
        v.Require(raidDisks is > 0 and <= MostRoles, 92, "raid_disks");
        v.Require(dataOffset <= member.Length && dataBytes <= member.Length - dataOffset, 136, "data_size");
        v.Require(dataBytes >= deviceBytes || level is 0 or -1, 80, "size");
        int[] roles = new int[maxDevices];
        for (int i = 0; i < roles.Length; i++)
        {
            roles[i] = v.U16(HeadBytes + (2 * i));
        }

        ulong resyncOffset = v.U64(208);
        return new MdSuperblock
        {
            Version = version,
            ArrayId = string.Join(':', v.Field(16, 16).ToArray().Chunk(4).Select(Convert.ToHexStringLower)),
            Name = Encoding.UTF8.GetString(Terminated(v.Field(32, 32))),
            CreationTime = v.U64(64) & 0xFF_FFFF_FFFF,
            Level = level,
            Layout = level != 0 || (features & Raid0Layout) != 0 ? v.I32(76) : 0,
            ChunkBytes = (long)v.U32(88) << SectorShift,
            RaidDisks = raidDisks,
            DeviceBytes = deviceBytes,
            DataOffset = dataOffset,
            DataBytes = dataBytes,
            Offset = offset,
            AreaBytes = bytes,
            Events = v.U64(200),
            DeviceNumber = v.U32(160),
            Roles = roles,
            RecoveredBytes = (features & RecoveryOffset) != 0 ? Recovered(v) : null,
            IsReplacement = (features & Replacement) != 0,
            IsReshaping = (features & ReshapeActive) != 0,
            IsDirty = resyncOffset < (ulong)(deviceBytes >> SectorShift),
            HasJournal = (features & JournalFeature) != 0,
            HasPartialParityLog = (features & (PartialParityLog | MultipleLogs)) != 0,
            BadBlocks = (features & BadBlocks) != 0 ? ReadBadBlocks(member, v, dataOffset, dataBytes, context) : [],
            Refusal = (features & ~KnownFeatures) != 0 ? v.Unsupported(8, "feature_map") : null,
        };
    }

    /// <summary>The sum of all words, sb_csum taken as 0, with its high half added to its low one.</summary>
    public static uint Checksum(ReadOnlySpan<byte> superblock)
    {
        ulong sum = 0;
        int at = 0;
        for (; at + 4 <= superblock.Length; at += 4)
        {
            sum += at == ChecksumAt ? 0 : BinaryPrimitives.ReadUInt32LittleEndian(superblock[at..]);
        }

        sum += at < superblock.Length ? BinaryPrimitives.ReadUInt16LittleEndian(superblock[at..]) : 0u;
        return unchecked((uint)sum + (uint)(sum >> 32));
    }

    private static long Sectors(LeView v, int at, string field)
    {
        ulong sectors = v.U64(at);
        v.Require(sectors <= long.MaxValue >> SectorShift, at, field);
        return (long)sectors << SectorShift;
    }

    private static long? Recovered(LeView v)
    {
        // All ones, and anything beyond the end: all of it.
        ulong sectors = v.U64(152);
        return sectors <= long.MaxValue >> SectorShift ? (long)sectors << SectorShift : null;
    }

    private static ReadOnlySpan<byte> Terminated(ReadOnlySpan<byte> name) => name.IndexOf((byte)0) is >= 0 and var end ? name[..end] : name;

    // Entries of 54 bits of sector, from the member's start, and 10 of length; all ones ends the list.
    private static List<DistrustedRange> ReadBadBlocks(IBlockSource member, LeView v, long dataOffset, long dataBytes, ReadContext context)
    {
        int sectors = v.U16(186);
        int shift = v.U8(185);
        long at = v.Offset + ((long)v.I32(188) << SectorShift);
        v.Require(sectors is > 0 and <= MostLogSectors, 186, "bblog_size");
        v.Require(shift < 32, 185, "bblog_shift");
        int bytes = sectors << SectorShift;
        v.Require(at >= 0 && at <= member.Length - bytes, 188, "bblog_offset");
        using RentedBuffer log = context.Budget.Rent(bytes);
        member.Read(at, log.Span);
        List<DistrustedRange> ranges = [];
        for (int i = 0; i < bytes; i += 8)
        {
            ulong entry = BinaryPrimitives.ReadUInt64LittleEndian(log.Span[i..]);
            if (entry == ulong.MaxValue)
            {
                break;
            }

            // What lies outside the data concerns no one.
            UInt128 start = (UInt128)(entry >> 10) << (shift + SectorShift);
            UInt128 end = start + ((UInt128)(entry & 0x3FF) << (shift + SectorShift));
            long from = (long)UInt128.Clamp(start, (ulong)dataOffset, (ulong)(dataOffset + dataBytes));
            long to = (long)UInt128.Clamp(end, (ulong)dataOffset, (ulong)(dataOffset + dataBytes));
            if (to > from)
            {
                ranges.Add(new DistrustedRange(from - dataOffset, to - from));
            }
        }

        return ranges;
    }
}
