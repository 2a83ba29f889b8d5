using Vmsweep.Scheduler.Triggers;

namespace Vmsweep.Scheduler.Jobs;

/// <summary>
/// Starts sweeps when they are due. Quartz says when; the waiting is done here, so that it follows one clock. A clock that was set back starts nothing twice, and what was missed while the
/// machine slept is started once.
/// </summary>
/// <param name="schedules">Asked every ten seconds at least. Other schedules than before are another object, and count from then on.</param>
public sealed class ScheduleLoop(Func<IReadOnlyDictionary<string, CronSchedule>> schedules, ISweepStarter starter, TimeProvider time)
{
    /// <summary>The longest wait: a clock that is set meanwhile is noticed then.</summary>
    private static readonly TimeSpan LongestWait = TimeSpan.FromSeconds(10);

    /// <summary>Runs until it is cancelled, and then waits for the sweeps that it started.</summary>
    public async Task RunAsync(CancellationToken cancellation)
    {
        IReadOnlyDictionary<string, CronSchedule> current = schedules();
        Dictionary<string, DateTimeOffset?> due = After(current, time.GetUtcNow());
        var running = new Dictionary<string, Task>(StringComparer.Ordinal);
        try
        {
            while (true)
            {
                DateTimeOffset now = time.GetUtcNow();
                foreach ((string sweep, DateTimeOffset at) in due.Where(d => d.Value <= now).Select(d => (d.Key, d.Value!.Value)).OrderBy(d => d.Value).ToList())
                {
                    // The next time is later than both: neither what was missed nor a time that the clock shows again is started once more.
                    due[sweep] = current[sweep].After(now > at ? now : at);
                    if (!running.TryGetValue(sweep, out Task? last) || last.IsCompleted)
                    {
                        running[sweep] = starter.StartAsync(sweep, at, cancellation);
                    }
                }

                // What was due by the old ones was started before.
                if (schedules() is var read && !ReferenceEquals(read, current))
                {
                    current = read;
                    due = After(current, now);
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

    private static Dictionary<string, DateTimeOffset?> After(IReadOnlyDictionary<string, CronSchedule> schedules, DateTimeOffset now) =>
        schedules.ToDictionary(s => s.Key, s => s.Value.After(now), StringComparer.Ordinal);
}
