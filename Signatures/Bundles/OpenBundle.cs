namespace Vmsweep.Signatures.Bundles;

/// <summary>
/// A bundle on disk whose signature was checked. While it is open, its files stay: changing to another one removes nothing that is in use.
/// </summary>
public sealed class OpenBundle : IDisposable
{
    internal const string PartsName = "parts";

    private readonly string _folder;
    private readonly IDisposable? _hold;

    internal OpenBundle(string folder, CheckedManifest manifest, IDisposable? hold)
    {
        Id = manifest.Id;
        Manifest = manifest.Manifest;
        Signer = manifest.Signer;
        PartsFolder = Path.Combine(folder, PartsName);
        _folder = folder;
        _hold = hold;
    }

    /// <summary>SHA-256 of the manifest.</summary>
    public string Id { get; }

    public BundleManifest Manifest { get; }

    /// <summary>Null: nobody signed it, and the operator wanted it all the same.</summary>
    public Publisher? Signer { get; }

    /// <summary>What the parts' paths are relative to.</summary>
    public string PartsFolder { get; }

    /// <summary>The folder of a kind's parts; null where the bundle has none.</summary>
    public string? FolderOf(PartKind kind) => Manifest.Parts.Any(p => p.Kind == kind) ? Path.Combine(PartsFolder, PartKinds.Folder(kind)) : null;

    /// <summary>The files of a kind.</summary>
    public IReadOnlyList<string> FilesOf(PartKind kind) => [.. Manifest.Parts.Where(p => p.Kind == kind).Select(p => Path.Combine(PartsFolder, p.Path))];

    /// <summary>
    /// The lists of a kind of hashes as one compiled set, which was made of them when the bundle was installed. Null: there are none, or there is
    /// no set that can be used, and scans take the lists.
    /// </summary>
    public string? SetOf(PartKind kind) => BundleSets.Find(_folder, Manifest, kind);

    public bool IsExpired(DateTimeOffset now) => Manifest.Expires <= now;

    public void Dispose() => _hold?.Dispose();
}
