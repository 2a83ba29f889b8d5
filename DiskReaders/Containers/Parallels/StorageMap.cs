using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Parallels;

/// <summary>The storages of a split disk one after the other, each a source of its own.</summary>
internal sealed class StorageMap(IReadOnlyList<DescribedStorage> storages) : IExtentMap
{
    private readonly long[] _starts = [.. storages.Select(s => s.StartSector * DiskDescriptor.SectorBytes)];

    public long Length { get; } = storages[^1].EndSector * DiskDescriptor.SectorBytes;

    public Extent Map(long offset, long count)
    {
        int at = Array.BinarySearch(_starts, offset);
        at = at < 0 ? ~at - 1 : at;
        long end = at + 1 < _starts.Length ? _starts[at + 1] : Length;
        return new Extent(ExtentKind.Data, Math.Min(count, end - offset), offset - _starts[at], at);
    }
}
