using System.Globalization;
using Vmsweep.DiskReaders.FileSystems;

namespace Vmsweep.DiskReaders.Inspection.Guest;

/// <summary>An entry of the boot loader that names a deployment. Spec: Boot Loader Specification, type 1.</summary>
/// <param name="On">The volume that holds the entry.</param>
/// <param name="Title">The system, as the menu shows it.</param>
internal sealed record OstreeEntry(FoundFiles On, string Title);

/// <summary>A system that OSTree can boot.</summary>
/// <param name="Sysroot">The root that holds it, as <see cref="FoundFiles.Roots"/> has it.</param>
/// <param name="Folder">Number of its folder; 0 where the folder was not met. Btrfs gives later folders higher ones.</param>
internal sealed record OstreeDeployment(string Sysroot, ulong Folder);

/// <summary>Finds the deployment that OSTree boots.</summary>
internal static class OstreeBoot
{
    private const int MostEntries = 16;
    private const int MostSysroots = 8;
    private const string Argument = "ostree=";
    private const string TitleEnd = " (ostree";

    /// <summary>The root of the deployment in <paramref name="files"/> that is booted, and the entry that says so; null where there is none.</summary>
    public static (string Root, OstreeEntry? Entry)? Of(FoundFiles files, IReadOnlyList<FoundFiles> all, GuestText text)
    {
        if (files.Deployments.Count == 0)
        {
            return null;
        }

        foreach ((OstreeEntry entry, string target) in Entries(all, text))
        {
            foreach (string root in files.Deployments.Values.Select(d => d.Sysroot).Distinct().Take(MostSysroots))
            {
                if (Follow(files, root, target, text) is { } deployment)
                {
                    return (deployment, entry);
                }
            }
        }

        // Without an entry: what the links for the loader lead to, the first of them the newest, is preferred to what was left.
        List<string> live =
        [
            .. files.BootLinks.Order(StringComparer.Ordinal).Take(MostEntries)
                .Select(link => (Root: files.Roots.Where(r => link.StartsWith(r, StringComparison.Ordinal)).MaxBy(r => r.Length)!, Link: link))
                .Where(l => IsCurrent(files, l.Root, l.Link))
                .Select(l => Follow(files, l.Root, l.Link[l.Root.Length..], text)).OfType<string>(),
        ];
        return (live.Concat(files.Deployments.OrderByDescending(d => d.Value.Folder).ThenBy(d => d.Key, StringComparer.Ordinal).Select(d => d.Key)).First(), null);
    }

    // There are boot.0 and boot.1; the other one is removed when the loader was given the new one.
    private static bool IsCurrent(FoundFiles files, string root, string link) =>
        link.AsSpan(root.Length).StartsWith("ostree/boot.") && files.Find(link[..Math.Min(link.Length, root.Length + "ostree/boot.0".Length)]) is not null;

    private static string? Follow(FoundFiles files, string root, string path, GuestText text)
    {
        var walk = new LinkWalk(p => files.At(root + p), text.LinkTarget);
        string? deployment = walk.Follow(path) is { } end ? root + end + "/" : null;
        return deployment is not null && files.Deployments.ContainsKey(deployment) ? deployment : null;
    }

    /// <summary>The entries and what their kernels are told, the one that is booted by default first.</summary>
    private static IEnumerable<(OstreeEntry Entry, string Target)> Entries(IReadOnlyList<FoundFiles> all, GuestText text)
    {
        List<(OstreeEntry Entry, string Target, int Version)> entries = [];
        foreach (FoundFiles files in all)
        {
            HashSet<string> folders = [.. files.Roots.SelectMany(r => (string[])[r + "loader", r + "boot/loader"]).Select(l => Folder(files, l, text) + "/entries")];
            foreach (string path in files.BootEntries.Where(e => folders.Contains(e[..e.LastIndexOf('/')])).Order(StringComparer.Ordinal).Take(MostEntries))
            {
                GuestFile file = files.Find(path)!;
                if (file.Kind == GuestFileKind.Regular && text.Whole(files.Volume, file, path) is { } content)
                {
                    (string title, string target, int version) = Parse(content);
                    entries.Add((new OstreeEntry(files, title), target, version));
                }
            }
        }

        // OSTree counts its deployments so that the first has the highest version.
        return entries.Where(e => e.Target.Length > 0).OrderByDescending(e => e.Version).Select(e => (e.Entry, e.Target));
    }

    // The folder is a link to one of two, so that a change of all entries is one step; a loader on FAT has the folder itself.
    private static string Folder(FoundFiles files, string loader, GuestText text) =>
        files.At(loader) is { File.Kind: GuestFileKind.Link } link && text.LinkTarget(link)?.TrimEnd('/') is ("loader.0" or "loader.1") and var target
            ? loader[..^"loader".Length] + target
            : loader;

    /// <summary>The title, what follows <c>ostree=</c>, empty without, and the version, 0 without, of an entry.</summary>
    internal static (string Title, string Target, int Version) Parse(string content)
    {
        (string title, string target, int version) = ("", "", 0);
        foreach (string line in content.Split('\n'))
        {
            string[] words = line.Split([' ', '\t', '\r'], StringSplitOptions.RemoveEmptyEntries);
            switch (words)
            {
                case ["title", .. string[] rest]:
                    title = string.Join(' ', rest);
                    int end = title.LastIndexOf(TitleEnd, StringComparison.Ordinal);
                    title = end > 0 && title.EndsWith(')') ? title[..end] : title;
                    break;
                case ["version", string number]:
                    version = int.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out int value) ? value : 0;
                    break;
                case ["options", .. string[] rest]:
                    target = rest.LastOrDefault(o => o.StartsWith(Argument, StringComparison.Ordinal)) is { } option ? option[Argument.Length..] : target;
                    break;
            }
        }

        return (title, target, version);
    }
}
