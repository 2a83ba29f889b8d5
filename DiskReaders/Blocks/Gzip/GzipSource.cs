namespace Vmsweep.DiskReaders.Blocks.Gzip;

/// <summary>
/// What a gzip file holds, at any offset, without unpacking it to a disk. Opening reads it once from end to end: that gives its length,
/// verifies each member's CRC-32, and leaves states behind to go on from, some MiB apart. A file that is cut off or damaged has what can be
/// unpacked up to there, and a gap.
/// </summary>
public sealed class GzipSource : IBlockSource, IExtentMap, IUnpacker
{
    /// <summary>Opening goes through all of it, at some hundred MiB a second and without a sign of life.</summary>
    public const long MostBytes = 16L << 30;

    private const int CachedUnits = 16;
    private const int MostStates = 1024;
    private const long LeastSpacing = 1 << 20;

    private readonly Lock _lock = new();
    private readonly IBlockSource _packed;
    private readonly ReadContext _context;
    private readonly GzipReader _reader;
    private readonly List<InflateState> _states = [];
    private readonly MappedSource? _units;
    private readonly int _fileId;
    private readonly bool _isIndexed;

    // The chunk that the reader gave last, for reads that go on.
    private long _chunkAt;

    /// <param name="packed">The gzip file. Disposed with this.</param>
    /// <param name="fileId">How <see cref="StoredExtent.File"/> names it.</param>
    /// <param name="context">Memory, gaps, cancellation.</param>
    /// <exception cref="DiskFormatException">It is no gzip file, or holds more than <see cref="MostBytes"/>.</exception>
    public GzipSource(IBlockSource packed, int fileId, ReadContext context)
    {
        _packed = packed;
        _fileId = fileId;
        _context = context;
        _reader = new GzipReader(packed, context.Budget, OnFault);
        try
        {
            Length = Index();
            _isIndexed = true;
            _units = new MappedSource(this, [], context, unpacker: this, cachedUnits: CachedUnits);
        }
        catch
        {
            Free();
            throw;
        }
    }

    public long Length { get; }

    public int UnitBytes => 256 << 10;

    /// <summary>The first bytes of what a gzip file holds, without going through all of it: enough to know an image and the names in its head.</summary>
    /// <exception cref="DiskFormatException">Not even one byte can be unpacked.</exception>
    public static byte[] Head(IBlockSource packed, int most)
    {
        using var reader = new GzipReader(packed, new ScanBudget(1 << 20), _ => { });
        var head = new MemoryStream();
        try
        {
            while (head.Length < most && reader.TryNext(out ReadOnlySpan<byte> chunk))
            {
                head.Write(chunk[..(int)Math.Min(chunk.Length, most - head.Length)]);
            }
        }
        catch (DiskFormatException) when (head.Length > 0)
        {
            // Whoever reads it whole reports it.
        }

        return head.ToArray();
    }

    public void Read(long offset, Span<byte> destination) => _units!.Read(offset, destination);

    public StoredExtent Locate(long offset, long count)
    {
        Bounds.Check(offset, count, Length, "gzip content");
        return new StoredExtent(ExtentKind.Packed, count, _fileId, offset);
    }

    public Extent Map(long offset, long count) => new(ExtentKind.Packed, count, 0);

    public void Unpack(long unitOffset, long location, Span<byte> unit)
    {
        lock (_lock)
        {
            Seek(unitOffset);
            while (!unit.IsEmpty)
            {
                _context.ThrowIfCancelled();
                ReadOnlySpan<byte> chunk = _reader.Chunk;
                long within = unitOffset - _chunkAt;
                if (within >= chunk.Length)
                {
                    _chunkAt = _reader.OutputOffset;
                    if (!_reader.TryNext(out _))
                    {
                        throw new DiskFormatException(Fault.Truncated, "gzip", _packed.Length, "it holds less than when it was opened");
                    }

                    continue;
                }

                int count = (int)Math.Min(unit.Length, chunk.Length - within);
                chunk.Slice((int)within, count).CopyTo(unit);
                unit = unit[count..];
                unitOffset += count;
            }
        }
    }

    public void Dispose()
    {
        _units?.Dispose();
        Free();
        _packed.Dispose();
    }

    /// <summary>A member that is unpacked a second time is not reported a second time.</summary>
    private void OnFault(DiskFormatException fault)
    {
        if (!_isIndexed)
        {
            _context.Gaps.Add(new CoverageGap(fault, "", 0));
        }
    }

    private void Free()
    {
        _reader.Dispose();
        _states.ForEach(s => s.Dispose());
        _states.Clear();
    }

    /// <summary>Goes through all of it once. States are kept evenly apart: when there are too many, every second goes, and the rest is twice as far apart.</summary>
    private long Index()
    {
        long spacing = LeastSpacing;
        int most = (int)Math.Clamp(_context.Budget.CeilingBytes / 16 / (InflateState.WindowBytes + InflateState.LengthBytes), 8, MostStates);
        try
        {
            while (_reader.TryNext(out _))
            {
                _context.ThrowIfCancelled();
                long at = _reader.OutputOffset;
                if (at > MostBytes)
                {
                    throw new DiskFormatException(Fault.Limit, "gzip", 0, $"it holds more than {MostBytes >> 30} GiB; unpack it first");
                }

                if (at - (_states.Count > 0 ? _states[^1].OutputOffset : 0) < spacing)
                {
                    continue;
                }

                if (_states.Count == most)
                {
                    for (int i = most - 1; i >= 0; i -= 2)
                    {
                        _states[i].Dispose();
                        _states.RemoveAt(i);
                    }

                    spacing *= 2;
                    continue;
                }

                _states.Add(_reader.Save(_context.Budget));
            }
        }
        catch (DiskFormatException e) when (e.Fault != Fault.Limit && _reader.OutputOffset > 0)
        {
            _context.Gaps.Add(new CoverageGap(e, "", 0));
        }

        long length = _reader.OutputOffset;
        _reader.Restart();
        return length;
    }

    /// <summary>Brings the reader to the last state at or before an offset, unless it stands nearer to it already.</summary>
    private void Seek(long offset)
    {
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

        InflateState? state = low > 0 ? _states[low - 1] : null;
        if (_chunkAt <= offset && _chunkAt >= (state?.OutputOffset ?? 0))
        {
            return;
        }

        if (state is null)
        {
            _reader.Restart();
        }
        else
        {
            _reader.Restore(state);
        }

        _chunkAt = _reader.OutputOffset;
    }
}
