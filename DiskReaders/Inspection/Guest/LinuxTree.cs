using Vmsweep.DiskReaders.FileSystems;

namespace Vmsweep.DiskReaders.Inspection.Guest;

/// <summary>The folders of a Linux guest as it mounts them: a path leads to the volume that the guest shows there.</summary>
internal sealed class LinuxTree
{
    private readonly GuestText _text;
    private readonly LinkWalk _links;
    private readonly List<(string Path, FoundFiles Files, string Root)> _mounts;

    /// <param name="root">Where the root folder is.</param>
    public LinuxTree(LinuxRoot root, IReadOnlyList<FoundFiles> all, InspectedVm vm, GuestText text)
    {
        FoundFiles files = root.Files;
        _text = text;
        _links = new LinkWalk(At, text.LinkTarget);
        _mounts = [("", files, root.Path)];

        // NixOS keeps its fstab in the store, so it is not fstab that can say where the store is.
        if (At(NixPaths.Static) is not null && all.FirstOrDefault(f => f.StoreRoot is not null) is { } store)
        {
            _mounts.Insert(0, ("nix/", store, store.StoreRoot!));
        }

        Entries = Find(WantedFiles.FileSystemTable) is { } table && Read(table) is { } lines ? FileSystemTable.Parse(lines) : [];
        _mounts.RemoveAll(m => Entries.Any(e => e.File.Trim('/') + "/" == m.Path));
        List<GuestMount> shown = [];
        bool hasRoot = false;
        foreach (MountEntry entry in Entries)
        {
            if (FileSystemTable.VolumeOf(entry.Spec, vm) is not { } volume)
            {
                continue;
            }

            // OSTree mounts what fstab has for / at /sysroot.
            if (entry.File == "/" && root.Sysroot is not null)
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
            shown.Insert(0, new GuestMount(files.Volume.Id, "/", root.Path.TrimEnd('/')));
        }

        foreach ((string place, FoundFiles there, string folder) in root.Parts().Where(p => !Entries.Any(e => e.File == p.Place)))
        {
            shown.Add(new GuestMount(there.Volume.Id, place, Fact(folder.TrimEnd('/'))));
            _mounts.Add((place.Trim('/') + "/", there, folder));
        }

        Shown = [.. shown.Where(m => m.Path.Length > 0).Take(GuestFacts.MostItems)];

        // The longest place decides: /var/log before /var.
        _mounts.Sort((a, b) => b.Path.Length.CompareTo(a.Path.Length));
    }

    public IReadOnlyList<MountEntry> Entries { get; }

    public IReadOnlyList<GuestMount> Shown { get; }

    public InspectedVolume RootVolume => _mounts[^1].Files.Volume;

    /// <summary>The file at a path of the guest, links followed; null when it is not there or was not asked for.</summary>
    /// <param name="path">Without a leading <c>/</c>.</param>
    public FoundFile? Find(string path) => _links.Follow(path) is { } end ? At(end) : null;

    /// <summary>What the links at a path say, the first of them first, for those whose target is the fact itself.</summary>
    public IReadOnlyList<string> LinkTargets(string path)
    {
        List<string> targets = [];
        _links.Follow(path, targets.Add);
        return targets;
    }

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

    // What a deployment's etc does not have yet is as the system was delivered.
    private FoundFile? At(string path)
    {
        (_, FoundFiles files, string root, string rest) = Place(path);
        return files.At(root + rest)
            ?? (rest.StartsWith("etc/", StringComparison.Ordinal) && files.Deployments.ContainsKey(root) ? files.At($"{root}usr/{rest}") : null);
    }

    /// <summary>The files with a package of dpkg each, for systems that are put together without it.</summary>
    public IReadOnlyList<FoundFile> PackageParts()
    {
        (_, FoundFiles files, string root, string rest) = Place(WantedFiles.DpkgParts);
        return files.PackageParts.GetValueOrDefault(root + rest) ?? [];
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
