using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Lvm2;

/// <summary>
/// A dm-writecache on an SSD: <c>struct wc_memory_superblock</c>, an entry for each block of the cache, then the blocks. An entry counts
/// when its sequence number is below the superblock's; of two for one place the later. Linux
/// Documentation/admin-guide/device-mapper/writecache.rst; drivers/md/dm-writecache.c. Little-endian.
/// </summary>
internal static class WriteCache
{
    private const string Structure = "dm-writecache superblock";
    private const uint Magic = 0x2348_9321;
    private const int HeaderBytes = 64;
    private const int EntryBytes = 16;
    private const int StepEntries = 4096;

    /// <summary>The cached volume.</summary>
    /// <param name="cache">Not owned, as the other.</param>
    /// <param name="origin">What is cached.</param>
    /// <param name="length">Bytes of the volume.</param>
    /// <param name="context">Memory.</param>
    public static IBlockSource Open(IBlockSource cache, IBlockSource origin, long length, ReadContext context)
    {
        Bounds.Check(0, length, origin.Length, "writecache origin");
        Span<byte> header = stackalloc byte[HeaderBytes];
        cache.Read(0, header);
        var v = new LeView(header, Structure, 0);
        v.Require(v.U32(0) == Magic, 0, "magic");
        if (v.U32(4) != 1)
        {
            throw v.Unsupported(4, "version");
        }

        uint blockBytes = v.U32(8);
        v.Require(blockBytes is >= 512 and <= 65536 && (blockBytes & (blockBytes - 1)) == 0, 8, "block_size");
        ulong count = v.U64(16);
        v.Require(count <= (ulong)cache.Length / (blockBytes + EntryBytes), 16, "n_blocks");
        if (count > Lvm2Limits.MostBlocks)
        {
            throw v.TooLarge(16, "n_blocks");
        }

        long store = (HeaderBytes + ((long)count * EntryBytes) + blockBytes - 1) / blockBytes * blockBytes;
        v.Require(store <= cache.Length - ((long)count * blockBytes), 16, "n_blocks");

        var blocks = new BlockIndex(context.Budget);
        try
        {
            ReadEntries(cache, (long)count, v.U64(24), blockBytes, length, blocks, context);
            return new MappedSource(new OverlayMap(length, blockBytes, blocks, store), [cache, origin], owned: blocks);
        }
        catch
        {
            blocks.Dispose();
            throw;
        }
    }

    // struct wc_memory_entry: original_sector, seq_count; both all ones when the block is free.
    private static void ReadEntries(IBlockSource cache, long count, ulong sequence, uint blockBytes, long length, BlockIndex blocks, ReadContext context)
    {
        long originBlocks = ((length - 1) / blockBytes) + 1;
        using var sequences = new BlockIndex(context.Budget);
        using RentedBuffer step = context.Budget.Rent(StepEntries * EntryBytes);
        for (long first = 0; first < count; first += StepEntries)
        {
            context.ThrowIfCancelled();
            int entries = (int)Math.Min(StepEntries, count - first);
            long at = HeaderBytes + (first * EntryBytes);
            cache.Read(at, step.Span[..(entries * EntryBytes)]);
            var v = new LeView(step.Span, "dm-writecache entries", at);
            for (int i = 0; i < entries; i++)
            {
                ulong sector = v.U64(i * EntryBytes);
                ulong written = v.U64((i * EntryBytes) + 8);
                if (sector == ulong.MaxValue || written >= sequence)
                {
                    continue;
                }

                v.Require(sector % (blockBytes / 512) == 0 && sector / (blockBytes / 512) < (ulong)originBlocks && written < long.MaxValue, i * EntryBytes, "original_sector");
                long block = (long)(sector / (blockBytes / 512));
                if (!sequences.TryFind(block, out long before) || before < (long)written)
                {
                    sequences.Put(block, (long)written);
                    blocks.Put(block, first + i);
                }
            }
        }
    }
}
