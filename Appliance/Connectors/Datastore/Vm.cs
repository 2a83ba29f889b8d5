using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Connectors.Datastore;

/// <summary>A VM or a single image to be scanned, with everything its disks are made of.</summary>
/// <param name="Target">How the operator named it, or the path it was found at.</param>
/// <param name="Gaps">What keeps it from being read as a whole.</param>
internal sealed record Vm(string Target, VmReport Identity, IReadOnlyList<VmDisk> Disks, IReadOnlyList<GapReport> Gaps)
{
    /// <summary>Its memory, where it is suspended or a snapshot; null where there is none.</summary>
    public VmMemory? Memory { get; init; }

    /// <summary>Earlier states that its files keep, oldest first.</summary>
    public IReadOnlyList<VmSnapshot> Snapshots { get; init; } = [];

    /// <summary>The earlier state that this is; null: the present one.</summary>
    public string? Snapshot { get; init; }

    /// <summary>Which states of its volumes: null for the present one, <c>all</c>, or the id of one that a volume keeps of itself.</summary>
    public string? VolumeStates { get; init; }

    /// <summary>Names in its configuration that lead where no file of this VM may lie.</summary>
    public IReadOnlyList<string> Refused { get; init; } = [];

    /// <summary>Disks that it has and that are not read now, since the VM runs and changes them. Whoever looks for disks without an owner passes them over.</summary>
    public IReadOnlyList<VmDisk> Held { get; init; } = [];

    /// <summary>Images of optical discs in its drives, as its configuration names them. They are scanned by themselves.</summary>
    public IReadOnlyList<string> Discs { get; init; } = [];

    /// <summary>1 or 2 for a VM of Hyper-V; null elsewhere.</summary>
    public int? Generation { get; init; }

    /// <summary>Files of it that hold nothing of the guest: they are no memory without an owner.</summary>
    public IReadOnlyList<string> Sidecars { get; init; } = [];

    /// <summary>What whoever reads its report should know, and that keeps nothing from being read.</summary>
    public IReadOnlyList<string> Notes { get; init; } = [];

    /// <summary>Digests that its package gives for its files; a scan verifies them.</summary>
    public IReadOnlyList<ManifestEntry> Manifest { get; init; } = [];

    /// <summary>A VM of a hypervisor has its disks only while a view of it is open: how to open one. Null: they are files that lie there.</summary>
    public Func<IVmView>? Open { get; init; }

    /// <summary>
    /// The same by a view that tells what changed since an earlier one, given the mark of that or null. It may leave something lasting on the hypervisor,
    /// so that it is used only when it is asked for by name. Null where the hypervisor keeps no changes.
    /// </summary>
    public Func<string?, IVmView>? OpenTracked { get; init; }

    /// <summary>Does something to a VM of a hypervisor, with a note of why.</summary>
    public Func<VmAct, string, ActReport>? Act { get; init; }
}

/// <param name="Path">Host path of the disk's top image.</param>
/// <param name="Refused">Names in its images that lead where no image of this VM may lead.</param>
internal sealed record VmDisk(string Path, ChainPlan Plan, IReadOnlyList<string> Refused)
{
    /// <param name="path">Host path of the top image.</param>
    /// <param name="folder">The VM's folder: what its images may name lies there.</param>
    /// <param name="bases">Folders of declared bases.</param>
    /// <param name="declared">The format that a configuration declares; null to go by extension and bytes.</param>
    /// <param name="known">What was read of other disks of the same datastore.</param>
    /// <exception cref="IOException">The top image cannot be opened.</exception>
    /// <exception cref="UnauthorizedAccessException">The top image may not be read.</exception>
    public static VmDisk Of(string path, string folder, IReadOnlyList<string> bases, string? declared = null, KnownImages? known = null)
    {
        var policy = new FolderPolicy(folder, bases, known);
        ChainPlan plan = ChainPlanner.Plan(SplitImage.Of(path, policy), policy, declared ?? SplitImage.Declared(path), known?.Heads);
        known?.Count(plan);
        return new VmDisk(path, plan, [.. policy.Refused.Select(r => r.Name)]);
    }
}
