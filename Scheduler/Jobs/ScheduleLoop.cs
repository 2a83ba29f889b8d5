using Vmsweep.Scheduler.Triggers;

namespace Vmsweep.Scheduler.Jobs;

/// <summary>
/// Starts sweeps when they are due. Quartz says when; the waiting is done here, so that it follows one clock. A clock that was set back starts nothing twice, and what was missed while the
/// machine slept is started once.
/// </summary>
public sealed class ScheduleLoop(IReadOnlyDictionary<string, CronSchedule> schedules, ISweepStarter starter, TimeProvider time)
{
    /// <summary>The longest wait: a clock that is set meanwhile is noticed then.</summary>
    private static readonly TimeSpan LongestWait = TimeSpan.FromMinutes(1);

    /// <summary>Runs until it is cancelled, and then waits for the sweeps that it started.</summary>
    public async Task RunAsync(CancellationToken cancellation)
    {
        var due = schedules.ToDictionary(s => s.Key, s => s.Value.After(time.GetUtcNow()), StringComparer.Ordinal);
        var running = new Dictionary<string, Task>(StringComparer.Ordinal);
        try
        {
            while (true)
            {
                DateTimeOffset now = time.GetUtcNow();
                foreach ((string sweep, DateTimeOffset at) in due.Where(d => d.Value <= now).Select(d => (d.Key, d.Value!.Value)).OrderBy(d => d.Value).ToList())
                {
                    // The next time is later than both: neither what was missed nor a time that the clock shows again is started once more.
                    due[sweep] = schedules[sweep].After(now > at ? now : at);
                    if (!running.TryGetValue(sweep, out Task? last) || last.IsCompleted)
                    {
                        running[sweep] = starter.StartAsync(sweep, at, cancellation);
                    }
                }

                TimeSpan wait = due.Values.Min() is { } next && next - now < LongestWait ? next - now : LongestWait;
                await Task.Delay(wait > TimeSpan.Zero ? wait : TimeSpan.Zero, time, cancellation).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException) when (cancellation.IsCancellationRequested)
        {
            await Task.WhenAll(running.Values).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }
}
