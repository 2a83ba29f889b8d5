using System.Diagnostics;

namespace Vmsweep.Signatures.Bundles;

/// <summary>How a bundle is taken.</summary>
/// <param name="MayBeUnsigned">The operator vouches for it.</param>
/// <param name="IsUpdate">Nobody chose it by hand: it must continue the active bundle's name, and is none that the operator went back from.</param>
public sealed record InstallOptions(bool MayBeUnsigned = false, bool IsUpdate = false)
{
    /// <summary>Ends the compiling of large lists.</summary>
    public CancellationToken Cancellation { get; init; }
}

/// <summary>What became of a bundle that was to be installed.</summary>
public enum InstallOutcome
{
    /// <summary>It is active now.</summary>
    Activated,

    /// <summary>It was active before.</summary>
    AlreadyActive,

    /// <summary>An update brought what the operator went back from; a newer one is awaited.</summary>
    RolledBackBefore,
}

/// <param name="Outcome">What was done.</param>
/// <param name="Id">The bundle's identity.</param>
/// <param name="Signer">Null: unsigned.</param>
public sealed record Installed(InstallOutcome Outcome, string Id, BundleManifest Manifest, Publisher? Signer);

/// <summary>A bundle in the store.</summary>
/// <param name="Fault">Why it cannot be used; empty when it can.</param>
public sealed record StoredBundle(string Id, BundleManifest? Manifest, Publisher? Signer, bool IsActive, bool IsPrevious, string Fault);

/// <summary>
/// The bundles of an appliance: <c>bundles/ID/</c> for each, <c>state.json</c> for which is active, <c>trust/</c> for pinned keys. A
/// bundle is written and checked in <c>incoming/</c>, its hash lists are compiled there, all is flushed, moved to its place by one rename, and
/// becomes active by another: after a loss of power the old one or the new one is active, whole.
/// </summary>
public sealed class BundleStore
{
    private static readonly TimeSpan MostWait = TimeSpan.FromSeconds(60);

    private readonly string _folder;
    private readonly string _bundles;
    private readonly string _incoming;
    private readonly TimeProvider _time;

    /// <param name="folder">Made when something is installed.</param>
    public BundleStore(string folder, TimeProvider time)
    {
        _folder = Path.GetFullPath(folder);
        _bundles = Path.Combine(_folder, "bundles");
        _incoming = Path.Combine(_folder, "incoming");
        _time = time;
        Trust = new TrustedKeys(Path.Combine(_folder, "trust"));
    }

    public TrustedKeys Trust { get; }

    /// <summary>The id of the active bundle; null for none.</summary>
    public string? ActiveId => StoreState.Read(_folder).Active;

    /// <summary>The highest version of a name that ever was active here; 0 where none was.</summary>
    public long NewestVersion(string name) => StoreState.Read(_folder).Newest.TryGetValue(name, out NewestBundle? newest) ? newest.Version : 0;

    /// <summary>Opens the active bundle for use; null when there is none.</summary>
    /// <exception cref="BundleException">It cannot be used: damaged, or its publisher is no longer trusted.</exception>
    public OpenBundle? OpenActive()
    {
        // Between reading the state and holding the bundle two changes may have removed it: then the state is another.
        for (int attempt = 0; ; attempt++)
        {
            StoreState state = StoreState.Read(_folder);
            if (state.Active is not { } id)
            {
                return null;
            }

            if (TryHold(id) is { } hold)
            {
                try
                {
                    return new OpenBundle(FolderOf(id), BundleFiles.Check(FolderOf(id), id, Trust, state.Unsigned.Contains(id)), hold);
                }
                catch
                {
                    hold.Dispose();
                    throw;
                }
            }

            if (attempt == 10)
            {
                throw new BundleException(FolderOf(id), "the active bundle is missing or cannot be read");
            }

            Thread.Sleep(20);
        }
    }

    /// <summary>Checks a bundle and makes it active.</summary>
    /// <param name="path">A bundle as a file or folder.</param>
    /// <param name="check">Looks into the parts, and throws where they are not what they must be.</param>
    /// <exception cref="BundleException">It is refused; nothing has changed.</exception>
    public Installed Install(string path, InstallOptions options, Action<OpenBundle> check)
    {
        using BundleInput input = BundleInput.Open(path);
        CheckedManifest manifest = CheckedManifest.Of(input.Manifest, input.Signature, Trust, options.MayBeUnsigned, path);
        DateTimeOffset now = _time.GetUtcNow();
        manifest.RequireInTime(now, path);
        using IDisposable alone = LockStore();
        ClearIncoming();
        StoreState state = StoreState.Read(_folder);
        if (state.Active == manifest.Id && IsSound(manifest))
        {
            MakeMissingSets(manifest, options.Cancellation);
            return Done(InstallOutcome.AlreadyActive);
        }

        if (options.IsUpdate && state.RolledBack.Contains(manifest.Id))
        {
            return Done(InstallOutcome.RolledBackBefore);
        }

        RequireNewer(state, manifest, path);
        if (options.IsUpdate && state.Active is { } active)
        {
            RequireSameName(active, manifest, path);
        }

        string staged = Path.Combine(_incoming, Guid.NewGuid().ToString("N"));
        try
        {
            BundleFiles.Unpack(input, manifest, staged);
            using (var bundle = new OpenBundle(staged, manifest, null))
            {
                check(bundle);
            }

            BundleSets.Make(staged, manifest.Manifest, _incoming, Stored(), options.Cancellation);
            Keep(staged, manifest, options.Cancellation);
        }
        catch
        {
            ClearIncoming();
            throw;
        }

        state.Activate(manifest.Id, manifest.Manifest, manifest.Signer is not null).Write(_folder);
        Prune();
        return Done(InstallOutcome.Activated);

        Installed Done(InstallOutcome outcome) => new(outcome, manifest.Id, manifest.Manifest, manifest.Signer);
    }

