using System.Globalization;
using System.Xml.Linq;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Connectors.Views;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Reports;

namespace Vmsweep.Appliance.Connectors.VSphere;

/// <summary>A vCenter, or an ESXi host by itself, over its SOAP API.</summary>
internal sealed class VSphereConnector : IConnector
{
    public const string ViewKind = "vsphere-view";

    private readonly TimeProvider _time;
    private readonly Lazy<VimSession> _session;
    private IReadOnlyDictionary<string, MoRef>? _references;
    private volatile Tuple<(MoRef? Found, string Why)>? _own;

    public VSphereConnector(string name, ConnectorSettings settings, TimeProvider time)
    {
        Name = name;
        Settings = settings;
        _time = time;
        var address = new UriBuilder("https", settings.Address.Host, settings.Address.Port > 0 ? settings.Address.Port : 443).Uri;
        _session = new Lazy<VimSession>(() => new VimSession(address, settings, time));
    }

    public string Name { get; }

    public ConnectorSettings Settings { get; }

    /// <summary>Of this machine; tests have another.</summary>
    public MachinePlaces Machine { get; init; } = MachinePlaces.Usual;

    public VimSession Session => _session.Value;

    public PropertyReader Properties => new(Session);

    public VmTasks Tasks => new(Session);

    public string Check()
    {
        Session.Verify();
        return $"{Session.About.Text("fullName")}, API {Session.About.Text("apiVersion")}";
    }

    public IReadOnlyList<ConnectorCheck> Rehearse() => new Rehearsal(this).Run();

    public IReadOnlyList<InventoryVm> List()
    {
        (IReadOnlyList<InventoryVm> vms, _references) = VSphereInventory.Read(Session);
        return vms;
    }

    public Vm Target(InventoryVm vm, string target, ViewRequest request) =>
        new(target, vm.ToReport(), [], [])
        {
            Open = () => Open(vm, target, request),
            OpenTracked = since => Open(vm, target, request, new Tracking(since)),
            Act = (act, note) => Act(vm, act, note),
        };

    public void Undo(LeaseRecord lease)
    {
        if (lease.Kind != ViewKind)
        {
            throw new InvalidDataException($"a lease of the kind {lease.Kind} is none of vSphere's");
        }

        VSphereView.Undo(this, lease);
    }

    public ActReport Act(InventoryVm vm, VmAct act, string note) => VSphereActs.Do(this, ReferenceOf(vm), act, note, _time);

    /// <summary>Where a VM of a lease is now: by the server's key, or by its uuid where it was registered anew; null where it is gone.</summary>
    public MoRef? Locate(string id, string reference)
    {
        var known = new MoRef("VirtualMachine", reference);
        try
        {
            Properties.Get(known, "name");
            return known;
        }
        catch (VimFaultException e) when (e.IsGone)
        {
            // The server's own key stands for a VM whose uuid is not its alone.
            XElement? found = !Guid.TryParse(id, out _) ? null : Session.Ask("FindByUuid", Session.Service("searchIndex"), new XElement("uuid", id), new XElement("vmSearch", "true"), new XElement("instanceUuid", "true")).Element("returnval");
            return found is { Value.Length: > 0 } ? MoRef.Of(found) : null;
        }
    }

    /// <summary>The VM that this appliance is, as it is now. All VMs are looked through once.</summary>
    /// <exception cref="ConnectorException">No VM is this one, or several may be.</exception>
    /// <exception cref="VimFaultException">It is gone.</exception>
    public OwnVm Own()
    {
        // What the server could not be asked is asked again; what it said stands for as long as this is used.
        (MoRef? found, string why) = (_own ??= Tuple.Create(OwnVm.Find(this))).Item1;
        return found is { } own ? OwnVm.Read(this, own) : throw new ConnectorException(why);
    }

    public void Dispose()
    {
        if (_session.IsValueCreated)
        {
            _session.Value.Dispose();
        }
    }

    private VSphereView Open(InventoryVm vm, string target, ViewRequest request, Tracking? tracking = null)
    {
        try
        {
            return VSphereView.Open(this, ReferenceOf(vm), vm, target, request, _time, tracking);
        }
        catch (InvalidDataException e)
        {
            throw new ConnectorException($"{vm.Name}: {e.Message}", e);
        }
    }

    /// <summary>A VM that this connector has listed, or another of the same server: a sweep lists once, and opens each VM by one of its own.</summary>
    private MoRef ReferenceOf(InventoryVm vm) => (_references is null ? Locate(vm.Id, vm.Id) : _references.TryGetValue(vm.Id, out MoRef reference) ? reference : null)
        ?? throw new ConnectorException($"{Name}: there is no VM {vm.Id.ToString(CultureInfo.InvariantCulture)} any more");
}
