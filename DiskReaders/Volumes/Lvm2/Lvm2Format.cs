using System.Globalization;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Lvm2;

/// <summary>
/// Linux LVM2: linear, striped, mirrored, RAID, thin, snapshot and cached volumes of groups over any number of physical volumes.
/// Specs: libvslvm "Logical Volume Manager (LVM) format"; lvm(8) and its pages for each kind of volume; Linux
/// Documentation/admin-guide/device-mapper for what those lie in.
/// </summary>
public sealed class Lvm2Format : IVolumeFormat
{
    private static readonly string[] Pools = ["thin-pool", "cache-pool", "vdo-pool"];

    public string Name => "lvm2";

    public FormatSupport Support { get; } = new(
        "LVM2",
        "linear, striped, mirror, every RAID type, thin pools with snapshots, snapshots, cache and writecache, over several disks",
        "VDO, reshapes in progress, volumes whose disks are missing");

    public bool Probe(IBlockSource content) => PhysicalVolume.Probe(content);

    public VolumeAssembly Assemble(IReadOnlyList<VolumeMember> members, ReadContext context)
    {
        var catalogue = GroupCatalogue.Read(members, context);
        List<AssembledVolume> volumes = [];
        List<MemberArea> leftovers = [];
        try
        {
            foreach (FoundGroup group in catalogue.Groups)
            {
                Assemble(group, volumes, leftovers, context);
            }

            HashSet<int> used = [.. catalogue.Groups.SelectMany(g => g.Members.Values).Select(m => m.Index)];
            foreach (GroupMember member in catalogue.Members.Where(m => !used.Contains(m.Index)))
            {
                volumes.Add(Unused(member));
                leftovers.Add(new MemberArea(member.Index, Leftovers.Unused, 0, member.Member.Content.Length));
            }
        }
        catch
        {
            volumes.ForEach(v => v.Dispose());
            throw;
        }

        return new VolumeAssembly(
            [.. volumes.OrderBy(v => v.Place)],
            [.. leftovers.Where(a => a.SizeBytes > 0).OrderBy(a => a.Member).ThenBy(a => a.OffsetBytes)]);
    }

    private static void Assemble(FoundGroup group, List<AssembledVolume> volumes, List<MemberArea> leftovers, ReadContext context)
    {
        GroupText text = group.Text;
        int place = group.Members.Values.Min(m => m.Index);
        int sectorBytes = group.Members.Values.Max(m => m.Member.SectorBytes);
        List<string> notes = Notes(group);
        using var opener = new GroupVolumes(text, group.Members.ToDictionary(m => m.Key, m => m.Value.Member.Content, StringComparer.Ordinal), context);
        ILookup<string, SegmentText> merging = Merging(text);
        int before = volumes.Count;
        foreach ((string name, LogicalText logical) in Visible(text).OrderBy(v => v.Name, StringComparer.Ordinal))
        {
            context.ThrowIfCancelled();
            string fullName = text.Name + "/" + name;
            try
            {
                OpenedVolume opened = Open(opener, logical, merging[logical.Name].FirstOrDefault());
                volumes.Add(new AssembledVolume
                {
                    Name = fullName,
                    Layout = opened.Layout,
                    Place = place,
                    Content = new SliceSource(opened.Source, 0, opened.Source.Length, "logical volume"),
                    Notes = [.. notes, .. opened.Notes],
                    SectorBytes = sectorBytes,
                    Owned = [opener.Share()],
                });
            }
            catch (DiskFormatException e)
            {
                string layout = string.Join(" + ", logical.Segments.Select(s => s.Type).Distinct());
                volumes.Add(new AssembledVolume { Name = fullName, Layout = layout, Place = place, Fault = e, Notes = notes, SectorBytes = sectorBytes });
            }
        }

        if (volumes.Count == before)
        {
            volumes.Add(Nothing(text.Name, "no logical volumes", place, notes));
        }

        leftovers.AddRange(Leftovers.Of(group, opener, context));
    }

