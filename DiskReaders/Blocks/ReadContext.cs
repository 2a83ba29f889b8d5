namespace Vmsweep.DiskReaders.Blocks;

/// <summary>What every reader of one VM's disks shares: memory, where to report gaps, when to stop, and what unlocks.</summary>
public sealed record ReadContext(ScanBudget Budget, IGapSink Gaps, CancellationToken Cancellation = default)
{
    /// <summary>Secrets for encrypted volumes and images.</summary>
    public UnlockSecrets Secrets { get; init; } = UnlockSecrets.None;

    /// <summary>Told of every step of work, so that a long one is known from a hang. Called on many threads.</summary>
    public Action? OnStep { get; init; }

    /// <summary>Throws <see cref="OperationCanceledException"/> when the run is to stop. Called in every walk.</summary>
    public void ThrowIfCancelled()
    {
        Cancellation.ThrowIfCancellationRequested();
        OnStep?.Invoke();
    }
}
