namespace Vmsweep.DiskReaders.Blocks;

/// <summary>Bytes in memory, such as content stored in a file system's metadata.</summary>
public sealed class MemorySource(ReadOnlyMemory<byte> bytes) : IBlockSource
{
    public static readonly MemorySource Empty = new(default);

    public long Length => bytes.Length;

    public void Read(long offset, Span<byte> destination)
    {
        Bounds.Check(offset, destination.Length, Length, "memory");
        bytes.Span.Slice((int)offset, destination.Length).CopyTo(destination);
    }

    public StoredExtent Locate(long offset, long count)
    {
        Bounds.Check(offset, count, Length, "memory");
        return new StoredExtent(ExtentKind.Data, count, -1, offset);
    }

    public void Dispose()
    {
    }
}
