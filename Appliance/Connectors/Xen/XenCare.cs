using Vmsweep.Appliance.Connectors.Configuration;

namespace Vmsweep.Appliance.Connectors.Xen;

/// <summary>VMs that are left alone, because a snapshot more could harm them or somebody else's job.</summary>
internal static class XenCare
{
    /// <exception cref="ConnectorException">It is left alone, and why.</exception>
    public static void Check(XapiSession session, XenVm vm, ConnectorSettings settings)
    {
        string? why = vm.Operations.Count > 0 ? $"something else is being done to it: {string.Join(", ", vm.Operations)}"
            : vm.Snapshots.Count >= settings.MaximumSnapshots ? $"it has {vm.Snapshots.Count} snapshots; no more are made from {settings.MaximumSnapshots} on (\"maximumSnapshots\")"
            : vm.Snapshots.Select(s => new XenTasks(session).Look("VM", s)?.Text("name_label")).FirstOrDefault(n => n?.StartsWith(XenView.Prefix, StringComparison.Ordinal) == true) is { } ours
                ? $"the snapshot \"{ours}\" is of another scan, of this appliance or another (vmsweep leases list)"
            : null;
        if (why is not null)
        {
            throw new ConnectorException($"{vm.Name} is left alone: {why}");
        }
    }
}
