using Vmsweep.Appliance.Connectors;

namespace Vmsweep.Appliance.Pipeline.Changes;

/// <summary>The ranges of one disk that may have changed.</summary>
/// <param name="ranges">Null when all of it may have.</param>
internal sealed class ChangedMap(IReadOnlyList<ChangedRange>? ranges)
{
    private readonly (long Start, long End)[]? _ranges = ranges is null ? null : Merged(ranges);

    /// <summary>True unless it is known that no byte of the range changed.</summary>
    public bool Touches(long offset, long length)
    {
        if (_ranges is null)
        {
            return true;
        }

        // The first range that ends behind the offset.
        int low = 0, high = _ranges.Length;
        while (low < high)
        {
            int middle = (low + high) / 2;
            (low, high) = _ranges[middle].End > offset ? (low, middle) : (middle + 1, high);
        }

        return low < _ranges.Length && _ranges[low].Start < offset + length;
    }

    /// <summary>The same ranges and more: those near each other are joined until there are no more than so many.</summary>
    public static IReadOnlyList<ChangedRange> Joined(IReadOnlyList<ChangedRange> ranges, int most)
    {
        for (long gap = 64 << 10; ranges.Count > most; gap *= 2)
        {
            List<ChangedRange> joined = [];
            foreach (ChangedRange range in ranges)
            {
                if (joined.Count > 0 && range.Offset - (joined[^1].Offset + joined[^1].Length) <= gap)
                {
                    joined[^1] = joined[^1] with { Length = Math.Max(joined[^1].Length, range.Offset + range.Length - joined[^1].Offset) };
                }
                else
                {
                    joined.Add(range);
                }
            }

            ranges = joined;
        }

        return ranges;
    }

    /// <summary>In order and without overlaps, whatever they came as; one that makes no sense counts for all there is.</summary>
    private static (long Start, long End)[] Merged(IReadOnlyList<ChangedRange> ranges)
    {
        List<(long Start, long End)> merged = [];
        foreach (ChangedRange range in ranges.OrderBy(r => r.Offset))
        {
            if (range.Offset < 0 || range.Length < 0 || range.Length > long.MaxValue - range.Offset)
            {
                return [(0, long.MaxValue)];
            }

            long end = range.Offset + range.Length;
            if (merged.Count > 0 && range.Offset <= merged[^1].End)
            {
                merged[^1] = (merged[^1].Start, Math.Max(merged[^1].End, end));
            }
            else
            {
                merged.Add((range.Offset, end));
            }
        }

        return [.. merged];
    }
}
