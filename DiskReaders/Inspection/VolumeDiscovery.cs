using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Volumes;

namespace Vmsweep.DiskReaders.Inspection;

/// <summary>
/// Takes the disks of a VM apart down to single volumes. Membership of an array, group or encryption is asked before a partition
/// table is believed: members keep remnants of what they were, and mirrors show the table of what they mirror. What was assembled is
/// looked at again in the same way.
/// </summary>
internal sealed class VolumeDiscovery(ReadContext context) : IDisposable
{
    /// <summary>Partitions and volumes of one VM; real ones have dozens.</summary>
    private const int MostNodes = 10_000;

    /// <summary>Assemblies above each other: encryption over a group over an array over partitions is four.</summary>
    private const int MostDepth = 16;

    private readonly Dictionary<IVolumeFormat, List<VolumeNode>> _members = [];
    private readonly List<AssembledVolume> _assembled = [];
    private int _nodes;

    /// <summary>A tree for each disk, in the order given.</summary>
    public IReadOnlyList<VolumeNode> Discover(IReadOnlyList<OpenedDisk> disks)
    {
        List<VolumeNode> roots = [.. disks.Select(Root)];
        foreach (VolumeNode root in roots)
        {
            Classify(root);
        }

        while (VolumeFormats.Readable.FirstOrDefault(_members.ContainsKey) is { } format)
        {
            context.ThrowIfCancelled();
            _members.Remove(format, out List<VolumeNode>? members);
            Assemble(format, members!);
        }

        return roots;
    }

    public void Dispose()
    {
        // What was made last may lie on what was made first.
        foreach (AssembledVolume volume in Enumerable.Reverse(_assembled))
        {
            volume.Dispose();
        }

        _assembled.Clear();
    }

    private static VolumeNode Root(OpenedDisk disk) => new()
    {
        Name = disk.Image,
        Partition = new Partition("none", 1, 0, disk.Disk.Content.Length, "", ""),
        Content = disk.Disk.Content,
        SectorBytes = disk.Disk.SectorBytes,
        MayBeDivided = true,
        AreaPrefix = disk.Outside,
    };

    /// <summary>Says what a node is: a member that waits for its assembly, divided, or a volume.</summary>
    private void Classify(VolumeNode node)
    {
        context.ThrowIfCancelled();
        if (node.Content is not { } content)
        {
            return;
        }

        try
        {
            if (VolumeFormats.Of(content) is { } format)
            {
                Wait(format, node);
            }
            else if (node.MayBeDivided && !FileSystemFormats.SaysItself(content))
            {
                Divide(node, PartitionTables.Read(content, node.SectorBytes, context with { Gaps = new PlacedGaps(context.Gaps, node.Name) }));
            }
            else if (node.MayBeDivided)
            {
                DivideBeside(node);
            }
        }
        catch (DiskFormatException e)
        {
            node.Fault = e;
        }
        catch (IOException e)
        {
            node.Fault = new DiskFormatException(Fault.Transport, "storage", -1, e.Message);
        }
    }

    private void Wait(IVolumeFormat format, VolumeNode node)
    {
        if (!_members.TryGetValue(format, out List<VolumeNode>? waiting))
        {
            _members.Add(format, waiting = []);
        }

        waiting.Add(node);
        node.Children = [];
    }

    private void Divide(VolumeNode node, DiskLayout layout)
    {
        if (layout.Scheme == "none")
        {
            return;
        }

        node.Scheme = layout.Scheme;
        node.Children = [];
        foreach (DiskArea area in layout.Areas)
        {
            node.AddArea(area.Name, area.OffsetBytes, area.SizeBytes);
        }

        foreach (Partition partition in layout.Partitions)
        {
            AddPartition(node, partition);
        }
    }

    /// <summary>
    /// Looks for a partition table in the bytes that a file system on the whole disk leaves free. Discs that boot as disks too have both on
    /// purpose; elsewhere the guest sees the one or the other. Only partitions that hold something known count, as those bytes may be anything.
    /// </summary>
    private void DivideBeside(VolumeNode node)
    {
        IBlockSource content = node.Content!;
        var faults = new GapList();
        DiskLayout layout;
        bool isDisc;
        List<Partition> partitions;
        try
        {
            layout = PartitionTables.Read(content, node.SectorBytes, context with { Gaps = new PlacedGaps(faults, node.Name) });
            isDisc = FileSystemFormats.IsDisc(content);
            partitions = [.. layout.Partitions.Concat(isDisc ? AppleMap.Read(content) : []).DistinctBy(p => p.OffsetBytes).Where(p => p.OffsetBytes > 0 && MayHold(content, p)).OrderBy(p => p.OffsetBytes)];
        }
        catch (DiskFormatException)
        {
            // The file system says what of itself is not there.
            return;
        }
        catch (IOException e)
        {
            // No reason to leave the file system.
            context.Gaps.Add(new CoverageGap(Fault.Transport, node.Name, "partition table", -1, 0, e.Message));
            return;
        }

        if (partitions.Count == 0)
        {
            return;
        }

        if (!isDisc)
        {
            context.Gaps.Add(new CoverageGap(Fault.Corrupt, node.Name, "partition table", 0, 0, "one file system or volume covers the disk, and a partition table divides it; both are read, the guest may see only one"));
            foreach (CoverageGap fault in faults.ToList())
            {
                context.Gaps.Add(fault);
            }
        }

        node.Scheme = partitions[0].Scheme;
        node.Children = [new VolumeNode { Name = node.Name, Partition = node.Partition, Content = content, SectorBytes = node.SectorBytes, Depth = node.Depth, AreaPrefix = node.AreaPrefix, AreaBase = node.AreaBase, VolumeName = node.VolumeName, Notes = node.Notes }];
        partitions.ForEach(p => AddPartition(node, p));
    }

