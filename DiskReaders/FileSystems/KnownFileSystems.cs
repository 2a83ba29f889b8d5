using System.Buffers.Binary;
using System.Globalization;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems;

/// <summary>File systems known by signature alone, to be asked after the ones that are read. Long signatures come before short ones.</summary>
public static class KnownFileSystems
{
    // Each from its own specification or kernel header: Linux include/uapi/linux/magic.h and fs/*/, Apple TN1150 and "Apple File
    // System Reference", illumos sys/fs/ufs_fs.h, OS/2 "HPFS", Haiku bfs.h.
    private static readonly Signature[] Table =
    [
        Signature.Of("bcachefs", "bcachefs", 4096 + 24, [0xC6, 0x85, 0x73, 0xF6, 0x66, 0xCE, 0x90, 0xA9, 0xD9, 0x6A, 0x60, 0xCF, 0x80, 0x3D, 0xF7, 0xEF]),
        Signature.Of("cramfs", "cramfs", 0, [0x45, 0x3D, 0xCD, 0x28]),
        Signature.Of("cramfs", "cramfs", 512, [0x45, 0x3D, 0xCD, 0x28]),
        Signature.Of("cramfs", "cramfs, big-endian", 0, [0x28, 0xCD, 0x3D, 0x45]),
        Signature.Of("romfs", "romfs", 0, "-rom1fs-"u8),
        Signature.Of("apfs", "APFS container", 32, "NXSB"u8),
        Signature.Of("jfs", "JFS", 0x8000, "JFS1"u8),
        Signature.Of("reiserfs", "ReiserFS 3.5", 0x10034, "ReIsErFs"u8),
        Signature.Of("reiserfs", "ReiserFS 3.6", 0x10034, "ReIsEr2Fs"u8),
        Signature.Of("reiserfs", "ReiserFS with relocated journal", 0x10034, "ReIsEr3Fs"u8),
        Signature.Of("reiserfs", "ReiserFS 3.5", 0x2034, "ReIsErFs"u8),
        Signature.Of("reiser4", "Reiser4", 0x10000, "ReIsEr4"u8),
        Signature.Of("f2fs", "F2FS", 1024, [0x10, 0x20, 0xF5, 0xF2]),
        Signature.Of("nss", "Novell Storage Services", 4096, "SPB5"u8),
        Signature.Of("ocfs2", "OCFS2", 2 * 512, "OCFSV2"u8),
        Signature.Of("ocfs2", "OCFS2", 2 * 1024, "OCFSV2"u8),
        Signature.Of("ocfs2", "OCFS2", 2 * 2048, "OCFSV2"u8),
        Signature.Of("ocfs2", "OCFS2", 2 * 4096, "OCFSV2"u8),
        Signature.Of("hpfs", "HPFS", 16 * 512, [0x49, 0xE8, 0x95, 0xF9, 0xC5, 0xE9, 0x53, 0xFA]),
        Signature.Of("vmfs", "VMware VMFS", 2 << 20, [0x5E, 0xF1, 0xAB, 0x2F]),
        Signature.Of("bfs", "BeFS", 512 + 32, "1SFB"u8),
        Signature.Of("bfs", "BeFS", 32, "1SFB"u8),
        Signature.Of("bfs", "BeFS, big-endian", 512 + 32, "BFS1"u8),
        Signature.Of("ubifs", "UBI volume", 0, "UBI#"u8),
    ];

    private static readonly Signature[] Hfs =
    [
        Signature.Of("hfsplus", "HFS+ in an HFS wrapper", 1024 + 124, "H+"u8),
        Signature.Of("hfs", "HFS", 1024, "BD"u8),
        Signature.Of("hfsplus", "HFS+", 1024, [0x48, 0x2B, 0x00, 0x04]),
        Signature.Of("hfsx", "HFSX", 1024, [0x48, 0x58, 0x00, 0x05]),
    ];

    /// <summary>Names of all that is recognised, for people.</summary>
    public static IEnumerable<string> Titles =>
        [.. Table.Concat(Hfs).Select(s => s.Detail), "ReFS", "SquashFS before 4.0 or big-endian", "High Sierra", "Linux swap", "UFS1", "UFS2", "GFS", "GFS2", "NILFS2", "Minix"];

    /// <summary>What a volume holds, when it is a file system that no reader here opens; null otherwise.</summary>
    public static Recognised? Recognise(IBlockSource volume) =>
        Signature.Find(volume, Table) ?? Squashfs(volume) ?? Refs(volume) ?? HighSierra(volume) ?? Swap(volume) ?? Ufs(volume)
        ?? Gfs(volume) ?? Hfs1(volume) ?? Nilfs(volume) ?? Minix(volume);

    // s_major and s_minor at 28 in all versions; 4 is little-endian alone and is read.
    private static Recognised? Squashfs(IBlockSource volume)
    {
        Span<byte> start = stackalloc byte[32];
        if (!volume.TryRead(0, start))
        {
            return null;
        }

        bool isBig = start.StartsWith("sqsh"u8);
        if (!isBig && !start.StartsWith("hsqs"u8))
        {
            return null;
        }

        ushort major = isBig ? BinaryPrimitives.ReadUInt16BigEndian(start[28..]) : BinaryPrimitives.ReadUInt16LittleEndian(start[28..]);
        ushort minor = isBig ? BinaryPrimitives.ReadUInt16BigEndian(start[30..]) : BinaryPrimitives.ReadUInt16LittleEndian(start[30..]);
        return major == 4 && !isBig
            ? null
            : new Recognised("squashfs", Fault.Unsupported, string.Create(CultureInfo.InvariantCulture, $"SquashFS {major}.{minor}{(isBig ? ", big-endian" : "")}"));
    }

