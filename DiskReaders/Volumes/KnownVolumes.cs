using System.Buffers.Binary;
using System.Globalization;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes;

/// <summary>
/// Volume managers, encryption and labels known by signature alone. To be asked before a file system is looked for and before a
/// whole disk's sector 0 is taken for a partition table: members keep remnants of what they were before.
/// </summary>
public static class KnownVolumes
{
    internal const string AppleMapName = "apple-partition-map";

    // FreeBSD sys/disklabel.h; OpenSolaris sys/vtoc.h, sys/dklabel.h; Inside Macintosh: Devices.
    private static readonly Signature[] Table =
    [
        Signature.Of("lvm1", "LVM1 physical volume", 0, [0x48, 0x4D, 0x01, 0x00]),
        Signature.Of("storage-spaces", "Windows Storage Spaces pool member", 0, "SPACEDB "u8),
        Signature.Of("storage-spaces", "Windows Storage Spaces pool member", 4096, "SPACEDB "u8),
        Signature.Of("isw-raid", "Intel firmware RAID member", -1024, "Intel Raid ISM Cfg Sig. "u8),
        Signature.Of("ddf-raid", "DDF RAID member", -512, [0xDE, 0x11, 0xDE, 0x11]),
        Signature.Of("vdo", "VDO deduplicated volume", 0, "dmvdo001"u8),
        Signature.Of("bluestore", "Ceph BlueStore", 0, "bluestore block device"u8),
        Signature.Of("oracle-asm", "Oracle ASM disk", 32, "ORCLDISK"u8),
        Signature.Of("bcache", "bcache", 4096 + 24, [0xC6, 0x85, 0x73, 0xF6, 0x4E, 0x1A, 0x45, 0xCA, 0x82, 0x65, 0xF5, 0x7F, 0x48, 0xBA, 0x6D, 0x81]),
        Signature.Of("vmfs-member", "VMware VMFS volume", 1 << 20, [0x0D, 0xD0, 0x01, 0xC0]),
        Signature.Of("sun-label", "Sun disk label", 188, [0x60, 0x0D, 0xDE, 0xEE]),
        Signature.Of("solaris-vtoc", "Solaris x86 VTOC", 512 + 12, [0xEE, 0xDE, 0x0D, 0x60]),
    ];

    /// <summary>Names of all that is recognised, for people.</summary>
    public static IEnumerable<string> Titles => [.. Table.Select(s => s.Detail), "ZFS pool member", "BSD disk label", "Apple partition map"];

    /// <summary>What the bytes are, when they are a volume that no reader here opens; null otherwise.</summary>
    public static Recognised? Recognise(IBlockSource volume) =>
        Signature.Find(volume, Table) ?? Zfs(volume) ?? BsdLabel(volume) ?? Apple(volume);

    // "ZFS On-Disk Specification" section 1.3: label 0 is 256 KiB at the start, its second half a ring of uberblocks of at least
    // 1 KiB. They begin with 0x00BAB10C in the writer's byte order. One alone may be stale; two are a pool.
    private static Recognised? Zfs(IBlockSource volume)
    {
        const int Ring = 128 << 10;
        Span<byte> magic = stackalloc byte[8];
        int found = 0;
        for (int at = Ring; at < 2 * Ring && found < 2; at += 1024)
        {
            if (volume.TryRead(at, magic) && (BinaryPrimitives.ReadUInt64LittleEndian(magic) == 0x00BA_B10C || BinaryPrimitives.ReadUInt64BigEndian(magic) == 0x00BA_B10C))
            {
                found++;
            }
        }

        return found == 2 ? new Recognised("zfs", Fault.Unsupported, "ZFS pool member") : null;
    }

    // struct disklabel: d_magic at 0 and d_magic2 at 132, in sector 1, or at byte 64 of sector 0.
    private static Recognised? BsdLabel(IBlockSource volume)
    {
        foreach (int at in (ReadOnlySpan<int>)[512, 64, 0])
        {
            if (volume.HasAt(at, [0x57, 0x45, 0x56, 0x82]) && volume.HasAt(at + 132, [0x57, 0x45, 0x56, 0x82]))
            {
                return new Recognised("bsd-label", Fault.Unsupported, "BSD disk label");
            }
        }

        return null;
    }

    private static Recognised? Apple(IBlockSource volume) => AppleMap.BlockBytes(volume) is > 0 and var block
        ? new Recognised(AppleMapName, Fault.Unsupported, "Apple partition map, blocks of " + block.ToString(CultureInfo.InvariantCulture))
        : null;
}
