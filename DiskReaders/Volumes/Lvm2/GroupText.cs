using System.Globalization;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Lvm2;

/// <summary>A physical volume as its group's text has it. vgcfgrestore(8) and libvslvm "LVM format", "Metadata".</summary>
/// <param name="Key">What segments call it.</param>
/// <param name="Id">Its UUID without dashes.</param>
internal sealed record PhysicalText(string Key, string Id, long StartBytes, long ExtentCount, bool IsMarkedMissing);

/// <summary>A logical volume, visible or a part of another.</summary>
/// <param name="Fault">Why its segments cannot be told; null when they can.</param>
internal sealed record LogicalText(string Name, bool IsVisible, IReadOnlyList<SegmentText> Segments, long ExtentCount, DiskFormatException? Fault = null);

/// <summary>A segment of a logical volume.</summary>
/// <param name="Type">The type without the compatibility flags that follow a <c>+</c>.</param>
internal sealed record SegmentText(ConfigSection Section, string Type, long StartExtent, long ExtentCount);

/// <summary>Where a stripe or a mirror lies: on a physical volume or in another logical one, from an extent on.</summary>
internal readonly record struct AreaText(string Name, long Extent);

/// <summary>A volume group's text, taken apart as far as no volume is opened.</summary>
internal sealed class GroupText
{
    private const long MostExtents = uint.MaxValue;

    private readonly Dictionary<string, LogicalText> _logicals = new(StringComparer.Ordinal);
    private readonly Dictionary<string, PhysicalText> _physicals = new(StringComparer.Ordinal);

    /// <exception cref="DiskFormatException">The text does not describe a group.</exception>
    public GroupText(ConfigSection root)
    {
        if (root.Sections is not [var group, ..])
        {
            throw new DiskFormatException(Fault.Corrupt, ConfigText.Structure, 0, "there is no group");
        }

        Name = group.Name;
        Id = Uuid(group);
        Seqno = group.Number("seqno", 0, uint.MaxValue);
        Group = group;
        ExtentBytes = 512 * group.Number("extent_size", 1, uint.MaxValue);
        foreach (ConfigSection physical in group.Find("physical_volumes")?.Sections ?? [])
        {
            long start = 512 * physical.OptionalNumber("pe_start", 0, long.MaxValue / 1024, 0);
            long count = physical.OptionalNumber("pe_count", 0, MostExtents, 0);
            _physicals.Add(physical.Name, new PhysicalText(physical.Name, Uuid(physical), start, count, physical.ListHas("flags", "MISSING")));
        }

        int segments = 0;
        foreach (ConfigSection logical in group.Find("logical_volumes")?.Sections ?? [])
        {
            LogicalText read = ReadLogical(logical);
            segments += read.Segments.Count;
            if (segments > Lvm2Limits.MostSegments)
            {
                throw new DiskFormatException(Fault.Limit, ConfigText.Structure, logical.Offset, $"more than {Lvm2Limits.MostSegments} segments");
            }

            _logicals.Add(logical.Name, read);
        }
    }

    public string Name { get; }

    public string Id { get; }

    public long Seqno { get; }

    public long ExtentBytes { get; }

    public ConfigSection Group { get; }

    public IEnumerable<PhysicalText> Physicals => _physicals.Values;

    public IEnumerable<LogicalText> Logicals => _logicals.Values;

    public LogicalText? Logical(string name) => _logicals.GetValueOrDefault(name);

    public PhysicalText? Physical(string key) => _physicals.GetValueOrDefault(key);

    /// <summary>Bytes of so many extents.</summary>
    /// <exception cref="DiskFormatException">More than a volume may have.</exception>
    public long Bytes(long extents, string name) => extents <= Lvm2Limits.MostVolumeBytes / ExtentBytes
        ? extents * ExtentBytes
        : throw new DiskFormatException(Fault.Limit, ConfigText.Structure, -1, string.Create(CultureInfo.InvariantCulture, $"{name}: {extents} extents of {ExtentBytes} bytes"));

    /// <summary>A list of pairs: a name and the first extent there.</summary>
    public static List<AreaText> Areas(ConfigSection segment, string key)
    {
        ConfigItem[] items = segment.List(key);
        if (items.Length == 0 || items.Length % 2 != 0 || items.Length > 2 * Lvm2Limits.MostAreasOfSegment)
        {
            throw segment.Bad(key);
        }

        List<AreaText> areas = [];
        for (int i = 0; i < items.Length; i += 2)
        {
            bool isPair = items[i].Text is not null && items[i + 1] is { Text: null, Number: >= 0 and <= MostExtents };
            areas.Add(isPair ? new AreaText(items[i].Text!, items[i + 1].Number) : throw segment.Bad(key));
        }

        return areas;
    }

    // "2ZkDE5-iUAm-...": 32 characters in groups; labels have them without dashes.
    private static string Uuid(ConfigSection section)
    {
        string id = section.Text("id").Replace("-", "", StringComparison.Ordinal);
        return id.Length == 32 ? id : throw section.Bad("id");
    }

    // One that is impossible does not keep the others from being read.
    private static LogicalText ReadLogical(ConfigSection logical)
    {
        bool isVisible = logical.ListHas("status", "VISIBLE");
        try
        {
            List<SegmentText> segments = [];
            foreach (ConfigSection segment in logical.Sections.Where(s => s.Name.StartsWith("segment", StringComparison.Ordinal)))
            {
                string type = segment.Text("type");
                int flags = type.IndexOf('+', StringComparison.Ordinal);
                segments.Add(new SegmentText(
                    segment, flags < 0 ? type : type[..flags], segment.Number("start_extent", 0, MostExtents), segment.Number("extent_count", 1, MostExtents)));
            }

            return new LogicalText(logical.Name, isVisible, [.. segments.OrderBy(s => s.StartExtent)], segments.Sum(s => s.ExtentCount));
        }
        catch (DiskFormatException e)
        {
            return new LogicalText(logical.Name, isVisible, [], 0, e);
        }
    }
}
