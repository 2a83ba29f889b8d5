using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs.Dedup;

/// <summary>The containers that one file's content is read from: opened when a chunk is first wanted, closed together.</summary>
internal sealed class OpenContainers(NtfsFileSystem fileSystem, ReadContext context, Guid store) : IDisposable
{
    /// <summary>A stream map is read in records of 64 bytes.</summary>
    private const int MapPages = 4;

    /// <summary>"Rrtl", the redirection table of a container: pairs of a chunk's number and its offset, by number.</summary>
    private const long RedirectionTable = 0x3000;
    private const uint RedirectionSignature = 0x6C74_7252;
    private const int RedirectionHeaderBytes = 0x20;

    private readonly Lock _lock = new();
    private readonly Dictionary<NtfsFile, IBlockSource> _open = [];
    private readonly Dictionary<NtfsFile, PageCache> _maps = [];
    private bool _disposed;

    /// <summary>Finds a file's stream map.</summary>
    public StreamMap OpenMap(StreamMapReference part)
    {
        foreach ((_, NtfsFile file) in fileSystem.Containers.Of(store, isStream: true, part.ContainerId))
        {
            IBlockSource container = MapOf(file);
            foreach (long offset in Candidates(container, part.Offset, part.LocalId))
            {
                if (IsMap(container, offset, part))
                {
                    long first = offset + ChunkRecord.StreamHeaderBytes + StreamMap.HeaderBytes;
                    return new StreamMap(container, first, (part.Bytes - StreamMap.HeaderBytes) / StreamMap.RecordBytes, part.Begin, part.End);
                }
            }
        }

        throw Missing($"the stream map of bytes {part.Begin} to {part.End}: chunk {part.LocalId} of Stream/{part.ContainerId:x8}");
    }

    /// <summary>Finds a chunk of data.</summary>
    public FoundChunk Find(StreamMapRecord chunk)
    {
        FoundChunk? found = null;
        foreach ((uint generation, NtfsFile file) in fileSystem.Containers.Of(store, isStream: false, chunk.ContainerId))
        {
            // Another generation may hold it after the store was cleaned up.
            if (found is null || generation == chunk.Generation)
            {
                found = FindIn(OpenOf(file), chunk) ?? found;
            }
        }

        return found ?? throw Missing($"chunk {chunk.LocalId} of Data/{chunk.ContainerId:x8}.{chunk.Generation:x8}, which ends at byte {chunk.End} of the file");
    }

    public void Dispose()
    {
        lock (_lock)
        {
            _disposed = true;
            foreach (PageCache map in _maps.Values)
            {
                map.Dispose();
            }

            foreach (IBlockSource container in _open.Values)
            {
                container.Dispose();
            }

            _maps.Clear();
            _open.Clear();
        }
    }

    private static DiskFormatException Missing(string what) => new(Fault.Corrupt, "chunk store", -1, "not in the chunk store: " + what);

    private static FoundChunk? FindIn(IBlockSource container, StreamMapRecord chunk)
    {
        Span<byte> header = stackalloc byte[ChunkRecord.DataHeaderBytes];
        foreach (long offset in Candidates(container, chunk.Offset, chunk.LocalId))
        {
            if (offset > container.Length - header.Length - chunk.StoredBytes)
            {
                continue;
            }

            container.Read(offset, header);
            var record = new ChunkRecord(new LeView(header, "Ckhr", offset));
            if (record.IsChunk && record.LocalId == chunk.LocalId && record.StoredBytes == chunk.StoredBytes && record.DataDigest.SequenceEqual(chunk.Digest))
            {
                return new FoundChunk(container, offset + header.Length, record.Packing);
            }
        }

        return null;
    }

    private static bool IsMap(IBlockSource container, long offset, StreamMapReference part)
    {
        Span<byte> header = stackalloc byte[ChunkRecord.StreamHeaderBytes + StreamMap.HeaderBytes];
        if (offset > container.Length - ChunkRecord.StreamHeaderBytes - part.Bytes)
        {
            return false;
        }

        container.Read(offset, header);
        var record = new ChunkRecord(new LeView(header, "Ckhr", offset));
        return record.IsChunk && record.LocalId == part.LocalId && record.StoredBytes == part.Bytes && record.StreamDigest.SequenceEqual(part.Digest)
            && new LeView(header, "Smap", offset).U32(ChunkRecord.StreamHeaderBytes) == StreamMap.Signature;
    }

    /// <summary>Where a chunk is said to be, then where the container's redirection table has it.</summary>
    private static IEnumerable<long> Candidates(IBlockSource container, long offset, uint localId)
    {
        yield return offset;
        if (Redirected(container, localId) is { } moved && moved != offset)
        {
            yield return moved;
        }
    }

    private static long? Redirected(IBlockSource container, uint localId)
    {
        Span<byte> bytes = stackalloc byte[RedirectionHeaderBytes];
        if (container.Length < RedirectionTable + RedirectionHeaderBytes)
        {
            return null;
        }

        container.Read(RedirectionTable, bytes);
        var header = new LeView(bytes, "Rrtl", RedirectionTable);
        long low = 0;
        long high = header.U32(8);
        if (header.U32(0) != RedirectionSignature || high > (container.Length - RedirectionTable - RedirectionHeaderBytes) / 8)
        {
            return null;
        }

        while (low < high)
        {
            long middle = (low + high) / 2;
            container.Read(RedirectionTable + RedirectionHeaderBytes + (middle * 8), bytes[..8]);
            uint number = header.U32(0);
            if (number == localId)
            {
                return header.U32(4);
            }

            (low, high) = number < localId ? (middle + 1, high) : (low, middle);
        }

        return null;
    }

    private IBlockSource OpenOf(NtfsFile file)
    {
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            if (!_open.TryGetValue(file, out IBlockSource? container))
            {
                _open[file] = container = fileSystem.OpenContent(file);
            }

            return container;
        }
    }

    private PageCache MapOf(NtfsFile file)
    {
        IBlockSource container = OpenOf(file);
        lock (_lock)
        {
            if (!_maps.TryGetValue(file, out PageCache? map))
            {
                _maps[file] = map = new PageCache(container, context, pages: MapPages);
            }

            return map;
        }
    }
}

/// <summary>Where a chunk's bytes are.</summary>
/// <param name="Container">Not owned.</param>
/// <param name="Offset">Its first byte behind the header.</param>
/// <param name="Packing">How it is packed when it is stored in fewer bytes than it has.</param>
internal sealed record FoundChunk(IBlockSource Container, long Offset, ChunkPacking Packing);
