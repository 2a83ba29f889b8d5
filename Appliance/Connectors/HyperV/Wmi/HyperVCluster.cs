using System.Collections.Concurrent;
using System.Xml.Linq;
using Serilog;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.VSphere;

namespace Vmsweep.Appliance.Connectors.HyperV.Wmi;

/// <summary>The host of the address and, where it is a node of a failover cluster, the cluster's other nodes. Spec: "Failover Cluster WMI provider", <c>root\mscluster</c>.</summary>
internal sealed class HyperVCluster : IDisposable
{
    private const string Space = "root/mscluster";

    private readonly ConnectorSettings _settings;
    private readonly Uri _address;
    private readonly ConcurrentDictionary<string, HyperVHost> _hosts = new(StringComparer.OrdinalIgnoreCase);
    private readonly WsManClient _first;
    private readonly Lazy<IReadOnlyList<(string Name, bool IsUp)>> _nodes;

    public HyperVCluster(ConnectorSettings settings)
    {
        _settings = settings;
        _address = AddressOf(settings.Address.Host, settings.Address.Port);
        _first = new WsManClient(_address, settings);
        _nodes = new Lazy<IReadOnlyList<(string, bool)>>(ReadNodes, LazyThreadSafetyMode.PublicationOnly);
    }

    public WsManClient First => _first;

    /// <summary>Nodes with whether the cluster says that they are up; one without a cluster.</summary>
    public IReadOnlyList<(string Name, bool IsUp)> Nodes => _nodes.Value;

    public bool IsCluster { get; private set; }

    /// <summary>VMs of the cluster with the node that owns each: by id where that is told, and by name.</summary>
    public IReadOnlyList<ClusteredVm> Clustered() =>
        !IsCluster ? [] :
        [
            .. _first.Query(Space, "SELECT * FROM MSCluster_Resource WHERE Type = \"Virtual Machine\"").Select(r => new ClusteredVm(
                r.Descendants().FirstOrDefault(d => d.Name.LocalName.Equals("VmID", StringComparison.OrdinalIgnoreCase))?.Value.Trim('{', '}', ' ') ?? "",
                r.Text("OwnerGroup") is { Length: > 0 } group ? group : r.Text("Name"),
                r.Text("OwnerNode"))),
        ];

    public HyperVHost Host(string node) => _hosts.GetOrAdd(node, n => new HyperVHost(n, IsAddressed(n) ? _first : new WsManClient(AddressOf(n), _settings)));

    /// <summary>A VM where it is now: asked of the host that had it first; null where no host has it.</summary>
    /// <exception cref="IOException">A host that may have it does not answer.</exception>
    public VmFacts? Find(string id, string hint)
    {
        IOException? failed = null;
        foreach ((string name, bool isUp) in Nodes.OrderBy(n => !n.Name.Equals(hint, StringComparison.OrdinalIgnoreCase)))
        {
            if (!isUp)
            {
                continue;
            }

            try
            {
                if (Host(name).Find(id) is { } found)
                {
                    return found;
                }
            }
            catch (IOException e)
            {
                failed ??= e;
            }
        }

        return failed is null ? null : throw failed;
    }

    public void Dispose()
    {
        foreach (HyperVHost host in _hosts.Values)
        {
            host.Dispose();
        }

        _first.Dispose();
    }

    private IReadOnlyList<(string, bool)> ReadNodes()
    {
        IReadOnlyList<XElement> nodes = [];
        try
        {
            nodes = _first.Query(Space, "SELECT * FROM MSCluster_Node");
        }
        catch (WsManFaultException e) when (!e.IsDenied)
        {
            Log.Debug("{Host} is in no cluster: {Reason}", _first.Authority, e.Message);
        }

        // State 0 is up and 2 paused, which takes no VMs on and keeps those that it has.
        IsCluster = nodes.Count > 0;
        return IsCluster ? [.. nodes.Select(n => (n.Text("Name"), n.Text("State").Trim() is "0" or "2")).OrderBy(n => n.Item1, StringComparer.OrdinalIgnoreCase)] : [(_settings.Address.Host, true)];
    }

    private bool IsAddressed(string node) => !IsCluster || (!_settings.Nodes.ContainsKey(node) && AddressOf(node) == _address);

    /// <summary>A node by its own name lies in the domain of the address.</summary>
    private Uri AddressOf(string node)
    {
        if (_settings.Nodes.TryGetValue(node, out string? at))
        {
            var told = new Uri("https://" + at);
            return AddressOf(told.Host, at.EndsWith($":{told.Port}", StringComparison.Ordinal) ? told.Port : _settings.Address.Port);
        }

        string host = _settings.Address.Host;
        int dot = host.IndexOf('.', StringComparison.Ordinal);
        bool isName = Uri.CheckHostName(host) == UriHostNameType.Dns;
        if (Uri.CheckHostName(node) is UriHostNameType.Unknown)
        {
            throw new ConnectorException($"\"{node}\" is no name of a host");
        }

        return AddressOf(isName && dot > 0 && !node.Contains('.', StringComparison.Ordinal) && node != host ? node + host[dot..] : node, _settings.Address.Port);
    }

    private static Uri AddressOf(string host, int port) => new UriBuilder("https", host, port > 0 ? port : WsManClient.DefaultPort).Uri;
}

/// <param name="Id">Empty where the cluster does not tell it.</param>
internal sealed record ClusteredVm(string Id, string Name, string Owner);