    // Boot sector: "ReFS" at 3, "FSRS" at 16, major and minor version at 40.
    private static Recognised? Refs(IBlockSource volume)
    {
        Span<byte> boot = stackalloc byte[42];
        return volume.TryRead(0, boot) && boot[3..].StartsWith("ReFS\0\0\0\0"u8) && boot[16..].StartsWith("FSRS"u8)
            ? new Recognised("refs", Fault.Unsupported, string.Create(CultureInfo.InvariantCulture, $"ReFS {boot[40]}.{boot[41]}"))
            : null;
    }

    // The predecessor of ISO 9660: "High Sierra" descriptors begin with their block number in both byte orders.
    private static Recognised? HighSierra(IBlockSource volume) =>
        volume.HasAt(0x8000 + 9, "CDROM"u8) ? new Recognised("hsfs", Fault.Unsupported, "High Sierra") : null;

    // Linux include/linux/swap.h, kernel/power/swap.c: the last ten bytes of the first page, whatever its size; others while suspended.
    private static Recognised? Swap(IBlockSource volume)
    {
        Span<byte> magic = stackalloc byte[10];
        for (int page = 4096; page <= 65536; page *= 2)
        {
            if (!volume.TryRead(page - magic.Length, magic))
            {
                break;
            }

            string detail = magic switch
            {
                _ when magic.SequenceEqual("SWAPSPACE2"u8) => "Linux swap",
                _ when magic.SequenceEqual("SWAP-SPACE"u8) => "Linux swap, version 0",
                _ when magic.StartsWith("S1SUSPEND"u8) || magic.StartsWith("S2SUSPEND"u8) || magic.StartsWith("ULSUSPEND"u8)
                    || magic.StartsWith("LINHIB0001"u8) => "Linux swap holding a suspended system",
                _ => "",
            };
            if (detail.Length > 0)
            {
                return new Recognised("swap", Fault.Unsupported, detail);
            }
        }

        return null;
    }

    // struct fs: fs_magic at 1372 of the superblock, in either byte order, at one of SBLOCKSEARCH.
    private static Recognised? Ufs(IBlockSource volume)
    {
        Span<byte> magic = stackalloc byte[4];
        foreach (int at in (ReadOnlySpan<int>)[65536, 8192, 0, 262144])
        {
            if (!volume.TryRead(at + 1372, magic))
            {
                continue;
            }

            uint little = BinaryPrimitives.ReadUInt32LittleEndian(magic);
            uint big = BinaryPrimitives.ReadUInt32BigEndian(magic);
            if (little == 0x1954_0119 || big == 0x1954_0119)
            {
                return new Recognised("ufs", Fault.Unsupported, "UFS2");
            }

            if (little == 0x0001_1954 || big == 0x0001_1954)
            {
                return new Recognised("ufs", Fault.Unsupported, "UFS1");
            }
        }

        return null;
    }

    // struct gfs2_sb: mh_magic at 64 KiB, sb_fs_format at 24; big-endian.
    private static Recognised? Gfs(IBlockSource volume)
    {
        Span<byte> start = stackalloc byte[28];
        if (!volume.TryRead(0x10000, start) || !start.StartsWith<byte>([0x01, 0x16, 0x19, 0x70]))
        {
            return null;
        }

        bool isSecond = BinaryPrimitives.ReadUInt32BigEndian(start[24..]) >= 1800;
        return new Recognised(isSecond ? "gfs2" : "gfs", Fault.Unsupported, isSecond ? "GFS2" : "GFS");
    }

    private static Recognised? Hfs1(IBlockSource volume) =>
        volume.HasAt(1024, "BD"u8) || volume.HasAt(1024, "H"u8) ? Signature.Find(volume, volume.HasAt(1024, "BD"u8) ? Hfs : Hfs[2..]) : null;

    // struct nilfs_super_block: s_rev_level 2 at 0, s_magic 0x3434 at 6.
    private static Recognised? Nilfs(IBlockSource volume)
    {
        Span<byte> start = stackalloc byte[8];
        return volume.TryRead(1024, start) && BinaryPrimitives.ReadUInt32LittleEndian(start) == 2 && BinaryPrimitives.ReadUInt16LittleEndian(start[6..]) == 0x3434
            ? new Recognised("nilfs2", Fault.Unsupported, "NILFS2")
            : null;
    }

    // struct minix_super_block and minix3_super_block: two bytes are little, so the counts beside them must make sense.
    private static Recognised? Minix(IBlockSource volume)
    {
        Span<byte> block = stackalloc byte[32];
        if (!volume.TryRead(1024, block))
        {
            return null;
        }

        ushort inodeMaps = BinaryPrimitives.ReadUInt16LittleEndian(block[4..]);
        ushort zoneMaps = BinaryPrimitives.ReadUInt16LittleEndian(block[6..]);
        ushort firstZone = BinaryPrimitives.ReadUInt16LittleEndian(block[8..]);
        ushort logZone = BinaryPrimitives.ReadUInt16LittleEndian(block[10..]);
        if (BinaryPrimitives.ReadUInt16LittleEndian(block[16..]) is 0x137F or 0x138F or 0x2468 or 0x2478
            && inodeMaps > 0 && zoneMaps > 0 && firstZone > inodeMaps + zoneMaps && logZone <= 10)
        {
            return new Recognised("minix", Fault.Unsupported, "Minix");
        }

        return BinaryPrimitives.ReadUInt16LittleEndian(block[24..]) == 0x4D5A && BinaryPrimitives.ReadUInt16LittleEndian(block[6..]) > 0
            && BinaryPrimitives.ReadUInt16LittleEndian(block[8..]) > 0
            ? new Recognised("minix", Fault.Unsupported, "Minix 3")
            : null;
    }
}
