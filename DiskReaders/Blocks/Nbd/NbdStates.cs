namespace Vmsweep.DiskReaders.Blocks.Nbd;

/// <summary>What a server's metadata contexts say of ranges, asked for in windows and kept. Safe for many threads.</summary>
internal sealed class NbdStates(NbdConnections connections, uint context, long length)
{
    private const long WindowBytes = 128 << 20;

    /// <summary>A window in more runs is not mapped further; what is left of it counts as unknown.</summary>
    private const int MostRuns = 1 << 16;

    private const int MostRunsKept = 1 << 20;

    private readonly Lock _lock = new();
    private readonly Dictionary<long, Run[]> _windows = [];
    private int _kept;
    private volatile Run? _last;

    /// <summary>The run that holds an offset.</summary>
    /// <exception cref="IOException">The server failed.</exception>
    public Run At(long offset)
    {
        if (_last is { } last && offset >= last.Start && offset < last.End)
        {
            return last;
        }

        long window = offset / WindowBytes;
        Run[]? runs;
        lock (_lock)
        {
            _windows.TryGetValue(window, out runs);
        }

        if (runs is null)
        {
            runs = Ask(window * WindowBytes);
            lock (_lock)
            {
                if (_kept + runs.Length > MostRunsKept)
                {
                    _windows.Clear();
                    _kept = 0;
                }

                _kept += _windows.TryAdd(window, runs) ? runs.Length : 0;
            }
        }

        int low = 0;
        for (int high = runs.Length - 1; low < high;)
        {
            int middle = (low + high + 1) / 2;
            (low, high) = runs[middle].Start <= offset ? (middle, high) : (low, middle - 1);
        }

        return _last = runs[low];
    }

    private Run[] Ask(long start)
    {
        long end = Math.Min(start + WindowBytes, length);
        List<Run> runs = [];
        for (long at = start; at < end && runs.Count < MostRuns;)
        {
            NbdRequest request = NbdRequest.BlockStatus(at, (int)(end - at));
            connections.Wait(request, connections.Send(request));
            long before = at;
            foreach ((uint _, uint run, uint state) in request.Status.Where(s => s.Context == context))
            {
                // The last run of an answer may reach beyond the request.
                long to = Math.Min(at + run, end);
                if (runs.Count > 0 && runs[^1].State == state)
                {
                    runs[^1] = runs[^1] with { End = to };
                }
                else
                {
                    runs.Add(new Run(at, to, state));
                }

                at = to;
                if (at == end)
                {
                    break;
                }
            }

            if (at == before)
            {
                break;
            }
        }

        long known = runs.Count > 0 ? runs[^1].End : start;
        if (known < end)
        {
            runs.Add(new Run(known, end, null));
        }

        return [.. runs];
    }

    /// <param name="State">The context's flags; null where the server does not say.</param>
    public sealed record Run(long Start, long End, uint? State);
}
