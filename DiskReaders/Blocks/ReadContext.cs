namespace Vmsweep.DiskReaders.Blocks;

/// <summary>What every reader of one disk shares: memory, where to report gaps, and when to stop.</summary>
public sealed record ReadContext(ScanBudget Budget, IGapSink Gaps, CancellationToken Cancellation = default)
{
    /// <summary>Throws <see cref="OperationCanceledException"/> when the run is to stop. Called in every walk.</summary>
    public void ThrowIfCancelled() => Cancellation.ThrowIfCancellationRequested();
}
