using System.Globalization;
using System.Xml.Linq;

namespace Vmsweep.Appliance.Connectors.VSphere;

/// <summary>All VMs of a server with where they are filed.</summary>
internal static class VSphereInventory
{
    private const int MostLevels = 64;

    private static readonly Dictionary<string, IReadOnlyList<string>> Wanted = new(StringComparer.Ordinal)
    {
        ["Folder"] = ["name", "parent"],
        ["Datacenter"] = ["name", "parent"],
        ["HostSystem"] = ["name"],
        ["ResourcePool"] = ["name", "parent"],
        ["ComputeResource"] = ["name", "parent"],
        ["VirtualMachine"] =
        [
            "name", "parent", "resourcePool", "runtime.powerState", "runtime.host", "config.instanceUuid", "config.guestFullName", "config.template", "config.hardware.device", "customValue",
        ],
    };

    /// <summary>VMs, and under which id the server keeps each.</summary>
    public static (IReadOnlyList<InventoryVm> Vms, IReadOnlyDictionary<string, MoRef> References) Read(VimSession session)
    {
        Dictionary<int, string> fields = Fields(session);
        IReadOnlyList<object> found = new PropertyReader(session).All(Wanted, o => o.Reference.Type == "VirtualMachine" ? Listed.Of(o) : (object)Place.Of(o));
        Dictionary<MoRef, Place> places = found.OfType<Place>().GroupBy(p => p.Reference).ToDictionary(g => g.Key, g => g.First());
        IReadOnlyDictionary<string, IReadOnlyList<string>> tags = RestTags.Read(session);
        List<Listed> listed = [.. found.OfType<Listed>()];
        HashSet<string> twice = [.. listed.GroupBy(v => v.InstanceUuid, StringComparer.OrdinalIgnoreCase).Where(g => g.Count() > 1).Select(g => g.Key)];
        var references = new Dictionary<string, MoRef>(StringComparer.Ordinal);
        List<InventoryVm> vms = [];
        foreach (Listed vm in listed)
        {
            // A copy of a VM may carry its uuid; then the server's own key is what names it.
            string id = vm.InstanceUuid.Length > 0 && !twice.Contains(vm.InstanceUuid) ? vm.InstanceUuid : vm.Reference.Value;
            references.TryAdd(id, vm.Reference);
            vms.Add(new InventoryVm(
                id,
                vm.Name,
                vm.Power,
                vm.Host is { } host && places.TryGetValue(host, out Place? at) ? at.Name : "",
                PathOf(vm.Parent, places),
                vm.GuestOs,
                [
                    .. tags.GetValueOrDefault(vm.Reference.Value, []),
                    .. vm.Attributes.Select(a => $"{fields.GetValueOrDefault(a.Key, a.Key.ToString(CultureInfo.InvariantCulture))}={a.Value}"),
                    .. PathOf(vm.Pool, places) is { Length: > 0 } pool ? (string[])["pool:" + pool] : [],
                    .. vm.IsTemplate ? (string[])["template"] : [],
                ],
                [.. vm.Disks.Select(d => new InventoryDisk(d.Name, d.Chain.Count > 0 ? "file" : d.Backing, d.File, "vmdk", false, d.Chain))]));
        }

        return ([.. vms.OrderBy(v => v.Name, StringComparer.Ordinal).ThenBy(v => v.Id, StringComparer.Ordinal)], references);
    }

    /// <summary>Names from the root, which has none worth telling, down to where something is filed.</summary>
    private static string PathOf(MoRef? from, Dictionary<MoRef, Place> places)
    {
        List<string> names = [];
        for (MoRef? at = from; at is { } link && places.TryGetValue(link, out Place? place) && names.Count < MostLevels; at = place.Parent)
        {
            // Every pool tree begins with one called Resources, and every datacenter's VMs lie in a folder called vm.
            if (place.Parent is not null && !(place.Name == "Resources" && place.Reference.Type == "ResourcePool") && !(place.Name == "vm" && place.Parent.Value.Type == "Datacenter"))
            {
                names.Add(place.Name);
            }
        }

        names.Reverse();
        return string.Join('/', names);
    }

    private static Dictionary<int, string> Fields(VimSession session)
    {
        var fields = new Dictionary<int, string>();
        if (session.IsVCenter)
        {
            foreach (XElement field in new PropertyReader(session).Get(session.Service("customFieldsManager"), "field")["field"]?.Elements() ?? [])
            {
                if (int.TryParse(field.Text("key"), CultureInfo.InvariantCulture, out int key))
                {
                    fields[key] = field.Text("name");
                }
            }
        }

        return fields;
    }

    private sealed record Place(MoRef Reference, string Name, MoRef? Parent)
    {
        public static Place Of(VimObject found) => new(found.Reference, found.Text("name"), found.Link("parent"));
    }

    private sealed record Listed(
        MoRef Reference,
        string Name,
        string Power,
        MoRef? Host,
        MoRef? Parent,
        MoRef? Pool,
        string InstanceUuid,
        string GuestOs,
        bool IsTemplate,
        IReadOnlyList<KeyValuePair<int, string>> Attributes,
        IReadOnlyList<DiskFacts> Disks)
    {
        public static Listed Of(VimObject vm) => new(
            vm.Reference,
            vm.Text("name"),
            VmFacts.PowerOf(vm.Text("runtime.powerState")),
            vm.Link("runtime.host"),
            vm.Link("parent"),
            vm.Link("resourcePool"),
            vm.Text("config.instanceUuid"),
            vm.Text("config.guestFullName"),
            vm.Text("config.template") == "true",
            [
                .. (vm["customValue"]?.Elements() ?? [])
                    .Where(v => int.TryParse(v.Text("key"), CultureInfo.InvariantCulture, out _))
                    .Select(v => KeyValuePair.Create(int.Parse(v.Text("key"), CultureInfo.InvariantCulture), v.Text("value"))),
            ],
            VmFacts.DisksOf(vm["config.hardware.device"]));
    }
}