    /// <summary>Makes the previous bundle active again, and the active one the previous.</summary>
    /// <exception cref="BundleException">There is none, or it cannot be used.</exception>
    public StoredBundle RollBack()
    {
        using IDisposable alone = LockStore();
        ClearIncoming();
        StoreState state = StoreState.Read(_folder);
        string previous = state.Previous ?? throw new BundleException(_folder, "there is no previous bundle to go back to");
        CheckedManifest manifest = BundleFiles.Check(FolderOf(previous), previous, Trust, state.Unsigned.Contains(previous));
        if (BundleFiles.Verify(FolderOf(previous), manifest.Manifest) is [string wrong, ..])
        {
            throw new BundleException(FolderOf(previous), wrong);
        }

        MakeMissingSets(manifest, CancellationToken.None);
        state.RollBack().Write(_folder);
        Prune();
        return new StoredBundle(previous, manifest.Manifest, manifest.Signer, IsActive: true, IsPrevious: false, "");
    }

    /// <summary>Reads every byte of a bundle that is open again.</summary>
    /// <returns>What is wrong; empty when nothing is.</returns>
    public IReadOnlyList<string> Verify(OpenBundle bundle) =>
        [.. BundleFiles.Verify(FolderOf(bundle.Id), bundle.Manifest), .. BundleSets.Verify(FolderOf(bundle.Id), bundle.Manifest)];

    /// <summary>The bundles of the store, the active one first, then the previous.</summary>
    public IReadOnlyList<StoredBundle> List()
    {
        StoreState state = StoreState.Read(_folder);
        List<StoredBundle> found = [];
        foreach (string id in Stored().Select(d => Path.GetFileName(d)).Where(StoreState.IsId))
        {
            StoredBundle stored = new(id, null, null, id == state.Active, id == state.Previous, "");
            try
            {
                CheckedManifest manifest = BundleFiles.Check(FolderOf(id), id, Trust, state.Unsigned.Contains(id));
                found.Add(stored with { Manifest = manifest.Manifest, Signer = manifest.Signer });
            }
            catch (BundleException e)
            {
                found.Add(stored with { Fault = e.Message });
            }
        }

        return [.. found.OrderByDescending(b => b.IsActive).ThenByDescending(b => b.IsPrevious).ThenByDescending(b => b.Manifest?.Version ?? 0)];
    }

    /// <summary>Unpacks a bundle elsewhere, to look at it without making it active.</summary>
    /// <param name="folder">An empty folder, removed by whoever gave it.</param>
    /// <exception cref="BundleException">It is refused.</exception>
    public OpenBundle OpenApart(string path, string folder, bool mayBeUnsigned)
    {
        using BundleInput input = BundleInput.Open(path);
        CheckedManifest manifest = CheckedManifest.Of(input.Manifest, input.Signature, Trust, mayBeUnsigned, path);
        BundleFiles.Unpack(input, manifest, folder);
        return new OpenBundle(folder, manifest, null);
    }

    /// <summary>Name and version that a file or folder offers, its signature checked; nothing else of it is read.</summary>
    /// <exception cref="BundleException">It is no bundle of a trusted publisher.</exception>
    public BundleManifest Peek(string path)
    {
        using BundleInput input = BundleInput.Open(path);
        return CheckedManifest.Of(input.Manifest, input.Signature, Trust, mayBeUnsigned: false, path).Manifest;
    }

    /// <summary>A lock of its own beside the store's, for what takes long.</summary>
    /// <param name="name">A file's name.</param>
    /// <exception cref="BundleException">Somebody else holds it for too long.</exception>
    public IDisposable LockFor(string name) => Lock(Path.Combine(_folder, name));

    /// <summary>Keeps others from changing the store. Scans go on.</summary>
    private FileStream LockStore() => Lock(Path.Combine(_folder, "lock"));

