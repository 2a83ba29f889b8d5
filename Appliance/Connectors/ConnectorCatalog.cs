using System.Diagnostics.CodeAnalysis;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Connectors.HyperV;
using Vmsweep.Appliance.Connectors.Libvirt;
using Vmsweep.Appliance.Connectors.Qemu;
using Vmsweep.Appliance.Connectors.VSphere;
using Vmsweep.Appliance.Connectors.Xen;

namespace Vmsweep.Appliance.Connectors;

/// <summary>Which connector a target or a lease means.</summary>
internal sealed class ConnectorCatalog(ApplianceConfiguration configuration, TimeProvider time) : IDisposable
{
    private readonly List<IConnector> _listed = [];

    /// <summary>Parts of an address that are ours and not the hypervisor's.</summary>
    private static readonly string[] OwnParameters = ["vm", "view"];

    public IEnumerable<ConnectorSettings> Configured => configuration.Connectors.Values;

    /// <summary>The VMs of a target, to be opened one by one; false when the target is no connector's.</summary>
    /// <exception cref="TargetException">There is no such VM.</exception>
    /// <exception cref="ConnectorException">The connector does not answer.</exception>
    public bool TryFind(string target, ViewRequest request, [NotNullWhen(true)] out IReadOnlyList<Vm>? vms)
    {
        vms = null;
        if (!TryParse(target, out string? connector, out string? named))
        {
            return false;
        }

        // Lives as long as the VMs that it lists are scanned.
        IConnector opened = Open(connector);
        _listed.Add(opened);
        IReadOnlyList<InventoryVm> all = opened.List();
        List<InventoryVm> chosen = named is null ? [.. all] : [.. all.Where(v => v.Name == named || v.Id == named)];
        vms = chosen.Count switch
        {
            0 when named is not null => throw new TargetException($"{target}: there is no VM \"{named}\"; there {(all.Count > 0 ? "are " + string.Join(", ", all.Select(v => v.Name).Take(20)) : "is none")}"),
            0 => throw new TargetException($"{target}: there is no VM"),
            > 1 when named is not null => throw new TargetException($"{target}: {chosen.Count} VMs are called \"{named}\"; name one by its id: {string.Join(", ", chosen.Select(v => v.Id))}"),
            _ => [.. chosen.Select(v => opened.Target(v, named is null && all.Count > 1 ? $"{target}/{v.Name}" : target, request))],
        };
        return true;
    }

    /// <summary>The connector of a target without its VM; null when the target is none's.</summary>
    public IConnector? OfTarget(string target) => TryParse(target, out string? connector, out _) ? Open(connector) : null;

    /// <param name="name">A configured name, or an address as <see cref="IConnector.Name"/> gives it.</param>
    /// <exception cref="ConnectorException">There is no such connector.</exception>
    public IConnector Open(string name)
    {
        ConnectorSettings settings = configuration.Connectors.TryGetValue(name, out ConnectorSettings? configured) ? configured
            : Uri.TryCreate(name, UriKind.Absolute, out Uri? uri) ? new ConnectorSettings("", uri)
            : throw new ConnectorException($"\"{name}\" is no configured connector and no address");
        Uri address = settings.Address;
        Dictionary<string, string> parameters = Parameters(address);
        return address.Scheme switch
        {
            "libvirt" or "libvirt+unix" => new LibvirtConnector(name, LibvirtUri(address, parameters), Method(parameters, name), settings, time),
            "libvirt+ssh" => LibvirtConnector.BySsh(name, address.AbsolutePath, parameters.GetValueOrDefault("socket"), Method(parameters, name), settings, time),
            "qemu" when Uri.UnescapeDataString(address.AbsolutePath) is { Length: > 1 } socket && address.Host.Length == 0 => new QemuConnector(name, socket, settings, time),
            "vsphere" when address.Host.Length > 0 && address.AbsolutePath is "/" or "" && parameters.Count == 0 => new VSphereConnector(name, settings, time),
            "hyperv" or "hyperv+http" when address.Host.Length > 0 && address.AbsolutePath is "/" or "" && parameters.Count == 0 => new HyperVConnector(name, settings, time),
            "xapi" when address.Host.Length > 0 && address.AbsolutePath is "/" or "" && parameters.Count == 0 => new XenConnector(name, settings, time),
            _ => throw new ConnectorException($"{address}: no address of a known kind (libvirt:///system, libvirt+ssh://ACCOUNT@HOST/system, qemu:///PATH-TO-QMP-SOCKET, vsphere://HOST, hyperv://HOST, xapi://HOST)"),
        };
    }

    public void Dispose()
    {
        _listed.ForEach(c => c.Dispose());
        _listed.Clear();
    }

    private bool TryParse(string target, [NotNullWhen(true)] out string? connector, out string? vm)
    {
        (connector, vm) = (null, null);
        int slash = target.IndexOf('/', StringComparison.Ordinal);
        string first = slash < 0 ? target : target[..slash];
        if (configuration.Connectors.ContainsKey(first) && !Path.Exists(target))
        {
            connector = first;
            vm = slash < 0 || slash == target.Length - 1 ? null : target[(slash + 1)..];
            return true;
        }

        if (!target.StartsWith("libvirt", StringComparison.Ordinal) && !target.StartsWith("qemu:", StringComparison.Ordinal))
        {
            return false;
        }

        if (!Uri.TryCreate(target, UriKind.Absolute, out Uri? uri) || !target.Contains("://", StringComparison.Ordinal))
        {
            return false;
        }

        Dictionary<string, string> parameters = Parameters(uri);
        vm = parameters.GetValueOrDefault("vm");
        connector = target.Split('?')[0] + Query(parameters.Where(p => p.Key != "vm"));
        return true;
    }

    private static string LibvirtUri(Uri address, Dictionary<string, string> parameters) =>
        "qemu" + address.Scheme["libvirt".Length..] + "://" + (address.UserInfo.Length > 0 ? address.UserInfo + "@" : "") + address.Authority + address.AbsolutePath + Query(parameters.Where(p => !OwnParameters.Contains(p.Key)));

    private static string? Method(Dictionary<string, string> parameters, string name) => parameters.GetValueOrDefault("view") switch
    {
        null => null,
        "backup" => "backup",
        "snapshot" => "snapshot",
        var other => throw new ConnectorException($"{name}: view={other} is neither backup nor snapshot"),
    };

    private static Dictionary<string, string> Parameters(Uri uri)
    {
        var parameters = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (string part in uri.Query.TrimStart('?').Split('&', StringSplitOptions.RemoveEmptyEntries))
        {
            int equals = part.IndexOf('=', StringComparison.Ordinal);
            string key = Uri.UnescapeDataString(equals < 0 ? part : part[..equals]);
            if (!parameters.TryAdd(key, equals < 0 ? "" : Uri.UnescapeDataString(part[(equals + 1)..])))
            {
                throw new ConnectorException($"{uri}: \"{key}\" stands there twice");
            }
        }

        return parameters;
    }

    private static string Query(IEnumerable<KeyValuePair<string, string>> parameters)
    {
        string query = string.Join('&', parameters.Select(p => $"{Uri.EscapeDataString(p.Key)}={Uri.EscapeDataString(p.Value)}"));
        return query.Length > 0 ? "?" + query : "";
    }
}
