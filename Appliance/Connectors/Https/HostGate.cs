using System.Collections.Concurrent;

namespace Vmsweep.Appliance.Connectors.Https;

/// <summary>
/// What all connections of this program to one host share: how many may read files at once, and for how long nobody asks after the host said that it has
/// no room (503). A host counts its sessions as one; connections that back off each on its own never leave it in peace.
/// </summary>
internal sealed class HostGate
{
    /// <summary>An ESXi host serves a handful of files at once.</summary>
    public const int MostReaders = 4;

    /// <summary>One reader more is tried after so many answers.</summary>
    private const int MoreAfter = 200;

    private static readonly ConcurrentDictionary<string, HostGate> Gates = new(StringComparer.OrdinalIgnoreCase);

    private static readonly TimeSpan FirstWait = TimeSpan.FromMilliseconds(250);
    private static readonly TimeSpan MostWait = TimeSpan.FromSeconds(30);

    private readonly Lock _lock = new();
    private readonly object _places = new();
    private int _readers;
    private int _most = MostReaders;
    private int _accepted;
    private int _refusals;
    private long _notBefore;

    public static HostGate Of(Uri address) => Gates.GetOrAdd(address.Authority, _ => new HostGate());

    /// <summary>Waits for a place among the readers, and for the host's peace.</summary>
    public IDisposable Enter(CancellationToken cancellation)
    {
        using (cancellation.Register(Wake))
        {
            lock (_places)
            {
                while (_readers >= _most)
                {
                    cancellation.ThrowIfCancellationRequested();
                    Monitor.Wait(_places);
                }

                _readers++;
            }
        }

        try
        {
            Pause(cancellation);
            return new Place(this);
        }
        catch
        {
            Leave();
            throw;
        }
    }

    /// <summary>Waits while the host is left in peace.</summary>
    public void Pause(CancellationToken cancellation)
    {
        while (true)
        {
            long left;
            lock (_lock)
            {
                left = _notBefore - Environment.TickCount64;
            }

            if (left <= 0)
            {
                return;
            }

            if (cancellation.WaitHandle.WaitOne(TimeSpan.FromMilliseconds(left)))
            {
                cancellation.ThrowIfCancellationRequested();
            }
        }
    }

    /// <summary>The host has no room.</summary>
    /// <param name="asked">How long it asks to be left alone.</param>
    public void Refused(TimeSpan? asked)
    {
        lock (_lock)
        {
            // Those that were refused together count once.
            long now = Environment.TickCount64;
            if (now >= _notBefore)
            {
                _refusals = Math.Min(_refusals + 1, 16);
                lock (_places)
                {
                    // Fewer come again: whoever else uses the host keeps his place.
                    _most = Math.Max(1, _most - 1);
                    _accepted = 0;
                }
            }

            TimeSpan wait = asked is { } said && said > TimeSpan.Zero ? said : FirstWait * (1 << Math.Min(_refusals - 1, 7));
            _notBefore = Math.Max(_notBefore, now + (long)Math.Min(wait.TotalMilliseconds, MostWait.TotalMilliseconds));
        }
    }

    public void Accepted()
    {
        lock (_lock)
        {
            _refusals = Math.Max(0, _refusals - 1);
            lock (_places)
            {
                if (++_accepted >= MoreAfter && _most < MostReaders)
                {
                    _accepted = 0;
                    _most++;
                    Monitor.PulseAll(_places);
                }
            }
        }
    }

    private void Leave()
    {
        lock (_places)
        {
            _readers--;
            Monitor.PulseAll(_places);
        }
    }

    private void Wake()
    {
        lock (_places)
        {
            Monitor.PulseAll(_places);
        }
    }

    private sealed class Place(HostGate gate) : IDisposable
    {
        private HostGate? _gate = gate;

        public void Dispose() => Interlocked.Exchange(ref _gate, null)?.Leave();
    }
}
