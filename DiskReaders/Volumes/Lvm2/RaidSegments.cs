using System.Globalization;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Volumes.Raid;

namespace Vmsweep.DiskReaders.Volumes.Lvm2;

/// <summary>
/// RAID segments: LVM2's type names, which are those of the kernel's target (Linux Documentation/admin-guide/device-mapper/dm-raid.rst,
/// "&lt;raid_type&gt;"), by the numbers of MD, and what the members' superblocks say of members that fell out.
/// </summary>
internal static class RaidSegments
{
    private static readonly Dictionary<string, (RaidLevel Level, int Layout)> Types = new(StringComparer.Ordinal)
    {
        ["raid0"] = (RaidLevel.Raid0, 0),
        ["raid0_meta"] = (RaidLevel.Raid0, 0),
        ["raid1"] = (RaidLevel.Raid1, 0),
        ["raid4"] = (RaidLevel.Raid5, ParityLayout.ParityFirst),
        ["raid5"] = (RaidLevel.Raid5, ParityLayout.LeftSymmetric),
        ["raid5_n"] = (RaidLevel.Raid5, ParityLayout.ParityLast),
        ["raid5_la"] = (RaidLevel.Raid5, ParityLayout.LeftAsymmetric),
        ["raid5_ra"] = (RaidLevel.Raid5, ParityLayout.RightAsymmetric),
        ["raid5_ls"] = (RaidLevel.Raid5, ParityLayout.LeftSymmetric),
        ["raid5_rs"] = (RaidLevel.Raid5, ParityLayout.RightSymmetric),
        ["raid6"] = (RaidLevel.Raid6, ParityLayout.DdfZeroRestart),
        ["raid6_zr"] = (RaidLevel.Raid6, ParityLayout.DdfZeroRestart),
        ["raid6_nr"] = (RaidLevel.Raid6, ParityLayout.DdfNRestart),
        ["raid6_nc"] = (RaidLevel.Raid6, ParityLayout.DdfNContinue),
        ["raid6_n_6"] = (RaidLevel.Raid6, ParityLayout.ParityLast),
        ["raid6_la_6"] = (RaidLevel.Raid6, ParityLayout.QLast + ParityLayout.LeftAsymmetric),
        ["raid6_ra_6"] = (RaidLevel.Raid6, ParityLayout.QLast + ParityLayout.RightAsymmetric),
        ["raid6_ls_6"] = (RaidLevel.Raid6, ParityLayout.QLast + ParityLayout.LeftSymmetric),
        ["raid6_rs_6"] = (RaidLevel.Raid6, ParityLayout.QLast + ParityLayout.RightSymmetric),
        ["raid10"] = (RaidLevel.Raid10, 0),
        ["raid10_near"] = (RaidLevel.Raid10, 0),
    };

    public static bool IsRaid(string type) => Types.ContainsKey(type);

    /// <summary>Names of the members' volumes, metadata (null without) and data.</summary>
    public static List<(string? Metadata, string Data)> Members(SegmentText segment)
    {
        bool isBare = segment.Section.Has("raid0_lvs");
        string key = isBare ? "raid0_lvs" : "raids";
        ConfigItem[] items = segment.Section.List(key);
        if (items.Length == 0 || items.Length > 2 * Lvm2Limits.MostAreasOfSegment || (!isBare && items.Length % 2 != 0) || Array.Exists(items, i => i.Text is null))
        {
            throw segment.Section.Bad(key);
        }

        return isBare ? [.. items.Select(i => ((string?)null, i.Text!))] : [.. items.Chunk(2).Select(p => (p[0].Text, p[1].Text!))];
    }

    /// <summary>Extents that the segment shows: without the room that each data member keeps for reshapes, which its count includes.</summary>
    public static long ShownExtents(SegmentText segment)
    {
        int disks = Members(segment).Count;
        (RaidLevel level, _) = Types[segment.Type];
        long each = segment.Section.OptionalNumber("reshape_count", 0, uint.MaxValue, 0);
        long parts = level == RaidLevel.Raid10 ? disks / Copies(segment) : Parts(level, disks);
        long shown = segment.ExtentCount - (each * parts);
        return shown > 0 ? shown : throw segment.Section.Bad("reshape_count");
    }

    /// <summary>What each member carries of a segment of so many bytes.</summary>
    public static RaidGeometry Geometry(SegmentText segment, long bytes, int disks)
    {
        (RaidLevel level, int layout) = Types[segment.Type];
        long copies = level == RaidLevel.Raid10 ? Copies(segment) : 1;
        long parts = Parts(level, disks);
        if (parts < 1 || bytes > Lvm2Limits.MostVolumeBytes / copies || bytes * copies % parts != 0)
        {
            throw segment.Section.Bad("extent_count");
        }

        long chunk = level == RaidLevel.Raid1 ? 0 : 512 * segment.Section.Number("stripe_size", 1, int.MaxValue);
        if (level == RaidLevel.Raid10)
        {
            // One far copy and so many near ones.
            layout = (1 << 8) | (int)copies;
        }

        return new RaidGeometry(level, layout, chunk, disks, bytes * copies / parts);
    }

    public static string Layout(SegmentText segment, RaidGeometry geometry) => geometry.ChunkBytes == 0
        ? string.Create(CultureInfo.InvariantCulture, $"{segment.Type} of {geometry.Disks}")
        : string.Create(CultureInfo.InvariantCulture, $"{segment.Type} of {geometry.Disks}, chunks of {geometry.ChunkBytes / 1024.0:0.#} KiB");

    /// <summary>Level 0 has nothing that could stand in for a member.</summary>
    public static bool IsRedundant(RaidGeometry geometry) => geometry.Level != RaidLevel.Raid0;

    private static long Copies(SegmentText segment) => segment.Section.OptionalNumber("data_copies", 2, byte.MaxValue, 2);

    /// <summary>Members' worth of content in a row.</summary>
    private static int Parts(RaidLevel level, int disks) => level switch
    {
        RaidLevel.Raid1 => 1,
        RaidLevel.Raid5 => disks - 1,
        RaidLevel.Raid6 => disks - 2,
        _ => disks,
    };
}
