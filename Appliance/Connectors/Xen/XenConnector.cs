using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Reports;

namespace Vmsweep.Appliance.Connectors.Xen;

/// <summary>A pool of XenServer or XCP-ng, over its management API.</summary>
internal sealed class XenConnector(string name, ConnectorSettings settings, TimeProvider time) : IConnector
{
    public const string ViewKind = "xen-view";
    public const string ChangesKind = "xen-changes";

    private readonly Lazy<XapiSession> _session = new(() => new XapiSession(settings));

    public string Name => name;

    public ConnectorSettings Settings => settings;

    public XapiSession Session => _session.Value;

    public XenTasks Tasks => new(Session);

    public string Check()
    {
        XapiRecord pool = Session.Table("pool").Values.FirstOrDefault();
        XapiRecord master = Session.Table("host").FirstOrDefault(h => h.Key == pool.Link("master")).Value;
        return $"{master.InMap("software_version", "product_brand")} {master.InMap("software_version", "product_version")}, pool \"{pool.Text("name_label")}\", master {master.Text("name_label")}";
    }

    public IReadOnlyList<ConnectorCheck> Rehearse() => new XenRehearsal(this).Run();

    public IReadOnlyList<InventoryVm> List() => XenInventory.Read(Session);

    public Vm Target(InventoryVm vm, string target, ViewRequest request) =>
        new(target, vm.ToReport(), [], [])
        {
            Open = () => Open(vm, target, request, isTracked: false, null),
            OpenTracked = since => Open(vm, target, request, isTracked: true, since),
            Act = (act, note) => Act(vm, act, note),
        };

    public void Undo(LeaseRecord lease)
    {
        switch (lease.Kind)
        {
            case ViewKind:
                XenView.Undo(this, lease);
                break;
            case ChangesKind:
                XenChanges.Undo(this, lease);
                break;
            default:
                throw new InvalidDataException($"a lease of the kind {lease.Kind} is none of Xen's");
        }
    }

    public ActReport Act(InventoryVm vm, VmAct act, string note) => XenActs.Do(Session, vm.Id, act, note, time);

    public void Dispose()
    {
        if (_session.IsValueCreated)
        {
            _session.Value.Dispose();
        }
    }

    private XenView Open(InventoryVm vm, string target, ViewRequest request, bool isTracked, string? since)
    {
        try
        {
            return XenView.Open(this, vm, target, request, time, isTracked, since);
        }
        catch (InvalidDataException e)
        {
            throw new ConnectorException($"{vm.Name}: {e.Message}", e);
        }
    }
}
