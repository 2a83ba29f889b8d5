using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>
/// Parts of a source in order. What has to be unpacked or decrypted is done for several parts at once, each on a thread of its own; what only has to be
/// read is not, for one thread reads as fast as storage delivers.
/// </summary>
/// <param name="start">Where the reading begins.</param>
/// <param name="end">Where it ends.</param>
/// <param name="plainBytes">Read at a time where nothing is unpacked.</param>
/// <param name="packedBytes">Otherwise: a multiple of what any format packs into one unit, or several threads would unpack the same one.</param>
/// <param name="parts">Unpacked at once.</param>
internal sealed class ReadAhead(IBlockSource source, ScanBudget budget, long start, long end, int plainBytes, int packedBytes, int parts) : IDisposable
{
    private readonly int _bufferBytes = (int)Math.Clamp(end - start, 1, parts > 1 ? packedBytes : plainBytes);
    private readonly Queue<Part> _begun = new();
    private readonly Stack<RentedBuffer> _free = new();
    private RentedBuffer? _given;

    /// <summary>The next bytes, good until the next call.</summary>
    /// <exception cref="DiskFormatException">They cannot be read.</exception>
    /// <exception cref="IOException">Storage failed.</exception>
    public ReadOnlySpan<byte> Take(long offset)
    {
        Free(_given);
        _given = null;
        while (_begun.TryPeek(out Part? stale) && stale.Offset != offset)
        {
            Drop(_begun.Dequeue());
        }

        if (_begun.Count == 0 && !IsPacked(offset))
        {
            _given = Rent();
            Span<byte> part = _given.Span[..Length(offset, plainBytes)];
            source.Read(offset, part);
            return part;
        }

        long next = _begun.Count == 0 ? offset : _begun.Last().End;
        while (_begun.Count < parts && next < end && IsPacked(next))
        {
            var begun = new Part(next, Length(next, packedBytes), Rent());
            begun.Read = Task.Run(() => source.Read(begun.Offset, begun.Buffer.Span[..begun.Length]));
            _begun.Enqueue(begun);
            next = begun.End;
        }

        Part done = _begun.Dequeue();
        _given = done.Buffer;
        done.Read!.GetAwaiter().GetResult();
        return done.Buffer.Span[..done.Length];
    }

    public void Dispose()
    {
        while (_begun.TryDequeue(out Part? part))
        {
            Drop(part);
        }

        _given?.Dispose();
        while (_free.TryPop(out RentedBuffer? buffer))
        {
            buffer.Dispose();
        }
    }

    private bool IsPacked(long offset) => parts > 1 && source.Locate(offset, Length(offset, packedBytes)).Kind == ExtentKind.Packed;

    private int Length(long offset, int most) => (int)Math.Min(most - (offset % most), end - offset);

    private RentedBuffer Rent() => _free.TryPop(out RentedBuffer? buffer) ? buffer : budget.Rent(_bufferBytes);

    private void Free(RentedBuffer? buffer)
    {
        if (buffer is not null)
        {
            _free.Push(buffer);
        }
    }

    /// <summary>Its thread writes into the buffer until it is done. What it failed with concerns nobody any more.</summary>
    private void Drop(Part part)
    {
        Task.WaitAny(part.Read!);
        _ = part.Read!.Exception;
        Free(part.Buffer);
    }

    private sealed class Part(long offset, int length, RentedBuffer buffer)
    {
        public long Offset => offset;

        public int Length => length;

        public long End => offset + length;

        public RentedBuffer Buffer => buffer;

        public Task? Read { get; set; }
    }
}
