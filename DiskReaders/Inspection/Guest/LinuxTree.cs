using System.Text;
using Vmsweep.DiskReaders.FileSystems;

namespace Vmsweep.DiskReaders.Inspection.Guest;

/// <summary>The folders of a Linux guest as it mounts them: a path leads to the volume that the guest shows there.</summary>
internal sealed class LinuxTree
{
    /// <summary>Links to follow; Linux follows 40.</summary>
    private const int MostLinks = 8;

    private const int LongestTarget = 4096;

    private readonly GuestText _text;
    private readonly List<(string Path, FoundFiles Files, string Root)> _mounts;

    /// <param name="root">Where in <paramref name="files"/> the root folder is.</param>
    public LinuxTree(FoundFiles files, string root, IReadOnlyList<FoundFiles> all, InspectedVm vm, GuestText text)
    {
        _text = text;
        _mounts = [("", files, root)];
        Entries = Find(WantedFiles.FileSystemTable) is { } table && Read(table) is { } lines ? FileSystemTable.Parse(lines) : [];
        List<GuestMount> shown = [];
        bool hasRoot = false;
        foreach (MountEntry entry in Entries)
        {
            if (FileSystemTable.VolumeOf(entry.Spec, vm) is not { } volume)
            {
                continue;
            }

            FoundFiles? there = all.FirstOrDefault(f => f.Volume == volume);
            string? subvolume = entry.Subvolume.Trim('/') is { Length: > 0 } named ? named + "/"
                : entry.SubvolumeId is { } id ? there?.RootOfSubvolume(id)
                : entry.Subvolume.Length > 0 ? "" : there?.DefaultRoot ?? "";
            if (subvolume is null)
            {
                continue;
            }

            shown.Add(new GuestMount(volume.Id, Fact(entry.File), Fact(entry.Subvolume.Length > 1 ? entry.Subvolume : subvolume.TrimEnd('/'))));
            hasRoot |= entry.File == "/";
            if (entry.File != "/" && there is not null)
            {
                _mounts.Add((entry.File.Trim('/') + "/", there, subvolume));
            }
        }

        if (!hasRoot)
        {
            shown.Insert(0, new GuestMount(files.Volume.Id, "/", root.TrimEnd('/')));
        }

        Shown = [.. shown.Where(m => m.Path.Length > 0)];

        // The longest place decides: /var/log before /var.
        _mounts.Sort((a, b) => b.Path.Length.CompareTo(a.Path.Length));
    }

    public IReadOnlyList<MountEntry> Entries { get; }

    public IReadOnlyList<GuestMount> Shown { get; }

    public InspectedVolume RootVolume => _mounts[^1].Files.Volume;

    /// <summary>The file at a path of the guest, links followed; null when it is not there or was not asked for.</summary>
    /// <param name="path">Without a leading <c>/</c>.</param>
    public FoundFile? Find(string path)
    {
        for (int i = 0; i < MostLinks; i++)
        {
            if (At(path) is not { } found || found.File.Kind != GuestFileKind.Link)
            {
                return At(path);
            }

            if (LinkTarget(found) is not { } target)
            {
                return null;
            }

            path = Resolve(path, target);
        }

        return null;
    }

    /// <summary>What a link says, for those whose target is the fact itself.</summary>
    public string? LinkTarget(string path) => At(path) is { File.Kind: GuestFileKind.Link } found ? LinkTarget(found) : null;

    public string? Read(FoundFile found) => _text.Whole(found.Files.Volume, found.File, found.Path);

    /// <summary>The versions below <c>lib/modules</c>, each a kernel's.</summary>
    public IEnumerable<string> Modules()
    {
        foreach (string path in (string[])["lib/modules", "usr/lib/modules"])
        {
            (_, FoundFiles files, string root, string rest) = Place(path);
            foreach (string version in files.Modules.GetValueOrDefault(root + rest) ?? [])
            {
                yield return version;
            }
        }
    }

    private static string Resolve(string path, string target)
    {
        List<string> names = target.StartsWith('/') ? [] : [.. path.Split('/')[..^1]];
        foreach (string name in target.Split('/'))
        {
            if (name == "..")
            {
                names.RemoveRange(Math.Max(0, names.Count - 1), Math.Min(1, names.Count));
            }
            else if (name is not ("" or "."))
            {
                names.Add(name);
            }
        }

        return string.Join('/', names);
    }

    private string? LinkTarget(FoundFile link)
    {
        string? target = null;
        _text.With(link.Files.Volume, link.File, link.Path, LongestTarget, content =>
        {
            using Blocks.RentedBuffer buffer = _text.Context.Budget.Rent((int)content.Length);
            content.Read(0, buffer.Span);
            target = Encoding.UTF8.GetString(buffer.Span);
        });
        return target;
    }

    private FoundFile? At(string path)
    {
        (_, FoundFiles files, string root, string rest) = Place(path);
        return files.Find(root + rest) is { } file ? new FoundFile(files, root + rest, file) : null;
    }

    private (string Path, FoundFiles Files, string Root, string Below) Place(string path)
    {
        (string place, FoundFiles files, string root) = _mounts.First(m => path.StartsWith(m.Path, StringComparison.Ordinal));
        return (place, files, root, path[place.Length..]);
    }

    private string Fact(string text) => _text.Fact(_mounts[0].Files.Volume, WantedFiles.FileSystemTable, text);
}

/// <summary>A file of interest where it lies.</summary>
internal sealed record FoundFile(FoundFiles Files, string Path, GuestFile File);
