using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Volumes;

namespace Vmsweep.DiskReaders.Inspection;

/// <summary>Something that holds volumes or is one: a disk, a partition, an assembled or unlocked volume.</summary>
internal sealed class VolumeNode
{
    /// <summary>How gaps name it as long as it has no volume id, and may never get one.</summary>
    public required string Name { get; init; }

    /// <summary>Its place on the disk or on what it was assembled from.</summary>
    public required Partition Partition { get; init; }

    /// <summary>Its bytes; null when they cannot be read.</summary>
    public required IBlockSource? Content { get; init; }

    public required int SectorBytes { get; init; }

    /// <summary>How many assemblies it is made of.</summary>
    public int Depth { get; init; }

    /// <summary>A whole disk, or assembled: only there a partition table is looked for. A partition at offset 0 would find itself for ever.</summary>
    public bool MayBeDivided { get; init; }

    /// <summary>Put before <c>@offset</c> in the paths of areas that no volume shows.</summary>
    public required string AreaPrefix { get; init; }

    /// <summary>Added to offsets of those areas, so that they count from the disk's start.</summary>
    public long AreaBase { get; init; }

    /// <summary>The volume manager's name of it; empty where it has none.</summary>
    public string VolumeName { get; init; } = "";

    public IReadOnlyList<string> Notes { get; init; } = [];

    /// <summary>Why there is no content.</summary>
    public DiskFormatException? Fault { get; set; }

    /// <summary>The scheme of the partition table inside; <c>none</c> without one.</summary>
    public string Scheme { get; set; } = "none";

    /// <summary>What stands in its place, in order; null when it is a volume itself.</summary>
    public List<VolumeNode>? Children { get; set; }

    /// <summary>Its bytes that no volume shows.</summary>
    public List<InspectedArea> Areas { get; } = [];

    public IEnumerable<VolumeNode> Leaves => Children is null ? [this] : Children.SelectMany(c => c.Leaves);

    public IEnumerable<InspectedArea> AllAreas => Children is null ? Areas : Areas.Concat(Children.SelectMany(c => c.AllAreas));

    public void AddArea(string name, long offset, long bytes) =>
        Areas.Add(new InspectedArea($"{AreaPrefix}/{name}@{AreaBase + offset}", new SliceSource(Content!, offset, bytes, name)));
}
