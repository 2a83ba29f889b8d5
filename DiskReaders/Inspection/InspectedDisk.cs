using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.Volumes;

namespace Vmsweep.DiskReaders.Inspection;

/// <summary>A disk of a VM, opened, before anybody looked at what it holds.</summary>
/// <param name="Image">Name of its image, for gaps outside volumes.</param>
/// <param name="Prefix">Put before volume ids: empty, or <c>d2</c> where a VM has several disks.</param>
public sealed record OpenedDisk(VirtualDisk Disk, string Image, string Prefix)
{
    /// <summary>First part of the paths of what lies in no volume.</summary>
    public string Outside => Prefix.Length > 0 ? Prefix : "disk";
}

/// <summary>Bytes of a disk that no volume shows but that may carry code or hide data.</summary>
/// <param name="Path">What it is and where it lies: <c>disk/gap@1048576</c>.</param>
public sealed record InspectedArea(string Path, IBlockSource Content);

/// <summary>A volume of a disk and what it holds.</summary>
public sealed class InspectedVolume : IDisposable
{
    /// <summary><c>v1</c>, <c>v2</c>, ... in disk order; of an earlier state that <c>v1</c> keeps of itself <c>v1@</c> and the state's id.</summary>
    public required string Id { get; init; }

    /// <summary>The volume manager's name of it, such as <c>vg0/root</c>; empty where it has none. Guest text.</summary>
    public string Name { get; init; } = "";

    /// <summary>
    /// How it came about: the partition, or in its place an assembled or unlocked volume with the name of its manager as scheme, the
    /// offset of the first member it lies on, and its layout as type.
    /// </summary>
    public required Partition Partition { get; init; }

    /// <summary>The bytes of the volume that exist; shorter than the partition says when the disk ends before it. Not owned.</summary>
    public required IBlockSource Content { get; init; }

    /// <summary>The opened file system; null when there is none that can be read.</summary>
    public IFileSystem? FileSystem { get; init; }

    /// <summary>Name of what the volume holds, whether it is read or only recognised; <c>empty</c> or <c>unknown</c> otherwise.</summary>
    public required string Kind { get; init; }

    /// <summary>Things to know that are no gaps.</summary>
    public IReadOnlyList<string> Notes { get; init; } = [];

    /// <summary>Disposed with this, last.</summary>
    internal IDisposable? Owned { get; init; }

    public void Dispose()
    {
        FileSystem?.Dispose();
        Owned?.Dispose();
    }
}

/// <summary>A disk with the volumes that stand on it. What was assembled from several disks stands on the first of them.</summary>
/// <param name="scheme"><c>mbr</c>, <c>gpt</c> or <c>none</c>.</param>
public sealed class InspectedDisk(OpenedDisk opened, string scheme, IReadOnlyList<InspectedVolume> volumes, IReadOnlyList<InspectedArea> areas)
{
    public OpenedDisk Opened { get; } = opened;

    public VirtualDisk Disk => Opened.Disk;

    public string Scheme { get; } = scheme;

    public IReadOnlyList<InspectedVolume> Volumes { get; } = volumes;

    public IReadOnlyList<InspectedArea> Areas { get; } = areas;
}

/// <summary>The disks of a VM, inspected together. Owns everything below it but the image files.</summary>
public sealed class InspectedVm : IDisposable
{
    private readonly VolumeDiscovery _discovery;

    internal InspectedVm(IReadOnlyList<InspectedDisk> disks, VolumeDiscovery discovery)
    {
        Disks = disks;
        _discovery = discovery;
    }

    public IReadOnlyList<InspectedDisk> Disks { get; }

    public IEnumerable<InspectedVolume> Volumes => Disks.SelectMany(d => d.Volumes);

    public void Dispose()
    {
        foreach (InspectedVolume volume in Volumes)
        {
            volume.Dispose();
        }

        _discovery.Dispose();
        foreach (InspectedDisk disk in Disks)
        {
            disk.Disk.Dispose();
        }
    }
}
