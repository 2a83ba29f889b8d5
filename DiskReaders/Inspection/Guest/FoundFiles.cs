using System.Text;
using Vmsweep.DiskReaders.FileSystems;

namespace Vmsweep.DiskReaders.Inspection.Guest;

/// <summary>The files of one volume that tell of its guest, collected in one walk.</summary>
internal sealed class FoundFiles
{
    /// <summary>A walk may name one path as often as it likes.</summary>
    private const int MostKept = 10_000;

    /// <summary>Subvolumes looked into. Snapshots beyond them repeat what is known.</summary>
    private const int MostRoots = 256;

    /// <summary>Btrfs: the id of the top level; 0 means it too.</summary>
    private const ulong TopLevel = 5;

    private const int LongestName = 64;

    private readonly Dictionary<string, GuestFile> _files = new(StringComparer.Ordinal);
    private readonly List<string> _roots = [""];
    private readonly Dictionary<string, OstreeDeployment> _deployments = new(StringComparer.Ordinal);
    private readonly List<string> _bootEntries = [];
    private readonly List<string> _bootLinks = [];
    private int _parts;
    private readonly Dictionary<ulong, string> _subvolumes = new() { [0] = "", [TopLevel] = "" };

    public FoundFiles(InspectedVolume volume) => Volume = volume;

    public InspectedVolume Volume { get; }

    /// <summary>Where a system's root folder can be: the volume's own, and those of subvolumes, each followed by <c>/</c>.</summary>
    public IReadOnlyList<string> Roots => _roots;

    /// <summary>That of <see cref="Roots"/> which a mount shows where no subvolume is named.</summary>
    public string DefaultRoot { get; private set; } = "";

    /// <summary>OSTree's: roots of systems, each followed by <c>/</c>.</summary>
    public IReadOnlyDictionary<string, OstreeDeployment> Deployments => _deployments;

    /// <summary>Paths of the boot loader's entries.</summary>
    public IReadOnlyList<string> BootEntries => _bootEntries;

    /// <summary>Paths of OSTree's links from the boot loader to <see cref="Deployments"/>.</summary>
    public IReadOnlyList<string> BootLinks => _bootLinks;

    /// <summary>NixOS: that of <see cref="Roots"/> which is mounted at <c>/nix</c>, where files of the store showed it.</summary>
    public string? StoreRoot { get; private set; }

    /// <summary>Names below <c>lib/modules</c>, by the path of that folder.</summary>
    public Dictionary<string, List<string>> Modules { get; } = new(StringComparer.Ordinal);

    /// <summary>Files in folders <c>status.d</c> of dpkg, by the path of that folder.</summary>
    public Dictionary<string, List<FoundFile>> PackageParts { get; } = new(StringComparer.Ordinal);

    private bool IgnoresCase => Volume.Kind is "ntfs" || Volume.Kind.StartsWith("fat", StringComparison.Ordinal);

    /// <param name="path">From the volume's root, <c>/</c> between names.</param>
    public GuestFile? Find(string path) => _files.GetValueOrDefault(IgnoresCase ? path.ToLowerInvariant() : path);

    /// <summary>The same with its place.</summary>
    public FoundFile? At(string path) => Find(path) is { } file ? new FoundFile(this, path, file) : null;

    /// <summary>The root of a subvolume by its id; null when there is none.</summary>
    public string? RootOfSubvolume(ulong id) => _subvolumes.GetValueOrDefault(id);

    /// <summary>Takes a file that the walk met, if it tells of the guest.</summary>
    public void Look(GuestFile file)
    {
        if (file.StreamName.Length > 0 || file.Kind is GuestFileKind.Device or GuestFileKind.System)
        {
            return;
        }

        foreach (GuestLink link in file.Links)
        {
            if (file.Kind == GuestFileKind.Folder)
            {
                LookAtFolder(file, link);
            }
            else if (WantedFiles.MayBe(link.Name) || WantedFiles.MayBe(NixPaths.NameIn(link.Name)) || OstreePaths.MayBe(link.Name, link.Folder.Name))
            {
                Keep(file, link);
            }
            else if (file.Kind == GuestFileKind.Regular && link.Folder.Name.AsSpan().SequenceEqual("status.d"u8) && !link.Name.AsSpan().EndsWith(".md5sums"u8))
            {
                KeepPart(file, link);
            }
        }
    }

    private void LookAtFolder(GuestFile folder, GuestLink link)
    {
        if (folder.RootOf is { } subvolume && (subvolume.IsDefault || _roots.Count < MostRoots))
        {
            string root = Encoding.UTF8.GetString(link.Path()) + "/";
            _roots.Add(root);
            _subvolumes[subvolume.Id] = root;
            DefaultRoot = subvolume.IsDefault ? root : DefaultRoot;
        }
        else if (link.Folder.Name.AsSpan().SequenceEqual("modules"u8) && link.Name.Length <= LongestName)
        {
            string parent = Encoding.UTF8.GetString(new GuestLink(link.Folder.Parent ?? link.Folder, link.Folder.Name).Path());
            if (_roots.Exists(r => WantedFiles.IsModules(parent, r)))
            {
                if (!Modules.TryGetValue(parent, out List<string>? names) && Modules.Count < MostRoots)
                {
                    Modules.Add(parent, names = []);
                }

                if (names?.Count < GuestFacts.MostItems)
                {
                    names.Add(Encoding.UTF8.GetString(link.Name));
                }
            }
        }
        else if (link.Folder.Name.AsSpan().SequenceEqual("deploy"u8))
        {
            string path = Encoding.UTF8.GetString(link.Path()) + "/";
            if (_roots.Find(r => RootOfDeployment(path, r) == path.Length) is { } root && (_deployments.ContainsKey(path) || _deployments.Count < MostRoots))
            {
                _deployments[path] = new OstreeDeployment(root, folder.Id);
            }
        }
    }

    private void Keep(GuestFile file, GuestLink link)
    {
        string path = Encoding.UTF8.GetString(link.Path());
        path = IgnoresCase ? path.ToLowerInvariant() : path;
        if (_files.Count >= MostKept || _roots.FindLast(r => WantedFiles.IsWanted(path, r)) is not { } root || !_files.TryAdd(path, file))
        {
            return;
        }

        ReadOnlySpan<char> below = path.AsSpan(root.Length);
        int deployment = RootOfDeployment(path, root);
        if (deployment > 0 && _deployments.Count < MostRoots)
        {
            _deployments.TryAdd(path[..deployment], new OstreeDeployment(root, 0));
        }
        else if (OstreePaths.EntriesOf(below) >= 0)
        {
            _bootEntries.Add(path);
        }
        else if (below.StartsWith("ostree/boot.") && below.Count('/') > 1)
        {
            _bootLinks.Add(path);
        }
        else if (below.StartsWith("store/"))
        {
            StoreRoot ??= root;
        }
    }

    private void KeepPart(GuestFile file, GuestLink link)
    {
        string path = Encoding.UTF8.GetString(link.Path());
        string folder = path[..path.LastIndexOf('/')];
        if (_parts < MostKept && _roots.Exists(r => WantedFiles.IsWanted(folder, r)))
        {
            if (!PackageParts.TryGetValue(folder, out List<FoundFile>? parts))
            {
                PackageParts.Add(folder, parts = []);
            }

            parts.Add(new FoundFile(this, path, file));
            _parts++;
        }
    }

    private static int RootOfDeployment(string path, string root) =>
        path.StartsWith(root, StringComparison.Ordinal) && OstreePaths.DeploymentIn(path.AsSpan(root.Length)) is > 0 and var length ? root.Length + length : 0;
}