    private static FileStream Lock(string path)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        long started = Stopwatch.GetTimestamp();
        while (true)
        {
            try
            {
                return new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
            }
            catch (IOException e) when (e.GetType() == typeof(IOException))
            {
                if (Stopwatch.GetElapsedTime(started) > MostWait)
                {
                    throw new BundleException(path, "another vmsweep is changing the signatures");
                }

                Thread.Sleep(50);
            }
        }
    }

    /// <summary>Null: it is gone, or being removed.</summary>
    private FileStream? TryHold(string id)
    {
        try
        {
            return new FileStream(Path.Combine(FolderOf(id), BundleFiles.HoldName), FileMode.Open, FileAccess.Read, FileShare.Read);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    private static void RequireNewer(StoreState state, CheckedManifest manifest, string where)
    {
        BundleManifest offered = manifest.Manifest;
        if (!state.Newest.TryGetValue(offered.Name, out NewestBundle? newest) || offered.Version > newest.Version || manifest.Id == newest.Id)
        {
            return;
        }

        throw new BundleException(where, offered.Version == newest.Version
            ? $"{offered}, but another bundle with this version was active already"
            : $"{offered} is older than version {newest.Version}, which was active already; vmsweep signatures rollback goes back to the previous bundle");
    }

    private void RequireSameName(string active, CheckedManifest manifest, string where)
    {
        string? name = List().FirstOrDefault(b => b.Id == active)?.Manifest?.Name;
        if (name is not null && name != manifest.Manifest.Name)
        {
            throw new BundleException(where, $"{manifest.Manifest} would take the place of \"{name}\"; an update goes on with the same name, vmsweep signatures add changes to another");
        }
    }

    /// <summary>Moves a bundle to its place. One that is there already and sound stays: it may be in use.</summary>
    private void Keep(string staged, CheckedManifest manifest, CancellationToken cancellation)
    {
        Directory.CreateDirectory(_bundles);
        DurableFiles.FlushFolder(_folder);
        if (IsSound(manifest))
        {
            BundleSets.Make(FolderOf(manifest.Id), manifest.Manifest, _incoming, [staged], cancellation);
            Directory.Delete(staged, recursive: true);
            return;
        }

        if (Directory.Exists(FolderOf(manifest.Id)))
        {
            Directory.Move(FolderOf(manifest.Id), Path.Combine(_incoming, Guid.NewGuid().ToString("N")));
        }

        DurableFiles.Move(staged, FolderOf(manifest.Id));
    }

    /// <summary>A bundle that an earlier version installed has no compiled sets yet, and perhaps a list that would be refused today.</summary>
    private void MakeMissingSets(CheckedManifest manifest, CancellationToken cancellation)
    {
        try
        {
            BundleSets.Make(FolderOf(manifest.Id), manifest.Manifest, _incoming, Stored(), cancellation);
        }
        catch (Exception e) when (e is BundleException or IOException or UnauthorizedAccessException)
        {
            // Nobody is kept from going back. Scans take the lists, and say which line is wrong.
        }
    }

    /// <summary>The folders of all bundles.</summary>
    private string[] Stored() => Directory.Exists(_bundles) ? Directory.GetDirectories(_bundles) : [];

    /// <summary>It is stored whole, and with this signer.</summary>
    private bool IsSound(CheckedManifest manifest)
    {
        string folder = FolderOf(manifest.Id);
        try
        {
            return Directory.Exists(folder)
                && BundleFiles.Check(folder, manifest.Id, Trust, manifest.Signer is null).Signer?.Key.Id == manifest.Signer?.Key.Id
                && BundleFiles.Verify(folder, manifest.Manifest).Count == 0;
        }
        catch (BundleException)
        {
            return false;
        }
    }

    /// <summary>Removes bundles that are neither active nor previous nor in use. What stays is removed by the next change.</summary>
    private void Prune()
    {
        StoreState state = StoreState.Read(_folder);
        foreach (string folder in Directory.EnumerateDirectories(_bundles))
        {
            string id = Path.GetFileName(folder);
            if (id == state.Active || id == state.Previous)
            {
                continue;
            }

            try
            {
                using FileStream? hold = HoldAlone(folder);
                Directory.Move(folder, Path.Combine(_incoming, Guid.NewGuid().ToString("N")));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // A scan uses it.
            }
        }

        try
        {
            ClearIncoming();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The change itself is done.
        }
    }

    private static FileStream? HoldAlone(string folder)
    {
        try
        {
            return new FileStream(Path.Combine(folder, BundleFiles.HoldName), FileMode.Open, FileAccess.Read, FileShare.None);
        }
        catch (FileNotFoundException)
        {
            return null;
        }
    }

    /// <summary>What an interrupted change left behind.</summary>
    private void ClearIncoming()
    {
        if (Directory.Exists(_incoming))
        {
            Directory.Delete(_incoming, recursive: true);
        }

        Directory.CreateDirectory(_incoming);
    }

    private string FolderOf(string id) => Path.Combine(_bundles, id);
}
