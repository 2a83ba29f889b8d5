using System.Globalization;
using System.Xml.Linq;

namespace Vmsweep.Appliance.Connectors.VSphere;

/// <summary>Where this machine tells of itself and of its disks.</summary>
/// <param name="Disks">Links to disks by their identity.</param>
/// <param name="ProductUuid">The firmware's uuid of this machine.</param>
/// <param name="Patience">How long a disk may take to appear.</param>
internal sealed record MachinePlaces(string Disks, string ProductUuid, TimeSpan Patience)
{
    public static readonly MachinePlaces Usual = new("/dev/disk/by-id", "/sys/class/dmi/id/product_uuid", TimeSpan.FromSeconds(30));
}

/// <summary>The VM that this appliance is, as the server has it now.</summary>
internal sealed class OwnVm
{
    /// <summary>The controller itself takes one of its units.</summary>
    private const int OwnUnit = 7;

    private const int Units = 16;

    /// <summary>Of a paravirtual controller, from this hardware version on.</summary>
    private const int MoreUnits = 64;
    private const int MoreUnitsFrom = 14;

    private static readonly string[] Controllers = ["ParaVirtualSCSIController", "VirtualLsiLogicSASController", "VirtualLsiLogicController"];

    private readonly XElement[] _devices;
    private readonly XElement? _options;
    private readonly int _hardware;

    private OwnVm(VimObject vm)
    {
        Reference = vm.Reference;
        Name = vm.Text("name");
        InstanceUuid = vm.Text("config.instanceUuid");
        ChangeVersion = vm.Text("config.changeVersion");
        Host = vm.Link("runtime.host");
        _devices = [.. vm["config.hardware.device"]?.Elements() ?? throw new ConnectorException($"the server does not tell of the devices of the appliance's VM {Name}")];
        _options = vm["config.extraConfig"];
        _ = int.TryParse(vm.Text("config.version").Replace("vmx-", "", StringComparison.Ordinal), NumberStyles.None, CultureInfo.InvariantCulture, out _hardware);
        Disks = VmFacts.DisksOf(vm["config.hardware.device"]);
    }

    public MoRef Reference { get; }

    public string Name { get; }

    public string InstanceUuid { get; }

    /// <summary>A change that names it is refused when somebody else made one meanwhile.</summary>
    public string ChangeVersion { get; }

    public MoRef? Host { get; }

    public IReadOnlyList<DiskFacts> Disks { get; }

    /// <summary>By the operator's word, else by the uuid that the firmware of this machine tells.</summary>
    /// <returns>The VM; or why none is this one, or which of several is not known.</returns>
    /// <exception cref="IOException">The server does not tell.</exception>
    public static (MoRef? Found, string Why) Find(VSphereConnector connector)
    {
        string? named = connector.Settings.Appliance;
        HashSet<Guid> own = [];
        if (named is null)
        {
            try
            {
                own = OfFirmware(connector.Machine.ProductUuid);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or FormatException)
            {
                return (null, $"which VM this appliance is cannot be told (\"appliance\" names it): {connector.Machine.ProductUuid}: {e.Message}");
            }
        }
        else if (Guid.TryParse(named, out Guid uuid))
        {
            own = [uuid];
        }

        var wanted = new Dictionary<string, IReadOnlyList<string>>(StringComparer.Ordinal) { ["VirtualMachine"] = ["name", "config.uuid", "config.instanceUuid"] };
        MoRef[] found =
        [
            .. connector.Properties.All(wanted, vm => (vm.Reference, IsOwn: own.Count == 0 ? vm.Text("name") == named : Is(vm.Text("config.uuid")) || (named is not null && Is(vm.Text("config.instanceUuid")))))
                .Where(v => v.IsOwn).Select(v => v.Reference),
        ];
        string how = named is null ? $"the uuid {string.Join(" or ", own)}, which {connector.Machine.ProductUuid} tells" : $"the name or uuid \"{named}\" (\"appliance\")";
        return found.Length switch
        {
            1 => (found[0], ""),
            0 => (null, $"no VM of the inventory has {how}: this appliance is no VM there, or the account may not see it"),
            _ => (null, $"{found.Length} VMs have {how}, and which of them is this appliance is not known (\"appliance\" names it by a uuid)"),
        };

        bool Is(string text) => Guid.TryParse(text, out Guid told) && own.Contains(told);
    }

