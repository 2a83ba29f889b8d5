namespace Vmsweep.DiskReaders.Blocks.Streams;

/// <summary>Unpacks a stream from front to back in chunks, and goes on from places it remembers. Belongs to one thread at a time.</summary>
internal interface IStreamUnpacker : IDisposable
{
    /// <summary>Unpacked bytes given so far, from the beginning of the stream.</summary>
    long OutputOffset { get; }

    /// <summary>The chunk given last; empty before the first and after a jump.</summary>
    ReadOnlySpan<byte> Chunk { get; }

    /// <summary>About what one remembered place costs.</summary>
    long StateBytes { get; }

    /// <summary>Unpacks the next chunk; false at the end.</summary>
    /// <exception cref="DiskFormatException">The packed bytes are faulty. All chunks before were good. The unpacker may only be restored then.</exception>
    bool TryNext();

    /// <summary>Remembers the place behind the chunk given last; null where this format cannot go on from there.</summary>
    IUnpackState? Save(ScanBudget budget);

    /// <summary>Goes on from a place; from the beginning when null.</summary>
    void Restore(IUnpackState? state);
}

/// <summary>A place in a packed stream.</summary>
internal interface IUnpackState : IDisposable
{
    long OutputOffset { get; }
}

/// <summary>A place that is told by where it lies in the packed bytes alone.</summary>
internal sealed record PlainState(long OutputOffset, long InputPosition) : IUnpackState
{
    public void Dispose()
    {
    }
}
