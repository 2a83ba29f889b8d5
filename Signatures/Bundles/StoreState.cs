using System.Text.Json;

namespace Vmsweep.Signatures.Bundles;

/// <summary>
/// Which bundles of a store count: <c>state.json</c>, always replaced as a whole by one rename, so that active and previous never
/// disagree.
/// </summary>
internal sealed record StoreState
{
    public const string FileName = "state.json";

    private const string ThisSchema = "vmsweep.bundle-store/1";
    private const int MostBytes = 1 << 20;

    /// <summary>A few are enough: what was rolled back long ago is older than the newest of its name anyway.</summary>
    private const int MostRolledBack = 16;

    public string Schema { get; init; } = ThisSchema;

    /// <summary>The id of the bundle that scans use; null for none.</summary>
    public string? Active { get; init; }

    /// <summary>What <c>rollback</c> makes active.</summary>
    public string? Previous { get; init; }

    /// <summary>The highest version that was ever active, by name: no lower one becomes active again but by rolling back.</summary>
    public IReadOnlyDictionary<string, NewestBundle> Newest { get; init; } = new Dictionary<string, NewestBundle>();

    /// <summary>Ids that the operator went back from: an update does not bring them again.</summary>
    public IReadOnlyList<string> RolledBack { get; init; } = [];

    /// <summary>Ids that nobody signed and the operator wanted all the same.</summary>
    public IReadOnlyList<string> Unsigned { get; init; } = [];

    /// <exception cref="BundleException">It was damaged, by something other than a loss of power.</exception>
    public static StoreState Read(string folder)
    {
        string path = Path.Combine(folder, FileName);
        byte[] bytes;
        try
        {
            if (new FileInfo(path) is { Exists: true, Length: > MostBytes })
            {
                throw new BundleException(path, "damaged; remove it, then add a bundle again");
            }

            bytes = File.ReadAllBytes(path);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return new StoreState();
        }

        try
        {
            StoreState? state = JsonSerializer.Deserialize(bytes, BundleJson.Default.StoreState);
            if (state is not null && state.Schema == ThisSchema && new[] { state.Active, state.Previous }.All(id => id is null || IsId(id)))
            {
                return state;
            }
        }
        catch (JsonException)
        {
            // Said below.
        }

        throw new BundleException(path, "damaged; remove it, then add a bundle again");
    }

    public void Write(string folder) =>
        DurableFiles.Replace(Path.Combine(folder, FileName), JsonSerializer.SerializeToUtf8Bytes(this, BundleJson.Default.StoreState));

    public StoreState Activate(string id, BundleManifest manifest, bool isSigned) => this with
    {
        Active = id,
        Previous = Active ?? Previous,
        Newest = new Dictionary<string, NewestBundle>(Newest) { [manifest.Name] = new(manifest.Version, id) },
        RolledBack = [.. RolledBack.Where(r => r != id)],
        Unsigned = [.. Unsigned.Where(u => u != id && (u == Active || u == Previous)), .. isSigned ? (string[])[] : [id]],
    };

    public StoreState RollBack() => this with
    {
        Active = Previous,
        Previous = Active,
        RolledBack = [.. RolledBack.Where(r => r != Previous && r != Active).TakeLast(MostRolledBack - 1), .. Active is null ? (string[])[] : [Active]],
    };

    public static bool IsId(string text) => text.Length == 64 && text.All(char.IsAsciiHexDigitLower);
}

/// <summary>The bundle with the highest version of its name.</summary>
internal sealed record NewestBundle(long Version, string Id);
