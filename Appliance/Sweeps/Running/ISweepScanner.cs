using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Sweeps.Planning;

namespace Vmsweep.Appliance.Sweeps.Running;

/// <summary>Scans one VM of a sweep. Called on several threads.</summary>
internal interface ISweepScanner
{
    /// <param name="onlyChanges">Of a hypervisor's VM only what changed is read.</param>
    /// <param name="inheritFrom">What was read of shared bases before is read again.</param>
    /// <param name="pacing">Null: as fast as bytes come.</param>
    /// <exception cref="Worker.JobFailedException">The rules cannot be used: no VM can be scanned.</exception>
    SweepScan Scan(SweepVm vm, bool onlyChanges, DateTimeOffset inheritFrom, IScanPacing? pacing, IScanListener listener, CancellationToken cancellation);
}

/// <param name="Bundle">Null for none.</param>
internal sealed record SweepScan(TargetReport Target, IReadOnlyList<EngineReport> Engines, BundleReport? Bundle = null)
{
    public ScanDepth Depth { get; init; } = new();

    /// <summary>How often it is worth trying again, because its datastore or hypervisor was lost while it was read; 0: it is as it is.</summary>
    public int Retries { get; init; }

    /// <summary>The YARA rules in use; null where that is not known.</summary>
    public RuleIndex? Rules { get; init; }
}
