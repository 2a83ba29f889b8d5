using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.ExFat;

/// <summary>A file's content: its clusters in a row or along a chain, zeros from ValidDataLength on.</summary>
internal sealed class ExFatContent : IExtentMap, IDisposable
{
    private readonly ClusterChain? _chain;
    private readonly long _start;
    private readonly long _valid;
    private readonly long _volumeBytes;

    public ExFatContent(IClusterTable table, in ClusterHeap heap, long volumeBytes, ExFatAllocation allocation, ReadContext context)
    {
        Length = allocation.DataLength;
        _valid = allocation.ValidDataLength;
        _volumeBytes = volumeBytes;
        _start = heap.ClusterOffset(allocation.FirstCluster);
        if (!allocation.IsContiguous && _valid > 0)
        {
            _chain = new ClusterChain(table, heap, volumeBytes, allocation.FirstCluster, _valid, context);
        }
    }

    public long Length { get; }

    public Extent Map(long offset, long count)
    {
        if (offset >= _valid)
        {
            return new Extent(ExtentKind.Zero, count);
        }

        count = Math.Min(count, _valid - offset);
        if (_chain is not null)
        {
            return _chain.Map(offset, count);
        }

        long location = _start + offset;
        return location < _volumeBytes
            ? new Extent(ExtentKind.Data, Math.Min(count, _volumeBytes - location), location)
            : throw new DiskFormatException(Fault.Truncated, "exFAT file", location, $"the cluster lies beyond the volume's end at {_volumeBytes}");
    }

    public void Dispose() => _chain?.Dispose();
}
