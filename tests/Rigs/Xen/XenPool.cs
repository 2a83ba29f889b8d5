using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Vmsweep.Rigs.Xen;

/// <summary>What a pool does: its calls, on its objects and its disks.</summary>
internal sealed class XenPool(XenObjects objects, XenStorage storage, string host, Func<string, bool> isSession)
{
    private string _host = "";
    private string _repository = "";

    public string NbdWay { get; set; } = "qemu-nbd";

    public string NbdCertificate { get; set; } = "";

    public string ServerCertificate { get; set; } = "";

    public bool HasTracking { get; set; }

    public HashSet<string> ReadLive { get; } = [];

    public void Reset()
    {
        foreach (string disk in objects.Class("VDI").Values.Select(Uuid).ToArray())
        {
            storage.Remove(disk, withTrack: true);
        }

        foreach (string name in (string[])["VM", "VBD", "VDI", "VIF", "SR", "host", "pool", "network", "task", "VM_guest_metrics"])
        {
            objects.Class(name).Clear();
        }

        ReadLive.Clear();
        (NbdWay, NbdCertificate, HasTracking) = ("qemu-nbd", ServerCertificate, true);
        _host = objects.Add("host", new JsonObject { ["name_label"] = "xen-1", ["address"] = host, ["software_version"] = new JsonObject { ["product_brand"] = "XCP-ng", ["product_version"] = "8.3.0" } });
        objects.Add("pool", new JsonObject { ["name_label"] = "lab pool", ["master"] = _host });
        objects.Add("network", new JsonObject { ["name_label"] = "storage net", ["purpose"] = new JsonArray("nbd") });
        _repository = objects.Add("SR", new JsonObject { ["name_label"] = XenRig.Repository, ["type"] = "ext", ["physical_size"] = 1L << 40, ["physical_utilisation"] = 1L << 30 });

        // What an inventory leaves out.
        objects.Class("VM").Add(XenObjects.NewReference(), Machine("Control domain on host: xen-1", "Running", ("is_control_domain", true)));
        objects.Class("VM").Add(XenObjects.NewReference(), Machine("Debian Bookworm 12", "Halted", ("is_a_template", true)));
    }

    public string AddVm(string name, string power)
    {
        JsonObject vm = Machine(name, power);
        string reference = objects.Add("VM", vm);
        vm["guest_metrics"] = objects.Add("VM_guest_metrics", new JsonObject { ["os_version"] = new JsonObject { ["name"] = "Debian GNU/Linux 12", ["major"] = "12" } });
        ((JsonArray)vm["VIFs"]!).Add(objects.Add("VIF", new JsonObject { ["VM"] = reference, ["MAC"] = "0a:00:00:00:00:01", ["currently_attached"] = power == "Running", ["locking_mode"] = "network_default" }));
        Plug(reference, XenObjects.Null, "CD", "3");
        return reference;
    }

    public string AddDisk(string vm, string raw)
    {
        string disk = objects.Add("VDI", new JsonObject
        {
            ["name_label"] = "root",
            ["SR"] = _repository,
            ["virtual_size"] = new FileInfo(raw).Length,
            ["type"] = "user",
            ["sharable"] = false,
            ["missing"] = false,
            ["on_boot"] = "persist",
            ["is_a_snapshot"] = false,
            ["snapshot_of"] = XenObjects.Null,
            ["cbt_enabled"] = false,
            ["VBDs"] = new JsonArray(),
            ["allowed_operations"] = new JsonArray("snapshot", "clone"),
            ["current_operations"] = new JsonObject(),
        });
        Vmsweep.Golden.Tool.Run("cp", "--sparse=always", raw, storage.PathOf(Uuid(objects.Get("VDI", disk))));
        Plug(vm, disk, "Disk", DisksOf(vm).Length.ToString(CultureInfo.InvariantCulture));
        return disk;
    }

    public string[] DisksOf(string vm) => [.. Plugged(vm).Select(d => Uuid(objects.Get("VDI", d)))];

    /// <summary>A long call shows at what it is done to.</summary>
    public void Mark(string method, JsonElement[] arguments, string task)
    {
        if (method is "VM.snapshot" or "VM.snapshot_with_quiesce")
        {
            ((JsonObject)objects.Get("VM", arguments[0].GetString()!)["current_operations"]!)[task] = method["VM.".Length..];
        }
    }

    public void Unmark(JsonElement[] arguments, string task)
    {
        if (objects.Class("VM").TryGetValue(arguments[0].GetString()!, out JsonObject? vm))
        {
            ((JsonObject)vm["current_operations"]!).Remove(task);
        }
    }

