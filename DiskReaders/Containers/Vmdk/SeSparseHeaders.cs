using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Vmdk;

/// <summary>
/// The constant header of a space-efficient sparse extent, its first sector. VMware has not published the format; names and values
/// are those of QEMU's <c>VMDKSESparseConstHeader</c> (block/vmdk.c), every field of which is checked as strictly as there.
/// Little-endian; offsets and sizes in sectors.
/// </summary>
internal readonly struct SeSparseConstHeader
{
    public const int Size = 512;
    public const ulong MagicNumber = 0x0000_0000_CAFE_BABE;

    /// <summary>The only grain size known, in sectors.</summary>
    public const int GrainSize = 8;

    /// <summary>The only grain table size known, in sectors: 4,096 entries of 8 bytes.</summary>
    public const int GrainTableSize = 64;

    private const ulong KnownVersion = 0x0000_0002_0000_0001;

    public SeSparseConstHeader(LeView v)
    {
        v.Require(v.U64(0) == MagicNumber, 0, "magic");
        if (v.U64(8) != KnownVersion)
        {
            throw v.Unsupported(8, "version");
        }

        Capacity = v.NonNegative64(16, "capacity");
        v.Require(Capacity > 0, 16, "capacity");
        if (Capacity > VmdkLimits.MostCapacitySectors)
        {
            throw v.TooLarge(16, "capacity");
        }

        if (v.U64(24) != GrainSize)
        {
            throw v.Unsupported(24, "grain_size");
        }

        if (v.U64(32) != GrainTableSize)
        {
            throw v.Unsupported(32, "grain_table_size");
        }

        if (v.U64(40) != 0)
        {
            throw v.Unsupported(40, "flags");
        }

        if (v.Field(48, 32).ContainsAnyExcept((byte)0))
        {
            throw v.Unsupported(48, "reserved fields");
        }

        VolatileHeaderOffset = SectorsInFile(v, 80, "volatile_header_offset");
        GrainDirOffset = SectorsInFile(v, 128, "grain_dir_offset");
        GrainDirSize = SectorsInFile(v, 136, "grain_dir_size");
        GrainTablesOffset = SectorsInFile(v, 144, "grain_tables_offset");
        GrainTablesSize = SectorsInFile(v, 152, "grain_tables_size");
        GrainsOffset = SectorsInFile(v, 192, "grains_offset");
        if (v.Field(208, 304).ContainsAnyExcept((byte)0))
        {
            throw v.Unsupported(208, "padding");
        }

        const long Coverage = GrainSize * (GrainTableSize * VmdkLimits.SectorBytes / sizeof(ulong));
        v.Require(GrainDirSize * VmdkLimits.SectorBytes / sizeof(ulong) >= (Capacity + Coverage - 1) / Coverage, 136, "grain_dir_size");
    }

    /// <summary><c>capacity</c>.</summary>
    public long Capacity { get; }

    /// <summary><c>volatile_header_offset</c>.</summary>
    public long VolatileHeaderOffset { get; }

    /// <summary><c>grain_dir_offset</c>.</summary>
    public long GrainDirOffset { get; }

    /// <summary><c>grain_dir_size</c>.</summary>
    public long GrainDirSize { get; }

    /// <summary><c>grain_tables_offset</c>.</summary>
    public long GrainTablesOffset { get; }

    /// <summary><c>grain_tables_size</c>.</summary>
    public long GrainTablesSize { get; }

    /// <summary><c>grains_offset</c>.</summary>
    public long GrainsOffset { get; }

    private static long SectorsInFile(LeView v, int at, string field)
    {
        ulong value = v.U64(at);
        v.Require(value <= VmdkLimits.MostFileBytes / VmdkLimits.SectorBytes, at, field);
        return (long)value;
    }
}

/// <summary>The volatile header of a space-efficient sparse extent: QEMU's <c>VMDKSESparseVolatileHeader</c>. Little-endian, 512 bytes.</summary>
internal static class SeSparseVolatileHeader
{
    public const int Size = 512;
    public const ulong MagicNumber = 0x0000_0000_CAFE_CAFE;

    /// <exception cref="DiskFormatException">The header is bad, or the journal holds metadata that is not yet in the tables.</exception>
    public static void Check(LeView v)
    {
        v.Require(v.U64(0) == MagicNumber, 0, "magic");
        if (v.U64(24) != 0)
        {
            throw v.Unsupported(24, "replay_journal: the journal has not been written back");
        }

        if (v.Field(32, 480).ContainsAnyExcept((byte)0))
        {
            throw v.Unsupported(32, "padding");
        }
    }
}