    /// <summary>Also of a partition whose start cannot be read, so that its own fault is told.</summary>
    private static bool MayHold(IBlockSource content, Partition partition)
    {
        try
        {
            SliceSource inside = Inside(content, partition);
            return VolumeFormats.Of(inside) is not null || FileSystemFormats.IsKnown(inside);
        }
        catch (Exception e) when (e is DiskFormatException or IOException)
        {
            return true;
        }
    }

    private void AddPartition(VolumeNode node, Partition partition)
    {
        var child = new VolumeNode
        {
            Name = $"{node.AreaPrefix}/partition@{node.AreaBase + partition.OffsetBytes}",
            Partition = partition,
            Content = Inside(node.Content!, partition),
            SectorBytes = node.SectorBytes,
            Depth = node.Depth,
            AreaPrefix = node.AreaPrefix,
            AreaBase = node.AreaBase + partition.OffsetBytes,
        };
        if (Add(node, child))
        {
            Classify(child);
        }
    }

    private void Assemble(IVolumeFormat format, List<VolumeNode> members)
    {
        VolumeAssembly assembly;
        try
        {
            assembly = format.Assemble([.. members.Select(m => new VolumeMember(m.Name, m.Content!, m.SectorBytes))], context);
        }
        catch (Exception e) when (e is DiskFormatException or IOException)
        {
            DiskFormatException fault = e as DiskFormatException ?? new DiskFormatException(Fault.Transport, "storage", -1, e.Message);
            foreach (VolumeNode member in members)
            {
                Add(member, Unread(format, member, fault));
            }

            return;
        }

        _assembled.AddRange(assembly.Volumes);
        foreach (AssembledVolume volume in assembly.Volumes.OrderBy(v => v.Place).ThenBy(v => v.Name, StringComparer.Ordinal))
        {
            VolumeNode member = members[volume.Place];
            VolumeNode node = Made(format, member, volume);
            if (Add(member, node))
            {
                Classify(node);
            }
        }

        foreach (MemberArea area in assembly.Leftovers.Where(a => a.SizeBytes > 0))
        {
            members[area.Member].AddArea(area.Name, area.OffsetBytes, area.SizeBytes);
        }

        if (assembly.Volumes.Count == 0 && assembly.Leftovers.Count == 0)
        {
            // Nothing may vanish because a reader found nothing to say of it.
            foreach (VolumeNode member in members)
            {
                context.Gaps.Add(new CoverageGap(Fault.Corrupt, member.Name, format.Name, 0, member.Content!.Length, "a member of nothing that can be made out"));
            }
        }
    }

    private static VolumeNode Made(IVolumeFormat format, VolumeNode member, AssembledVolume volume)
    {
        bool isTooDeep = member.Depth >= MostDepth;
        string name = volume.Name.Length > 0 ? volume.Name : member.Name;
        return new VolumeNode
        {
            Name = name,
            Partition = new Partition(format.Name, 1, member.AreaBase, volume.Content?.Length ?? member.Content!.Length, volume.Layout, "") { Id = member.Partition.Id },
            Content = isTooDeep ? null : volume.Content,
            SectorBytes = volume.SectorBytes,
            Depth = member.Depth + 1,
            MayBeDivided = true,
            AreaPrefix = $"{member.AreaPrefix}/{GuestText(name)}",
            VolumeName = volume.Name,
            Notes = volume.Notes,
            Fault = isTooDeep ? new DiskFormatException(Fault.Limit, format.Name, -1, $"more than {MostDepth} volumes inside each other") : volume.Fault,
        };
    }

    private static VolumeNode Unread(IVolumeFormat format, VolumeNode member, DiskFormatException fault) => new()
    {
        Name = member.Name,
        Partition = member.Partition with { Scheme = format.Name },
        Content = null,
        SectorBytes = member.SectorBytes,
        AreaPrefix = member.AreaPrefix,
        Fault = fault,
    };

    private bool Add(VolumeNode parent, VolumeNode child)
    {
        _nodes++;
        if (_nodes <= MostNodes)
        {
            parent.Children!.Add(child);
            return true;
        }

        if (_nodes == MostNodes + 1)
        {
            context.Gaps.Add(new CoverageGap(Fault.Limit, child.Name, "volumes", -1, 0, $"more than {MostNodes} volumes; no more are read"));
        }

        return false;
    }

    /// <summary>The part of a partition that exists on its disk.</summary>
    private static SliceSource Inside(IBlockSource disk, Partition partition)
    {
        long there = Math.Clamp(disk.Length - partition.OffsetBytes, 0, partition.SizeBytes);
        return new SliceSource(disk, Math.Min(partition.OffsetBytes, disk.Length), there, "partition");
    }

    /// <summary>A guest's name as part of a path.</summary>
    private static string GuestText(string name) => FileSystems.GuestName.Escape(System.Text.Encoding.UTF8.GetBytes(name), controls: true);
}
