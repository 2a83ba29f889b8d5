using System.Security.Cryptography;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Lvm2;

/// <summary>
/// Finds which groups the members make up. Each physical volume may keep its group's text once, twice or not at all, and may have
/// missed the last changes: the highest <c>seqno</c> of all copies counts, and what it says of the members is held against their labels.
/// </summary>
internal sealed class GroupCatalogue
{
    private readonly ReadContext _context;
    private readonly Dictionary<string, GroupText> _parsed = new(StringComparer.Ordinal);

    private GroupCatalogue(ReadContext context) => _context = context;

    /// <summary>All members but those that are copies of one before.</summary>
    public required IReadOnlyList<GroupMember> Members { get; init; }

    /// <summary>By name, then id.</summary>
    public required IReadOnlyList<FoundGroup> Groups { get; init; }

    public static GroupCatalogue Read(IReadOnlyList<VolumeMember> members, ReadContext context)
    {
        var reading = new GroupCatalogue(context) { Members = [], Groups = [] };
        List<GroupMember> read = reading.ReadMembers(members);
        return new GroupCatalogue(context) { Members = read, Groups = reading.FindGroups(read) };
    }

    private List<GroupMember> ReadMembers(IReadOnlyList<VolumeMember> members)
    {
        List<GroupMember> read = [];
        var byId = new Dictionary<string, GroupMember>(StringComparer.Ordinal);
        for (int i = 0; i < members.Count; i++)
        {
            _context.ThrowIfCancelled();
            GroupMember member = ReadMember(i, members[i]);
            if (member.Label is { } label && !byId.TryAdd(label.Id, member))
            {
                string first = byId[label.Id].Member.Name;
                _context.Gaps.Add(new CoverageGap(
                    Fault.Refused, members[i].Name, "LVM2 label", label.LabelOffset, members[i].Content.Length, $"it is a copy of {first}: both are physical volume {label.Id}; the other is read"));
                continue;
            }

            read.Add(member);
        }

        return read;
    }

    private GroupMember ReadMember(int index, VolumeMember member)
    {
        List<GroupText> copies = [];
        PhysicalVolume label;
        try
        {
            label = PhysicalVolume.Read(member, _context);
        }
        catch (DiskFormatException e)
        {
            return new GroupMember(index, member, null, copies, e);
        }

        DiskFormatException? first = null;
        foreach (LabelArea area in label.MetadataAreas)
        {
            try
            {
                using RentedBuffer? text = MetadataArea.ReadText(member.Content, area, _context);
                if (text is not null)
                {
                    copies.Add(Parsed(text.Span));
                }
            }
            catch (DiskFormatException e)
            {
                first ??= e;
                _context.Gaps.Add(new CoverageGap(e, member.Name, area.Size));
            }
        }

        return new GroupMember(index, member, label, copies, first);
    }

    // A group of a hundred disks keeps a hundred copies.
    private GroupText Parsed(ReadOnlySpan<byte> text)
    {
        string hash = Convert.ToHexString(SHA256.HashData(text));
        if (!_parsed.TryGetValue(hash, out GroupText? group))
        {
            group = new GroupText(ConfigText.Parse(text));
            _parsed.Add(hash, group);
        }

        return group;
    }

    private List<FoundGroup> FindGroups(List<GroupMember> members)
    {
        var newest = new Dictionary<string, GroupText>(StringComparer.Ordinal);
        foreach (GroupText copy in members.SelectMany(m => m.Copies))
        {
            if (!newest.TryGetValue(copy.Id, out GroupText? known) || copy.Seqno > known.Seqno)
            {
                newest[copy.Id] = copy;
            }
        }

        foreach (GroupMember member in members)
        {
            foreach (GroupText copy in member.Copies.Where(c => newest[c.Id] != c))
            {
                GroupText other = newest[copy.Id];
                string what = copy.Seqno < other.Seqno ? "is older than another's" : "differs from another's of the same number";
                _context.Gaps.Add(new CoverageGap(Fault.Corrupt, member.Member.Name, ConfigText.Structure, -1, 0, $"its text of group {copy.Name}, number {copy.Seqno}, {what}, {other.Seqno}, which is read"));
            }
        }

        var byId = members.Where(m => m.Label is not null).ToDictionary(m => m.Label!.Id, StringComparer.Ordinal);
        var taken = new HashSet<GroupMember>();
        List<FoundGroup> groups = [];

        // A group that its members keep the text of goes before one that only names them.
        foreach (GroupText text in newest.Values.OrderByDescending(t => t.Seqno).ThenBy(t => t.Name, StringComparer.Ordinal).ThenBy(t => t.Id, StringComparer.Ordinal))
        {
            var found = new Dictionary<string, GroupMember>(StringComparer.Ordinal);
            foreach (PhysicalText physical in text.Physicals)
            {
                if (byId.TryGetValue(physical.Id, out GroupMember? member) && (member.Copies.Count == 0 || member.Copies.Any(c => c.Id == text.Id)) && taken.Add(member))
                {
                    found.Add(physical.Key, member);
                }
            }

            if (found.Count > 0)
            {
                groups.Add(new FoundGroup(text, found));
            }
            else
            {
                _context.Gaps.Add(new CoverageGap(Fault.Corrupt, text.Name, ConfigText.Structure, -1, 0, "the group's text names none of the physical volumes that are there"));
            }
        }

        return [.. groups.OrderBy(g => g.Text.Name, StringComparer.Ordinal).ThenBy(g => g.Text.Id, StringComparer.Ordinal)];
    }
}
