using System.Numerics;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Xfs;

/// <summary>Goes through all inodes in use in the order they lie on the disk, reading many chunks at once.</summary>
internal sealed class InodeScan : IDisposable
{
    private const int WindowBytes = 512 << 10;
    private const int PassOverBytes = 64 << 10;    // reading through a small gap costs less than another read

    private readonly XfsVolume _volume;
    private readonly int _inodeBytes;
    private readonly int _from, _end;
    private readonly bool _report;
    private readonly RentedBuffer _window;
    private long _windowFrom, _windowEnd;
    private int _chunk;
    private ulong _left;
    private int _alone;

    /// <param name="volume">What is read.</param>
    /// <param name="from">Index of the first chunk.</param>
    /// <param name="end">Index after the last.</param>
    /// <param name="report">Whether what cannot be read becomes a gap: once, however often the inodes are read.</param>
    public InodeScan(XfsVolume volume, int from, int end, bool report)
    {
        _volume = volume;
        _inodeBytes = volume.Super.InodeBytes;
        _from = from;
        _end = end;
        _report = report;
        _chunk = from - 1;
        _window = volume.Context.Budget.Rent(WindowBytes);
    }

    public ulong Number { get; private set; }

    public long Offset { get; private set; }

    /// <summary>True when only a name said that there may be such an inode.</summary>
    public bool Guessed => _volume.Chunks.All[_chunk].Guessed;

    public ReadOnlySpan<byte> Bytes => _window.Span.Slice((int)(Offset - _windowFrom), _inodeBytes);

    /// <summary>Goes to the next inode.</summary>
    public bool Next()
    {
        while (true)
        {
            while (_left == 0)
            {
                if (_chunk + 1 >= _end)
                {
                    return false;
                }

                _chunk++;
                _left = _volume.Chunks.All[_chunk].InUse;
            }

            int bit = BitOperations.TrailingZeroCount(_left);
            _left &= _left - 1;
            Number = _volume.Chunks.All[_chunk].First + (ulong)bit;
            Offset = _volume.InodeOffset(Number);
            if ((Offset >= _windowFrom && Offset + _inodeBytes <= _windowEnd) || Fill())
            {
                return true;
            }
        }
    }

    public void Dispose() => _window.Dispose();

    private bool Fill()
    {
        _volume.Context.ThrowIfCancelled();
        long wanted = _chunk < _alone ? Offset + _inodeBytes : Ahead();
        while (true)
        {
            try
            {
                _volume.Source.Read(Offset, _window.Span[..(int)(wanted - Offset)]);
                (_windowFrom, _windowEnd) = (Offset, wanted);
                return true;
            }
            catch (DiskFormatException) when (wanted - Offset > _inodeBytes)
            {
                // Something ahead is missing: what is around it is still there, and read one by one.
                _alone = _chunk + (WindowBytes / (InodeChunk.Inodes * _inodeBytes)) + 1;
                wanted = Offset + _inodeBytes;
            }
            catch (DiskFormatException e)
            {
                (_windowFrom, _windowEnd) = (0, 0);
                if (_report)
                {
                    _volume.Context.Gaps.Add(new CoverageGap(e, $"inode {Number}", _inodeBytes));
                }

                return false;
            }
        }
    }

    private long Ahead()
    {
        long end = EndOf(_chunk);
        for (int next = _chunk + 1; next < _end; next++)
        {
            InodeChunk chunk = _volume.Chunks.All[next];
            long start = _volume.InodeOffset(chunk.First + (ulong)BitOperations.TrailingZeroCount(chunk.InUse | (1UL << 63)));
            long last = EndOf(next);
            if (start < end || start > end + PassOverBytes || last > Offset + _window.Length)
            {
                break;
            }

            end = last;
        }

        return end;
    }

    private long EndOf(int index)
    {
        InodeChunk chunk = _volume.Chunks.All[index];
        return _volume.InodeOffset(chunk.First + (ulong)(InodeChunk.Inodes - 1 - BitOperations.LeadingZeroCount(chunk.InUse))) + _inodeBytes;
    }
}
