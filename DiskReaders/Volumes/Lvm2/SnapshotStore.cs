using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Lvm2;

/// <summary>
/// The persistent store of a copy-on-write snapshot: a header chunk, then areas of one chunk of exceptions and the chunks they place.
/// Linux Documentation/admin-guide/device-mapper/snapshot.rst; drivers/md/dm-snap-persistent.c, "Persistent snapshots". Little-endian.
/// </summary>
internal static class SnapshotStore
{
    private const string Structure = "dm-snapshot store";
    private const uint Magic = 0x7041_6E53;
    private const int HeaderBytes = 16;
    private const int ExceptionBytes = 16;

    /// <summary>512 KiB is the most that LVM2 makes.</summary>
    private const uint MostChunkSectors = 1 << 16;

    /// <summary>A volume of which the store holds what differs from the origin.</summary>
    /// <param name="store">The store's bytes; not owned.</param>
    /// <param name="origin">The origin's; not owned.</param>
    /// <param name="length">Bytes of the volume.</param>
    /// <param name="context">Memory.</param>
    /// <exception cref="DiskFormatException">The store is faulty, or was given up when it had filled up.</exception>
    public static IBlockSource Open(IBlockSource store, IBlockSource origin, long length, ReadContext context)
    {
        Bounds.Check(0, length, origin.Length, "snapshot origin");
        Span<byte> header = stackalloc byte[HeaderBytes];
        store.Read(0, header);
        var v = new LeView(header, Structure, 0);
        v.Require(v.U32(0) == Magic, 0, "magic");
        v.Require(v.U32(4) != 0, 4, "valid: the snapshot filled up and was given up");
        if (v.U32(8) != 1)
        {
            throw v.Unsupported(8, "version");
        }

        uint sectors = v.U32(12);
        v.Require(sectors is > 0 and <= MostChunkSectors && (sectors & (sectors - 1)) == 0, 12, "chunk_size");
        int chunkBytes = (int)sectors * 512;
        var blocks = new BlockIndex(context.Budget);
        try
        {
            ReadExceptions(store, chunkBytes, length, blocks, context);
            return new MappedSource(new OverlayMap(length, chunkBytes, blocks, 0), [store, origin], owned: blocks);
        }
        catch
        {
            blocks.Dispose();
            throw;
        }
    }

    private static void ReadExceptions(IBlockSource store, int chunkBytes, long length, BlockIndex blocks, ReadContext context)
    {
        long chunks = store.Length / chunkBytes;
        long originChunks = ((length - 1) / chunkBytes) + 1;
        int perArea = chunkBytes / ExceptionBytes;
        using RentedBuffer area = context.Budget.Rent(chunkBytes);

        // Chunk 0 is the header; the list ends with an exception that leads to it.
        for (long at = 1; at < chunks; at += perArea + 1)
        {
            context.ThrowIfCancelled();
            if (at > Lvm2Limits.MostBlocks)
            {
                throw new DiskFormatException(Fault.Limit, Structure, at, $"more than {Lvm2Limits.MostBlocks} chunks");
            }

            store.Read(at * chunkBytes, area.Span);
            var v = new LeView(area.Span, "dm-snapshot exceptions", at * chunkBytes);
            for (int i = 0; i < chunkBytes; i += ExceptionBytes)
            {
                ulong from = v.U64(i);
                ulong to = v.U64(i + 8);
                if (to == 0)
                {
                    return;
                }

                v.Require(from < (ulong)originChunks, i, "old_chunk");
                v.Require(to < (ulong)chunks, i + 8, "new_chunk");
                blocks.Put((long)from, (long)to);
            }
        }
    }
}
