using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs.Dedup;

/// <summary>A file whose content Windows Server Data Deduplication took into the volume's chunk store.</summary>
internal sealed class DedupMap : IExtentMap
{
    private readonly StreamMap[] _maps;

    // The number in the file of each map's first chunk.
    private readonly long[] _first;

    private DedupMap(StreamMap[] maps, long length)
    {
        _maps = maps;
        _first = new long[maps.Length];
        for (int i = 1; i < maps.Length; i++)
        {
            _first[i] = _first[i - 1] + maps[i - 1].Count;
        }

        Length = length;
    }

    public long Length { get; }

    public static IBlockSource Open(NtfsFileSystem fileSystem, ReadContext context, DedupReparse reparse)
    {
        var containers = new OpenContainers(fileSystem, context, reparse.Store);
        try
        {
            var map = new DedupMap([.. reparse.Parts.Select(containers.OpenMap)], reparse.FileSize);
            var chunks = new ChunkSource(containers, map, context);
            return new MappedSource(map, [chunks], owned: chunks);
        }
        catch
        {
            containers.Dispose();
            throw;
        }
    }

    public Extent Map(long offset, long count)
    {
        int at = _maps.Length - 1;
        while (_maps[at].Begin > offset)
        {
            at--;
        }

        long index = _maps[at].Find(offset);
        (long begin, long end) = _maps[at].RangeOf(index);
        return offset >= begin && offset < end
            ? new Extent(ExtentKind.Data, Math.Min(count, end - offset), ChunkSource.AddressOf(_first[at] + index, offset - begin))
            : throw new DiskFormatException(Fault.Corrupt, "Smap", -1, $"no chunk holds byte {offset}");
    }

    /// <summary>A chunk by its number in the file, and how many bytes it has.</summary>
    public (StreamMapRecord Chunk, int Bytes) ChunkAt(long number)
    {
        int at = _maps.Length - 1;
        while (_first[at] > number)
        {
            at--;
        }

        StreamMap map = _maps[at];
        (long begin, long end) = map.RangeOf(number - _first[at]);
        return (map[number - _first[at]], (int)(end - begin));
    }
}
