using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Vmdk;

/// <summary>
/// Map of a hosted sparse or stream-optimized extent. Spec: VMware Virtual Disk Format 5.0, "Grain Directory", "Grain Table": entries are
/// sector numbers of 32 bits; 0 is a grain that is not here, 1 one of zeros where the header's flag says so.
/// </summary>
internal sealed class HostedGrainMap(
    ImageFile file, GrainGeometry geometry, SparseExtentHeader header, int owner, GrainCaches caches, ReadContext context)
    : GrainMap(file, geometry, owner, caches, context)
{
    private const uint ZeroedGrainEntry = 1;

    /// <summary>Neither tables nor grains lie in the header or the embedded descriptor.</summary>
    private readonly long _firstSector = header.DescriptorOffset == 0 ? 1 : header.DescriptorOffset + header.DescriptorSize;

    private readonly bool _zeroedGrains = header.HasZeroedGrains;
    private readonly ExtentKind _stored = header.IsCompressed ? ExtentKind.Packed : ExtentKind.Data;

    protected override bool TryTable(ulong raw, out long at)
    {
        at = (long)raw * VmdkLimits.SectorBytes;
        return raw == 0 || (long)raw >= _firstSector;
    }

    protected override bool TryGrain(ulong raw, out ExtentKind kind, out long location)
    {
        location = (long)raw * VmdkLimits.SectorBytes;
        kind = raw == 0 ? ExtentKind.Hole : raw == ZeroedGrainEntry && _zeroedGrains ? ExtentKind.Zero : _stored;
        return kind != _stored || (long)raw >= _firstSector;
    }
}

/// <summary>Map of an ESXi host sparse extent. Spec: VMware Virtual Disk Format 5.0, "ESXi Host Sparse Extents": as hosted, tables of 4,096 entries.</summary>
internal sealed class CowDiskGrainMap(ImageFile file, GrainGeometry geometry, int owner, GrainCaches caches, ReadContext context)
    : GrainMap(file, geometry, owner, caches, context)
{
    private const long FirstSector = CowDiskHeader.Size / VmdkLimits.SectorBytes;

    protected override bool TryTable(ulong raw, out long at)
    {
        at = (long)raw * VmdkLimits.SectorBytes;
        return raw == 0 || (long)raw >= FirstSector;
    }

    protected override bool TryGrain(ulong raw, out ExtentKind kind, out long location)
    {
        location = (long)raw * VmdkLimits.SectorBytes;
        kind = raw == 0 ? ExtentKind.Hole : ExtentKind.Data;
        return raw == 0 || (long)raw >= FirstSector;
    }
}

/// <summary>
/// Map of a space-efficient sparse extent, as QEMU's block/vmdk.c reads it. Entries have 64 bits. A directory entry is 0 or has the
/// top half 0x10000000 and a table's number below. The top nibble of a table entry is the grain's type.
/// </summary>
internal sealed class SeSparseGrainMap(
    ImageFile file, GrainGeometry geometry, SeSparseConstHeader header, int owner, GrainCaches caches, ReadContext context)
    : GrainMap(file, geometry, owner, caches, context)
{
    private const ulong TableAllocated = 0x1000_0000;
    private const int GrainBytesEach = SeSparseConstHeader.GrainSize * VmdkLimits.SectorBytes;

    protected override bool TryTable(ulong raw, out long at)
    {
        long sectors = (long)(raw & uint.MaxValue) * SeSparseConstHeader.GrainTableSize;
        at = raw == 0 ? 0 : (header.GrainTablesOffset + sectors) * VmdkLimits.SectorBytes;
        return raw == 0 || (raw >> 32 == TableAllocated && sectors + SeSparseConstHeader.GrainTableSize <= header.GrainTablesSize && at > 0);
    }

    protected override bool TryGrain(ulong raw, out ExtentKind kind, out long location)
    {
        location = 0;
        switch (raw >> 60)
        {
            case 0:
                kind = ExtentKind.Hole;
                return raw == 0;
            case 1:
                // Unmapped by the guest: reads as zeros.
            case 2:
                kind = ExtentKind.Zero;
                return true;
            case 3:
                // Bits 48 to 59 are the low twelve of the grain's number.
                kind = ExtentKind.Data;
                ulong number = ((raw >> 48) & 0xFFF) | ((raw & 0xFFFF_FFFF_FFFF) << 12);
                if (number > VmdkLimits.MostFileBytes / GrainBytesEach)
                {
                    return false;
                }

                location = (header.GrainsOffset * VmdkLimits.SectorBytes) + ((long)number * GrainBytesEach);
                return true;
            default:
                kind = ExtentKind.Hole;
                return false;
        }
    }
}
