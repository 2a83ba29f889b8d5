namespace Vmsweep.Scheduler.Jobs;

/// <summary>Starts sweeps: what the scheduler asks for, and whoever knows disks gives.</summary>
public interface ISweepStarter
{
    /// <summary>Runs a sweep to its end or its window's. What goes wrong in it is its own to report.</summary>
    /// <param name="sweep">Its name.</param>
    /// <param name="due">The time that it was due at, which may be some time ago.</param>
    Task StartAsync(string sweep, DateTimeOffset due, CancellationToken cancellation);
}