    /// <param name="arguments">Without the session.</param>
    public JsonNode? Call(string method, string session, JsonElement[] arguments)
    {
        string Text(int i) => arguments[i].GetString()!;
        JsonObject Disk(int i) => objects.Get("VDI", Text(i));
        switch (method)
        {
            case "session.get_is_local_superuser":
                return false;
            case "session.get_rbac_permissions":
                return new JsonArray("VM.get_all_records", "vm.snapshot", "vm.destroy", "vdi.destroy", "vdi.get_nbd_info");
            case "host.get_server_certificate":
                return ServerCertificate;
            case "task.destroy":
                objects.Get("task", Text(0));
                objects.Class("task").Remove(Text(0));
                return "";
            case "VM.snapshot":
                return Snapshot(Text(0), Text(1), arguments.Length > 2 ? [.. arguments[2].EnumerateArray().Select(d => d.GetString()!)] : []);
            case "VM.snapshot_with_quiesce":
                return arguments.Length == 2 ? Snapshot(Text(0), Text(1), []) : throw new XenFault("MESSAGE_PARAMETER_COUNT_MISMATCH", method);
            case "VM.destroy":
                DestroyVm(Text(0));
                return "";
            case "VM.suspend":
                objects.Get("VM", Text(0))["power_state"] = "Suspended";
                return "";
            case "VDI.destroy":
                Free(Text(0), Disk(0));
                objects.Class("VDI").Remove(Text(0));
                return "";
            case "VDI.data_destroy":
                return DestroyData(Text(0), Disk(0));
            case "VDI.enable_cbt":
                Disk(0)["cbt_enabled"] = HasTracking ? true : throw new XenFault("LICENCE_RESTRICTION", "CBT");
                return "";
            case "VDI.disable_cbt":
                Disk(0)["cbt_enabled"] = false;
                return "";
            case "VDI.list_changed_blocks":
                return storage.IsRead(Uuid(Disk(1))) ? throw new XenFault("VDI_IN_USE", Text(1), "list_changed_blocks") : storage.Changed(Uuid(Disk(0)), Uuid(Disk(1)));
            case "VDI.get_nbd_info":
                return NbdInfo(session, Disk(0));
            case "VIF.set_locking_mode":
                objects.Get("VIF", Text(0))["locking_mode"] = Text(1);
                return "";
            case "VIF.unplug":
                objects.Get("VIF", Text(0))["currently_attached"] = false;
                return "";
            default:
                int dot = method.IndexOf('.', StringComparison.Ordinal);
                return objects.Call(method[..dot], method[(dot + 1)..], arguments);
        }
    }

    /// <summary>All disks or none.</summary>
    public string Snapshot(string of, string name, IReadOnlyCollection<string> ignored)
    {
        JsonObject vm = objects.Get("VM", of);
        string[] disks = [.. Plugged(of).Where(d => !ignored.Contains(d))];
        if (disks.FirstOrDefault(d => !((JsonArray)objects.Get("VDI", d)["allowed_operations"]!).Any(o => o!.GetValue<string>() == "snapshot")) is { } not)
        {
            throw new XenFault("SR_OPERATION_NOT_SUPPORTED", not);
        }

        JsonObject copy = Machine(name, "Halted", ("is_a_template", true), ("is_a_snapshot", true));
        copy["snapshot_of"] = of;
        string snapshot = objects.Add("VM", copy);
        ((JsonArray)vm["snapshots"]!).Add(snapshot);
        foreach ((int i, string disk) in disks.Index())
        {
            JsonObject source = objects.Get("VDI", disk);
            var made = (JsonObject)source.DeepClone();
            made["uuid"] = Guid.NewGuid().ToString();
            made["is_a_snapshot"] = true;
            made["snapshot_of"] = disk;
            made["VBDs"] = new JsonArray();
            string reference = objects.Add("VDI", made);
            storage.Copy(Uuid(source), Uuid(made));
            if (source["cbt_enabled"]!.GetValue<bool>())
            {
                storage.Track(Uuid(made));
            }

            Plug(snapshot, reference, "Disk", i.ToString(CultureInfo.InvariantCulture));
        }

        return snapshot;
    }

    public void Revert(string vm, string raw)
    {
        foreach (string disk in Plugged(vm).ToArray())
        {
            storage.Remove(Uuid(objects.Get("VDI", disk)), withTrack: false);
            objects.Class("VDI").Remove(disk);
        }

        AddDisk(vm, raw);
    }

    public void Move(string uuid)
    {
        (string reference, JsonObject disk) = objects.Class("VDI").Single(d => Uuid(d.Value) == uuid);
        var moved = (JsonObject)disk.DeepClone();
        moved["uuid"] = Guid.NewGuid().ToString();
        string there = objects.Add("VDI", moved);
        storage.Copy(uuid, Uuid(moved));
        storage.Stop(uuid);
        storage.Remove(uuid, withTrack: true);
        objects.Class("VDI").Remove(reference);
        foreach (JsonObject device in objects.Class("VBD").Values.Where(d => d["VDI"]!.GetValue<string>() == reference))
        {
            device["VDI"] = there;
        }
    }

    /// <summary>With its disks, as an administrator removes one.</summary>
    public void Forget(string vm)
    {
        foreach (string disk in Plugged(vm).ToArray())
        {
            storage.Remove(Uuid(objects.Get("VDI", disk)), withTrack: true);
            objects.Class("VDI").Remove(disk);
        }

        DestroyVm(vm);
    }

