namespace Vmsweep.Appliance.Results;

/// <summary>How long results are kept.</summary>
/// <param name="ScanDays">Scans, runs of sweeps, findings that are gone, sightings that are.</param>
/// <param name="RecordDays">Coverage by day, the audit log, and VMs that no scan has seen since.</param>
internal sealed record Retention(int ScanDays = Retention.DefaultScanDays, int RecordDays = Retention.DefaultRecordDays)
{
    /// <summary>Thirteen months: a year can be compared with the one before.</summary>
    public const int DefaultScanDays = 400;

    /// <summary>Three years.</summary>
    public const int DefaultRecordDays = 1100;
}

/// <summary>What retention removed.</summary>
internal sealed record Removed(long Scans, long Findings, long Runs, long Places, long CoverageDays, long AuditEntries, long Machines);
