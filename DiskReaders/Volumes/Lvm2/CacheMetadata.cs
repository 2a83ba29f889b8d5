using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Lvm2;

/// <summary>
/// A dm-cache's metadata: <c>struct cache_disk_superblock</c> in block 0, and an array of which block of the origin each block of the
/// cache holds. What is in the cache is read from there, dirty or not, as the kernel does. Linux
/// Documentation/admin-guide/device-mapper/cache.rst; drivers/md/dm-cache-metadata.c. Little-endian.
/// </summary>
internal static class CacheMetadata
{
    private const string Structure = "dm-cache superblock";
    private const uint Salt = 9031977;

    /// <summary>Written as 06142003, a date, but C reads it as octal.</summary>
    private const ulong Magic = 0x18_C403;

    private const uint NeedsCheck = 2;

    // A mapping: block of the origin in the upper 48 bits, then flags.
    private const int FlagBits = 16;
    private const ulong Valid = 1;

    /// <summary>The cached volume.</summary>
    /// <param name="metadata">Not owned, as the others.</param>
    /// <param name="data">The cache's blocks.</param>
    /// <param name="origin">What is cached.</param>
    /// <param name="length">Bytes of the volume.</param>
    /// <param name="name">Of the volume, for gaps.</param>
    /// <param name="context">Memory, and where to report.</param>
    public static IBlockSource Open(IBlockSource metadata, IBlockSource data, IBlockSource origin, long length, string name, ReadContext context)
    {
        Bounds.Check(0, length, origin.Length, "cache origin");
        using RentedBuffer page = context.Budget.Rent(MetadataBlocks.BlockBytes);
        metadata.Read(0, page.Span);
        var v = new LeView(page.Span, Structure, 0);
        v.Require(v.U32(0) == MetadataBlocks.Checksum(page.Span, Salt), 0, "checksum");
        v.Require(v.U64(32) == Magic, 32, "magic");
        v.Require(v.U64(8) == 0, 8, "blocknr");
        if (v.U32(40) is not (1 or 2) || v.U32(252) != 0)
        {
            throw v.Unsupported(40, "version or incompat_flags");
        }

        v.Require(v.U32(236) == MetadataBlocks.BlockBytes / 512, 236, "metadata_block_size");
        long blockBytes = 512L * v.U32(232);
        v.Require(blockBytes is > 0 and <= Lvm2Limits.MostBlockBytes, 232, "data_block_size");
        long cacheBlocks = v.U32(240);
        v.Require(cacheBlocks <= data.Length / blockBytes, 240, "cache_blocks");
        if (cacheBlocks > Lvm2Limits.MostBlocks)
        {
            throw v.TooLarge(240, "cache_blocks");
        }

        if ((v.U32(4) & NeedsCheck) != 0)
        {
            context.Gaps.Add(new CoverageGap(Fault.Corrupt, name, Structure, 4, 0, "the cache is marked to be checked: the kernel met an error in its metadata"));
        }

        using var tree = new MetadataBlocks(metadata, context);
        var blocks = new BlockIndex(context.Budget);
        try
        {
            ReadMappings(tree, tree.BlockNumber(v, 192, "mapping_root"), cacheBlocks, ((length - 1) / blockBytes) + 1, blocks);
            return new MappedSource(new OverlayMap(length, blockBytes, blocks, 0), [data, origin], owned: blocks);
        }
        catch
        {
            blocks.Dispose();
            throw;
        }
    }

    // dm-array.h: a tree whose key counts array blocks; all but the last are full.
    private static void ReadMappings(MetadataBlocks tree, long root, long cacheBlocks, long originBlocks, BlockIndex blocks)
    {
        const int PerBlock = (MetadataBlocks.BlockBytes - 24) / 8;
        for (long first = 0; first < cacheBlocks; first += PerBlock)
        {
            lock (tree.Lock)
            {
                if (!tree.TryFind(root, (ulong)(first / PerBlock), 8, out _, out MetadataBlocks.Node leaf, out int index))
                {
                    throw new DiskFormatException(Fault.Corrupt, "dm-array", root, $"it ends before entry {first} of {cacheBlocks}");
                }

                long block = tree.BlockNumber(leaf.Block, leaf.ValueAt(index), "array block");
                var entries = new LeView(tree.ReadArray(block, 8), "dm-array block", block * MetadataBlocks.BlockBytes);
                long count = Math.Min(PerBlock, cacheBlocks - first);
                entries.Require(entries.Length >= count * 8, 8, "nr_entries");
                for (int i = 0; i < count; i++)
                {
                    ulong mapping = entries.U64(i * 8);
                    if ((mapping & Valid) != 0)
                    {
                        ulong from = mapping >> FlagBits;
                        entries.Require(from < (ulong)originBlocks && !blocks.TryFind((long)from, out _), i * 8, "mapping");
                        blocks.Put((long)from, first + i);
                    }
                }
            }
        }
    }
}
