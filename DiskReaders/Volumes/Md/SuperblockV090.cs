using System.Buffers.Binary;
using System.Globalization;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Md;

/// <summary>
/// struct mdp_superblock_s, version 0.90. Spec: Linux include/uapi/linux/raid/md_p.h and md(4), "MD SUPER BLOCK". 1024 words in the byte
/// order of the machine that wrote them, in the last 64 KiB-aligned 64 KiB of the member; data begins at its start.
/// </summary>
internal static class SuperblockV090
{
    private const string Structure = "mdp_superblock_s";

    /// <summary>MD_RESERVED_BYTES.</summary>
    private const int ReservedBytes = 64 << 10;

    private const int Bytes = 4096;
    private const int Disks = 27;
    private const int DisksAt = 128 * 4;
    private const int DiskBytes = 32 * 4;
    private const int ThisDiskAt = 992 * 4;
    private const int ChecksumAt = 38 * 4;
    private const uint Clean = 1;
    private const uint DiskFaulty = 1, DiskSync = 4, DiskJournal = 1 << 18;

    /// <summary>Where it lies; negative when the member is too small.</summary>
    public static long Place(long memberBytes) => (memberBytes & ~(ReservedBytes - 1L)) - ReservedBytes;

    /// <summary>True when a superblock lies here that may be this member's.</summary>
    public static bool IsAt(IBlockSource member, long offset)
    {
        Span<byte> head = stackalloc byte[36];
        if (offset < 0 || !member.TryRead(offset, head))
        {
            return false;
        }

        bool isLittle = BinaryPrimitives.ReadUInt32LittleEndian(head) == MdPlaces.Magic;
        if (!isLittle && BinaryPrimitives.ReadUInt32BigEndian(head) != MdPlaces.Magic)
        {
            return false;
        }

        uint major = isLittle ? head[4] : head[7];
        long size = 1024L * (isLittle ? BinaryPrimitives.ReadUInt32LittleEndian(head[32..]) : BinaryPrimitives.ReadUInt32BigEndian(head[32..]));
        return major == 0 && size <= offset && !MdPlaces.IsOfPartition(member, offset);
    }

    /// <exception cref="DiskFormatException">The superblock is not sound.</exception>
    public static MdSuperblock Read(IBlockSource member, long offset, ReadContext context)
    {
        using RentedBuffer buffer = context.Budget.Rent(Bytes);
        Span<byte> words = buffer.Span;
        member.Read(offset, words);
        bool isLittle = BinaryPrimitives.ReadUInt32LittleEndian(words) == MdPlaces.Magic;
        for (int i = 0; !isLittle && i < Bytes; i += 4)
        {
            words.Slice(i, 4).Reverse();
        }

        LeView v = new(words, Structure, offset);
        v.Require(Checksum(words) == v.U32(ChecksumAt), ChecksumAt, "sb_csum");
        uint minor = v.U32(2 * 4);
        v.Require(v.U32(4) == 0 && minor is 90 or 91, 4, "version");
        int level = v.I32(7 * 4);
        uint raidDisks = v.U32(10 * 4);
        uint number = v.U32(ThisDiskAt);
        long deviceBytes = v.U32(8 * 4) * 1024L;
        v.Require(raidDisks is > 0 and <= Disks, 10 * 4, "raid_disks");
        v.Require(deviceBytes <= offset, 8 * 4, "size");
        int[] roles = new int[Disks];
        for (int i = 0; i < Disks; i++)
        {
            LeView disk = v.Inner(DisksAt + (i * DiskBytes), DiskBytes, "mdp_device_descriptor_s");
            uint state = disk.U32(16);
            roles[i] = (state & DiskJournal) != 0 ? MdSuperblock.Journal
                : (state & DiskFaulty) != 0 ? MdSuperblock.Faulty
                : (state & DiskSync) != 0 && disk.U32(12) < Disks ? (int)disk.U32(12)
                : MdSuperblock.Spare;
        }

        // 64-bit values lie as the machine had them, so their halves are turned over too.
        ulong first = v.U32(39 * 4);
        ulong second = v.U32(40 * 4);
        return new MdSuperblock
        {
            Version = "0.90",
            ArrayId = string.Create(CultureInfo.InvariantCulture, $"{v.U32(5 * 4):x8}:{v.U32(13 * 4):x8}:{v.U32(14 * 4):x8}:{v.U32(15 * 4):x8}"),
            CreationTime = v.U32(6 * 4),
            Level = level,
            Layout = level == 0 ? 0 : v.I32(64 * 4),
            ChunkBytes = v.U32(65 * 4),
            RaidDisks = raidDisks,
            DeviceBytes = deviceBytes,
            DataOffset = 0,
            DataBytes = offset,
            Offset = offset,
            AreaBytes = Bytes,
            Events = isLittle ? (second << 32) | first : (first << 32) | second,
            DeviceNumber = number,
            Roles = roles,
            IsReshaping = minor == 91 && (v.U32(44 * 4) & v.U32(45 * 4)) != uint.MaxValue,
            IsDirty = (v.U32(33 * 4) & Clean) == 0,
        };
    }

    /// <summary>The sum of all words, sb_csum taken as 0, with its high half added to its low one.</summary>
    public static uint Checksum(ReadOnlySpan<byte> littleEndianWords)
    {
        ulong sum = 0;
        for (int at = 0; at < Bytes; at += 4)
        {
            sum += at == ChecksumAt ? 0 : BinaryPrimitives.ReadUInt32LittleEndian(littleEndianWords[at..]);
        }

        return unchecked((uint)sum + (uint)(sum >> 32));
    }
}
