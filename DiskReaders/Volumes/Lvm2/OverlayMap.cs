using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Lvm2;

/// <summary>An origin of which some blocks are read elsewhere: from a snapshot's store or a cache.</summary>
/// <param name="length">Bytes of the volume.</param>
/// <param name="blockBytes">Bytes of a block.</param>
/// <param name="blocks">The blocks that are elsewhere, to their numbers there.</param>
/// <param name="storeOffset">Where block 0 lies in the store.</param>
internal sealed class OverlayMap(long length, long blockBytes, BlockIndex blocks, long storeOffset) : IExtentMap
{
    /// <summary>Most blocks that one answer looks at, so that it stays quick over a whole volume.</summary>
    private const int MostLooks = 4096;

    /// <summary>Index of the store among the sources.</summary>
    public const int Store = 0;

    /// <summary>Index of the origin among the sources.</summary>
    public const int Origin = 1;

    public long Length { get; } = length;

    public Extent Map(long offset, long count)
    {
        long block = Math.DivRem(offset, blockBytes, out long within);
        long run = blockBytes - within;
        if (blocks.TryFind(block, out long stored))
        {
            return new Extent(ExtentKind.Data, Math.Min(count, run), storeOffset + (stored * blockBytes) + within, Store);
        }

        for (int looks = 0; looks < MostLooks && run < count && !blocks.TryFind(++block, out _); looks++)
        {
            run = Math.Min(count, run + blockBytes);
        }

        return new Extent(ExtentKind.Data, Math.Min(count, run), offset, Origin);
    }
}
