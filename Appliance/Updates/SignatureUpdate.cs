using Serilog;
using Vmsweep.Signatures.Bundles;

namespace Vmsweep.Appliance.Updates;

/// <summary>What became of an update.</summary>
/// <param name="Installed">Null: the source still has what came from it last.</param>
internal sealed record UpdateResult(string From, Installed? Installed);

/// <summary>Brings a newer bundle out of the first source that has a good one.</summary>
internal sealed class SignatureUpdate(BundleStore store, string folder, Action<OpenBundle> check, long mostBytes, CancellationToken cancellation)
{
    public const string BundleExtension = ".vmbundle";

    private readonly InstallOptions _asUpdate = new(IsUpdate: true) { Cancellation = cancellation };

    /// <summary>How long to wait before what broke off is asked for again.</summary>
    public Func<TimeSpan, CancellationToken, Task> Wait { get; init; } = Task.Delay;

    /// <exception cref="BundleException">No source has a bundle that can be used.</exception>
    public UpdateResult Run(IReadOnlyList<UpdateSource> sources)
    {
        // Before anything is fetched: without a pinned key nothing of it could be used.
        if (store.Trust.Read().Count == 0)
        {
            throw new BundleException("no publisher is trusted yet; vmsweep signatures trust add KEYFILE pins a publisher's key");
        }

        List<string> failures = [];
        foreach (UpdateSource source in sources)
        {
            try
            {
                return source.IsRemote ? FromAddress(source) : FromFolder(source.From);
            }
            catch (Exception e) when (e is BundleException or IOException or UnauthorizedAccessException)
            {
                Log.Information("no update from {Source}: {Reason}", source.From, e.Message);
                failures.Add(e.Message);
            }
        }

        throw new BundleException(string.Join('\n', failures));
    }

    private UpdateResult FromAddress(UpdateSource source)
    {
        string downloads = Path.Combine(folder, "download");
        Directory.CreateDirectory(downloads);
        using IDisposable alone = store.LockFor("download/lock");
        using var download = new BundleDownload(source, downloads, mostBytes);
        if (!download.Fetch(id => store.List().Any(b => b.Id == id && b.Fault.Length == 0), Wait, cancellation))
        {
            return new UpdateResult(source.From, null);
        }

        try
        {
            Installed installed = Named(source.From, () => store.Install(download.PartPath, _asUpdate, check), download.PartPath);
            download.Accept(installed.Id);
            return new UpdateResult(source.From, installed);
        }
        catch (BundleException)
        {
            download.Discard();
            throw;
        }
    }

    /// <summary>A bundle that lies there unpacked, or of all bundle files of trusted publishers the highest version.</summary>
    private UpdateResult FromFolder(string from)
    {
        if (!Directory.Exists(from) || File.Exists(Path.Combine(from, BundleManifest.FileName)))
        {
            return new UpdateResult(from, store.Install(from, _asUpdate, check));
        }

        List<(string Path, long Version)> offered = [];
        List<string> refused = [];
        string? name = store.List().FirstOrDefault(b => b.IsActive)?.Manifest?.Name;
        foreach (string file in Directory.GetFiles(from, "*" + BundleExtension).Order(StringComparer.Ordinal))
        {
            try
            {
                BundleManifest manifest = store.Peek(file);
                if (name is null || manifest.Name == name)
                {
                    offered.Add((file, manifest.Version));
                }
            }
            catch (BundleException e)
            {
                refused.Add(e.Message);
            }
        }

        return offered.Count > 0
            ? new UpdateResult(from, store.Install(offered.MaxBy(o => o.Version).Path, _asUpdate, check))
            : throw new BundleException(from, refused.Count > 0 ? string.Join('\n', refused) : $"no bundle{(name is null ? "" : $" of the name {name}")}: neither {BundleManifest.FileName} nor *{BundleExtension}");
    }

    /// <summary>A message about a fetched file names where it came from.</summary>
    private static Installed Named(string from, Func<Installed> install, string path)
    {
        try
        {
            return install();
        }
        catch (BundleException e)
        {
            throw new BundleException(e.Message.Replace(path, from, StringComparison.Ordinal), e);
        }
    }
}
