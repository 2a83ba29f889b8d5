using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Connectors.Views;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Reports;

namespace Vmsweep.Appliance.Connectors.Libvirt;

/// <summary>
/// A running or paused VM by libvirt's pull-mode backup: one point in time for all disks, what the guest overwrites afterwards is kept in scratch files,
/// and QEMU itself serves the disks of that moment on a Unix socket.
/// </summary>
internal sealed class BackupView : IVmView
{
    private const string ScratchPrefix = "scratch.";
    private const string ViewsKey = "views";

    private static readonly TimeSpan MostWait = TimeSpan.FromSeconds(60);

    /// <summary>For a daemon to carry out what was asked for by a process that is gone.</summary>
    private static readonly TimeSpan MostBegin = TimeSpan.FromSeconds(30);

    private readonly LibvirtConnector _connector;
    private readonly Lease _lease;
    private readonly ViewLimits _limits;
    private readonly Checkpoint? _checkpoint;
    private bool _isKept;

    private BackupView(LibvirtConnector connector, Vm vm, Lease lease, Checkpoint? checkpoint, ViewLimits limits)
    {
        _checkpoint = checkpoint;
        _connector = connector;
        Vm = vm;
        _lease = lease;
        _limits = limits;
    }

    public Vm Vm { get; }

    /// <summary>The socket as workers find it.</summary>
    private string Reached { get; init; } = "";

    public IViewChanges? Changes => _checkpoint;

    public string? MustClose() => _limits.Exceeded() ?? StoppedGuest.Look(_lease.Record, () => _connector.IsStoppedByError(_lease.Record.VmId));

    public IReadOnlyList<GapReport> Conclude() => ExportedDisk.Conclude(Vm, () =>
    {
        bool isServed = false;
        _connector.OnIfThere(_lease.Record.VmId, domain => isServed = IsOurs(domain, ViewFolder.SocketIn(_lease.Record.Details[ViewsKey], _lease.Record.Key)));
        return isServed;
    });

    public string? Keep()
    {
        _isKept = true;
        _lease.Update(r => r with { IsKept = true });

        // Nothing can be removed while it runs.
        _checkpoint?.Keep();
        return _lease.Record.Id.ToString();
    }

    public void Dispose()
    {
        _connector.Files.Leave(Reached);
        using (_lease)
        {
            if (!_isKept)
            {
                Undo(_connector, _lease.Record);
                _lease.Complete();
            }
        }

        _checkpoint?.Dispose();
    }

    /// <param name="tracking">The view tells what changed since an earlier mark, which may be null; null: it tells nothing.</param>
    /// <param name="read">The VM with the disks that nobody writes to.</param>
    /// <exception cref="LibvirtException">libvirt refuses.</exception>
    public static BackupView Open(LibvirtConnector connector, InventoryVm vm, Vm read, IReadOnlyList<InventoryDisk> disks, ViewRequest request, TimeProvider time, Tracking? tracking = null)
    {
        string[] folders = [.. disks.Select(d => FolderOf(connector, d)).Distinct()];
        var limits = new ViewLimits(connector.Settings, folders, time, connector.Files);
        if (limits.Exceeded() is { } full)
        {
            throw new ConnectorException($"{vm.Name}: no view is opened: {full}");
        }

        string views = connector.Settings.Views;
        Lease lease = request.Journal.Begin(LibvirtConnector.BackupKind, connector.Name, vm.Id, vm.Name, key =>
        {
            var details = new Dictionary<string, string> { [ViewsKey] = views };
            StoppedGuest.Note(details, vm);
            foreach (InventoryDisk disk in disks)
            {
                details[ScratchPrefix + disk.Name] = Path.Combine(FolderOf(connector, disk), $"vmsweep-{key}-{disk.Name}.scratch");
            }

            return details;
        });
        Checkpoint? checkpoint = null;
        try
        {
            // After the lease of the backup, for they are undone in the order of their age.
            checkpoint = tracking is null ? null : Checkpoint.Begin(connector, vm, disks, request.Journal, tracking.Since);
            string key = lease.Record.Key;
            string socket = ViewFolder.SocketIn(views, key);
            connector.On(vm.Id, (_, domain) =>
            {
                connector.Files.MakeView(views, key, LibvirtInventory.Account(domain.Xml()));
                if (domain.Backup() is not null)
                {
                    throw new ConnectorException($"{vm.Name}: another backup of this VM is under way; a VM has one at a time");
                }

                List<(string, string?)> all = [.. vm.Disks.Select(d => (d.Name, lease.Record.Details.GetValueOrDefault(ScratchPrefix + d.Name)))];
                if (checkpoint is null)
                {
                    domain.BackupBegin(BackupXml.Backup(socket, all));
                }
                else
                {
                    checkpoint.BeginBackup(domain, socket, all, vm.Disks);
                }

                return true;
            });
            Wait(() => connector.Files.Exists(socket), $"{vm.Name}: QEMU does not serve the view");
            string reached = connector.Files.Reach(socket);
            checkpoint?.Reach(reached);
            List<VmDisk> seen = [.. read.Disks];
            foreach (InventoryDisk disk in disks)
            {
                seen.Add(ExportedDisk.Of(disk.Source, reached, disk.Name));
            }

            return new BackupView(connector, read with { Disks = [.. seen.OrderBy(d => vm.Disks.ToList().FindIndex(v => v.Source == d.Path))] }, lease, checkpoint, limits) { Reached = reached };
        }
        catch
        {
            lease.Abandon(() => Undo(connector, lease.Record), checkpoint);

            throw;
        }
    }

