namespace Vmsweep.DiskReaders.Blocks;

/// <summary>A range of another source, such as a partition of a disk. Does not own it.</summary>
public sealed class SliceSource : IBlockSource, IFileBacked, IDiskBacked
{
    private readonly IBlockSource _inner;
    private readonly long _start;

    /// <exception cref="DiskFormatException">The range does not lie within <paramref name="inner"/>.</exception>
    public SliceSource(IBlockSource inner, long start, long length, string structure = "slice")
    {
        Bounds.Check(start, length, inner.Length, structure);
        _inner = inner;
        _start = start;
        Length = length;
    }

    public long Length { get; }

    public void Read(long offset, Span<byte> destination)
    {
        Bounds.Check(offset, destination.Length, Length, "slice");
        _inner.Read(_start + offset, destination);
    }

    public StoredExtent Locate(long offset, long count)
    {
        Bounds.Check(offset, count, Length, "slice");
        return _inner.Locate(_start + offset, count);
    }

    public FileRange? InFile(long offset, long count)
    {
        Bounds.Check(offset, count, Length, "slice");
        return (_inner as IFileBacked)?.InFile(_start + offset, count);
    }

    public DiskRange? OnDisk(long offset, long count)
    {
        Bounds.Check(offset, count, Length, "slice");
        return (_inner as IDiskBacked)?.OnDisk(_start + offset, count);
    }

    public void Dispose()
    {
    }
}
