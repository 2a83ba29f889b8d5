namespace Vmsweep.DiskReaders.Blocks;

/// <summary>Parts of other sources, one after the other, as one: the pieces of a split image, or a member inside an archive.</summary>
public sealed class JoinedSource : IBlockSource, IFileBacked, IDiskBacked
{
    private readonly int _fileId;
    private readonly IReadOnlyList<IBlockSource> _parts;
    private readonly IReadOnlyList<IDisposable> _owned;
    private readonly long[] _starts;

    /// <param name="fileId">How <see cref="StoredExtent.File"/> names the whole; positions count in the joined bytes.</param>
    /// <param name="parts">In order. Not disposed with this.</param>
    /// <param name="owned">Disposed with this.</param>
    /// <exception cref="DiskFormatException">The parts together are longer than any file.</exception>
    public JoinedSource(int fileId, IReadOnlyList<IBlockSource> parts, IReadOnlyList<IDisposable> owned)
    {
        _fileId = fileId;
        _parts = parts;
        _owned = owned;
        _starts = new long[parts.Count];
        for (int i = 0; i < parts.Count; i++)
        {
            _starts[i] = Length;
            if (parts[i].Length > long.MaxValue - Length)
            {
                throw new DiskFormatException(Fault.Limit, "joined parts", -1, "the parts together are longer than any file");
            }

            Length += parts[i].Length;
        }
    }

    public long Length { get; }

    public void Read(long offset, Span<byte> destination)
    {
        Bounds.Check(offset, destination.Length, Length, "joined parts");
        while (!destination.IsEmpty)
        {
            (IBlockSource part, long within) = At(offset);
            int count = (int)Math.Min(destination.Length, part.Length - within);
            part.Read(within, destination[..count]);
            offset += count;
            destination = destination[count..];
        }
    }

    public StoredExtent Locate(long offset, long count)
    {
        Bounds.Check(offset, count, Length, "joined parts");
        (IBlockSource part, long within) = At(offset);
        StoredExtent extent = part.Locate(within, Math.Min(count, part.Length - within));
        return extent.IsStored ? extent with { File = _fileId, Position = offset } : extent;
    }

    public FileRange? InFile(long offset, long count)
    {
        Bounds.Check(offset, count, Length, "joined parts");
        (IBlockSource part, long within) = At(offset);
        return (part as IFileBacked)?.InFile(within, Math.Min(count, part.Length - within));
    }

    public DiskRange? OnDisk(long offset, long count)
    {
        Bounds.Check(offset, count, Length, "joined parts");
        (IBlockSource part, long within) = At(offset);
        return (part as IDiskBacked)?.OnDisk(within, Math.Min(count, part.Length - within));
    }

    public void Dispose()
    {
        foreach (IDisposable owned in _owned)
        {
            owned.Dispose();
        }
    }

    /// <summary>The part that holds an offset below the end, and the offset in it. Empty parts hold none.</summary>
    private (IBlockSource Part, long Within) At(long offset)
    {
        int at = Array.BinarySearch(_starts, offset);
        at = at < 0 ? ~at - 1 : at;
        while (_parts[at].Length == 0)
        {
            at++;
        }

        return (_parts[at], offset - _starts[at]);
    }
}
