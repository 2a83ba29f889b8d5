using System.Numerics;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Vmdk;

/// <summary>
/// <c>COWDisk_Header</c> of an ESXi host sparse extent. Spec: VMware Virtual Disk Format 5.0, "ESXi Host Sparse Extents". Little-endian,
/// 2,048 bytes; offsets and sizes in sectors.
/// </summary>
internal readonly struct CowDiskHeader
{
    public const int Size = 2048;

    /// <summary><c>COWD</c>.</summary>
    public const uint MagicNumber = 0x4457_4F43;

    /// <summary>Grain table entries of each grain table.</summary>
    public const int NumGtesPerGt = 4096;

    private const uint KnownVersion = 1;

    public CowDiskHeader(LeView v)
    {
        v.Require(v.U32(0) == MagicNumber, 0, "magicNumber");

        // Version 3 is VMware 3's hosted format: the same header over tables of another size.
        if (v.U32(4) != KnownVersion)
        {
            throw v.Unsupported(4, "version");
        }

        NumSectors = v.U32(12);
        v.Require(NumSectors > 0, 12, "numSectors");
        GrainSize = v.U32(16);
        v.Require(GrainSize > 0 && BitOperations.IsPow2(GrainSize), 16, "grainSize");
        if (GrainSize > VmdkLimits.MostGrainSectors)
        {
            throw v.TooLarge(16, "grainSize");
        }

        GdOffset = v.U32(20);
        v.Require(GdOffset >= Size / VmdkLimits.SectorBytes, 20, "gdOffset");
        NumGdEntries = v.U32(24);
        long coverage = GrainSize * NumGtesPerGt;
        v.Require(NumGdEntries >= (NumSectors + coverage - 1) / coverage, 24, "numGDEntries");
    }

    /// <summary><c>numSectors</c>: the extent's length.</summary>
    public long NumSectors { get; }

    /// <summary><c>grainSize</c>.</summary>
    public long GrainSize { get; }

    /// <summary><c>gdOffset</c>.</summary>
    public long GdOffset { get; }

    /// <summary><c>numGDEntries</c>.</summary>
    public long NumGdEntries { get; }
}
