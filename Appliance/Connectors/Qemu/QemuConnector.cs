using System.Text.Json.Nodes;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Connectors.Views;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Reports;

namespace Vmsweep.Appliance.Connectors.Qemu;

/// <summary>One QEMU process by its QMP socket, without any management above it.</summary>
internal sealed class QemuConnector(string name, string socket, ConnectorSettings settings, TimeProvider time) : IConnector
{
    public const string ExportKind = "qemu-export";
    public const string BitmapKind = "qemu-bitmap";
    public const string MemoryKind = "qemu-memory";

    /// <summary>Whoever else holds the monitor is not waited for longer: other limits are to be looked at.</summary>
    private static readonly TimeSpan MostLook = TimeSpan.FromSeconds(4);

    public string Name => name;

    public string Socket => socket;

    public ConnectorSettings Settings => settings;

    public string Check()
    {
        using QmpClient qemu = QmpClient.Open(socket);
        JsonNode? version = qemu.Run("query-version")?["qemu"];
        return $"QEMU {version?["major"]}.{version?["minor"]}.{version?["micro"]}";
    }

    public IReadOnlyList<InventoryVm> List()
    {
        using QmpClient qemu = QmpClient.Open(socket);
        string called = (string?)qemu.Run("query-name")?["name"] ?? Path.GetFileNameWithoutExtension(socket);
        string status = (string?)qemu.Run("query-status")?["status"] ?? "";
        return [new InventoryVm(socket, called, status == "running" ? "running" : "paused", Environment.MachineName, "", "", [], Disks(qemu))];
    }

    public Vm Target(InventoryVm vm, string target, ViewRequest request) =>
        new(target, vm.ToReport(), [], [])
        {
            Open = () => Open(vm, target, request, null),
            OpenTracked = since => Open(vm, target, request, new Tracking(since)),
            Act = (act, note) => Act(vm, act, note),
        };

    public void Undo(LeaseRecord lease)
    {
        switch (lease.Kind)
        {
            case ExportKind:
                QemuView.Undo(this, lease);
                break;
            case MemoryKind:
                QemuMemory.Undo(this, lease);
                break;
            case BitmapKind:
                ChangeBitmap.Undo(this, lease);
                break;
            default:
                throw new InvalidDataException($"a lease of the kind {lease.Kind} is none of QEMU's");
        }
    }

    /// <summary>A view that is kept takes space for as long as it is; a bitmap takes next to none.</summary>
    public string? MustEnd(LeaseRecord lease) =>
        lease.Kind == ExportKind ? ViewLimits.Full(settings, QemuView.ScratchFolders(lease)) ?? StoppedGuest.Look(lease, IsStoppedByError)
        : lease.Kind == BitmapKind && ChangeBitmap.IsVoid(this, lease) ? "its QEMU and its images are gone" : null;

    public ActReport Act(InventoryVm vm, VmAct act, string note)
    {
        if (act != VmAct.Suspend)
        {
            return new ActReport(act.ToString().ToLowerInvariant(), false, "a bare QEMU keeps neither notes nor tags and does not tell of its network cards", "");
        }

        using QmpClient qemu = QmpClient.Open(socket);
        qemu.Run("stop");
        return new ActReport("suspend", true, "the VM is paused", $"echo '{{\"execute\":\"qmp_capabilities\"}}{{\"execute\":\"cont\"}}' | socat - UNIX-CONNECT:{socket}");
    }

    /// <summary>It does not run any more since a read or write of its failed.</summary>
    public bool IsStoppedByError()
    {
        using QmpClient qemu = QmpClient.Open(socket, MostLook);
        return IsStoppedByError(qemu);
    }

    public void GoOnAfterError()
    {
        try
        {
            using QmpClient qemu = QmpClient.Open(socket);
            if (IsStoppedByError(qemu))
            {
                qemu.Run("cont");
            }
        }
        catch (QemuGoneException)
        {
            // Nothing stands still.
        }
    }

    public void Dispose()
    {
    }

    private static bool IsStoppedByError(QmpClient qemu) => (string?)qemu.Run("query-status")?["status"] == "io-error";

    private IVmView Open(InventoryVm vm, string target, ViewRequest request, Tracking? tracking) =>
        request.WithMemory ? QemuMemory.Open(this, vm, request, () => QemuView.Open(this, target, request, time, tracking)) : QemuView.Open(this, target, request, time, tracking);

    /// <summary>Drives with a medium that is no removable one; the node's name is the disk's key.</summary>
    public static List<InventoryDisk> Disks(QmpClient qemu)
    {
        List<InventoryDisk> disks = [];
        foreach (JsonNode? drive in qemu.Run("query-block")?.AsArray() ?? [])
        {
            if (drive?["inserted"] is { } medium && (bool?)drive["removable"] != true && (string?)medium["node-name"] is { } node)
            {
                List<string> chain = [];
                for (JsonNode? image = medium["image"]; image is not null; image = image["backing-image"])
                {
                    chain.Add((string?)image["filename"] ?? "");
                }

                disks.Add(new InventoryDisk(node, "file", (string?)medium["file"] ?? "", (string?)medium["drv"] ?? "", (bool?)medium["ro"] == true, chain));
            }
        }

        return disks;
    }
}
