namespace Vmsweep.Appliance.Connectors.Views;

/// <summary>Holds an open view to its limits while it is read: cancels the reading when it must be closed.</summary>
internal sealed class ViewWatch : IDisposable
{
    private static readonly TimeSpan Every = TimeSpan.FromSeconds(5);

    private readonly IVmView _view;
    private readonly CancellationTokenSource _stop;
    private readonly ITimer _timer;
    private int _isLooking;

    public ViewWatch(IVmView view, TimeProvider time, CancellationToken cancellation)
    {
        _view = view;
        _stop = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        _timer = time.CreateTimer(_ => LookUnlessLooking(), null, Every, Every);
    }

    /// <summary>Also of who gave one to this.</summary>
    public CancellationToken Token => _stop.Token;

    /// <summary>Why it must be closed; null while it may stay.</summary>
    public string? Closed { get; private set; }

    /// <summary>It must be closed because its hypervisor does not answer.</summary>
    public bool IsLost { get; private set; }

    public void Dispose()
    {
        // A look that is under way must not meet what it looks at disposed.
        _timer.DisposeAsync().AsTask().GetAwaiter().GetResult();
        _stop.Dispose();
    }

    /// <summary>A hypervisor that answers late is not asked a second time meanwhile.</summary>
    private void LookUnlessLooking()
    {
        if (Interlocked.Exchange(ref _isLooking, 1) == 0)
        {
            Look();
            Volatile.Write(ref _isLooking, 0);
        }
    }

    private void Look()
    {
        string? why;
        try
        {
            why = _view.MustClose();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Limits that cannot be looked at cannot be kept; and an exception here would end the whole program.
            why = $"the limits of the view cannot be looked at: {e.Message}";
            IsLost = HostLoss.Is(e);
        }

        if (why is not null)
        {
            Closed = why;
            _stop.Cancel();
        }
    }
}
