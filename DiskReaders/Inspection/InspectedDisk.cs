using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.Volumes;

namespace Vmsweep.DiskReaders.Inspection;

/// <summary>A volume of a disk and what it holds.</summary>
public sealed class InspectedVolume : IDisposable
{
    /// <summary><c>v1</c>, <c>v2</c>, ... in disk order.</summary>
    public required string Id { get; init; }

    public required Partition Partition { get; init; }

    /// <summary>The bytes of the volume that exist; shorter than the partition says when the disk ends before it.</summary>
    public required IBlockSource Content { get; init; }

    /// <summary>The opened file system; null when there is none that can be read.</summary>
    public IFileSystem? FileSystem { get; init; }

    /// <summary>Name of what the volume holds, whether it is read or only recognised; <c>empty</c> or <c>unknown</c> otherwise.</summary>
    public required string Kind { get; init; }

    public void Dispose()
    {
        FileSystem?.Dispose();
        Content.Dispose();
    }
}

/// <summary>A disk, opened, with its volumes. Owns everything below it but the image files.</summary>
public sealed class InspectedDisk(VirtualDisk disk, DiskLayout layout, IReadOnlyList<InspectedVolume> volumes) : IDisposable
{
    public VirtualDisk Disk { get; } = disk;

    public DiskLayout Layout { get; } = layout;

    public IReadOnlyList<InspectedVolume> Volumes { get; } = volumes;

    public void Dispose()
    {
        foreach (InspectedVolume volume in Volumes)
        {
            volume.Dispose();
        }

        Disk.Dispose();
    }
}