    /// <summary>Ends what a lease records, as far as it is there and is ours.</summary>
    public static void Undo(LibvirtConnector connector, LeaseRecord lease)
    {
        string views = lease.Details[ViewsKey];
        string socket = ViewFolder.SocketIn(views, lease.Key);
        connector.OnIfThere(lease.VmId, domain =>
        {
            // A daemon goes on with what a killed scan asked for: first it makes the scratch files, then the job.
            if (domain.IsActive && Scratch(lease).Any(connector.Files.Exists))
            {
                TryWait(() => IsOurs(domain, socket) || !Scratch(lease).Any(connector.Files.Exists), MostBegin);
            }

            // Another's backup may have been begun since ours ended by itself.
            if (IsOurs(domain, socket))
            {
                domain.AbortJob();
                Wait(() => !IsOurs(domain, socket), $"{lease.VmName}: the backup does not end");
            }
        });
        foreach (string path in Scratch(lease))
        {
            if (Path.GetFileName(path).Contains(lease.Key, StringComparison.Ordinal))
            {
                connector.Files.Delete(path);
            }
        }

        connector.Files.RemoveView(views, lease.Key);

        // Last: its own disk may lie where the scratch files took the space.
        StoppedGuest.Resume(lease, () => connector.GoOnAfterError(lease.VmId));
    }

    /// <summary>Where what a lease records takes space.</summary>
    public static IEnumerable<string> ScratchFolders(LeaseRecord lease) => Scratch(lease).Select(s => Path.GetDirectoryName(s)!).Distinct();

    private static bool IsOurs(LibvirtDomain domain, string socket) => domain.IsActive && domain.Backup() is { } xml && xml.Contains(socket, StringComparison.Ordinal);

    private static string FolderOf(LibvirtConnector connector, InventoryDisk disk) =>
        connector.Settings.Scratch ?? (disk.Type == "file" ? Path.GetDirectoryName(disk.Source)! : "/var/lib/libvirt/images");

    private static IEnumerable<string> Scratch(LeaseRecord lease) => lease.Details.Where(d => d.Key.StartsWith(ScratchPrefix, StringComparison.Ordinal)).Select(d => d.Value);

    private static void Wait(Func<bool> until, string otherwise)
    {
        if (!TryWait(until, MostWait))
        {
            throw new ConnectorException($"{otherwise} within {MostWait.TotalSeconds} s");
        }
    }

    private static bool TryWait(Func<bool> until, TimeSpan atMost)
    {
        long started = Environment.TickCount64;
        while (!until())
        {
            if (Environment.TickCount64 - started > atMost.TotalMilliseconds)
            {
                return false;
            }

            Thread.Sleep(20);
        }

        return true;
    }
}
