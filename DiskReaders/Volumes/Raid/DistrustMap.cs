using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Raid;

/// <summary>Which members are there, and which parts of them are not to be read.</summary>
internal sealed class DistrustMap
{
    private readonly bool[] _missing;
    private readonly List<DistrustedRange>?[] _ranges;

    public DistrustMap(IReadOnlyList<IBlockSource?> devices, IReadOnlyList<IReadOnlyList<DistrustedRange>?>? distrusted)
    {
        _missing = [.. devices.Select(d => d is null)];
        _ranges = new List<DistrustedRange>?[_missing.Length];
        Missing = [.. Enumerable.Range(0, _missing.Length).Where(i => _missing[i])];
        for (int i = 0; distrusted is not null && i < Math.Min(distrusted.Count, _missing.Length); i++)
        {
            if (distrusted[i] is { Count: > 0 } ranges && devices[i] is { } device)
            {
                _ranges[i] = Merged(ranges);
                IsScattered |= _ranges[i]![0] is var first && (_ranges[i]!.Count > 1 || first.Offset + first.Length < device.Length);
            }
        }
    }

    public IReadOnlyList<int> Missing { get; }

    /// <summary>True when sound bytes follow bad ones: small units then lose less.</summary>
    public bool IsScattered { get; }

    public bool IsMissing(int device) => _missing[device];

    /// <summary>Tells whether a member's byte may be read, and shortens <paramref name="length"/> to what has the same answer.</summary>
    public bool IsSound(int device, long offset, ref long length)
    {
        if (_missing[device])
        {
            return false;
        }

        if (_ranges[device] is not { } ranges)
        {
            return true;
        }

        int low = 0;
        int high = ranges.Count;
        while (low < high)
        {
            int middle = (low + high) >>> 1;
            if (ranges[middle].Offset + ranges[middle].Length <= offset)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        if (low == ranges.Count)
        {
            return true;
        }

        DistrustedRange next = ranges[low];
        if (offset < next.Offset)
        {
            length = Math.Min(length, next.Offset - offset);
            return true;
        }

        length = Math.Min(length, next.Offset + next.Length - offset);
        return false;
    }

    private static List<DistrustedRange> Merged(IReadOnlyList<DistrustedRange> ranges)
    {
        List<DistrustedRange> merged = [];
        foreach (DistrustedRange range in ranges.Where(r => r.Length > 0).OrderBy(r => r.Offset))
        {
            if (merged.Count > 0 && merged[^1] is var last && range.Offset <= last.Offset + last.Length)
            {
                long end = Math.Max(last.Offset + last.Length, range.Offset + range.Length);
                merged[^1] = new DistrustedRange(last.Offset, end - last.Offset);
            }
            else
            {
                merged.Add(range);
            }
        }

        return merged;
    }
}
