using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Fuzz;

/// <summary>Notes what a reader reads: that is where damage is worth while.</summary>
internal sealed class RecordingSource(byte[] bytes) : IBlockSource
{
    private readonly MemorySource _inner = new(bytes);
    private readonly HashSet<(long Offset, long Length)> _reads = [];

    /// <summary>Ranges that were read and hold something, small ones as they are, larger ones in pieces.</summary>
    public IReadOnlyList<(long Offset, long Length)> Regions
    {
        get
        {
            const int Piece = 4096;
            List<(long Offset, long Length)> regions = [];
            foreach ((long offset, long length) in _reads.Order())
            {
                for (long at = offset; at < offset + length; at += Piece)
                {
                    long count = Math.Min(Piece, offset + length - at);
                    if (bytes.AsSpan((int)at, (int)count).ContainsAnyExcept((byte)0))
                    {
                        regions.Add((at, count));
                    }
                }
            }

            return regions;
        }
    }

    public long Length => _inner.Length;

    public void Read(long offset, Span<byte> destination)
    {
        _inner.Read(offset, destination);
        lock (_reads)
        {
            _reads.Add((offset, destination.Length));
        }
    }

    public StoredExtent Locate(long offset, long count) => _inner.Locate(offset, count);

    public void Dispose()
    {
    }
}
