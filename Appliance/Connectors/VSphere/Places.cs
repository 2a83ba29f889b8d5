using System.Xml.Linq;

namespace Vmsweep.Appliance.Connectors.VSphere;

/// <summary>The datastores of a VM, and how their files are asked for.</summary>
internal sealed class Places
{
    private const int MostLevels = 64;

    private readonly VSphereConnector _connector;
    private readonly Dictionary<string, Store> _stores;

    private Places(VSphereConnector connector, Dictionary<string, Store> stores)
    {
        _connector = connector;
        _stores = stores;
        Labels = stores.SelectMany(s => s.Value.Labels, (s, label) => (label, s.Key)).GroupBy(l => l.label, StringComparer.Ordinal).ToDictionary(g => g.Key, g => g.First().Key, StringComparer.Ordinal);
    }

    /// <summary>Datastores by what stands for them below <c>/vmfs/volumes</c>.</summary>
    public IReadOnlyDictionary<string, string> Labels { get; }

    public static Places Of(VSphereConnector connector, VmFacts vm)
    {
        var stores = new Dictionary<string, Store>(StringComparer.Ordinal);
        foreach (MoRef reference in vm.Datastores.Concat(vm.Disks.Where(d => d.Datastore is not null).Select(d => d.Datastore!.Value)).Distinct())
        {
            VimObject store = connector.Properties.Get(reference, "name", "parent", "summary");
            XElement? summary = store["summary"];
            string name = store.Text("name"), url = summary.Text("url").TrimEnd('/');
            stores[name] = new Store(reference, summary.Text("type"), DatacenterOf(connector, store.Link("parent")), [name, .. url.LastIndexOf('/') is >= 0 and var slash ? (string[])[url[(slash + 1)..]] : []]);
        }

        return new Places(connector, stores);
    }

    /// <summary>Bytes that are free in each, now.</summary>
    public IEnumerable<(string Name, long FreeBytes)> FreeSpace()
    {
        foreach ((string name, Store store) in _stores)
        {
            if (long.TryParse(_connector.Properties.Get(store.Reference, "summary.freeSpace").Text("summary.freeSpace"), System.Globalization.CultureInfo.InvariantCulture, out long free))
            {
                yield return ($"the datastore {name}", free);
            }
        }
    }

    /// <summary>The datastore of a file; null where the VM has none of that name.</summary>
    public MoRef? DatastoreOf(DatastorePath path) => _stores.TryGetValue(path.Datastore, out Store? store) ? store.Reference : null;

    /// <summary>Its disks are volumes of an array's, and no files of a host.</summary>
    public bool IsVirtualVolumes(DatastorePath path) => _stores.TryGetValue(path.Datastore, out Store? store) && store.Type.Equals("VVOL", StringComparison.OrdinalIgnoreCase);

    /// <summary>Why files there cannot be read; null where they can.</summary>
    public string? Obstacle(DatastorePath path) =>
        !_stores.TryGetValue(path.Datastore, out Store? store) ? $"the VM has no datastore {path.Datastore}"
        : store.Type.ToUpperInvariant() is "VSAN" or "VSAND" or "VVOL" ? $"a datastore of the kind {store.Type} has objects, and no files that could be read; with \"spool\" a running VM there is read by an export"
        : null;

    /// <summary>Readers, one for each datacenter.</summary>
    /// <param name="made">Takes up those that are made.</param>
    public Func<DatastorePath, FolderReader> Reader(List<FolderReader> made)
    {
        var readers = new Dictionary<string, FolderReader>(StringComparer.Ordinal);
        return path =>
        {
            string datacenter = _stores.TryGetValue(path.Datastore, out Store? store) ? store.Datacenter : throw new IOException($"{path}: the VM has no such datastore");
            if (!readers.TryGetValue(datacenter, out FolderReader? reader))
            {
                readers.Add(datacenter, reader = new FolderReader(new RangeFetch(_connector.Session, datacenter)));
                made.Add(reader);
            }

            return reader;
        };
    }

    /// <summary>The inventory path of the datacenter that something is filed in: <c>folder/datacenter</c>, without the root.</summary>
    private static string DatacenterOf(VSphereConnector connector, MoRef? from)
    {
        List<string> names = [];
        MoRef? at = from;
        for (int level = 0; at is { } link && level < MostLevels; level++)
        {
            VimObject place = connector.Properties.Get(link, "name", "parent");
            at = place.Link("parent");
            if ((link.Type == "Datacenter" || names.Count > 0) && at is not null)
            {
                names.Add(place.Text("name"));
            }
        }

        names.Reverse();
        return string.Join('/', names);
    }

    private sealed record Store(MoRef Reference, string Type, string Datacenter, IReadOnlyList<string> Labels);
}
