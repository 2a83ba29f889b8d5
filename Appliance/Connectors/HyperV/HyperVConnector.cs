using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Connectors.HyperV.Wmi;
using Vmsweep.Appliance.Connectors.Views;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Reports;

namespace Vmsweep.Appliance.Connectors.HyperV;

/// <summary>A host with Hyper-V, or a failover cluster by any of its nodes, over WS-Management.</summary>
internal sealed class HyperVConnector : IConnector
{
    public const string ViewKind = "hyperv-view";
    public const string ReferenceKind = "hyperv-reference";

    private const int PlainPort = 5985;

    private readonly TimeProvider _time;
    private readonly Lazy<HyperVCluster> _cluster;

    /// <exception cref="ConnectorException">It asks for what is never done.</exception>
    public HyperVConnector(string name, ConnectorSettings settings, TimeProvider time)
    {
        if (settings.Address.Scheme == "hyperv+http" || settings.Address.Port == PlainPort)
        {
            throw new ConnectorException(
                $"{name}: {settings.Address} is WinRM over plain HTTP, to which nothing is sent: messages would have to be sealed one by one. Use HTTPS ({WsManClient.DefaultPort}); on the host: winrm quickconfig -transport:https");
        }

        Name = name;
        Settings = settings;
        Paths = new MappedPaths(settings.Paths);
        _time = time;
        _cluster = new Lazy<HyperVCluster>(() => new HyperVCluster(settings));
    }

    public string Name { get; }

    public ConnectorSettings Settings { get; }

    public MappedPaths Paths { get; }

    public HyperVCluster Cluster => _cluster.Value;

    public string Check()
    {
        // The host itself is an object of this class, under its own name.
        HyperVHost host = Cluster.Host(Cluster.Nodes[0].Name);
        host.Service("Msvm_VirtualSystemManagementService");
        return $"Hyper-V of {Cluster.First.Authority}{(Cluster.IsCluster ? $", cluster of {Cluster.Nodes.Count}" : "")}";
    }

    public IReadOnlyList<ConnectorCheck> Rehearse() => new HyperVRehearsal(this).Run();

    public IReadOnlyList<InventoryVm> List()
    {
        try
        {
            return HyperVInventory.Read(Cluster);
        }
        catch (Exception e) when (e is WsManFaultException or InvalidDataException)
        {
            throw new ConnectorException($"{Name}: {e.Message}", e);
        }
    }

    public Vm Target(InventoryVm vm, string target, ViewRequest request) =>
        new(target, vm.ToReport(), [], [])
        {
            Open = () => HyperVView.Open(this, vm, target, request, null, _time),
            OpenTracked = since => HyperVView.Open(this, vm, target, request, new Tracking(since), _time),
            Act = (act, note) => Act(vm, act, note),
        };

    /// <summary>A VM where it is now; null where no host has it any more.</summary>
    public VmFacts? Find(string id, string host) => Guid.TryParse(id, out _) ? Cluster.Find(id, host) : null;

    public void Undo(LeaseRecord lease)
    {
        switch (lease.Kind)
        {
            case ViewKind:
                HyperVView.Undo(this, lease);
                break;
            case ReferenceKind:
                ReferencePoint.Undo(this, lease);
                break;
            default:
                throw new InvalidDataException($"a lease of the kind {lease.Kind} is none of Hyper-V's");
        }
    }

    public ActReport Act(InventoryVm vm, VmAct act, string note) =>
        HyperVActs.Do(Find(vm.Id, vm.Host) ?? throw new ConnectorException($"{Name}: there is no VM {vm.Id} any more"), act, note, _time);

    public void Dispose()
    {
        if (_cluster.IsValueCreated)
        {
            _cluster.Value.Dispose();
        }
    }
}
