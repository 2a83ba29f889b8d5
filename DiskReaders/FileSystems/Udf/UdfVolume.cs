using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Udf;

/// <summary>The logical volume: its partitions, and blocks by their addresses in them.</summary>
internal sealed class UdfVolume : IDisposable
{
    private const int CachedPages = 64;

    private readonly PageCache _pages;

    public UdfVolume(IBlockSource source, int blockBytes, ReadContext context)
    {
        Source = source;
        BlockBytes = blockBytes;
        Context = context;
        _pages = new PageCache(source, context, pages: CachedPages);
    }

    public IBlockSource Source { get; }

    public int BlockBytes { get; }

    public ReadContext Context { get; }

    /// <summary>By partition reference number.</summary>
    public List<UdfPartition> Partitions { get; } = [];

    /// <summary>Where a block lies on the volume, and how many bytes follow in a row.</summary>
    public (long Offset, long Run) Locate(uint block, int partition)
    {
        if (partition >= Partitions.Count)
        {
            throw new DiskFormatException(Fault.Corrupt, UdfPartition.Structure, -1, $"partition {partition} of {Partitions.Count}");
        }

        (long at, long run) = Partitions[partition].Map(block);
        return (at * BlockBytes, run * BlockBytes);
    }

    /// <summary>Reads one block that holds a descriptor; answers where it lies.</summary>
    public long ReadBlock(uint block, int partition, Span<byte> destination)
    {
        (long offset, _) = Locate(block, partition);
        _pages.Read(offset, destination[..BlockBytes]);
        return offset;
    }

    public void Dispose() => _pages.Dispose();
}
