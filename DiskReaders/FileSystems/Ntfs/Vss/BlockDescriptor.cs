using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs.Vss;

/// <summary>
/// "Block descriptor": where a block of 16 KiB of the volume, as it was, is now. Spec: J. Metz, "Volume Shadow Snapshot (VSS) format",
/// "Store block list". Little-endian; 32 bytes.
/// </summary>
internal readonly struct BlockDescriptor
{
    public const int Size = 32;
    private const uint Forwarder = 1;
    private const uint Overlay = 2;
    private const uint Unused = 4;

    public readonly long OriginalOffset;
    public readonly long RelativeOffset;
    public readonly long StoreOffset;
    public readonly uint Flags;
    public readonly uint AllocationBitmap;

    /// <param name="v">The 32 bytes.</param>
    /// <param name="volumeBytes">Length of the volume; every block that is read lies within it.</param>
    public BlockDescriptor(LeView v, long volumeBytes)
    {
        Flags = v.U32(24);
        AllocationBitmap = v.U32(28);
        OriginalOffset = v.NonNegative64(0, "original data block offset");
        RelativeOffset = v.NonNegative64(8, "relative store data block offset");
        StoreOffset = v.NonNegative64(16, "store data block offset");
        if (!IsUnused)
        {
            v.Require(OriginalOffset % VssBlock.Size == 0, 0, "original data block offset");
            v.Require(OriginalOffset < volumeBytes, 0, "original data block offset");
            if (IsForwarder)
            {
                v.Require(RelativeOffset % VssBlock.Size == 0 && RelativeOffset < volumeBytes, 8, "relative store data block offset");
            }
            else
            {
                v.Require(StoreOffset <= volumeBytes - VssBlock.Size, 16, "store data block offset");
            }
        }
    }

    public bool IsForwarder => (Flags & Forwarder) != 0;

    public bool IsOverlay => (Flags & Overlay) != 0;

    public bool IsUnused => (Flags & Unused) != 0;
}

/// <summary>All that a store says of one block.</summary>
internal struct StoredBlock
{
    /// <summary>Where the block's bytes are; -1 when only an overlay is there.</summary>
    public long Location;

    /// <summary><see cref="Location"/> is an offset of the volume as the next newer shadow copy has it.</summary>
    public bool IsForwarder;

    /// <summary>Sectors of 512 bytes that are at <see cref="OverlayLocation"/> instead, the first in the lowest bit.</summary>
    public uint OverlaySectors;

    public long OverlayLocation;
}
