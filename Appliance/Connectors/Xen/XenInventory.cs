namespace Vmsweep.Appliance.Connectors.Xen;

/// <summary>All VMs of a pool with where they are filed; templates, snapshots and control domains are none.</summary>
internal static class XenInventory
{
    /// <summary>Where people file VMs, in what others may keep with them.</summary>
    private const string FolderKey = "folder";

    public static IReadOnlyList<InventoryVm> Read(XapiSession session)
    {
        string pool = session.Table("pool").Values.FirstOrDefault().Text("name_label");
        Dictionary<string, XapiRecord> hosts = session.Table("host"), devices = session.Table("VBD"), disks = session.Table("VDI"), repositories = session.Table("SR"), guests = session.Table("VM_guest_metrics");
        List<InventoryVm> vms = [];
        foreach (XapiRecord vm in session.Table("VM").Values)
        {
            if (vm.Flag("is_a_template") || vm.Flag("is_a_snapshot") || vm.Flag("is_control_domain"))
            {
                continue;
            }

            IReadOnlyList<XenDisk> own = XenVm.DisksOf(vm, r => Of(devices, r), r => Of(disks, r), r => Of(repositories, r));
            string folder = vm.InMap("other_config", FolderKey).Trim('/');
            vms.Add(new InventoryVm(
                vm.Text("uuid"),
                vm.Text("name_label"),
                XenVm.PowerOf(vm.Text("power_state")),
                vm.Link("resident_on") is { } on && Of(hosts, on) is { } host ? host.Text("name_label") : "",
                string.Join('/', ((string[])[pool, folder]).Where(p => p.Length > 0)),
                vm.Link("guest_metrics") is { } metrics && Of(guests, metrics) is { } guest ? guest.InMap("os_version", "name") : "",
                vm.Texts("tags"),
                [.. own.Select(d => new InventoryDisk(d.Device, "vdi", d.Path, "raw", d.IsReadOnly, [d.Path]))]));
        }

        return [.. vms.OrderBy(v => v.Name, StringComparer.Ordinal).ThenBy(v => v.Id, StringComparer.Ordinal)];
    }

    private static XapiRecord? Of(Dictionary<string, XapiRecord> table, string reference) => table.TryGetValue(reference, out XapiRecord found) ? found : null;
}
