namespace Vmsweep.Appliance.Connectors.VSphere;

/// <summary>Which bytes of a disk its datastore has space for; all others read as zeros.</summary>
internal sealed class AllocatedAreas
{
    /// <summary>First byte and first byte after each area, in order, none touching the next.</summary>
    private readonly List<(long Start, long End)> _areas = [];
    private readonly long _length;

    /// <param name="areas">In order.</param>
    /// <param name="length">Of the disk.</param>
    public AllocatedAreas(IEnumerable<(long Start, long Length)> areas, long length)
    {
        _length = length;
        foreach ((long start, long count) in areas)
        {
            if (_areas.Count > 0 && _areas[^1].End == start)
            {
                _areas[^1] = (_areas[^1].Start, start + count);
            }
            else
            {
                _areas.Add((start, start + count));
            }
        }

        UnallocatedBytes = length - _areas.Sum(a => a.End - a.Start);
    }

    public long UnallocatedBytes { get; }

    /// <summary>Whether the byte at an offset is in an area, and for how many bytes, at most a count, those after it are as it is.</summary>
    public (bool IsAllocated, long Length) At(long offset, long count)
    {
        int next = NextAfter(offset);
        if (next > 0 && _areas[next - 1].End > offset)
        {
            return (true, Math.Min(count, _areas[next - 1].End - offset));
        }

        return (false, Math.Min(count, (next < _areas.Count ? _areas[next].Start : _length) - offset));
    }

    /// <summary>Where the byte is that has so many unallocated ones before it.</summary>
    /// <param name="number">Less than <see cref="UnallocatedBytes"/>.</param>
    public long Unallocated(long number)
    {
        long at = 0;
        foreach ((long start, long end) in _areas)
        {
            if (number < start - at)
            {
                break;
            }

            number -= start - at;
            at = end;
        }

        return at + number;
    }

    private int NextAfter(long offset)
    {
        int low = 0, high = _areas.Count;
        while (low < high)
        {
            int middle = (low + high) / 2;
            (low, high) = _areas[middle].Start <= offset ? (middle + 1, high) : (low, middle);
        }

        return low;
    }
}
