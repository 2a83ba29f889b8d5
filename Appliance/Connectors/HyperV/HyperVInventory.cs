using System.Xml.Linq;
using Serilog;
using Vmsweep.Appliance.Connectors.HyperV.Wmi;
using Vmsweep.Appliance.Connectors.VSphere;
using DiskFacts = Vmsweep.Appliance.Connectors.HyperV.Wmi.DiskFacts;
using VmFacts = Vmsweep.Appliance.Connectors.HyperV.Wmi.VmFacts;

namespace Vmsweep.Appliance.Connectors.HyperV;

/// <summary>All VMs of a host or of a cluster.</summary>
internal static class HyperVInventory
{
    private const int MostNote = 200;

    /// <summary><c>GuestOperatingSystem</c> of <c>GetSummaryInformation</c>.</summary>
    private const string GuestOs = "106";

    private const int SummariesAtOnce = 100;

    public static IReadOnlyList<InventoryVm> Read(HyperVCluster cluster)
    {
        List<InventoryVm> found = [];
        var unheard = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        foreach ((string node, bool isUp) in cluster.Nodes)
        {
            if (!isUp)
            {
                unheard[node] = "is down";
                continue;
            }

            try
            {
                found.AddRange(Of(cluster.Host(node)));
            }
            catch (IOException e) when (cluster.IsCluster)
            {
                Log.Warning("the node {Node} cannot be asked for its VMs: {Reason}", node, e.Message);
                unheard[node] = e.Message;
            }
        }

        IReadOnlyList<ClusteredVm> clustered = cluster.Clustered();
        var owners = clustered.Where(c => c.Id.Length > 0).GroupBy(c => c.Id, StringComparer.OrdinalIgnoreCase).ToDictionary(g => g.Key, g => g.First().Owner, StringComparer.OrdinalIgnoreCase);

        // While a VM moves two nodes have it: its owner's word counts.
        List<InventoryVm> vms =
        [
            .. found.GroupBy(v => v.Id, StringComparer.OrdinalIgnoreCase)
                .Select(g => g.OrderBy(v => owners.TryGetValue(v.Id, out string? owner) && owner.Equals(v.Host, StringComparison.OrdinalIgnoreCase) ? 0 : v.Power == "running" ? 1 : 2).First()),
        ];

        // VMs of a node that cannot be asked are there all the same: who scans them learns why they are not read.
        HashSet<string> known = new(vms.Select(v => v.Id), StringComparer.OrdinalIgnoreCase);
        vms.AddRange(clustered.Where(c => unheard.ContainsKey(c.Owner) && !known.Contains(c.Id))
            .Select(c => new InventoryVm(c.Id.Length > 0 ? c.Id : $"{c.Owner}/{c.Name}", c.Name, "unknown", c.Owner, "", "", [], [])));
        return [.. vms.OrderBy(v => v.Name, StringComparer.Ordinal).ThenBy(v => v.Id, StringComparer.Ordinal)];
    }

    private static List<InventoryVm> Of(HyperVHost host)
    {
        ILookup<string, XElement> settings = host.All("Msvm_VirtualSystemSettingData").ToLookup(s => s.Text("VirtualSystemIdentifier"), StringComparer.OrdinalIgnoreCase);
        ILookup<string, XElement> storage = host.All("Msvm_StorageAllocationSettingData").ToLookup(s => VmFacts.OwnerOf(s.Text("InstanceID")), StringComparer.OrdinalIgnoreCase);
        ILookup<string, XElement> physical = host.Where("Msvm_ResourceAllocationSettingData", "ResourceSubType", "Microsoft:Hyper-V:Physical Disk Drive").ToLookup(s => VmFacts.OwnerOf(s.Text("InstanceID")), StringComparer.OrdinalIgnoreCase);

        // The host is an object of the class too, under its own name.
        List<VmFacts> vms =
        [
            .. host.All("Msvm_ComputerSystem").Where(m => Guid.TryParse(m.Text("Name"), out _))
                .Select(m => VmFacts.Of(host, m, [.. settings[m.Text("Name")]], s => [.. storage[s]], s => [.. physical[s]])),
        ];
        Dictionary<string, string> guests = Guests(host, vms);
        var chains = new Dictionary<HostPath, IReadOnlyList<string>>();
        return
        [
            .. vms.Select(v => new InventoryVm(
                v.Id,
                v.Name,
                v.Power,
                host.Name,
                "",
                guests.GetValueOrDefault(v.Id, ""),
                v.Notes.Length > 0 ? ["notes=" + (v.Notes.Length > MostNote ? v.Notes[..MostNote] : v.Notes)] : [],
                [.. v.Disks.Select(d => new InventoryDisk(d.Key, d.Path is null ? "host" : "file", d.Source, d.Path?.Extension ?? "", false, ChainOf(host, d, chains)))])
            {
                Generation = v.Generation,
            }),
        ];
    }

    private static IReadOnlyList<string> ChainOf(HyperVHost host, DiskFacts disk, Dictionary<HostPath, IReadOnlyList<string>> known)
    {
        if (disk.Path is not { } top || disk.Obstacle is not null)
        {
            return disk.Path is null ? [] : [disk.Source];
        }

        if (!known.TryGetValue(top, out IReadOnlyList<string>? chain))
        {
            try
            {
                chain = [.. host.ChainOf(top).Files.Select(f => f.ToString())];
            }
            catch (IOException e)
            {
                // Who scans the VM learns why; an inventory without this chain is still one.
                Log.Debug("{Disk}: {Reason}", disk.Source, e.Message);
                chain = [disk.Source];
            }

            known.Add(top, chain);
        }

        return chain;
    }

    /// <summary>What guests run, by the VM's id, as far as their integration services tell it.</summary>
    private static Dictionary<string, string> Guests(HyperVHost host, List<VmFacts> vms)
    {
        var guests = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        foreach (VmFacts[] some in vms.Chunk(SummariesAtOnce))
        {
            try
            {
                XElement answer = host.Client.Ask(
                    host.Service("Msvm_VirtualSystemManagementService"),
                    "GetSummaryInformation",
                    new MethodArgument("SettingData", [.. some.Select(v => HyperVHost.Settings(v.Settings))]),
                    new MethodArgument("RequestedInformation", "0", GuestOs));
                foreach (XElement summary in answer.Elements("SummaryInformation"))
                {
                    IReadOnlyDictionary<string, string>? text = summary.HasElements ? null : EmbeddedInstance.Read(summary.Value);
                    guests.TryAdd(text?.GetValueOrDefault("Name") ?? summary.Text("Name"), text?.GetValueOrDefault("GuestOperatingSystem") ?? summary.Text("GuestOperatingSystem"));
                }
            }
            catch (Exception e) when (e is WsManFaultException or InvalidDataException)
            {
                Log.Debug("{Host} does not tell what its guests run: {Reason}", host.Name, e.Message);
            }
        }

        return guests;
    }
}
