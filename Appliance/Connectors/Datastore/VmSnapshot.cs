using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Connectors.Datastore;

/// <summary>An earlier state of a VM's disks.</summary>
/// <param name="Id">The product's own key; unique within the VM.</param>
/// <param name="Name">As the operator named it; the image's file name where only its layer of a chain tells of it. May hold guest text.</param>
/// <param name="Created">When it was taken; null where nothing says so.</param>
/// <param name="ParentId">The state it came from; null for a first one.</param>
/// <param name="IsCurrent">The VM's present state came from this one.</param>
/// <param name="Disks">The disks it holds, in the order of the VM's disks.</param>
internal sealed record VmSnapshot(string Id, string Name, DateTimeOffset? Created, string? ParentId, bool IsCurrent, IReadOnlyList<SnapshotDisk> Disks)
{
    /// <summary>Path of its own configuration, where it has one; empty elsewhere.</summary>
    public string Configuration { get; init; } = "";

    /// <summary>Its memory then; null where it was taken without.</summary>
    public VmMemory? Memory { get; init; }

    /// <summary>The VM as it was. A disk that the state does not hold is left out, with a gap.</summary>
    /// <param name="vm">The VM as it is.</param>
    /// <param name="bases">Folders of declared bases.</param>
    public Vm Of(Vm vm, IReadOnlyList<string> bases)
    {
        List<VmDisk> disks = [];
        List<GapReport> gaps = [];
        foreach (SnapshotDisk disk in Disks)
        {
            if (disk.Path is not { } path)
            {
                gaps.Add(new CoverageGap(disk.Fault, disk.Name, "snapshot", -1, 0, disk.Detail).ToReport());
                continue;
            }

            try
            {
                VmDisk then = VmDisk.Of(path, disk.Folder, bases, disk.Declared);
                disks.Add(then with { Plan = then.Plan with { Snapshot = disk.Internal } });
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                gaps.Add(new CoverageGap(Fault.Transport, path, "storage", -1, 0, e.Message).ToReport());
            }
        }

        // Layers of the same disk share at least its base.
        HashSet<string> held = [.. disks.SelectMany(d => d.Plan.Files).Select(f => f.Path)];
        gaps.AddRange(vm.Disks
            .Where(d => !d.Plan.Files.Any(f => held.Contains(f.Path)))
            .Select(d => new CoverageGap(Fault.MissingParent, d.Path, "snapshot", -1, 0, $"the snapshot \"{Name}\" does not hold this disk").ToReport()));
        return vm with { Disks = disks, Gaps = gaps, Snapshots = [], Memory = Memory };
    }
}

/// <summary>A disk of a snapshot.</summary>
/// <param name="Name">As the configuration or image names it.</param>
/// <param name="Folder">The VM's folder.</param>
/// <param name="Path">Host path of its top image then; null when it cannot be had, which <paramref name="Fault"/> and <paramref name="Detail"/> explain.</param>
/// <param name="Internal">The state inside that image; null: its own current one, which nothing has changed since.</param>
/// <param name="Declared">The image's format where something declares it.</param>
internal sealed record SnapshotDisk(string Name, string Folder, string? Path, string? Internal = null, string? Declared = null, Fault Fault = default, string Detail = "");
