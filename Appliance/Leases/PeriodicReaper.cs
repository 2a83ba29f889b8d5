using Serilog;

namespace Vmsweep.Appliance.Leases;

/// <summary>Reaps every few minutes for as long as a command runs: what others left does not wait for the next start, and a datastore that fills up is relieved.</summary>
internal sealed class PeriodicReaper : IDisposable
{
    public static readonly TimeSpan Every = TimeSpan.FromMinutes(5);

    private readonly Action _reap;
    private readonly ITimer _timer;
    private readonly Lock _lock = new();
    private bool _isEnded;

    /// <param name="reap">Called on another thread, never twice at once.</param>
    /// <param name="every">Null: every few minutes.</param>
    public PeriodicReaper(Action reap, TimeProvider time, TimeSpan? every = null)
    {
        _reap = reap;
        _timer = time.CreateTimer(_ => Reap(), null, every ?? Every, every ?? Every);
    }

    /// <summary>A run that is under way comes to its end.</summary>
    public void Dispose()
    {
        _timer.Dispose();
        lock (_lock)
        {
            _isEnded = true;
        }
    }

    private void Reap()
    {
        if (!_lock.TryEnter())
        {
            return;
        }

        try
        {
            if (!_isEnded)
            {
                _reap();
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or InvalidDataException)
        {
            // An exception on a timer would end the program.
            Log.Warning("leases cannot be reaped: {Reason}", e.Message);
        }
        finally
        {
            _lock.Exit();
        }
    }
}
