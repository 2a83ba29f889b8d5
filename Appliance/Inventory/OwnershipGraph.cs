using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Inventory;

/// <summary>What lies in a datastore and whose it is.</summary>
/// <param name="Root">The folder.</param>
/// <param name="Machines">VMs, then what is scanned without one, in the order of a scan.</param>
/// <param name="Files">In the order of their paths.</param>
/// <param name="Missing">Names in configurations and images that lead to no file that may be opened.</param>
/// <param name="NotOpened">Links, special files and folders that cannot be listed.</param>
/// <param name="OtherFiles">Files that belong to no VM as far as their names and sizes tell.</param>
internal sealed record OwnershipGraph(
    string Root, IReadOnlyList<GraphMachine> Machines, IReadOnlyList<GraphFile> Files, IReadOnlyList<MissingFile> Missing, IReadOnlyList<Vm> NotOpened, long OtherFiles, long OtherBytes)
{
    /// <summary>What a scan of the folder scans.</summary>
    public IEnumerable<Vm> Targets => [.. NotOpened, .. Machines.Select(m => m.Vm)];
}

/// <summary>What is scanned in one go.</summary>
internal sealed record GraphMachine(Vm Vm, MachineKind Kind)
{
    /// <summary>True for a VM by its configuration, which owns files; others are files that nobody owns.</summary>
    public bool IsVm => Kind == MachineKind.Vm;
}

internal enum MachineKind
{
    Vm,

    /// <summary>An image of a disk that no VM's present state has.</summary>
    Image,

    /// <summary>An image of an optical disc.</summary>
    Disc,

    /// <summary>Memory that no VM's state names.</summary>
    Memory,

    /// <summary>A version of an image that desktops are streamed from.</summary>
    ProvisionedImage,

    /// <summary>What a provisioned desktop wrote since it was started.</summary>
    WriteCache,

    /// <summary>A file that cannot be read as what it is.</summary>
    Unread,
}

/// <summary>A file and who uses it.</summary>
internal sealed class GraphFile(string path, FileKind kind, long sizeBytes)
{
    public string Path { get; } = path;

    public FileKind Kind { get; set; } = kind;

    /// <summary>-1: it lies outside of the folder, below a declared base.</summary>
    public long SizeBytes { get; } = sizeBytes;

    /// <summary>The format of an image; empty where there is none.</summary>
    public string Format { get; set; } = "";

    /// <summary>The image that this one was made over.</summary>
    public GraphFile? Parent { get; set; }

    /// <summary>Images made over this one.</summary>
    public int Children { get; set; }

    /// <summary>In the order of machines.</summary>
    public List<FileUse> Uses { get; } = [];

    public FileState State { get; set; }

    /// <summary>What else is known, for people; empty where nothing is.</summary>
    public string Note { get; set; } = "";
}

/// <param name="Machine">Place among the graph's machines.</param>
internal readonly record struct FileUse(int Machine, FileRole Role);

internal enum FileRole
{
    /// <summary>The image that the VM writes to.</summary>
    Top,

    /// <summary>An image below it.</summary>
    Layer,

    /// <summary>A part of an image.</summary>
    Extent,

    /// <summary>An earlier state has it and the present one does not.</summary>
    Snapshot,
    Memory,

    /// <summary>It lies in a drive.</summary>
    Disc,
    Configuration,
    Sidecar,
}

internal enum FileState
{
    /// <summary>Of one VM.</summary>
    Owned,

    /// <summary>Below disks of several VMs.</summary>
    Shared,

    /// <summary>Several VMs write to it, as far as their configurations say.</summary>
    Claimed,

    /// <summary>No VM has it.</summary>
    Orphan,

    /// <summary>Was made over a VM's image, or beside a VM and under its name, and no state of a VM has it now.</summary>
    Stale,
}

/// <summary>A name that leads to no file that may be opened.</summary>
/// <param name="Machine">Place among the graph's machines.</param>
/// <param name="From">The configuration or image that holds the name.</param>
/// <param name="Name">As it stands there.</param>
/// <param name="Candidate">A file of that name elsewhere in the datastore; null where there is none or more than one.</param>
internal sealed record MissingFile(int Machine, string From, string Name, Fault Fault, string Detail, string? Candidate)
{
    /// <summary>True for a gap of a VM that says that its configuration names what is not there or may not be opened.</summary>
    public static bool IsTold(GapReport gap) => gap is { Fault: "missing-parent" or "refused", Structure: "VM configuration" or "saved state" };
}
