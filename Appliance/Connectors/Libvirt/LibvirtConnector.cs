using System.Globalization;
using System.Security;
using System.Xml.Linq;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Connectors.Ssh;
using Vmsweep.Appliance.Connectors.Views;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Connectors.Libvirt;

/// <summary>A host with libvirt and QEMU. Every call opens its own connection, so that a daemon that is restarted during a scan does no harm.</summary>
/// <param name="uri">libvirt's own URI.</param>
/// <param name="method">How running VMs are viewed: <c>backup</c>, <c>snapshot</c>, or null for the first that works.</param>
/// <param name="ssh">The way to another host; null for this one.</param>
internal sealed class LibvirtConnector(string name, string uri, string? method, ConnectorSettings settings, TimeProvider time, SshHost? ssh = null) : IConnector
{
    private const string DefaultSocket = "/var/run/libvirt/libvirt-sock";

    private readonly Lock _lock = new();
    private string? _forwarded;

    public const string BackupKind = "libvirt-backup";
    public const string OverlayKind = "libvirt-overlay";
    public const string CheckpointKind = "libvirt-checkpoint";
    public const string ServedKind = "libvirt-served";
    public const string MemoryKind = "libvirt-memory";

    /// <summary>Of the note that is left on a VM.</summary>
    public const string MetadataUri = "urn:vmsweep:detection:1";

    /// <summary>A daemon that is just restarted is there again within seconds.</summary>
    private static readonly TimeSpan MostRestart = TimeSpan.FromSeconds(30);

    public string Name => name;

    public ConnectorSettings Settings => settings;

    public IHostFiles Files { get; } = ssh is null ? LocalFiles.Instance : new SshFiles(ssh);

    /// <summary>libvirt of another host: its socket there is forwarded to one here, and so will be those of views.</summary>
    /// <param name="path">libvirt's own, <c>/system</c>.</param>
    /// <param name="socket">Of the daemon there; null for where it is by default.</param>
    public static LibvirtConnector BySsh(string name, string path, string? socket, string? method, ConnectorSettings settings, TimeProvider time) =>
        method != "snapshot" ? new LibvirtConnector(name, path, method, settings, time, new SshHost(settings)) { RemoteSocket = socket ?? DefaultSocket }
            : throw new ConnectorException($"{name}: view=snapshot reads images where they lie, which by ssh is another host");

    private string RemoteSocket { get; init; } = "";

    private string Uri
    {
        get
        {
            if (ssh is null)
            {
                return uri;
            }

            lock (_lock)
            {
                if (_forwarded is null || !ssh.IsAlive(_forwarded))
                {
                    _forwarded = ssh.Forward(RemoteSocket);
                }

                return $"qemu://{uri}?socket={System.Uri.EscapeDataString(_forwarded)}";
            }
        }
    }

    public string Check()
    {
        using LibvirtHost host = LibvirtHost.Open(Uri);
        return host.Versions;
    }

    public IReadOnlyList<InventoryVm> List()
    {
        using LibvirtHost host = LibvirtHost.Open(Uri);
        string hostname = host.Hostname;
        IReadOnlyList<LibvirtDomain> domains = host.Domains();
        try
        {
            return [.. domains.Select(d => LibvirtInventory.Of(d, hostname)).OrderBy(v => v.Name, StringComparer.Ordinal)];
        }
        finally
        {
            foreach (LibvirtDomain domain in domains)
            {
                domain.Dispose();
            }
        }
    }

    public Vm Target(InventoryVm vm, string target, ViewRequest request) =>
        new(target, vm.ToReport(), [], [])
        {
            Open = () => Open(vm, target, request, null),
            OpenTracked = since => Open(vm, target, request, new Tracking(since)),
            Act = (act, note) => Act(vm, act, note),
        };

    /// <summary>Runs something on a domain, again where the daemon went away meanwhile.</summary>
    /// <exception cref="ConnectorException">There is no such domain, or no daemon.</exception>
    public T On<T>(string uuid, Func<LibvirtHost, LibvirtDomain, T> act)
    {
        using LibvirtHost host = OpenPatiently();
        using LibvirtDomain domain = host.Domain(uuid) ?? throw new ConnectorException($"{name}: there is no VM {uuid} any more");
        return act(host, domain);
    }

    /// <summary>As <see cref="On"/>, and nothing where the VM was removed meanwhile.</summary>
    public void OnIfThere(string uuid, Action<LibvirtHost, LibvirtDomain> act)
    {
        using LibvirtHost host = OpenPatiently();
        using LibvirtDomain? domain = host.Domain(uuid);
        if (domain is not null)
        {
            act(host, domain);
        }
    }

    public void OnIfThere(string uuid, Action<LibvirtDomain> act) => OnIfThere(uuid, (_, domain) => act(domain));

    public void Undo(LeaseRecord lease)
    {
        switch (lease.Kind)
        {
            case BackupKind:
                BackupView.Undo(this, lease);
                break;
            case OverlayKind:
                OverlayView.Undo(this, lease);
                break;
            case CheckpointKind:
                Checkpoint.Undo(this, lease);
                break;
            case MemoryKind:
                LibvirtMemory.Undo(this, lease);
                break;
            case ServedKind:
                ServedView.Undo(ssh ?? throw new ConnectorException($"{name} is this machine, and the lease is of another"), lease);
                break;
            default:
                throw new InvalidDataException($"a lease of the kind {lease.Kind} is none of libvirt's");
        }
    }

