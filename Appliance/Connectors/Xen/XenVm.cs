using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Connectors.Xen;

/// <summary>A disk of a VM: a VDI, and the VBD that plugs it in.</summary>
/// <param name="Reference">Of the VDI.</param>
/// <param name="Device">Such as <c>xvda</c>, or its number where the VM does not run.</param>
/// <param name="SnapshotOf">The VDI that this one is a snapshot of; null for none.</param>
internal sealed record XenDisk(string Reference, string Uuid, string Device, string Repository, string RepositoryName, long SizeBytes, bool IsReadOnly, bool IsTracked, string? SnapshotOf)
{
    /// <summary>How reports name it, with the storage repository as other hypervisors' datastores are written.</summary>
    public string Path => $"[{RepositoryName}] {Uuid}";

    /// <summary>Why no snapshot can hold it; null where one can.</summary>
    public (Fault Fault, string Why)? Obstacle { get; init; }
}

/// <summary>What is asked about a VM before and while it is read.</summary>
internal sealed class XenVm
{
    private XenVm(string reference, XapiRecord vm, IReadOnlyList<XenDisk> disks)
    {
        Reference = reference;
        Uuid = vm.Text("uuid");
        Name = vm.Text("name_label");
        Power = PowerOf(vm.Text("power_state"));
        Snapshots = vm.Texts("snapshots");
        Operations = [.. vm.Map("current_operations").Select(o => o.Value)];
        SuspendImage = vm.Link("suspend_VDI");
        Disks = disks;
    }

    public string Reference { get; }

    public string Uuid { get; }

    public string Name { get; }

    public string Power { get; }

    /// <summary>References of those that the pool has.</summary>
    public IReadOnlyList<string> Snapshots { get; }

    /// <summary>What is being done to it now.</summary>
    public IReadOnlyList<string> Operations { get; }

    /// <summary>Reference of the disk that holds its memory while it is suspended.</summary>
    public string? SuspendImage { get; }

    public IReadOnlyList<XenDisk> Disks { get; }

    /// <exception cref="XapiException">It is gone, or may not be seen.</exception>
    public static XenVm Read(XapiSession session, string reference)
    {
        XapiRecord vm = session.Record("VM", reference);
        var repositories = new Dictionary<string, XapiRecord?>(StringComparer.Ordinal);
        var tasks = new XenTasks(session);

        // What a VM is said to have may be gone by now: of a snapshot that is half removed its disks are.
        return new XenVm(reference, vm, DisksOf(vm, r => tasks.Look("VBD", r), r => tasks.Look("VDI", r), Repository));

        XapiRecord? Repository(string of)
        {
            if (!repositories.TryGetValue(of, out XapiRecord? known))
            {
                repositories.Add(of, known = tasks.Look("SR", of));
            }

            return known;
        }
    }

    public static string PowerOf(string state) => state switch
    {
        "Running" => "running",
        "Paused" => "paused",
        "Suspended" => "suspended",
        "Halted" => "off",
        _ => "unknown",
    };

    /// <summary>Disks in the order of their slots; drives of optical discs and floppies are none.</summary>
    public static IReadOnlyList<XenDisk> DisksOf(XapiRecord vm, Func<string, XapiRecord?> device, Func<string, XapiRecord?> disk, Func<string, XapiRecord?> repository)
    {
        List<(long Slot, XenDisk Disk)> found = [];
        foreach (string reference in vm.Texts("VBDs"))
        {
            if (device(reference) is not { } plugged || plugged.Text("type") != "Disk" || plugged.Flag("empty") || plugged.Link("VDI") is not { } of || disk(of) is not { } vdi)
            {
                continue;
            }

            string at = vdi.Text("SR");
            XapiRecord? store = repository(at);
            string slot = plugged.Text("userdevice");
            found.Add((
                long.TryParse(slot, System.Globalization.CultureInfo.InvariantCulture, out long number) ? number : long.MaxValue,
                new XenDisk(
                    of,
                    vdi.Text("uuid"),
                    plugged.Text("device") is { Length: > 0 } name ? name : slot,
                    at,
                    store?.Text("name_label") is { Length: > 0 } label ? label : store?.Text("uuid") ?? "",
                    Math.Max(0, vdi.Number("virtual_size")),
                    plugged.Text("mode") == "RO",
                    vdi.Flag("cbt_enabled"),
                    vdi.Flag("is_a_snapshot") ? vdi.Link("snapshot_of") : null)
                {
                    Obstacle = ObstacleOf(vdi, store),
                }));
        }

        return [.. found.OrderBy(f => f.Slot).Select(f => f.Disk)];
    }

    private static (Fault Fault, string Why)? ObstacleOf(XapiRecord vdi, XapiRecord? store) =>
        vdi.Flag("missing") ? (Fault.Transport, "its storage repository does not have it any more")
        : store?.Text("type") == "udev" ? (Fault.Unsupported, "a device of the host is passed through, and no snapshot of it can be made")
        : vdi.Flag("sharable") ? (Fault.Unsupported, "several VMs may write to this disk (sharable), and no snapshot of it can be made")
        : vdi.Text("on_boot") == "reset" ? (Fault.Unsupported, "this disk is reset at each start (on-boot), and no snapshot of it can be made; scan what it is reset to")
        : vdi.Map("current_operations").Count > 0 ? (Fault.Refused, $"something else is being done to it: {string.Join(", ", vdi.Map("current_operations").Select(o => o.Value))}")
        : !vdi.Texts("allowed_operations").Contains("snapshot") ? (Fault.Unsupported, "the pool allows no snapshot of it: its storage repository cannot make any, or is not there now")
        : null;
}
