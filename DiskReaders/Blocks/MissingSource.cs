namespace Vmsweep.DiskReaders.Blocks;

/// <summary>Bytes that should be there and are not: every read says why, so that nobody takes zeros for them.</summary>
/// <param name="length">Bytes from which ranges may be asked for.</param>
/// <param name="fault">What a read throws.</param>
public sealed class MissingSource(long length, Func<DiskFormatException> fault) : IBlockSource
{
    public long Length => length;

    public void Read(long offset, Span<byte> destination)
    {
        Bounds.Check(offset, destination.Length, Length, "missing range");
        if (!destination.IsEmpty)
        {
            throw fault();
        }
    }

    public StoredExtent Locate(long offset, long count)
    {
        Bounds.Check(offset, count, Length, "missing range");
        return new StoredExtent(ExtentKind.Data, count, -1, offset);
    }

    public void Dispose()
    {
    }
}
