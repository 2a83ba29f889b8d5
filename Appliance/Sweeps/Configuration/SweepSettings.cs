using Vmsweep.Appliance.Pipeline;
using Vmsweep.Scheduler.Triggers;

namespace Vmsweep.Appliance.Sweeps.Configuration;

/// <summary>A sweep as <c>vmsweep.json</c> has it.</summary>
internal sealed record SweepSettings
{
    public required string Name { get; init; }

    public required SweepScope What { get; init; }

    /// <summary>Null: it runs only when it is asked for.</summary>
    public CronSchedule? Schedule { get; init; }

    public TimeZoneInfo Zone { get; init; } = TimeZoneInfo.Utc;

    public WindowCalendar Windows { get; init; } = new([], [], TimeZoneInfo.Utc);

    public WindowEnd AtEnd { get; init; } = WindowEnd.Finish;

    /// <summary>VMs with the first of these tags before those with the second, and those before all others, where they were last scanned on the same day.</summary>
    public IReadOnlyList<string> Priority { get; init; } = [];

    /// <summary>Of hypervisors' VMs only what changed is read.</summary>
    public bool OnlyChanges { get; init; }

    /// <summary>With <see cref="OnlyChanges"/>: after so many days all is read again.</summary>
    public int FullEveryDays { get; init; } = 7;

    /// <summary>The part, by bytes, of what need not be read that is read all the same, to see that it is what it was.</summary>
    public double RecheckShare { get; init; } = ScanSettings.DefaultRecheckShare;

    /// <summary>Which memory is scanned with the disks.</summary>
    public MemoryChoice Memory { get; init; } = MemoryChoice.Yes;

    public SweepSignatures Signatures { get; init; } = new();

    public SweepLimits Limits { get; init; } = new();
}

/// <summary>Which memory a sweep scans, as <c>scan --memory-scan</c> has it.</summary>
internal enum MemoryChoice
{
    /// <summary>That of suspended VMs.</summary>
    Yes,

    /// <summary>None; a VM's report names it.</summary>
    No,

    /// <summary>That of VMs that run too, which stand still while it is written.</summary>
    Running,
}

/// <summary>What a sweep looks at.</summary>
internal sealed record SweepScope
{
    /// <summary>Names of configured connectors.</summary>
    public IReadOnlyList<string> Connectors { get; init; } = [];

    /// <summary>Datastores that are folders of this machine, a mount of one too.</summary>
    public IReadOnlyList<string> Folders { get; init; } = [];

    /// <summary>Folders whose images may be parents.</summary>
    public IReadOnlyList<string> Bases { get; init; } = [];

    /// <summary>Null: all.</summary>
    public VmFilter? Include { get; init; }

    public VmFilter? Exclude { get; init; }

    /// <summary>Only VMs of this tenant; null for all.</summary>
    public string? Tenant { get; init; }
}

/// <summary>VMs that any of these fits.</summary>
/// <param name="Names">Patterns with <c>*</c> and <c>?</c>.</param>
/// <param name="Folders">Folders of an inventory or of this machine, with all below.</param>
/// <param name="Tags">Whole tags.</param>
internal sealed record VmFilter(IReadOnlyList<string> Names, IReadOnlyList<string> Folders, IReadOnlyList<string> Tags);

/// <summary>What becomes of a run at the end of its window.</summary>
internal enum WindowEnd
{
    /// <summary>What is being scanned is finished, and the rest waits for the next window.</summary>
    Finish,

    /// <summary>What is being scanned is broken off and waits with the rest for the next window, in which it is scanned anew.</summary>
    Pause,

    /// <summary>What is being scanned is finished, and the rest is left out; the next run begins with it.</summary>
    End,
}

/// <summary>What a sweep matches with; where nothing is said, what a scan without options would.</summary>
internal sealed record SweepSignatures
{
    /// <summary>Empty: those that a scan runs by default.</summary>
    public IReadOnlyList<string> Engines { get; init; } = [];

    /// <summary>Files and folders in place of the active bundle.</summary>
    public IReadOnlyList<string> Rules { get; init; } = [];

    public bool WithBuiltin { get; init; }

    public IReadOnlyList<string> Hashes { get; init; } = [];

    public IReadOnlyList<string> KnownGood { get; init; } = [];

    public string? ClamdSocket { get; init; }
}

/// <summary>Limits of what is read, by what they hold for. Null: none.</summary>
internal sealed record SweepLimits
{
    /// <summary>Disks that are read at once.</summary>
    public int Disks { get; init; } = 2;

    /// <summary>Where several appliances share the work: what one of them reads at once. All other limits hold over all of them.</summary>
    public int? DisksPerNode { get; init; }

    public int? DisksPerDatastore { get; init; }

    public int? DisksPerHost { get; init; }

    public int? DisksPerTenant { get; init; }

    public long? BytesPerSecond { get; init; }

    public long? BytesPerSecondPerDatastore { get; init; }

    public long? BytesPerSecondPerHost { get; init; }

    public long? BytesPerSecondPerTenant { get; init; }

    /// <summary>What the sweep's own reads of a datastore should take at most, on average; null: it is not looked at.</summary>
    public TimeSpan? TargetLatency { get; init; }

    /// <summary>When they take as long, nothing is read for a while.</summary>
    public TimeSpan? StopLatency { get; init; }

    /// <summary>Of workers: 0 to 19.</summary>
    public int Nice { get; init; } = 10;

    /// <summary>Of workers: <c>idle</c>, <c>best-effort</c> or <c>none</c>.</summary>
    public string IoClass { get; init; } = "best-effort";

    /// <summary>Matching threads of each worker.</summary>
    public int Threads { get; init; } = 1;

    /// <summary>Guest content that each worker holds.</summary>
    public long MemoryBytes { get; init; } = Cli.CommonOptions.DefaultMemoryBytes;
}

/// <summary>Whose VMs lie where.</summary>
/// <param name="Folders">Folders of this machine, and <c>CONNECTOR/FOLDER</c> of inventories; all below belongs to the tenant.</param>
/// <param name="SharesVerdicts">What was matched in his VMs spares others to match it, and the contrary.</param>
internal sealed record TenantSettings(string Name, IReadOnlyList<string> Folders, bool SharesVerdicts = true);
