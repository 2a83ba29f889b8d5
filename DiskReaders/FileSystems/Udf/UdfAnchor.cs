using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Udf;

/// <summary>Anchor Volume Descriptor Pointer (ECMA-167, 3/10.2): where the descriptor sequences lie.</summary>
/// <param name="BlockBytes">The sector size that fits where the anchor was found.</param>
internal readonly record struct UdfAnchor(int BlockBytes, uint MainBytes, uint MainBlock, uint ReserveBytes, uint ReserveBlock)
{
    private const uint FirstAnchor = 256;

    /// <summary>Discs that are not closed yet have one here.</summary>
    private const uint OpenDiscAnchor = 512;

    // The most common first: that of discs, then those of hard disks.
    private static readonly int[] BlockSizes = [2048, 512, 4096, 1024, 8192, 16384, 32768];

    /// <summary>All sound anchors, in the order in which they are to be trusted.</summary>
    public static IEnumerable<UdfAnchor> Find(IBlockSource volume)
    {
        foreach (int blockBytes in BlockSizes)
        {
            long blocks = volume.Length / blockBytes;
            foreach (long block in (long[])[FirstAnchor, blocks - 1, blocks - 1 - FirstAnchor, blocks - FirstAnchor, OpenDiscAnchor])
            {
                if (block is > 0 and <= uint.MaxValue && block < blocks && TryRead(volume, blockBytes, (uint)block) is { } anchor)
                {
                    yield return anchor;
                }
            }
        }
    }

    private static UdfAnchor? TryRead(IBlockSource volume, int blockBytes, uint block)
    {
        const int Size = 512;
        Span<byte> sector = stackalloc byte[Size];
        long offset = (long)block * blockBytes;
        if (!volume.TryRead(offset, sector))
        {
            return null;
        }

        var v = new LeView(sector, "UDF Anchor Volume Descriptor Pointer", offset);
        return UdfTag.Identify(v, block) == UdfTag.AnchorVolumePointer ? new UdfAnchor(blockBytes, v.U32(16), v.U32(20), v.U32(24), v.U32(28)) : null;
    }
}