    /// <summary>A view that is kept takes space for as long as it is; a checkpoint takes next to none.</summary>
    public string? MustEnd(LeaseRecord lease) =>
        lease.Kind == BackupKind ? ViewLimits.Full(settings, BackupView.ScratchFolders(lease), Files) ?? StoppedGuest.Look(lease, () => IsStoppedByError(lease.VmId)) : null;

    /// <summary>A VM does not run any more since a read or write of its failed. A daemon that is just restarted is not waited for.</summary>
    public bool IsStoppedByError(string uuid)
    {
        using LibvirtHost host = LibvirtHost.Open(Uri);
        using LibvirtDomain? domain = host.Domain(uuid);
        return domain is { IsStoppedByError: true };
    }

    public void GoOnAfterError(string uuid) => OnIfThere(uuid, domain =>
    {
        if (domain.IsStoppedByError)
        {
            domain.Resume();
        }
    });

    public ActReport Act(InventoryVm vm, VmAct act, string note) => On(vm.Id, (_, domain) =>
    {
        switch (act)
        {
            case VmAct.Annotate:
                string when = time.GetUtcNow().ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture);
                domain.Annotate($"<detection at='{when}'>{SecurityElement.Escape(note)}</detection>", "vmsweep", MetadataUri, domain.IsActive);
                return new ActReport("annotate", true, "a note in the VM's metadata", $"virsh metadata {vm.Id} {MetadataUri} --remove --config{(domain.IsActive ? " --live" : "")}");
            case VmAct.Suspend when domain.Power == "running":
                domain.Suspend();
                return new ActReport("suspend", true, "the VM is paused", $"virsh resume {vm.Id}");
            case VmAct.Suspend:
                return new ActReport("suspend", false, $"the VM is {domain.Power}; there is nothing to suspend", "");
            case VmAct.Disconnect:
                return Disconnect(vm, domain);
            case VmAct.Tag:
                return new ActReport("tag", false, "libvirt has no tags; annotate leaves a note", "");
            default:
                throw new ArgumentOutOfRangeException(nameof(act));
        }
    });

    public void Dispose() => ssh?.Dispose();

    private static ActReport Disconnect(InventoryVm vm, LibvirtDomain domain)
    {
        List<XElement> cards = [.. (domain.Xml().Child("devices")?.Children("interface") ?? []).Where(i => i.Child("link").Value("state") != "down")];
        foreach (XElement card in cards)
        {
            card.Child("link")?.Remove();
            card.Add(new XElement("link", new XAttribute("state", "down")));
            domain.UpdateDevice(card, domain.IsActive);
        }

        string[] addresses = [.. cards.Select(c => c.Child("mac").Value("address"))];
        string config = domain.IsActive ? "" : " --config";
        return new ActReport(
            "disconnect",
            addresses.Length > 0,
            addresses.Length > 0 ? $"network cards unplugged: {string.Join(", ", addresses)}" : "the VM has no connected network card",
            string.Join("; ", addresses.Select(a => $"virsh domif-setlink {vm.Id} {a} up{config}")));
    }

    private IVmView Open(InventoryVm listed, string target, ViewRequest request, Tracking? tracking)
    {
        // What it was when it was listed may be long ago.
        InventoryVm vm = On(listed.Id, (host, domain) => LibvirtInventory.Of(domain, host.Hostname));
        if (vm.Power is not ("running" or "paused"))
        {
            if (ssh is not null)
            {
                return ServedView.Open(this, ssh, vm, target, request);
            }

            return new FilesView(this, vm, target, request.Bases);
        }

        return request.WithMemory ? LibvirtMemory.Open(this, vm, request, () => OpenDisks(vm, target, request, tracking)) : OpenDisks(vm, target, request, tracking);
    }

    /// <summary>Of a VM that runs or is paused.</summary>
    private IVmView OpenDisks(InventoryVm vm, string target, ViewRequest request, Tracking? tracking)
    {
        List<GapReport> gaps = [];
        List<InventoryDisk> changing = [], still = [];
        foreach (InventoryDisk disk in vm.Disks)
        {
            if (disk.Source.Length == 0)
            {
                gaps.Add(new CoverageGap(Fault.Unsupported, disk.Name, "disk", -1, 0, "it has no source that can be named").ToReport());
            }
            else
            {
                (disk.IsReadOnly && disk.Type == "file" && Files.AreHere ? still : changing).Add(disk);
            }
        }

        if (changing.Count == 0)
        {
            return new FilesView(this, vm with { Disks = still }, target, request.Bases);
        }

        // Disks that nobody writes to are read where they lie.
        Vm read = FilesView.Read(vm with { Disks = still }, target, [.. settings.Bases, .. request.Bases]);
        read = read with { Gaps = [.. gaps, .. read.Gaps] };
        if (method == "snapshot")
        {
            return OverlayView.Open(this, vm, read, changing, request, time);
        }

        try
        {
            return BackupView.Open(this, vm, read, changing, request, time, tracking);
        }
        catch (LibvirtException e) when (e.IsUnsupported && method is null && Files.AreHere)
        {
            Serilog.Log.Information("{Vm}: {Reason}; an external snapshot is used instead", vm.Name, e.Message);
            return OverlayView.Open(this, vm, read, changing, request, time);
        }
    }

    private LibvirtHost OpenPatiently()
    {
        long started = Environment.TickCount64;
        while (true)
        {
            try
            {
                return LibvirtHost.Open(Uri);
            }
            catch (LibvirtException) when (Environment.TickCount64 - started < MostRestart.TotalMilliseconds)
            {
                Thread.Sleep(500);
            }
        }
    }
}
