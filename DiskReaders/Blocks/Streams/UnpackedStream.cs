namespace Vmsweep.DiskReaders.Blocks.Streams;

/// <summary>
/// What a packed stream holds. It is first gone through from front to back, which leaves places behind to go on from; then, sealed, it is read
/// at any offset. A stream that breaks off has what could be unpacked up to there.
/// </summary>
internal sealed class UnpackedStream : IBlockSource, IExtentMap, IUnpacker
{
    /// <summary>Tables of pages are read here and there; unpacking a unit again costs far more than keeping it.</summary>
    private const int MostCachedUnits = 256;

    private const int MostStates = 4096;
    private const long LeastSpacing = 1 << 20;

    private readonly Lock _lock = new();
    private readonly IStreamUnpacker _unpacker;
    private readonly ReadContext _context;
    private readonly int _fileId;
    private readonly List<IUnpackState> _states = [];
    private long _spacing = LeastSpacing;
    private long _chunkAt;
    private long _furthest;
    private DiskFormatException? _fault;
    private long _faultAt = long.MaxValue;
    private MappedSource? _units;

    /// <param name="unpacker">Disposed with this.</param>
    /// <param name="fileId">How <see cref="StoredExtent.File"/> names the packed file.</param>
    /// <param name="context">Memory, cancellation.</param>
    public UnpackedStream(IStreamUnpacker unpacker, int fileId, ReadContext context)
    {
        _unpacker = unpacker;
        _fileId = fileId;
        _context = context;
    }

    /// <summary>How far it was unpacked; final once it is sealed.</summary>
    public long Length { get; private set; }

    public int UnitBytes => 256 << 10;

    /// <summary>Reads as much as there is, up to the span's length; 0 at the end.</summary>
    /// <exception cref="DiskFormatException">The packed bytes at this offset are faulty.</exception>
    public int ReadSome(long offset, Span<byte> destination)
    {
        lock (_lock)
        {
            int made = 0;
            Seek(offset);
            while (made < destination.Length)
            {
                ReadOnlySpan<byte> chunk = _unpacker.Chunk;
                long within = offset + made - _chunkAt;
                if (within < chunk.Length)
                {
                    int count = (int)Math.Min(destination.Length - made, chunk.Length - within);
                    chunk.Slice((int)within, count).CopyTo(destination[made..]);
                    made += count;
                }
                else if (!Advance(made > 0))
                {
                    break;
                }
            }

            return made;
        }
    }

    /// <summary>From now on it is as long as it was unpacked until now, and can be read at any offset.</summary>
    public void Seal() => _units = new MappedSource(this, [], _context, unpacker: this, cachedUnits: (int)Math.Clamp(_context.Budget.CeilingBytes / 16 / UnitBytes, 4, MostCachedUnits));

    public void Read(long offset, Span<byte> destination) => (_units ?? throw new InvalidOperationException("not sealed")).Read(offset, destination);

    public StoredExtent Locate(long offset, long count)
    {
        Bounds.Check(offset, count, Length, "unpacked stream");
        return new StoredExtent(ExtentKind.Packed, count, _fileId, offset);
    }

    public Extent Map(long offset, long count) => new(ExtentKind.Packed, count, 0);

    public void Unpack(long unitOffset, long location, Span<byte> unit)
    {
        int made = 0;
        while (made < unit.Length)
        {
            int count = ReadSome(unitOffset + made, unit[made..]);
            made += count > 0 ? count : throw new DiskFormatException(Fault.Truncated, "packed stream", unitOffset + made, "it holds less than when it was opened");
        }
    }

    public void Dispose()
    {
        _units?.Dispose();
        _states.ForEach(s => s.Dispose());
        _states.Clear();
        _unpacker.Dispose();
    }

    /// <param name="hasSome">A fault is told by the next call, after what lies before it was given.</param>
    private bool Advance(bool hasSome)
    {
        _context.ThrowIfCancelled();
        long at = _unpacker.OutputOffset;
        if (at >= _faultAt)
        {
            return hasSome ? false : throw _fault!;
        }

        Remember(at);
        _chunkAt = at;
        try
        {
            bool isMore = _unpacker.TryNext();
            _furthest = Math.Max(_furthest, _unpacker.OutputOffset);
            Length = _units is null ? _furthest : Length;
            return isMore;
        }
        catch (DiskFormatException e)
        {
            _fault = e;
            _faultAt = at;

            // The unpacker stands nowhere now: the next read seeks.
            _chunkAt = long.MaxValue;
            return hasSome ? false : throw _fault;
        }
    }

    /// <summary>Places are kept evenly apart: when there are too many, every second goes, and the rest is twice as far apart.</summary>
    private void Remember(long at)
    {
        if (at < _furthest || at - (_states.Count > 0 ? _states[^1].OutputOffset : 0) < _spacing)
        {
            return;
        }

        if (_states.Count >= Math.Clamp(_context.Budget.CeilingBytes / 8 / Math.Max(1, _unpacker.StateBytes), 2, MostStates))
        {
            for (int i = _states.Count - 1; i >= 0; i -= 2)
            {
                _states[i].Dispose();
                _states.RemoveAt(i);
            }

            _spacing *= 2;
            return;
        }

        if (_unpacker.Save(_context.Budget) is { } state)
        {
            _states.Add(state);
        }
    }

    /// <summary>Brings the unpacker to the last place at or before an offset, unless it stands nearer to it already.</summary>
    private void Seek(long offset)
    {
        if (offset >= _faultAt)
        {
            throw _fault!;
        }

        int low = 0;
        int high = _states.Count;
        while (low < high)
        {
            int middle = (low + high) / 2;
            if (_states[middle].OutputOffset <= offset)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        IUnpackState? state = low > 0 ? _states[low - 1] : null;
        if (_chunkAt <= offset && _chunkAt >= (state?.OutputOffset ?? 0))
        {
            return;
        }

        _unpacker.Restore(state);
        _chunkAt = _unpacker.OutputOffset;
    }
}
