using Vmsweep.DiskReaders.Blocks.Gzip;

namespace Vmsweep.DiskReaders.Blocks.Streams;

/// <summary>A gzip file as a stream. A sum that does not fit is known only behind the bytes it is over: it is a gap, and the bytes stay.</summary>
internal sealed class GzipUnpacker : IStreamUnpacker
{
    private readonly GzipReader _reader;
    private bool _isTold;

    /// <param name="packed">The gzip file; not disposed with this.</param>
    /// <param name="context">Memory, gaps.</param>
    public GzipUnpacker(IBlockSource packed, ReadContext context) => _reader = new GzipReader(packed, context.Budget, fault =>
    {
        if (!_isTold)
        {
            _isTold = true;
            context.Gaps.Add(new CoverageGap(fault, "", 0));
        }
    });

    public long OutputOffset => _reader.OutputOffset;

    public ReadOnlySpan<byte> Chunk => _reader.Chunk;

    public long StateBytes => InflateState.WindowBytes + InflateState.LengthBytes;

    public bool TryNext() => _reader.TryNext(out _);

    public IUnpackState Save(ScanBudget budget) => new State(_reader.Save(budget));

    public void Restore(IUnpackState? state)
    {
        if (state is State kept)
        {
            _reader.Restore(kept.Inflate);
        }
        else
        {
            _reader.Restart();
        }
    }

    public void Dispose() => _reader.Dispose();

    private sealed record State(InflateState Inflate) : IUnpackState
    {
        public long OutputOffset => Inflate.OutputOffset;

        public void Dispose() => Inflate.Dispose();
    }
}
