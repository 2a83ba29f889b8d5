using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Connectors.Datastore;

/// <summary>A VM or a single image to be scanned, with everything its disks are made of.</summary>
/// <param name="Target">How the operator named it, or the path it was found at.</param>
/// <param name="Gaps">What keeps it from being read as a whole.</param>
internal sealed record Vm(string Target, VmReport Identity, IReadOnlyList<VmDisk> Disks, IReadOnlyList<GapReport> Gaps)
{
    /// <summary>Names in its configuration that lead where no file of this VM may lie.</summary>
    public IReadOnlyList<string> Refused { get; init; } = [];

    /// <summary>Digests that its package gives for its files; a scan verifies them.</summary>
    public IReadOnlyList<ManifestEntry> Manifest { get; init; } = [];
}

/// <param name="Path">Host path of the disk's top image.</param>
/// <param name="Refused">Names in its images that lead where no image of this VM may lead.</param>
internal sealed record VmDisk(string Path, ChainPlan Plan, IReadOnlyList<string> Refused);
