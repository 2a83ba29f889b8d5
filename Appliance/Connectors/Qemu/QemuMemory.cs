using System.Text.Json.Nodes;
using Vmsweep.Appliance.Connectors.Views;
using Vmsweep.Appliance.Leases;

namespace Vmsweep.Appliance.Connectors.Qemu;

/// <summary>The memory of a bare QEMU, which it writes itself as an ELF core. Spec: qemu QMP reference, "dump-guest-memory" and "query-dump".</summary>
internal static class QemuMemory
{
    private static readonly TimeSpan MostDump = TimeSpan.FromMinutes(30);

    public static IVmView Open(QemuConnector connector, InventoryVm vm, ViewRequest request, Func<IVmView> open)
    {
        (uint, uint) account;
        using (QmpClient qemu = QmpClient.Open(connector.Socket))
        {
            account = qemu.Account;
        }

        return MemoryDump.Open(
            QemuConnector.MemoryKind,
            lease => Undo(connector, lease),
            connector,
            connector.Settings,
            vm,
            request,
            () =>
            {
                using QmpClient qemu = QmpClient.Open(connector.Socket);
                JsonNode? memory = qemu.Run("query-memory-size-summary");
                return ((long?)memory?["base-memory"] ?? 0) + ((long?)memory?["plugged-memory"] ?? 0);
            },
            account,
            path => Dump(connector, path),
            open);
    }

    /// <summary>Waits until QEMU writes no more, and removes what was written.</summary>
    public static void Undo(QemuConnector connector, LeaseRecord lease)
    {
        if (MemoryDump.IsBegun(lease))
        {
            try
            {
                using QmpClient qemu = QmpClient.Open(connector.Socket);
                Wait(qemu);
            }
            catch (QemuGoneException)
            {
                // The file is left.
            }
        }

        MemoryDump.Remove(lease);
    }

    private static void Dump(QemuConnector connector, string path)
    {
        using QmpClient qemu = QmpClient.Open(connector.Socket);

        // Of its own accord, so that a monitor that is asked meanwhile answers; the VM stands still until it is done.
        qemu.Run("dump-guest-memory", new JsonObject { ["paging"] = false, ["protocol"] = "file:" + path, ["detach"] = true, ["format"] = "elf" });
        if (Wait(qemu) is var status && status != "completed")
        {
            throw new ConnectorException($"the dump of the memory is {status}");
        }
    }

    /// <summary>How the last dump ended.</summary>
    private static string Wait(QmpClient qemu)
    {
        for (long started = Environment.TickCount64; ; Thread.Sleep(20))
        {
            string status = (string?)qemu.Run("query-dump")?["status"] ?? "";
            if (status != "active")
            {
                return status;
            }

            if (Environment.TickCount64 - started > MostDump.TotalMilliseconds)
            {
                throw new ConnectorException($"the dump of the memory does not end within {MostDump.TotalMinutes} min");
            }
        }
    }
}
