using Vmsweep.Appliance.Nodes;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Reports;

namespace Vmsweep.Appliance.Results;

/// <summary>A scan of one VM that came to its end, well or not.</summary>
/// <param name="RunId">The run of a sweep that it belongs to; null for a scan by itself.</param>
/// <param name="Tenant">Empty where tenants are not told apart.</param>
/// <param name="Bundle">The signature bundle in use; null for none.</param>
internal sealed record FinishedScan(
    string? RunId, string Tenant, TargetReport Target, IReadOnlyList<EngineReport> Engines, BundleReport? Bundle, DateTimeOffset StartedAt, DateTimeOffset FinishedAt)
{
    public ScanDepth Depth { get; init; } = new();

    /// <summary>Where several nodes share the work: that the VM is this one's to scan.</summary>
    public VmClaim? Claim { get; init; }

    /// <summary>The YARA rules in use; null where that is not known: then a rule that was taken out looks like a finding that is gone.</summary>
    public RuleIndex? Rules { get; init; }
}

/// <summary>What a scan was asked to look at beside files: what it was not asked for, it cannot tell to be gone.</summary>
internal sealed record ScanDepth(bool Deleted = false, bool Archives = true);

/// <summary>What recording a scan did.</summary>
/// <param name="Scan">The scan's number in the store.</param>
/// <param name="IsRepeat">The same run recorded this VM before, and nothing was changed.</param>
/// <param name="New">Findings that were not known, or were gone.</param>
/// <param name="Gone">Findings that are gone by this scan.</param>
internal sealed record RecordedScan(long Scan, bool IsRepeat, int New, int Gone);

/// <summary>This node was taken for dead, and the VM is another's to scan.</summary>
internal sealed class ClaimLostException(string vm) : Exception($"{vm} was given to another node while it was scanned here");

/// <summary>Takes the results of scans into the store.</summary>
internal interface IResultRecorder
{
    /// <summary>
    /// Records one VM's scan: all of it or nothing, in one transaction that is on its way to the disk when this returns. A run that is resumed may record a
    /// VM again: the first record stands, and nothing is doubled. So what will be scanned again in the same run is not to be recorded before.
    /// Safe for several threads and processes.
    /// </summary>
    /// <exception cref="ClaimLostException">The VM was given to another node meanwhile; nothing was recorded.</exception>
    /// <returns>Null when it could not be recorded; the log says so loudly, and the scan's own report is not touched by it.</returns>
    RecordedScan? Record(FinishedScan scan);
}

/// <summary>Runs of sweeps, as the store keeps them.</summary>
internal interface ISweepRuns
{
    /// <summary>Keeps how a run stands in place of what was kept of it before; false when that failed, which the log says.</summary>
    bool Save(SweepReport run);

    SweepReport? Find(string runId);

    /// <summary>The latest runs first; of all sweeps where <paramref name="sweep"/> is null.</summary>
    IReadOnlyList<SweepReport> Last(string? sweep, int most);
}
