using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.GuestMemory;

/// <summary>Runs that lie in one piece in a file each: by guest-physical address, without overlaps.</summary>
internal sealed class RunMap : IExtentMap
{
    /// <summary>Real ones have some ten; a guest with memory hotplug some hundred.</summary>
    public const int MostRuns = 65_536;

    private readonly List<Stored> _runs = [];

    private RunMap()
    {
    }

    public long Length => _runs.Count > 0 ? _runs[^1].End : 0;

    public IReadOnlyList<MemoryRun> Runs => [.. _runs.Select(r => new MemoryRun(r.Address, r.Length))];

    /// <param name="runs">As the format has them. Where two overlap, the one named first has the bytes, as a core file with a run for each mapping of a page means it.</param>
    /// <param name="fileBytes">Length of the file they lie in; what is beyond is a gap.</param>
    /// <param name="structure">Names the format in gaps.</param>
    public static RunMap Of(IReadOnlyList<(long Address, long Length, long Location)> runs, long fileBytes, string structure, IGapSink gaps)
    {
        var map = new RunMap();
        long missing = 0;
        foreach ((long address, long length, long location) in runs)
        {
            if (address < 0 || location < 0 || length < 0 || address > long.MaxValue - length || location > long.MaxValue - length)
            {
                throw new DiskFormatException(Fault.Corrupt, structure, -1, $"a run of {length} bytes at {address}, stored at {location}");
            }

            long there = Math.Clamp(fileBytes - location, 0, length);
            missing += Math.Min(length - there, long.MaxValue - missing);
            if (there > 0)
            {
                map.Add(new Stored(address, there, location));
            }
        }

        if (missing > 0)
        {
            gaps.Add(new CoverageGap(Fault.Truncated, "", structure, fileBytes, missing, "the file ends before the memory that it describes"));
        }

        return map;
    }

    public Extent Map(long offset, long count)
    {
        int at = First(offset);
        if (at == _runs.Count)
        {
            return new Extent(ExtentKind.Hole, count);
        }

        Stored run = _runs[at];
        return offset < run.Address
            ? new Extent(ExtentKind.Hole, Math.Min(count, run.Address - offset))
            : new Extent(ExtentKind.Data, Math.Min(count, run.End - offset), run.Location + (offset - run.Address));
    }

    /// <summary>Adds what no run before covers.</summary>
    private void Add(Stored run)
    {
        int at = First(run.Address);
        while (run.Length > 0)
        {
            long free = at < _runs.Count ? _runs[at].Address : long.MaxValue;
            long before = Math.Min(run.End, free) - run.Address;
            if (before > 0)
            {
                if (_runs.Count >= MostRuns)
                {
                    throw new DiskFormatException(Fault.Limit, "memory runs", -1, $"more than {MostRuns}");
                }

                _runs.Insert(at++, run with { Length = before });
            }

            if (at >= _runs.Count || run.End <= _runs[at].End)
            {
                return;
            }

            long skip = _runs[at].End - run.Address;
            run = new Stored(run.Address + skip, run.Length - skip, run.Location + skip);
            at++;
        }
    }

    /// <summary>The first run that ends behind an address.</summary>
    private int First(long address)
    {
        int low = 0;
        int high = _runs.Count;
        while (low < high)
        {
            int middle = (low + high) / 2;
            if (_runs[middle].End <= address)
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

    private readonly record struct Stored(long Address, long Length, long Location)
    {
        public long End => Address + Length;
    }
}
