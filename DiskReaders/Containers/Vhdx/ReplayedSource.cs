using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Vhdx;

/// <summary>One update of the log.</summary>
/// <param name="Offset">Where in the file.</param>
/// <param name="Length">Bytes, at least 1.</param>
/// <param name="Data">Where its bytes lie in the replayed data, or <see cref="Zeros"/>.</param>
internal readonly record struct ReplayedWrite(long Offset, long Length, int Data)
{
    public const int Zeros = -1;

    public long End => Offset + Length;
}

/// <summary>A file with the updates of its log laid over it, as if they had been written. Does not own the file.</summary>
internal sealed class ReplayedSource : IBlockSource
{
    private readonly IBlockSource _file;
    private readonly RentedBuffer _data;
    private readonly ReplayedWrite[] _pieces;

    /// <param name="file">The file as it is stored.</param>
    /// <param name="length">Its length after the replay; what is beyond the stored bytes and not written is zeros.</param>
    /// <param name="writes">The updates, oldest first; later ones go over earlier ones.</param>
    /// <param name="data">The updates' bytes; owned from now on.</param>
    public ReplayedSource(IBlockSource file, long length, List<ReplayedWrite> writes, RentedBuffer data)
    {
        _file = file;
        _data = data;
        _pieces = Flatten(writes);
        Length = length;
    }

    public long Length { get; }

    public void Read(long offset, Span<byte> destination)
    {
        Bounds.Check(offset, destination.Length, Length, "replayed file");
        for (int at = FirstEndingAfter(offset); !destination.IsEmpty;)
        {
            long next = at < _pieces.Length ? _pieces[at].Offset : long.MaxValue;
            int count;
            if (offset < next)
            {
                count = (int)Math.Min(destination.Length, next - offset);
                ReadFile(offset, destination[..count]);
            }
            else
            {
                ReplayedWrite piece = _pieces[at++];
                count = (int)Math.Min(destination.Length, piece.End - offset);
                if (piece.Data == ReplayedWrite.Zeros)
                {
                    destination[..count].Clear();
                }
                else
                {
                    _data.Span.Slice(piece.Data + (int)(offset - piece.Offset), count).CopyTo(destination);
                }
            }

            offset += count;
            destination = destination[count..];
        }
    }

    public StoredExtent Locate(long offset, long count)
    {
        Bounds.Check(offset, count, Length, "replayed file");
        int at = FirstEndingAfter(offset);
        if (at < _pieces.Length)
        {
            ReplayedWrite piece = _pieces[at];
            if (piece.Offset <= offset)
            {
                count = Math.Min(count, piece.End - offset);
                return piece.Data == ReplayedWrite.Zeros ? new(ExtentKind.Zero, count) : new(ExtentKind.Data, count, -1, offset);
            }

            count = Math.Min(count, piece.Offset - offset);
        }

        return offset < _file.Length ? _file.Locate(offset, Math.Min(count, _file.Length - offset)) : new(ExtentKind.Hole, count);
    }

    public void Dispose() => _data.Dispose();

    /// <summary>Cuts the writes so that none overlaps another, the latest on top, in order of their offsets.</summary>
    private static ReplayedWrite[] Flatten(List<ReplayedWrite> writes)
    {
        int[] byOffset = [.. Enumerable.Range(0, writes.Count).OrderBy(i => writes[i].Offset)];
        var open = new PriorityQueue<int, int>(); // writes that reach the place, the latest first
        List<ReplayedWrite> pieces = [];
        int taken = 0;
        long place = 0;
        while (true)
        {
            while (open.TryPeek(out int covered, out _) && writes[covered].End <= place)
            {
                open.Dequeue();
            }

            if (open.Count == 0)
            {
                if (taken == byOffset.Length)
                {
                    return [.. pieces];
                }

                place = Math.Max(place, writes[byOffset[taken]].Offset);
            }

            for (; taken < byOffset.Length && writes[byOffset[taken]].Offset <= place; taken++)
            {
                open.Enqueue(byOffset[taken], -byOffset[taken]);
            }

            ReplayedWrite top = writes[open.Peek()];
            if (top.End <= place)
            {
                continue;
            }

            long end = taken < byOffset.Length ? Math.Min(top.End, writes[byOffset[taken]].Offset) : top.End;
            int data = top.Data == ReplayedWrite.Zeros ? ReplayedWrite.Zeros : top.Data + (int)(place - top.Offset);
            pieces.Add(new ReplayedWrite(place, end - place, data));
            place = end;
        }
    }

    private int FirstEndingAfter(long offset)
    {
        int low = 0;
        int high = _pieces.Length;
        while (low < high)
        {
            int middle = (low + high) >> 1;
            if (_pieces[middle].End <= offset)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        return low;
    }

    private void ReadFile(long offset, Span<byte> destination)
    {
        int stored = (int)Math.Clamp(_file.Length - offset, 0, destination.Length);
        if (stored > 0)
        {
            _file.Read(offset, destination[..stored]);
        }

        destination[stored..].Clear();
    }
}