    /// <summary>The disk of an export.</summary>
    public string Exported(string uuid)
    {
        JsonObject disk = objects.Class("VDI").Values.Single(d => Uuid(d) == uuid);
        Read(disk);
        return uuid;
    }

    private void DestroyVm(string vm)
    {
        JsonObject gone = objects.Get("VM", vm);
        foreach (string device in ((JsonArray)gone["VBDs"]!).Select(d => d!.GetValue<string>()))
        {
            string disk = objects.Get("VBD", device)["VDI"]!.GetValue<string>();
            objects.Class("VBD").Remove(device);
            if (objects.Class("VDI").TryGetValue(disk, out JsonObject? left))
            {
                left["VBDs"] = new JsonArray([.. ((JsonArray)left["VBDs"]!).Select(d => d!.GetValue<string>()).Where(d => d != device).Select(d => JsonValue.Create(d))]);
            }
        }

        objects.Class("VM").Remove(vm);
        foreach (JsonObject other in objects.Class("VM").Values)
        {
            other["snapshots"] = new JsonArray([.. ((JsonArray)other["snapshots"]!).Select(s => s!.GetValue<string>()).Where(s => s != vm).Select(s => JsonValue.Create(s))]);
        }
    }

    private string DestroyData(string reference, JsonObject disk)
    {
        if (((JsonArray)disk["VBDs"]!).Count > 0)
        {
            throw new XenFault("VDI_IN_USE", reference, "data_destroy");
        }

        if (!disk["cbt_enabled"]!.GetValue<bool>())
        {
            throw new XenFault("VDI_NO_CBT_METADATA", reference);
        }

        Free(reference, disk, withTrack: false);
        disk["type"] = "cbt_metadata";
        return "";
    }

    private void Free(string reference, JsonObject disk, bool withTrack = true)
    {
        if (!disk["is_a_snapshot"]!.GetValue<bool>() || storage.IsRead(Uuid(disk)))
        {
            // Live disks are nobody's to remove here.
            throw new XenFault("VDI_IN_USE", reference, "destroy");
        }

        storage.Remove(Uuid(disk), withTrack);
    }

    private JsonArray NbdInfo(string session, JsonObject disk)
    {
        if (NbdWay == "none")
        {
            return [];
        }

        Read(disk);
        string name = $"/{Uuid(disk)}?session_id={session}";
        int port = storage.Serve(Uuid(disk), name, NbdWay, n => n == name && isSession(session));
        return [new JsonObject { ["exportname"] = name, ["address"] = "127.0.0.1", ["port"] = port, ["cert"] = NbdCertificate, ["subject"] = host }];
    }

    private void Read(JsonObject disk)
    {
        if (!disk["is_a_snapshot"]!.GetValue<bool>())
        {
            ReadLive.Add(Uuid(disk));
        }
    }

    private IEnumerable<string> Plugged(string vm) =>
        ((JsonArray)objects.Get("VM", vm)["VBDs"]!).Select(d => objects.Get("VBD", d!.GetValue<string>())).Where(d => d["type"]!.GetValue<string>() == "Disk").Select(d => d["VDI"]!.GetValue<string>())
            .Where(objects.Class("VDI").ContainsKey);

    private void Plug(string vm, string disk, string type, string slot)
    {
        string device = objects.Add("VBD", new JsonObject
        {
            ["VM"] = vm,
            ["VDI"] = disk,
            ["type"] = type,
            ["userdevice"] = slot,
            ["device"] = type == "Disk" ? $"xvd{(char)('a' + int.Parse(slot, CultureInfo.InvariantCulture))}" : "xvdd",
            ["mode"] = type == "Disk" ? "RW" : "RO",
            ["empty"] = type != "Disk",
        });
        ((JsonArray)objects.Get("VM", vm)["VBDs"]!).Add(device);
        if (disk != XenObjects.Null)
        {
            ((JsonArray)objects.Get("VDI", disk)["VBDs"]!).Add(device);
        }
    }

    private JsonObject Machine(string name, string power, params (string Name, bool Value)[] flags)
    {
        var vm = new JsonObject
        {
            ["uuid"] = Guid.NewGuid().ToString(),
            ["name_label"] = name,
            ["power_state"] = power,
            ["resident_on"] = power == "Running" ? _host : XenObjects.Null,
            ["is_a_template"] = false,
            ["is_a_snapshot"] = false,
            ["is_control_domain"] = false,
            ["snapshot_of"] = XenObjects.Null,
            ["snapshots"] = new JsonArray(),
            ["VBDs"] = new JsonArray(),
            ["VIFs"] = new JsonArray(),
            ["tags"] = new JsonArray(),
            ["other_config"] = new JsonObject(),
            ["current_operations"] = new JsonObject(),
            ["guest_metrics"] = XenObjects.Null,
            ["suspend_VDI"] = XenObjects.Null,
        };
        foreach ((string flag, bool value) in flags)
        {
            vm[flag] = value;
        }

        return vm;
    }

    private static string Uuid(JsonObject thing) => thing["uuid"]!.GetValue<string>();
}
