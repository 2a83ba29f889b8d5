using Vmsweep.Appliance.Connectors;

namespace Vmsweep.Appliance.Inventory;

/// <summary>Which VMs of a datastore a hypervisor lists too. One that it does not list runs nowhere, and nobody patches or watches it.</summary>
internal sealed class Registration
{
    private readonly HashSet<string> _ids = new(StringComparer.Ordinal);
    private readonly HashSet<string> _disks = new(StringComparer.OrdinalIgnoreCase);

    public Registration(IReadOnlyList<InventoryVm> listed)
    {
        foreach (InventoryVm vm in listed)
        {
            _ids.Add(Plain(vm.Id));
            _disks.UnionWith(vm.Disks.SelectMany(d => d.Chain.Append(d.Source)).Select(Tail).OfType<string>());
        }
    }

    /// <summary>By its id, or by a disk: a vCenter knows a VM by another id than its configuration.</summary>
    public bool Has(GraphMachine machine) =>
        _ids.Contains(Plain(machine.Vm.Identity.Id))
        || machine.Vm.Disks.Concat(machine.Vm.Held).Any(d => Tail(d.Path) is { } tail && _disks.Contains(tail));

    private static string Plain(string id) => id.Replace("-", "", StringComparison.Ordinal).ToLowerInvariant();

    /// <summary>A disk's folder and name, which are the same however the datastore is named or mounted; null for a name alone.</summary>
    private static string? Tail(string path)
    {
        string[] parts = path.Split('/', '\\', ']');
        return parts.Length < 2 ? null : parts[^2].Trim() + "/" + parts[^1].Trim();
    }
}
