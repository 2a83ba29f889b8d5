using System.Globalization;
using System.Xml.Linq;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Connectors.VSphere;

/// <summary>A disk as the hypervisor's configuration has it.</summary>
/// <param name="Key">The device's key, which lasts.</param>
/// <param name="Name">Its slot, such as <c>scsi0:1</c>.</param>
/// <param name="Chain">Its files as the hypervisor names them, the top one first.</param>
/// <param name="CapacityBytes">May be 0: not said.</param>
internal sealed record DiskFacts(int Key, string Name, string Backing, IReadOnlyList<string> Chain, long CapacityBytes, MoRef? Datastore)
{
    /// <summary>Of its moment in the host's record of changes; empty where there is none.</summary>
    public string ChangeId { get; init; } = "";

    /// <summary>Of each file of the chain: what its bytes and those below it are known by, which is another as soon as they are; empty where the host does not say.</summary>
    public IReadOnlyList<string> ContentIds { get; init; } = [];

    /// <summary>As the guest's kernel is told it (<c>6000C29x-...</c>); empty where the host does not say.</summary>
    public string Uuid { get; init; } = "";

    /// <summary>Such as <c>persistent</c> or <c>independent_nonpersistent</c>.</summary>
    public string Mode { get; init; } = "";

    /// <summary>What nobody wrote takes no space of the datastore.</summary>
    public bool IsThin { get; init; }

    public string File => Chain.Count > 0 ? Chain[0] : Name;

    /// <summary>Why it cannot be read at a point in time; null where it can.</summary>
    public (Fault Fault, string Why)? Obstacle { get; init; }
}

/// <summary>A snapshot in a VM's tree.</summary>
internal sealed record SnapshotFacts(MoRef Reference, string Name, string Description, DateTimeOffset? Created);

/// <summary>What is asked about a VM before and while it is read.</summary>
internal sealed class VmFacts
{
    private const int MostLayers = 256;

    public static readonly IReadOnlyList<string> Properties =
    [
        "name", "parent", "datastore", "snapshot", "layoutEx.file", "recentTask", "config.instanceUuid", "config.uuid", "config.guestFullName", "config.hardware.device", "config.keyId", "config.files.vmPathName", "config.changeTrackingEnabled",
        "runtime.powerState", "runtime.host", "runtime.connectionState", "runtime.consolidationNeeded",
    ];

    public VmFacts(VimObject vm)
    {
        Reference = vm.Reference;
        IsTold = vm["config.hardware.device"] is not null;
        Name = vm.Text("name");
        Power = PowerOf(vm.Text("runtime.powerState"));
        Connection = vm.Text("runtime.connectionState");
        NeedsConsolidation = vm.Text("runtime.consolidationNeeded") is "true" or "1";
        InstanceUuid = vm.Text("config.instanceUuid");
        GuestOs = vm.Text("config.guestFullName");
        IsTracked = vm.Text("config.changeTrackingEnabled") is "true" or "1";
        IsEncrypted = vm["config.keyId"] is { HasElements: true };
        Configuration = vm.Text("config.files.vmPathName");
        Disks = DisksOf(vm["config.hardware.device"]);
        Datastores = [.. (vm["datastore"]?.Elements() ?? []).Select(MoRef.Of)];
        RecentTasks = [.. (vm["recentTask"]?.Elements() ?? []).Select(MoRef.Of)];
        Snapshots = SnapshotsOf(vm["snapshot"]);
        Files = [.. (vm["layoutEx.file"]?.Elements() ?? []).Select(f => (f.Text("name"), f.Text("type")))];
    }

    public MoRef Reference { get; }

    public string Name { get; }

    /// <summary>False where the server does not tell of its devices: nobody may take it for a VM without disks.</summary>
    public bool IsTold { get; }

    public string Power { get; }

    /// <summary><c>connected</c>, or why nothing can be asked of it.</summary>
    public string Connection { get; }

    public bool NeedsConsolidation { get; }

    public string InstanceUuid { get; }

    public string GuestOs { get; }

    public bool IsEncrypted { get; }

    /// <summary>Its host keeps a record of what changes on its disks.</summary>
    public bool IsTracked { get; }

    public string Configuration { get; }

    public IReadOnlyList<DiskFacts> Disks { get; }

    public IReadOnlyList<MoRef> Datastores { get; }

    public IReadOnlyList<MoRef> RecentTasks { get; }

    /// <summary>All of the tree.</summary>
    public IReadOnlyList<SnapshotFacts> Snapshots { get; }

    /// <summary>Its files with what they are, as the hypervisor lists them.</summary>
    public IReadOnlyList<(string Name, string Type)> Files { get; }

    /// <exception cref="VimFaultException">It is gone, or may not be seen.</exception>
    public static VmFacts Read(PropertyReader properties, MoRef vm) => new(properties.Get(vm, Properties));

    public static string PowerOf(string state) => state switch
    {
        "poweredOn" => "running",
        "poweredOff" => "off",
        "suspended" => "suspended",
        _ => "unknown",
    };

