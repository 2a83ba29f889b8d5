using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Connectors.Ssh;
using Vmsweep.Appliance.Connectors.Views;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Connectors.Libvirt;

/// <summary>
/// A VM that is off or saved on another host: its files as they lie there, each served by a <c>qemu-nbd</c> of that host as the plain bytes it is. The images
/// are put together here, where names in them open nothing but what the policy allows; the program there never looks into one.
/// </summary>
internal sealed class ServedView : IVmView
{
    private const string ViewsKey = "views";

    private readonly LibvirtConnector _connector;
    private readonly InventoryVm _vm;
    private readonly SshHost _ssh;
    private readonly Lease _lease;
    private readonly ServedFiles _files;
    private readonly StillFiles _still;

    private ServedView(LibvirtConnector connector, SshHost ssh, InventoryVm vm, Vm read, Lease lease, ServedFiles files)
    {
        (_connector, _ssh, _vm, Vm, _lease, _files) = (connector, ssh, vm, read, lease, files);
        _still = new StillFiles(read, files.StateOf);
    }

    public Vm Vm { get; }

    public string? MustClose() => null;

    public IReadOnlyList<GapReport> Conclude() => FilesView.Conclude(_connector, _vm, Vm.Target, _still);

    public string? Keep() => null;

    public void Dispose()
    {
        using (_lease)
        {
            _files.Dispose();
            Undo(_ssh, _lease.Record);
            _lease.Complete();
        }
    }

    /// <exception cref="ConnectorException">There is nothing there that serves files.</exception>
    public static ServedView Open(LibvirtConnector connector, SshHost ssh, InventoryVm vm, string target, ViewRequest request)
    {
        if (!ssh.TryRun($"command -v {ServedFiles.Program}", out _, out _))
        {
            throw new ConnectorException(
                $"{vm.Name} is {vm.Power}, and nothing on {connector.Settings.Address.Host} serves its images: install {ServedFiles.Program} there (apt-get install -y qemu-utils, or dnf install -y qemu-img), or scan them where they are mounted");
        }

        string views = connector.Settings.Views;
        Lease lease = request.Journal.Begin(LibvirtConnector.ServedKind, connector.Name, vm.Id, vm.Name, _ => new Dictionary<string, string> { [ViewsKey] = views });
        var files = new ServedFiles(ssh, Path.GetDirectoryName(ViewFolder.SocketIn(views, lease.Record.Key))!);
        try
        {
            connector.Files.MakeView(views, lease.Record.Key, null);
            Vm read = Read(vm, target, [.. connector.Settings.Bases, .. request.Bases], files);
            return new ServedView(connector, ssh, vm, FilesView.WithMemory(read, FilesView.SaveOf(connector, vm), files.Open), lease, files);
        }
        catch
        {
            lease.Abandon(() =>
            {
                files.Dispose();
                Undo(ssh, lease.Record);
            });

            throw;
        }
    }

    /// <summary>Ends what still serves in a lease's folder, and removes the folder.</summary>
    public static void Undo(SshHost ssh, LeaseRecord lease) => ServedFiles.Remove(ssh, Path.GetDirectoryName(ViewFolder.SocketIn(lease.Details[ViewsKey], lease.Key))!);

    private static Vm Read(InventoryVm vm, string target, IReadOnlyList<string> bases, ServedFiles files)
    {
        List<VmDisk> disks = [];
        List<GapReport> gaps = [];
        foreach (InventoryDisk disk in vm.Disks)
        {
            if (disk.Type != "file" || !Path.IsPathRooted(disk.Source))
            {
                gaps.Add(new CoverageGap(Fault.Unsupported, disk.Source.Length > 0 ? disk.Source : disk.Name, "disk", -1, 0, $"a disk of the type {disk.Type} is no file, and the VM does not run").ToReport());
                continue;
            }

            try
            {
                var policy = new FolderPolicy(Path.GetDirectoryName(disk.Source)!, bases, elsewhere: files.KindOf);
                ChainPlan plan = ChainPlanner.Plan(files.Open(disk.Source), new Serving(policy, files), disk.Format);
                disks.Add(new VmDisk(disk.Source, plan, [.. policy.Refused.Select(r => r.Name)]));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                gaps.Add(new CoverageGap(Fault.Transport, disk.Source, "storage", -1, 0, e.Message).ToReport());
            }
        }

        return new Vm(target, vm.ToReport(), disks, gaps);
    }

    /// <summary>What the policy allows is served before it is read.</summary>
    private sealed class Serving(FolderPolicy policy, ServedFiles files) : IReferencePolicy
    {
        public ReferenceAnswer Resolve(string fromPath, DiskReaders.Containers.ImageReference reference)
        {
            ReferenceAnswer answer = policy.Resolve(fromPath, reference);
            try
            {
                return answer.Path is { } path ? new ReferenceAnswer(null, File: files.Open(path)) : answer;
            }
            catch (IOException e)
            {
                return new ReferenceAnswer(null, Fault.Transport, e.Message);
            }
        }
    }
}
