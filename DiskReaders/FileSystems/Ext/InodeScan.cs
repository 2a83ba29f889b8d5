using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ext;

/// <summary>Reads a range of a group's inode table in large pieces, passing what the storage below does not keep at all.</summary>
internal sealed class InodeScan : IDisposable
{
    private const int PieceBytes = 256 << 10;
    private const int SmallPieceBytes = 4 << 10;

    private readonly ExtVolume _volume;
    private readonly bool _report;
    private readonly RentedBuffer _buffer;
    private ExtGroup _group;
    private uint _next, _end;
    private uint _smallUntil;

    /// <param name="volume">What is read.</param>
    /// <param name="report">Whether what cannot be read becomes a gap: once, however often the tables are read.</param>
    public InodeScan(ExtVolume volume, bool report)
    {
        _volume = volume;
        _report = report;
        _buffer = volume.Context.Budget.Rent(Math.Max(PieceBytes, volume.Super.InodeBytes));
    }

    /// <summary>Index in the group of the piece's first inode, and how many there are.</summary>
    public (uint First, int Count) Piece { get; private set; }

    public void Begin(ExtGroup group, uint from, uint end)
    {
        _group = group;
        _next = from;
        _end = end;
        _smallUntil = 0;
    }

    public uint NumberOf(int index) => (_group.Group * _volume.Super.InodesPerGroup) + Piece.First + (uint)index + 1;

    public long OffsetOf(int index) => _group.InodeTable + ((Piece.First + index) * (long)_volume.Super.InodeBytes);

    public ReadOnlySpan<byte> BytesOf(int index) => _buffer.Span.Slice(index * _volume.Super.InodeBytes, _volume.Super.InodeBytes);

    /// <summary>Goes to the next piece.</summary>
    public bool Next()
    {
        int size = _volume.Super.InodeBytes;
        while (_next < _end)
        {
            _volume.Context.ThrowIfCancelled();
            long offset = _group.InodeTable + (_next * (long)size);
            long wanted = (_end - _next) * (long)size;
            int most = Math.Max(1, (_next < _smallUntil ? SmallPieceBytes : PieceBytes) / size);
            int count = (int)Math.Min(most, _end - _next);
            try
            {
                Bounds.Check(offset, (long)count * size, _volume.Source.Length, "inode table");
                StoredExtent stored = _volume.Source.Locate(offset, wanted);
                if (!stored.IsStored && stored.Length >= size)
                {
                    _next += (uint)(stored.Length / size);
                    continue;
                }

                _volume.Source.Read(offset, _buffer.Span[..(count * size)]);
                Piece = (_next, count);
                _next += (uint)count;
                return true;
            }
            catch (DiskFormatException) when (count > Math.Max(1, SmallPieceBytes / size))
            {
                // Something in the piece is missing: what is around it is still there.
                _smallUntil = _next + (uint)count;
            }
            catch (DiskFormatException e)
            {
                if (_report)
                {
                    _volume.Context.Gaps.Add(new CoverageGap(e, $"inodes {NumberOf(0) - Piece.First + _next} and {count - 1} more", (long)count * size));
                }

                _next += (uint)count;
            }
        }

        return false;
    }

    public void Dispose() => _buffer.Dispose();
}