    /// <summary>Disks of a list of devices, in the order of their slots.</summary>
    public static IReadOnlyList<DiskFacts> DisksOf(XElement? devices)
    {
        List<XElement> all = [.. devices?.Elements() ?? []];
        var buses = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (XElement device in all)
        {
            if (BusOf(device.KindOf()) is { } bus)
            {
                buses[device.Text("key")] = bus + device.Text("busNumber");
            }
        }

        return
        [
            .. all.Where(d => d.KindOf() == "VirtualDisk")
                .Select(d => (Disk: d, Bus: buses.GetValueOrDefault(d.Text("controllerKey"), "disk"), Unit: Number(d.Text("unitNumber"))))
                .OrderBy(d => d.Bus, StringComparer.Ordinal).ThenBy(d => d.Unit)
                .Select(d => Of(d.Disk, string.Create(CultureInfo.InvariantCulture, $"{d.Bus}:{d.Unit}"))),
        ];
    }

    /// <summary>The slot that a device of an export has: <c>/vm-1/ParaVirtualSCSIController0:1</c> is <c>scsi0:1</c>; empty for none.</summary>
    public static string SlotOf(string key)
    {
        string last = key[(key.LastIndexOf('/') + 1)..];
        int digits = last.AsSpan().IndexOfAnyInRange('0', '9');
        return digits > 0 && BusOf(last[..digits]) is { } bus ? bus + last[digits..] : "";
    }

    private static DiskFacts Of(XElement disk, string name)
    {
        XElement? backing = disk.Element("backing");
        List<string> chain = [], contents = [];
        for (XElement? layer = backing; layer is not null && chain.Count < MostLayers; layer = layer.Element("parent"))
        {
            if (layer.Text("fileName") is { Length: > 0 } file)
            {
                chain.Add(file);
                contents.Add(layer.Text("contentId"));
            }
        }

        string kind = backing.KindOf();
        long bytes = Number(disk.Text("capacityInBytes")) is > 0 and var said ? said : Number(disk.Text("capacityInKB")) is > 0 and < long.MaxValue / 1024 and var kilobytes ? kilobytes * 1024 : 0;
        return new DiskFacts((int)Math.Clamp(Number(disk.Text("key")), int.MinValue, int.MaxValue), name, kind, chain, bytes, backing?.Element("datastore") is { } store ? MoRef.Of(store) : null)
        {
            ChangeId = backing.Text("changeId"),
            ContentIds = contents,
            Uuid = backing.Text("uuid"),
            Mode = backing.Text("diskMode"),
            IsThin = backing.Text("thinProvisioned") is "true" or "1",
            Obstacle = ObstacleOf(kind, backing),
        };
    }

    private static (Fault Fault, string Why)? ObstacleOf(string kind, XElement? backing)
    {
        (Fault, string)? ofKind = kind switch
        {
            "VirtualDiskRawDiskMappingVer1BackingInfo" => (Fault.Unsupported, $"a raw device mapping ({backing.Text("compatibilityMode")}): its bytes lie on a LUN, and not in the datastore"),
            "VirtualDiskLocalPMemBackingInfo" => (Fault.Unsupported, "persistent memory of a host can be read by nothing but its VM"),
            "VirtualDiskFlatVer2BackingInfo" or "VirtualDiskSeSparseBackingInfo" or "VirtualDiskSparseVer2BackingInfo" => default((Fault, string)?),
            _ => (Fault.Unsupported, $"a disk of the kind {(kind.Length > 0 ? kind : "unknown")} has no file that is known here"),
        };
        return ofKind is not null ? ofKind
            : backing?.Element("keyId") is { HasElements: true } ? (Fault.Encrypted, "the hypervisor encrypts this disk; its keys are with a key server")
            : backing.Text("sharing") is "sharingMultiWriter" ? (Fault.Unsupported, "several VMs write to this disk (multi-writer), and no snapshot of it can be made")
            : backing.Text("diskMode").StartsWith("independent", StringComparison.Ordinal) ? (Fault.Unsupported, $"an independent disk ({backing.Text("diskMode")}): snapshots leave it out")
            : null;
    }

    private static string? BusOf(string kind) => kind switch
    {
        "VirtualIDEController" => "ide",
        "VirtualAHCIController" => "sata",
        "VirtualNVMEController" => "nvme",
        "ParaVirtualSCSIController" or "VirtualBusLogicController" or "VirtualLsiLogicController" or "VirtualLsiLogicSASController" => "scsi",
        _ => null,
    };

    private static List<SnapshotFacts> SnapshotsOf(XElement? tree)
    {
        List<SnapshotFacts> found = [];
        var left = new Queue<XElement>(tree?.Elements("rootSnapshotList") ?? []);
        while (left.TryDequeue(out XElement? node))
        {
            if (node.Element("snapshot") is { } reference)
            {
                bool isDated = DateTimeOffset.TryParse(node.Text("createTime"), CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out DateTimeOffset created);
                found.Add(new SnapshotFacts(MoRef.Of(reference), node.Text("name"), node.Text("description"), isDated ? created : null));
            }

            foreach (XElement child in node.Elements("childSnapshotList"))
            {
                left.Enqueue(child);
            }
        }

        return found;
    }

    private static long Number(string text) => long.TryParse(text, CultureInfo.InvariantCulture, out long number) ? number : 0;
}
