using System.Globalization;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Connectors.Views;
using Vmsweep.Appliance.Leases;

namespace Vmsweep.Appliance.Connectors.Libvirt;

/// <summary>The memory of a VM that runs on this machine. Spec: libvirt.org, virDomainCoreDumpWithFormat; the daemon writes the file, as an ELF core.</summary>
internal static class LibvirtMemory
{
    /// <summary>For a daemon to end what a process that is gone asked for: it writes all of the memory.</summary>
    private static readonly TimeSpan MostDump = TimeSpan.FromMinutes(10);

    /// <summary>And to begin it.</summary>
    private static readonly TimeSpan MostBegin = TimeSpan.FromSeconds(5);

    public static IVmView Open(LibvirtConnector connector, InventoryVm vm, ViewRequest request, Func<IVmView> open) => MemoryDump.Open(
        LibvirtConnector.MemoryKind,
        lease => Undo(connector, lease),
        connector,
        connector.Settings,
        vm,
        request,
        () => connector.Files.AreHere ? connector.On(vm.Id, (_, domain) => BytesOf(domain)) : throw new ConnectorException("memory of running VMs is read where libvirt runs, and not by ssh"),
        null,
        path => connector.On(vm.Id, (_, domain) =>
        {
            domain.DumpMemory(path);
            return true;
        }),
        open);

    /// <summary>Waits until the daemon writes no more, and removes what was written.</summary>
    public static void Undo(LibvirtConnector connector, LeaseRecord lease)
    {
        connector.OnIfThere(lease.VmId, domain =>
        {
            for (long started = Environment.TickCount64; domain.IsActive; Thread.Sleep(100))
            {
                long waited = Environment.TickCount64 - started;

                // While a backup runs there is no dump.
                if (domain.HasJob && domain.Backup() is null ? waited > MostDump.TotalMilliseconds : MemoryDump.IsBegun(lease) || waited > MostBegin.TotalMilliseconds)
                {
                    break;
                }
            }
        });
        MemoryDump.Remove(lease);
    }

    private static long BytesOf(LibvirtDomain domain)
    {
        System.Xml.Linq.XElement? memory = domain.Xml().Child("memory");
        return memory?.Value("unit") is "KiB" && long.TryParse(memory.Value.Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out long kibibytes) && kibibytes < long.MaxValue / 1024
            ? kibibytes * 1024
            : throw new ConnectorException("libvirt does not tell how much memory it has");
    }
}