    /// <exception cref="VimFaultException">It is gone, or may not be seen.</exception>
    public static OwnVm Read(VSphereConnector connector, MoRef reference) =>
        new(connector.Properties.Get(reference, "name", "config.instanceUuid", "config.changeVersion", "config.version", "config.extraConfig", "config.hardware.device", "runtime.host"));

    /// <summary>What stands ready for a disk to be attached.</summary>
    /// <exception cref="ConnectorException">Something does not.</exception>
    public string Ready(VSphereConnector connector)
    {
        if (!Says("disk.EnableUUID"))
        {
            throw new ConnectorException($"{Name}: without disk.EnableUUID = TRUE among its options a disk that is attached to it cannot be told from another");
        }

        foreach ((string privilege, string why) in Privileges.OfHotAdd)
        {
            // Whoever may attach and not detach would leave what he attached.
            if (!Privileges.Has(connector, Reference, privilege))
            {
                throw new ConnectorException($"{Name}: the account has no {privilege}: {why}");
            }
        }

        (string controller, int unit) = FreeSlot() ?? throw new ConnectorException(NoSlot);
        return string.Create(CultureInfo.InvariantCulture, $"this appliance is the VM {Name}; unit {unit} of its controller {controller} is free");
    }

    public string NoSlot => $"{Name}: none of its SCSI controllers has a free unit; no controller is added";

    /// <summary>Key of a controller, and a unit of it that nothing has; null where all are taken.</summary>
    public (string Controller, int Unit)? FreeSlot()
    {
        foreach (XElement controller in _devices.Where(d => Controllers.Contains(d.KindOf()) && d.Text("sharedBus") is "" or "noSharing").OrderBy(d => Array.IndexOf(Controllers, d.KindOf())))
        {
            string key = controller.Text("key");
            HashSet<string> taken = [.. _devices.Where(d => d.Text("controllerKey") == key).Select(d => d.Text("unitNumber"))];
            int units = controller.KindOf() == Controllers[0] && _hardware >= MoreUnitsFrom ? MoreUnits : Units;
            for (int unit = 0; unit < units; unit++)
            {
                string text = unit.ToString(CultureInfo.InvariantCulture);
                if (unit != OwnUnit && text != controller.Text("scsiCtlrUnitNumber") && !taken.Contains(text))
                {
                    return (key, unit);
                }
            }
        }

        return null;
    }

    /// <summary>
    /// The disk that was attached with a file below it, as the server tells of it; null where there is none. A host may put a file of its own over it, for
    /// what the VM would write.
    /// </summary>
    public (DiskFacts Disk, XElement Device)? Attached(string file)
    {
        DiskFacts[] ours = [.. Disks.Where(d => d.Mode == HotAdd.Mode)];
        return (ours.FirstOrDefault(d => d.File == file) ?? ours.FirstOrDefault(d => d.Chain.Count > 1 && d.Chain[1] == file)) is not { } disk ? null
            : (disk, _devices.First(d => d.KindOf() == "VirtualDisk" && d.Text("key") == disk.Key.ToString(CultureInfo.InvariantCulture)));
    }

    /// <summary>The firmware's uuid in both byte orders: up to hardware version 12 kernels show the first three fields turned round.</summary>
    private static HashSet<Guid> OfFirmware(string path)
    {
        var uuid = Guid.Parse(File.ReadAllText(path).Trim());
        return [uuid, new Guid(uuid.ToByteArray(), bigEndian: true)];
    }

    private bool Says(string option) =>
        _options?.Elements().Any(o => o.Text("key").Equals(option, StringComparison.OrdinalIgnoreCase) && o.Text("value").ToUpperInvariant() is "TRUE" or "1") == true;
}
