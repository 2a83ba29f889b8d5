using Vmsweep.DiskReaders.Inspection.Guest;

namespace Vmsweep.Appliance.Reports;

/// <summary>Paths of volumes as the guest itself shows them: by drive letters and mount points.</summary>
internal static class GuestPlaces
{
    /// <summary>Takes what a worker learnt of the guest into the report.</summary>
    public static void Show(this TargetReport target, GuestFacts guest)
    {
        target.Guest = guest;
        foreach (VolumeReport volume in target.Disks.SelectMany(d => d.Volumes))
        {
            string[] places = [.. guest.MountPoints.Where(m => m.Volume == volume.Id).Select(m => m.Path)];
            volume.MountPoints = places.Length > 0 ? places : null;
        }
    }

    /// <summary>OSTree's files are links to its objects, whose names say nothing.</summary>
    private const string Objects = "/sysroot/ostree/repo/objects/";

    /// <summary>The path of a finding as the guest has it, of several the first that a person would look for; null where the guest shows none.</summary>
    public static string? Of(GuestFacts? guest, FindingReport finding)
    {
        string? path = Of(guest, finding.Path);
        return path?.StartsWith(Objects, StringComparison.Ordinal) == true
            ? finding.AlsoAt.Select(p => Of(guest, p)).FirstOrDefault(p => p?.StartsWith(Objects, StringComparison.Ordinal) == false) ?? path
            : path;
    }

    /// <summary>A path <c>VOLUME/path</c> as the guest has it; null where the guest does not show it.</summary>
    public static string? Of(GuestFacts? guest, string path)
    {
        int slash = path.IndexOf('/', StringComparison.Ordinal);
        if (guest is null || slash < 0 || IsOurs(path.AsSpan(slash + 1)))
        {
            return null;
        }

        string volume = path[..slash];
        string below = path[(slash + 1)..];
        GuestMount? best = null;
        int bestRoot = -1;
        foreach (GuestMount mount in guest.MountPoints)
        {
            string root = RootOf(mount);
            if (mount.Volume == volume && root.Length > bestRoot && below.StartsWith(root, StringComparison.Ordinal))
            {
                (best, bestRoot) = (mount, root.Length);
            }
        }

        if (best is null)
        {
            return null;
        }

        below = below[bestRoot..];
        if (!best.Path.StartsWith('/'))
        {
            return best.Path + "\\" + below.Replace('/', '\\');
        }

        string shown = best.Path.TrimEnd('/') + "/" + below;

        // What is mounted above it hides it from the guest.
        return guest.MountPoints.Any(m => m != best && m.Path.Length > best.Path.Length && shown.StartsWith(m.Path.TrimEnd('/') + "/", StringComparison.Ordinal)) ? null : shown;
    }

    private static string RootOf(GuestMount mount) => mount.Subvolume.Trim('/') is { Length: > 0 } subvolume ? subvolume + "/" : "";

    /// <summary>Names that this program gives to what no folder of the guest holds.</summary>
    private static bool IsOurs(ReadOnlySpan<char> below) =>
        below.StartsWith("$OrphanFiles/") || below.StartsWith("$Deleted/") || below.StartsWith("slack@") || below is "content";
}
