using System.Numerics;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Vmdk;

/// <summary>
/// <c>SparseExtentHeader</c>: first sector of a hosted sparse extent, and the footer of a stream-optimized one.
/// Spec: VMware Virtual Disk Format 5.0, "Hosted Sparse Extents" and "Stream-Optimized Compressed Sparse Extents". Little-endian, packed,
/// 512 bytes; offsets and sizes in sectors.
/// </summary>
internal readonly struct SparseExtentHeader
{
    public const int Size = 512;

    /// <summary><c>KDMV</c>.</summary>
    public const uint MagicNumber = 0x564D_444B;

    /// <summary><c>GD_AT_END</c>: the grain directory's offset stands in the footer.</summary>
    public const ulong GdAtEnd = ulong.MaxValue;

    private const uint ValidNewLineTest = 1 << 0;
    private const uint RedundantGrainTable = 1 << 1;
    private const uint ZeroedGrain = 1 << 2;
    private const uint CompressedGrains = 1 << 16;
    private const uint HasMarkers = 1 << 17;
    private const uint KnownFlags = ValidNewLineTest | RedundantGrainTable | ZeroedGrain | CompressedGrains | HasMarkers;
    private const ushort CompressionDeflate = 1;

    public SparseExtentHeader(LeView v)
    {
        v.Require(v.U32(0) == MagicNumber, 0, "magicNumber");
        Version = v.U32(4);
        if (Version is 0 or > 3)
        {
            throw v.Unsupported(4, "version");
        }

        Flags = v.U32(8);
        if ((Flags & ~KnownFlags) != 0)
        {
            throw v.Unsupported(8, "flags");
        }

        Capacity = v.NonNegative64(12, "capacity");
        if (Capacity > VmdkLimits.MostCapacitySectors)
        {
            throw v.TooLarge(12, "capacity");
        }

        GrainSize = v.NonNegative64(20, "grainSize");
        DescriptorOffset = v.NonNegative64(28, "descriptorOffset");
        DescriptorSize = v.NonNegative64(36, "descriptorSize");
        if (DescriptorSize > VmdkLimits.MostDescriptorBytes / VmdkLimits.SectorBytes)
        {
            throw v.TooLarge(36, "descriptorSize");
        }

        // QEMU and the oslo.utils inspector take the descriptor from the second sector whatever the header says. One that lies
        // elsewhere would be read by one program and not by another.
        v.Require(DescriptorOffset is 0 or 1, 28, "descriptorOffset");
        v.Require(DescriptorOffset == 0 || DescriptorSize > 0, 36, "descriptorSize");
        NumGtesPerGt = v.U32(44);
        RgdOffset = v.NonNegative64(48, "rgdOffset");
        GdOffset = v.U64(56);
        v.Require(GdOffset is <= long.MaxValue or GdAtEnd, 56, "gdOffset");
        CompressAlgorithm = v.U16(77);
        if ((Flags & ValidNewLineTest) != 0)
        {
            // Damaged by a transfer in text mode.
            v.Require(v.U8(73) == (byte)'\n' && v.U8(74) == (byte)' ' && v.U8(75) == (byte)'\r' && v.U8(76) == (byte)'\n', 73, "line end characters");
        }

        if (Capacity == 0)
        {
            // Only a carrier of a descriptor.
            v.Require(DescriptorOffset != 0, 12, "capacity");
            return;
        }

        v.Require(GrainSize > 0 && BitOperations.IsPow2(GrainSize), 20, "grainSize");
        if (GrainSize > VmdkLimits.MostGrainSectors)
        {
            throw v.TooLarge(20, "grainSize");
        }

        v.Require(NumGtesPerGt > 0 && BitOperations.IsPow2(NumGtesPerGt), 44, "numGTEsPerGT");
        if (NumGtesPerGt > VmdkLimits.MostGtesPerGt)
        {
            throw v.TooLarge(44, "numGTEsPerGT");
        }

        bool compressed = (Flags & CompressedGrains) != 0;
        if (CompressAlgorithm > CompressionDeflate)
        {
            throw v.Unsupported(77, "compressAlgorithm");
        }

        v.Require(compressed == (CompressAlgorithm == CompressionDeflate), 77, "compressAlgorithm");

        // Without markers a compressed grain's length stands nowhere; markers over plain grains are not specified.
        if (compressed != ((Flags & HasMarkers) != 0))
        {
            throw v.Unsupported(8, "flags: compression and markers go together");
        }

        if (compressed && GrainSize > VmdkLimits.MostPackedGrainSectors)
        {
            throw v.TooLarge(20, "grainSize");
        }
    }

    /// <summary><c>version</c>: 1; 2 with zeroed grains; 3 with changed block tracking or compression.</summary>
    public uint Version { get; }

    /// <summary><c>flags</c>.</summary>
    public uint Flags { get; }

    /// <summary><c>capacity</c>, in sectors.</summary>
    public long Capacity { get; }

    /// <summary><c>grainSize</c>, in sectors.</summary>
    public long GrainSize { get; }

    /// <summary><c>descriptorOffset</c>, in sectors; 0 without an embedded descriptor.</summary>
    public long DescriptorOffset { get; }

    /// <summary><c>descriptorSize</c>, in sectors.</summary>
    public long DescriptorSize { get; }

    /// <summary><c>numGTEsPerGT</c>.</summary>
    public uint NumGtesPerGt { get; }

    /// <summary><c>rgdOffset</c>: the redundant grain directory, in sectors.</summary>
    public long RgdOffset { get; }

    /// <summary><c>gdOffset</c>: the grain directory, in sectors, or <see cref="GdAtEnd"/>.</summary>
    public ulong GdOffset { get; }

    /// <summary><c>compressAlgorithm</c>.</summary>
    public ushort CompressAlgorithm { get; }

    public bool IsCompressed => (Flags & CompressedGrains) != 0;

    public bool HasZeroedGrains => (Flags & ZeroedGrain) != 0;

    public bool HasRedundantTables => (Flags & RedundantGrainTable) != 0 && RgdOffset != 0;

    /// <summary>The first field in which a footer contradicts its header; null when they agree.</summary>
    public string? Disagreement(in SparseExtentHeader footer) =>
        Version != footer.Version ? "version"
        : Flags != footer.Flags ? "flags"
        : Capacity != footer.Capacity ? "capacity"
        : GrainSize != footer.GrainSize ? "grainSize"
        : DescriptorOffset != footer.DescriptorOffset ? "descriptorOffset"
        : DescriptorSize != footer.DescriptorSize ? "descriptorSize"
        : NumGtesPerGt != footer.NumGtesPerGt ? "numGTEsPerGT"
        : CompressAlgorithm != footer.CompressAlgorithm ? "compressAlgorithm"
        : null;
}
