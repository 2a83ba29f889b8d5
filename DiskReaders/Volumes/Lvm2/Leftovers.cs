using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Lvm2;

/// <summary>The bytes of a group's members that none of its volumes shows.</summary>
internal static class Leftovers
{
    /// <summary>Labels, metadata areas, and what lies before the first extent.</summary>
    public const string Metadata = "lvm2-metadata";

    /// <summary>Volumes that only describe others or keep parts of them, such as the store of a snapshot, or that nothing uses.</summary>
    public const string Internal = "lvm2-internal";

    public const string Free = "lvm2-free";

    /// <summary>Behind the last extent.</summary>
    public const string Tail = "lvm2-tail";

    /// <summary>All of a physical volume that no group uses.</summary>
    public const string Unused = "lvm2-unused";

    /// <summary>The areas of each member, by offset.</summary>
    public static List<MemberArea> Of(FoundGroup group, GroupVolumes volumes, ReadContext context)
    {
        GroupText text = group.Text;
        var used = group.Members.Keys.ToDictionary(k => k, _ => new List<Range>(), StringComparer.Ordinal);
        foreach (LogicalText logical in text.Logicals)
        {
            bool isContent = volumes.IsContent(logical.Name);
            foreach (SegmentText segment in logical.Segments)
            {
                foreach ((AreaText area, long extents) in Areas(segment))
                {
                    if (text.Physical(area.Name) is { } physical && used.TryGetValue(physical.Key, out List<Range>? ranges) && area.Extent < physical.ExtentCount)
                    {
                        ranges.Add(new Range(area.Extent, Math.Min(extents, physical.ExtentCount - area.Extent), isContent));
                    }
                }
            }
        }

        List<MemberArea> areas = [];
        foreach ((string key, GroupMember member) in group.Members)
        {
            Add(areas, text, text.Physical(key)!, member, used[key], context);
        }

        return areas;
    }

    private static IEnumerable<(AreaText Area, long Extents)> Areas(SegmentText segment)
    {
        string? key = segment.Section.Has("stripes") ? "stripes" : segment.Section.Has("mirrors") ? "mirrors" : null;
        if (key is null)
        {
            return [];
        }

        try
        {
            List<AreaText> areas = GroupText.Areas(segment.Section, key);
            long extents = key == "stripes" ? ((segment.ExtentCount - 1) / areas.Count) + 1 : segment.ExtentCount;
            return areas.Select(a => (a, extents));
        }
        catch (DiskFormatException)
        {
            // The volume has this as its fault; its extents count as free and are matched so.
            return [];
        }
    }

    private static void Add(List<MemberArea> areas, GroupText text, PhysicalText physical, GroupMember member, List<Range> used, ReadContext context)
    {
        long length = member.Member.Content.Length;
        long first = Math.Min(physical.StartBytes, length);
        long extents = Math.Min(physical.ExtentCount, (length - first) / text.ExtentBytes);
        if (extents < physical.ExtentCount)
        {
            context.Gaps.Add(new CoverageGap(
                Fault.Truncated, member.Member.Name, "LVM2 physical volume", length, 0, $"it ends before extent {extents}, of {physical.ExtentCount} extents of {text.ExtentBytes} bytes from {physical.StartBytes} on"));
        }

        Put(Metadata, 0, first);
        long at = 0;
        bool isOverlapped = false;
        foreach (Range range in used.OrderBy(r => r.Extent).ThenByDescending(r => r.IsContent))
        {
            isOverlapped |= range.Extent < at;
            Put(Free, Offset(at), Offset(range.Extent) - Offset(at));
            if (!range.IsContent)
            {
                long from = Offset(Math.Max(at, range.Extent));
                Put(Internal, from, Offset(range.Extent + range.Extents) - from);
            }

            at = Math.Max(at, range.Extent + range.Extents);
        }

        Put(Free, Offset(at), Offset(extents) - Offset(at));
        Put(Tail, Offset(extents), length - Offset(extents));
        if (isOverlapped)
        {
            context.Gaps.Add(new CoverageGap(Fault.Corrupt, member.Member.Name, ConfigText.Structure, -1, 0, $"two volumes of group {text.Name} lie on the same extents of it"));
        }

        // Extents are inside the member from here on, so that this cannot overflow.
        long Offset(long extent) => first + (Math.Min(extent, extents) * text.ExtentBytes);

        void Put(string name, long offset, long size)
        {
            if (size > 0)
            {
                areas.Add(new MemberArea(member.Index, name, offset, size));
            }
        }
    }

    private readonly record struct Range(long Extent, long Extents, bool IsContent);
}
