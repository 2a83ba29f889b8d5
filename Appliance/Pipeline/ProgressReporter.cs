using System.Diagnostics;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Worker;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>
/// Tells the supervisor how far the job is, a few times a second. It speaks only when something was done: a supervisor that
/// hears nothing knows that the worker hangs.
/// </summary>
internal sealed class ProgressReporter(EventWriter writer)
{
    private static readonly long Interval = Stopwatch.Frequency / 5;

    private IReadOnlyCollection<Coverage> _coverage = [];
    private long _bytesTotal;
    private long _steps;
    private long _nextAt;

    /// <summary>From now on these are counted.</summary>
    public void Begin(IReadOnlyCollection<Coverage> coverage, long bytesTotal)
    {
        _coverage = coverage;
        _bytesTotal = bytesTotal;
        Send();
    }

    public void Begin(Coverage coverage, long bytesTotal) => Begin([coverage], bytesTotal);

    /// <summary>Something was done. Safe for many threads.</summary>
    public void Step()
    {
        Interlocked.Increment(ref _steps);
        long now = Stopwatch.GetTimestamp();
        long next = Interlocked.Read(ref _nextAt);
        if (now >= next && Interlocked.CompareExchange(ref _nextAt, now + Interval, next) == next)
        {
            Send();
        }
    }

    public void Send()
    {
        Dictionary<string, CoverageCounts> counts = _coverage.ToDictionary(c => c.Id, c => c.Counts);
        writer.Send(new ProgressEvent(Interlocked.Read(ref _steps), counts.Values.Total(c => c.BytesRead), _bytesTotal, counts));
    }
}
