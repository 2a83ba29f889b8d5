using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Erofs;

/// <summary><c>feature_incompat</c>. Some bits have two names, as two features came with one release.</summary>
[Flags]
internal enum ErofsIncompat : uint
{
    ZeroPadding = 0x1,
    ComprCfgsOrBigPcluster = 0x2,
    ChunkedFile = 0x4,
    DeviceTableOrComprHead2 = 0x8,
    ZTailPacking = 0x10,
    FragmentsOrDedupe = 0x20,
    XattrPrefixes = 0x40,
    Known = 0x7F,
}

/// <summary><c>struct erofs_super_block</c> at 1024. Specification: EROFS "Core on-disk format" (erofs.docs.kernel.org) and erofs_fs.h. Little-endian, 128 bytes.</summary>
internal sealed class ErofsSuperblock
{
    public const int Offset = 1024;
    public const int Size = 128;
    public const uint Magic = 0xE0F5_E1E2;
    private const uint CompatChecksum = 1;

    public readonly int BlockShift;
    public readonly ulong RootNid;
    public readonly ulong PackedNid;
    public readonly long Blocks;
    public readonly long MetaOffset;
    public readonly ErofsIncompat Incompat;
    public readonly int ExtraDevices;
    public readonly long DeviceTableOffset;
    public readonly string UuidText;
    public readonly string VolumeName;
    public readonly bool HasChecksum;

    /// <exception cref="DiskFormatException">It is none, or asks for a feature that is not read.</exception>
    public ErofsSuperblock(LeView v)
    {
        v.Require(v.U32(0) == Magic, 0, "magic");
        BlockShift = v.U8(12);
        v.Require(BlockShift is >= 9 and <= 16, 12, "blkszbits");
        uint unknown = v.U32(80) & ~(uint)ErofsIncompat.Known;
        if (unknown != 0)
        {
            throw v.Unsupported(80, $"feature_incompat {NameOf(unknown)}");
        }

        if (v.U8(90) != 0)
        {
            throw v.Unsupported(90, "dirblkbits");
        }

        HasChecksum = (v.U32(8) & CompatChecksum) != 0;
        RootNid = v.U16(14);
        Blocks = v.U32(36);
        MetaOffset = (long)v.U32(40) << BlockShift;
        Incompat = (ErofsIncompat)v.U32(80);
        ExtraDevices = v.U16(86);
        DeviceTableOffset = v.U16(88) * (long)ErofsDevices.SlotBytes;
        PackedNid = v.U64(96);
        UuidText = new Guid(v.Field(48, 16), bigEndian: true).ToString();
        ReadOnlySpan<byte> name = v.Field(64, 16);
        int end = name.IndexOf((byte)0);
        VolumeName = Encoding.UTF8.GetString(end < 0 ? name : name[..end]);
    }

    public int BlockBytes => 1 << BlockShift;

    /// <summary>CRC-32C without the last inversion, of the superblock's block from its start, the checksum taken as zeros.</summary>
    public static uint Checksum(Span<byte> block)
    {
        block.Slice(4, 4).Clear();
        return Crc32C.Update(uint.MaxValue, block);
    }

    /// <summary>Bytes that <see cref="Checksum"/> covers.</summary>
    public int ChecksumBytes => BlockBytes > Offset ? BlockBytes - Offset : BlockBytes;

    private static string NameOf(uint bits)
    {
        List<string> names = [];
        foreach ((uint bit, string name) in ((uint, string)[])[(0x80, "48bit"), (0x100, "metabox")])
        {
            if ((bits & bit) != 0)
            {
                names.Add(name);
                bits &= ~bit;
            }
        }

        return string.Join(", ", bits == 0 ? names : [.. names, $"0x{bits:X}"]);
    }
}
