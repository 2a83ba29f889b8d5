namespace Vmsweep.DiskReaders.Blocks;

/// <summary>Bytes that were not scanned, and why. One for each fault and each deliberate skip.</summary>
/// <param name="Path">What was not scanned: a guest path, a volume id or an image name; empty when the reader cannot know it and its caller adds it.</param>
/// <param name="Structure">The structure that was at fault.</param>
/// <param name="Offset">Byte offset of the structure in its source; -1 when not known.</param>
/// <param name="Bytes">Bytes not scanned; 0 when not known.</param>
public sealed record CoverageGap(Fault Fault, string Path, string Structure, long Offset, long Bytes, string Detail)
{
    public CoverageGap(DiskFormatException fault, string path, long bytes)
        : this(fault.Fault, path, fault.Structure, fault.Offset, bytes, fault.Detail)
    {
    }

    /// <summary>The way in from the path, where what was not scanned lies inside of a file: names of members, outermost first.</summary>
    public IReadOnlyList<string> Inside { get; init; } = [];
}

/// <summary>Where readers report what they could not read. Safe for many threads.</summary>
public interface IGapSink
{
    void Add(CoverageGap gap);
}

/// <summary>A list of gaps, bounded: beyond <paramref name="most"/> gaps only the count and one closing gap are kept.</summary>
public sealed class GapList(int most = GapList.DefaultMost) : IGapSink
{
    /// <summary>A hostile image must not fill memory with gaps.</summary>
    public const int DefaultMost = 10_000;

    private readonly Lock _lock = new();
    private readonly List<CoverageGap> _gaps = [];

    /// <summary>All gaps that were added, kept or not.</summary>
    public long Count { get; private set; }

    public void Add(CoverageGap gap)
    {
        lock (_lock)
        {
            Count++;
            if (_gaps.Count < most)
            {
                _gaps.Add(gap);
            }
            else if (_gaps.Count == most)
            {
                _gaps.Add(new CoverageGap(Fault.Limit, gap.Path, "gaps", -1, 0, $"more than {most} gaps; the rest are counted only"));
            }
        }
    }

    public IReadOnlyList<CoverageGap> ToList()
    {
        lock (_lock)
        {
            return [.. _gaps];
        }
    }
}
