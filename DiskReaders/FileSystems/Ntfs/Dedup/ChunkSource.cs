using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems.Ntfs.Compression;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs.Dedup;

/// <summary>
/// The chunks of one file, unpacked, each at an address of its own: its number in the file times the largest size. A read of a whole chunk
/// goes straight into place; of a packed one read in parts the last are kept.
/// </summary>
internal sealed class ChunkSource : IBlockSource, IBlockLoader
{
    /// <summary>Windows makes chunks of 32 to 128 KiB; more is left for other settings.</summary>
    public const int MaxChunkBytes = 1 << ChunkShift;

    private const int ChunkShift = 20;
    private readonly OpenContainers _containers;
    private readonly DedupMap _map;
    private readonly ReadContext _context;
    private readonly UnpackedCache _cache;

    public ChunkSource(OpenContainers containers, DedupMap map, ReadContext context)
    {
        _containers = containers;
        _map = map;
        _context = context;
        _cache = new UnpackedCache(context.Budget, MaxChunkBytes, 4, this);
    }

    public long Length => long.MaxValue;

    /// <summary>The address of a byte of a chunk.</summary>
    public static long AddressOf(long chunk, long within) => (chunk << ChunkShift) + within;

    public void Read(long offset, Span<byte> destination)
    {
        while (!destination.IsEmpty)
        {
            (StreamMapRecord chunk, int bytes) = _map.ChunkAt(offset >> ChunkShift);
            int within = (int)(offset & (MaxChunkBytes - 1));
            int count = Math.Min(destination.Length, bytes - within);
            Span<byte> part = destination[..count];
            if (chunk.StoredBytes == (uint)bytes)
            {
                FoundChunk found = _containers.Find(chunk);
                found.Container.Read(found.Offset + within, part);
            }
            else if (count == bytes)
            {
                Unpack(chunk, part);
            }
            else
            {
                _ = _cache.Read(offset >> ChunkShift, within, part);
            }

            destination = destination[count..];
            offset += MaxChunkBytes - within;
        }
    }

    public StoredExtent Locate(long offset, long count)
    {
        (StreamMapRecord chunk, int bytes) = _map.ChunkAt(offset >> ChunkShift);
        int within = (int)(offset & (MaxChunkBytes - 1));
        count = Math.Min(count, bytes - within);
        FoundChunk found = _containers.Find(chunk);
        return chunk.StoredBytes == (uint)bytes
            ? found.Container.Locate(found.Offset + within, count)
            : PackedSource.Locate(found.Container, found.Offset, chunk.StoredBytes, null) with { Kind = ExtentKind.Packed, Length = count };
    }

    public int Load(long key, Span<byte> block)
    {
        (StreamMapRecord chunk, int bytes) = _map.ChunkAt(key);
        Unpack(chunk, block[..bytes]);
        return bytes;
    }

    public void Dispose()
    {
        _cache.Dispose();
        _containers.Dispose();
    }

    private void Unpack(StreamMapRecord chunk, Span<byte> to)
    {
        if (chunk.StoredBytes > MaxChunkBytes)
        {
            throw new DiskFormatException(Fault.Limit, "Ckhr", -1, $"a chunk of {chunk.StoredBytes} stored bytes");
        }

        FoundChunk found = _containers.Find(chunk);
        using RentedBuffer packed = _context.Budget.Rent((int)chunk.StoredBytes);
        found.Container.Read(found.Offset, packed.Span);
        switch (found.Packing)
        {
            case ChunkPacking.Lznt1:
                Lznt1.Unpack(packed.Span, to, found.Offset);
                break;
            case ChunkPacking.Xpress:
                Xpress.Unpack(packed.Span, to, found.Offset);
                break;
            case ChunkPacking.XpressHuffman:
                XpressHuffman.Unpack(packed.Span, to, found.Offset);
                break;
            default:
                throw new DiskFormatException(Fault.Unsupported, "Ckhr", found.Offset, $"{chunk.StoredBytes} bytes stand for {to.Length}, packed by method {(uint)found.Packing}");
        }
    }
}
