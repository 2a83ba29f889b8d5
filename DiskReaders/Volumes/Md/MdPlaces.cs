using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Md;

/// <summary>Finds superblocks on what may be a member.</summary>
internal static class MdPlaces
{
    /// <summary>MD_SB_MAGIC.</summary>
    public const uint Magic = 0xA92B_4EFC;

    private const int SectorBytes = 512;

    /// <summary>True when any version's superblock lies where it belongs.</summary>
    public static bool IsMember(IBlockSource content)
    {
        foreach ((long offset, _) in SuperblockV1.Places(content.Length))
        {
            if (SuperblockV1.IsAt(content, offset))
            {
                return true;
            }
        }

        return SuperblockV090.IsAt(content, SuperblockV090.Place(content.Length));
    }

    /// <summary>The superblock that counts: of several sound ones that of the array made last, as mdadm chooses.</summary>
    /// <exception cref="DiskFormatException">None is sound.</exception>
    public static MdSuperblock Read(IBlockSource member, ReadContext context)
    {
        MdSuperblock? best = null;
        DiskFormatException? fault = null;
        foreach ((long offset, string version) in SuperblockV1.Places(member.Length))
        {
            if (SuperblockV1.IsAt(member, offset))
            {
                Take(() => SuperblockV1.Read(member, offset, version, context));
            }
        }

        long old = SuperblockV090.Place(member.Length);
        if (SuperblockV090.IsAt(member, old))
        {
            Take(() => SuperblockV090.Read(member, old, context));
        }

        return best ?? throw fault ?? new DiskFormatException(Fault.Corrupt, "MD superblock", -1, "none is to be found");

        void Take(Func<MdSuperblock> read)
        {
            try
            {
                MdSuperblock found = read();
                best = best is null || found.CreationTime > best.CreationTime ? found : best;
            }
            catch (DiskFormatException e)
            {
                fault ??= e;
            }
        }
    }

    /// <summary>
    /// True when the version 0.90 superblock at the end of a disk is that of its last partition: one that the disk's own table
    /// names, and for which the superblock lies where it belongs. An array's own partitions end before the superblock.
    /// </summary>
    public static bool IsOfPartition(IBlockSource disk, long superblock)
    {
        Span<byte> sector = stackalloc byte[SectorBytes];
        if (!disk.TryRead(0, sector) || sector[510] != 0x55 || sector[511] != 0xAA)
        {
            return false;
        }

        for (int at = 446; at < 510; at += 16)
        {
            byte type = sector[at + 4];
            long start = (long)BinaryPrimitives.ReadUInt32LittleEndian(sector[(at + 8)..]) * SectorBytes;
            long length = (long)BinaryPrimitives.ReadUInt32LittleEndian(sector[(at + 12)..]) * SectorBytes;
            if (type == 0xEE)
            {
                return IsOwnGpt(disk);
            }

            // A logical partition lies within an extended one, and only the last can hold the end.
            bool isExtended = type is 0x05 or 0x0F or 0x85;
            if (type != 0 && start > 0 && start < superblock
                && (isExtended ? start + length > superblock && start + length <= disk.Length : start + SuperblockV090.Place(length) == superblock))
            {
                return true;
            }
        }

        return false;
    }

    // The GPT of an array that is larger than its member has its other header elsewhere; that of a mirror ends before the superblock.
    private static bool IsOwnGpt(IBlockSource disk)
    {
        Span<byte> header = stackalloc byte[40];
        foreach (int sectorBytes in (ReadOnlySpan<int>)[512, 4096])
        {
            if (disk.TryRead(sectorBytes, header) && header.StartsWith("EFI PART"u8))
            {
                return BinaryPrimitives.ReadUInt64LittleEndian(header[32..]) == (ulong)((disk.Length / sectorBytes) - 1);
            }
        }

        return false;
    }
}
