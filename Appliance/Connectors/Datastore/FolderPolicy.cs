using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Connectors.Datastore;

/// <summary>
/// Which files the images of a VM may name: regular files in the VM's own folder, and below folders of bases that the operator
/// declared. Links are not followed, and nothing is opened here.
/// </summary>
/// <param name="folder">The VM's folder.</param>
/// <param name="bases">Folders of declared bases.</param>
/// <param name="known">What was read of other images of the same datastore.</param>
/// <param name="elsewhere">What paths lead to on another machine, links not followed, where they are not this one's; nothing is looked for there by its identity.</param>
internal sealed class FolderPolicy(string folder, IReadOnlyList<string> bases, KnownImages? known = null, Func<string, HostFileKind>? elsewhere = null) : IReferencePolicy
{
    /// <summary>So many images of a folder are looked at for a parent that is known by its identity alone.</summary>
    private const int MostIdentified = 4096;

    private readonly Dictionary<(string Root, string Place), Dictionary<string, string>> _identities = known?.Identities ?? [];
    private readonly string _folder = Path.GetFullPath(folder);
    private readonly string[] _bases = [.. bases.Select(Path.GetFullPath)];

    /// <summary>Names that were refused, for the report of hostile images.</summary>
    public List<(string FromPath, string Name)> Refused { get; } = [];

    public ReferenceAnswer Resolve(string fromPath, ImageReference reference)
    {
        string own = Path.GetDirectoryName(Path.GetFullPath(fromPath))!;
        bool refused = false;
        foreach (string candidate in reference.Candidates)
        {
            (ReferenceAnswer answer, bool isForbidden) = Try(own, candidate, reference.Kind);
            if (answer.Path is not null)
            {
                return answer;
            }

            refused |= isForbidden;
        }

        if (!refused && elsewhere is null && reference is { Kind: ReferenceKind.Parent, Identity: { } identity } && Known(own, identity) is { } found)
        {
            return new ReferenceAnswer(found);
        }

        if (!refused)
        {
            return new ReferenceAnswer(null, Fault.MissingParent, $"\"{reference.Display}\" is not in {own}{(_bases.Length > 0 ? " or a declared base folder" : "")}");
        }

        Refused.Add((fromPath, reference.Display));
        return new ReferenceAnswer(null, Fault.Refused, $"\"{reference.Display}\" names a file outside the VM's folder or no regular file; it is not opened");
    }

    /// <summary>One name. Forbidden is what no sound image of this VM would name; otherwise it is merely not there.</summary>
    private (ReferenceAnswer Answer, bool IsForbidden) Try(string own, string candidate, ReferenceKind kind)
    {
        // Windows paths come with backslashes; on this side they separate nothing else.
        string name = candidate.Replace('\\', '/');
        if (name.Length == 0 || name.Contains('\0', StringComparison.Ordinal))
        {
            return (default, true);
        }

        // A path of a hypervisor says nothing about this machine; any other that leaves the allowed folders does so on purpose.
        bool isForbidden = false;
        if (!IsForeignAbsolute(name))
        {
            string path = Path.GetFullPath(name, own);
            isForbidden = true;
            if (Allowed(path) is { } root)
            {
                isForbidden = false;
                switch (KindOfBelow(root, path))
                {
                    case HostFileKind.Regular:
                        return (new ReferenceAnswer(path), false);
                    case HostFileKind.Missing when kind == ReferenceKind.Parent:
                        break;
                    case HostFileKind.Missing:
                        return (default, false);
                    default:
                        return (default, true);
                }
            }
        }

        // A parent may have been written down with its path on the hypervisor. Its name alone is looked for where bases may lie,
        // and its identity is checked when it is opened.
        string last = name[(name.LastIndexOf('/') + 1)..];
        if (kind == ReferenceKind.Parent && last is not ("" or "." or ".."))
        {
            foreach (string place in (string[])[own, .. _bases])
            {
                string path = Path.Combine(place, last);
                if (Allowed(path) is { } root && KindOfBelow(root, path) == HostFileKind.Regular)
                {
                    return (new ReferenceAnswer(path), false);
                }
            }

            return (default, isForbidden);
        }

        return (default, true);
    }

    /// <summary>
    /// The image of an identity: beside the one that names it, in the VM's folder, in the folder where VirtualBox keeps snapshots, or directly in a base
    /// folder. Files are chosen by their place and extension, never by a name from an image.
    /// </summary>
    private string? Known(string own, string identity)
    {
        foreach (string place in ((string[])[own, _folder, Path.Combine(_folder, VboxFile.SnapshotFolder), .. _bases]).Distinct())
        {
            if (Allowed(place + "/x") is not { } root || (place != root && KindOfBelow(root, place) != HostFileKind.Folder))
            {
                continue;
            }

            if (!_identities.TryGetValue((root, place), out Dictionary<string, string>? images))
            {
                _identities.Add((root, place), images = Identities(root, place));
            }

            if (images.TryGetValue(identity, out string? path))
            {
                return path;
            }
        }

        return null;
    }

    private Dictionary<string, string> Identities(string root, string place)
    {
        var images = new Dictionary<string, string>(StringComparer.Ordinal);
        try
        {
            foreach (string path in Directory.EnumerateFiles(place, "*.vdi").Order(StringComparer.Ordinal).Take(MostIdentified))
            {
                if (KindOfBelow(root, path) == HostFileKind.Regular && ContainerFormats.IdentityOf(path) is { } identity)
                {
                    images.TryAdd(identity, path);
                }
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // What cannot be listed holds no parent that could be opened; the parent is then missing.
        }

        return images;
    }

    /// <summary>Absolute on a hypervisor, so that it says nothing about this machine: a drive, a UNC path, a datastore.</summary>
    private static bool IsForeignAbsolute(string name) =>
        name.StartsWith("//", StringComparison.Ordinal)
        || (name.Length > 2 && char.IsAsciiLetter(name[0]) && name[1] == ':' && name[2] == '/')
        || name.StartsWith("/vmfs/volumes/", StringComparison.Ordinal);

    /// <summary>The folder that makes a path allowed; null when none does.</summary>
    private string? Allowed(string path) =>
        ((string[])[_folder, .. _bases]).FirstOrDefault(root => path.StartsWith(root == "/" ? root : root + "/", StringComparison.Ordinal));

    /// <summary>The kind of a path, where no folder between the root and it may be a link.</summary>
    private HostFileKind KindOfBelow(string root, string path)
    {
        for (int slash = path.IndexOf('/', Math.Min(path.Length, root.Length + 1)); slash >= 0; slash = path.IndexOf('/', slash + 1))
        {
            HostFileKind kind = KindOf(path[..slash]);
            if (kind != HostFileKind.Folder)
            {
                return kind == HostFileKind.Missing ? kind : HostFileKind.Link;
            }
        }

        return KindOf(path);
    }

    private HostFileKind KindOf(string path) => elsewhere?.Invoke(path) ?? known?.KindOf(path) ?? HostFile.KindOf(path);
}
