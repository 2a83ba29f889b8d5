namespace Vmsweep.DiskReaders.Blocks;

/// <summary>Keeps the pages of a source last used: for metadata that is read in small pieces. Large reads pass by. Does not own the source.</summary>
public sealed class PageCache : IBlockSource, IUnpacker, IExtentMap
{
    private readonly IBlockSource _inner;
    private readonly MappedSource _pages;

    /// <param name="inner">What is read.</param>
    /// <param name="context">Memory.</param>
    /// <param name="pageBytes">Bytes read at once.</param>
    /// <param name="pages">Pages kept.</param>
    public PageCache(IBlockSource inner, ReadContext context, int pageBytes = 64 << 10, int pages = 64)
    {
        _inner = inner;
        UnitBytes = pageBytes;
        _pages = new MappedSource(this, [], context, unpacker: this, cachedUnits: pages);
    }

    public long Length => _inner.Length;

    public int UnitBytes { get; }

    public void Read(long offset, Span<byte> destination)
    {
        if (destination.Length >= UnitBytes)
        {
            _inner.Read(offset, destination);
        }
        else
        {
            _pages.Read(offset, destination);
        }
    }

    public StoredExtent Locate(long offset, long count) => _inner.Locate(offset, count);

    public void Dispose() => _pages.Dispose();

    Extent IExtentMap.Map(long offset, long count) => new(ExtentKind.Packed, count, 0);

    void IUnpacker.Unpack(long unitOffset, long location, Span<byte> unit) => _inner.Read(unitOffset, unit);
}