    /// <summary>The volumes that the guest sees. A snapshot has the name of its store.</summary>
    private static IEnumerable<(string Name, LogicalText Logical)> Visible(GroupText text)
    {
        foreach (LogicalText logical in text.Logicals.Where(l => l.IsVisible))
        {
            SegmentText? first = logical.Segments.Count > 0 ? logical.Segments[0] : null;
            if (first?.Type == "snapshot")
            {
                // One that is being merged shows in its origin alone.
                if (!first.Section.Has("merging_store"))
                {
                    yield return (SnapshotName(first, logical), logical);
                }
            }
            else if (first is null || !Pools.Contains(first.Type))
            {
                yield return (logical.Name, logical);
            }
        }
    }

    private static string SnapshotName(SegmentText segment, LogicalText logical) =>
        segment.Section.TryList("cow_store", out ConfigItem[]? store) && store is [{ Text: { } name }] ? name : logical.Name;

    /// <summary>Snapshots that are being merged, by the name of their origin.</summary>
    private static ILookup<string, SegmentText> Merging(GroupText text) => text.Logicals
        .SelectMany(l => l.Segments)
        .Where(s => s.Type == "snapshot" && s.Section.Has("merging_store") && s.Section.TryList("origin", out ConfigItem[]? origin) && origin is [{ Text: not null }])
        .ToLookup(s => s.Section.Text("origin"), StringComparer.Ordinal);

    private static OpenedVolume Open(GroupVolumes opener, LogicalText logical, SegmentText? merging)
    {
        if (logical.Segments is [{ Type: "snapshot" } snapshot])
        {
            return opener.OpenSnapshot(snapshot, "cow_store");
        }

        if (merging is null)
        {
            return opener.Open(logical.Name);
        }

        OpenedVolume opened = opener.OpenSnapshot(merging, "merging_store");
        return opened with { Notes = ["a snapshot is being merged into it; it is read as it will be", .. opened.Notes] };
    }

    private static List<string> Notes(FoundGroup group)
    {
        List<string> notes = [];
        if (group.Text.Group.ListHas("status", "EXPORTED"))
        {
            notes.Add($"group {group.Text.Name} is exported");
        }

        if (group.Text.Group.ListHas("status", "CLUSTERED") || group.Text.Group.OptionalText("lock_type") is not (null or "" or "none"))
        {
            notes.Add($"group {group.Text.Name} is shared by a cluster");
        }

        List<string> missing = [.. group.Text.Physicals.Where(p => !group.Members.ContainsKey(p.Key)).Select(p => p.Key)];
        if (missing.Count > 0)
        {
            notes.Add(string.Create(CultureInfo.InvariantCulture, $"of group {group.Text.Name} physical volumes are missing: {string.Join(", ", missing.Take(16))}"));
        }

        return notes;
    }

    /// <summary>A physical volume that no group's text names.</summary>
    private static AssembledVolume Unused(GroupMember member)
    {
        if (member.Fault is { } fault)
        {
            return new AssembledVolume { Name = "", Layout = "physical volume", Place = member.Index, Fault = fault };
        }

        if (member.Label is { IsUsed: true })
        {
            return new AssembledVolume
            {
                Name = "",
                Layout = "physical volume",
                Place = member.Index,
                Fault = new DiskFormatException(Fault.MissingParent, "LVM2 label", member.Label.LabelOffset, "a group uses it, and no other physical volume that keeps the group's text is there"),
            };
        }

        return Nothing("", "physical volume of no group", member.Index, []);
    }

    /// <summary>Stands for a member that shows nothing.</summary>
    private static AssembledVolume Nothing(string name, string layout, int place, IReadOnlyList<string> notes) =>
        new() { Name = name, Layout = layout, Place = place, Content = new MemorySource(ReadOnlyMemory<byte>.Empty), Notes = notes };
}
