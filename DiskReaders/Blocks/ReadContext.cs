namespace Vmsweep.DiskReaders.Blocks;

/// <summary>What every reader of one VM's disks shares: memory, where to report gaps, when to stop, and what unlocks.</summary>
public sealed record ReadContext(ScanBudget Budget, IGapSink Gaps, CancellationToken Cancellation = default)
{
    /// <summary>Secrets for encrypted volumes and images.</summary>
    public UnlockSecrets Secrets { get; init; } = UnlockSecrets.None;

    /// <summary>Told of every step of work, so that a long one is known from a hang. Called on many threads.</summary>
    public Action? OnStep { get; init; }

    /// <summary>What every read of stored bytes passes; null where nothing holds back.</summary>
    public IReadGate? Gate { get; init; }

    /// <summary>Files that were deleted are listed as well, below <c>$Deleted</c>, as far as their file system can tell of them (NTFS).</summary>
    public bool IncludeDeleted { get; init; }

    /// <summary>Which earlier states that volumes keep of themselves are opened as volumes too.</summary>
    public VolumeStates VolumeStates { get; init; } = VolumeStates.Present;

    /// <summary>Throws <see cref="OperationCanceledException"/> when the run is to stop. Called in every walk.</summary>
    public void ThrowIfCancelled()
    {
        Cancellation.ThrowIfCancellationRequested();
        OnStep?.Invoke();
    }
}

/// <summary>States of volumes (NTFS: volume shadow copies).</summary>
/// <param name="IncludePresent">The volumes as they are.</param>
/// <param name="IncludeEarlier">Every earlier state.</param>
/// <param name="One">One earlier state, by its id.</param>
public sealed record VolumeStates(bool IncludePresent, bool IncludeEarlier, Guid? One = null)
{
    public static readonly VolumeStates Present = new(true, false);

    public static readonly VolumeStates All = new(true, true);

    public static VolumeStates Only(Guid id) => new(false, false, id);
}
