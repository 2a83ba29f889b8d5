using System.Xml.Linq;
using Serilog;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Connectors.Views;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Blocks.Nbd;

namespace Vmsweep.Appliance.Connectors.Libvirt;

/// <summary>
/// What tells a later view what changed since this one: a libvirt checkpoint, made at the very moment of the backup, which is a bitmap of changes in each
/// qcow2 image. Raw disks keep none. It has a lease of its own, for it is meant to outlast the view.
/// </summary>
internal sealed class Checkpoint : IViewChanges, IDisposable
{
    private const string NameKey = "checkpoint";
    private const string ImagePrefix = "image.";

    /// <summary>QEMU's only flag: the range was written to. Spec: qemu docs/interop/nbd.txt.</summary>
    private const uint Dirty = 1;

    private readonly LibvirtConnector _connector;
    private readonly LeaseJournal _journal;
    private readonly Lease _lease;
    private readonly string? _since;
    private Dictionary<string, string> _bitmaps = [];
    private string _socket = "";
    private bool _isMade;
    private bool _isKept;
    private bool _isReleasing;

    private Checkpoint(LibvirtConnector connector, LeaseJournal journal, Lease lease, string? since) => (_connector, _journal, _lease, _since) = (connector, journal, lease, since);

    public string? Mark => _isMade ? _lease.Record.Details[NameKey] : null;

    /// <summary>Writes down what is about to be made.</summary>
    /// <param name="since">The earlier one; null when there is none.</param>
    public static Checkpoint Begin(LibvirtConnector connector, InventoryVm vm, IReadOnlyList<InventoryDisk> disks, LeaseJournal journal, string? since)
    {
        Lease lease = journal.Begin(LibvirtConnector.CheckpointKind, connector.Name, vm.Id, vm.Name, key =>
        {
            var details = new Dictionary<string, string> { [NameKey] = "vmsweep-" + key };
            foreach (InventoryDisk disk in disks.Where(IsTracked))
            {
                details[ImagePrefix + disk.Name] = disk.Source;
            }

            return details;
        });
        return new Checkpoint(connector, journal, lease, since);
    }

    /// <summary>Begins a backup with it; with less where libvirt refuses, for a scan that reads all is better than none.</summary>
    public void BeginBackup(LibvirtDomain domain, string socket, IReadOnlyList<(string Disk, string? Scratch)> disks, IReadOnlyList<InventoryDisk> all)
    {
        string name = _lease.Record.Details[NameKey];
        XElement checkpoint = BackupXml.Checkpoint(name, [.. all.Select(d => (d.Name, _lease.Record.Details.ContainsKey(ImagePrefix + d.Name)))]);
        string[] tracked = [.. _lease.Record.Details.Keys.Where(k => k.StartsWith(ImagePrefix, StringComparison.Ordinal)).Select(k => k[ImagePrefix.Length..])];
        if (_since is not null && tracked.Length > 0 && Try(() => domain.BackupBegin(BackupXml.Backup(socket, disks, (_since, tracked)), checkpoint)))
        {
            _isMade = true;
            _bitmaps = BitmapsOf(domain.Backup());
            return;
        }

        if (tracked.Length > 0 && Try(() => domain.BackupBegin(BackupXml.Backup(socket, disks), checkpoint)))
        {
            _isMade = true;
            return;
        }

        domain.BackupBegin(BackupXml.Backup(socket, disks));
    }

    /// <summary>Where the backup is found from here.</summary>
    public void Reach(string socket) => _socket = socket;

    public IReadOnlyList<ChangedRange>? Of(VmDisk disk)
    {
        string? name = _lease.Record.Details.Where(d => d.Key.StartsWith(ImagePrefix, StringComparison.Ordinal) && d.Value == disk.Path).Select(d => d.Key[ImagePrefix.Length..]).FirstOrDefault();
        if (name is null || !_bitmaps.TryGetValue(name, out string? bitmap))
        {
            return null;
        }

        string context = "qemu:dirty-bitmap:" + bitmap;
        using NbdSource source = NbdSource.Open(NbdTransport.Unix(_socket), name, new ScanBudget(8 << 20), context: context);
        return [.. source.Ranges(context, Dirty, TracingJob.MostRanges).Select(r => new ChangedRange(r.Offset, r.Length))];
    }

    public void Keep()
    {
        _lease.Update(r => r with { IsKept = true });
        _isKept = true;
    }

    /// <summary>Nothing can be removed while the backup runs: it is done right after it.</summary>
    public void Release() => _isReleasing = true;

    /// <summary>After the backup has ended.</summary>
    public void Dispose()
    {
        using (_lease)
        {
            if (!_isKept)
            {
                Undo(_connector, _lease.Record);
                _lease.Complete();
            }

            if (_isReleasing)
            {
                EarlierMarks.Release(_journal, _lease.Record, r => r.Connector == _connector.Name && r.VmId == _lease.Record.VmId, l => Undo(_connector, l.Record));
            }
        }
    }

    /// <summary>Removes the checkpoint of a lease, if it is there.</summary>
    public static void Undo(LibvirtConnector connector, LeaseRecord lease)
    {
        string name = lease.Details[NameKey];
        if (name != "vmsweep-" + lease.Key)
        {
            throw new InvalidDataException($"the checkpoint {name} is not this lease's");
        }

        connector.OnIfThere(lease.VmId, domain =>
        {
            if (domain.IsActive)
            {
                try
                {
                    domain.DeleteCheckpoint(name);
                }
                catch (LibvirtException e) when (e.IsInternal)
                {
                    // A QEMU that crashed left its bitmap open. It records nothing and is not used again, and libvirt removes such a one only from its own books.
                    Log.Warning("{Vm}: {Reason}; a bitmap that is broken may stay in its images: qemu-img bitmap --remove IMAGE {Name} removes it while the VM is off", lease.VmName, e.Message, name);
                    domain.DeleteCheckpoint(name, metadataOnly: true);
                }

                return;
            }

            // libvirt removes nothing from images of a VM that is off.
            if (!connector.Files.AreHere)
            {
                throw new ConnectorException($"{lease.VmName} is off: its checkpoint can be removed when it runs");
            }

            foreach ((_, string image) in lease.Details.Where(d => d.Key.StartsWith(ImagePrefix, StringComparison.Ordinal) && File.Exists(d.Value)))
            {
                StoredBitmap.Remove(image, name);
            }

            domain.DeleteCheckpoint(name, metadataOnly: true);
        });
    }

    private bool Try(Action begin)
    {
        try
        {
            begin();
            return true;
        }
        catch (LibvirtException e)
        {
            Log.Warning("{Vm}: {Reason}; less is told of its changes", _lease.Record.VmName, e.Message);
            return false;
        }
    }

    private static bool IsTracked(InventoryDisk disk) => disk is { Type: "file", Format: "qcow2" };

    private static Dictionary<string, string> BitmapsOf(string? backup) =>
        backup is null ? [] : ConfigurationXml.Parse(System.Text.Encoding.UTF8.GetBytes(backup), "backup XML").Child("disks")?.Children("disk")
            .Where(d => d.Value("exportbitmap").Length > 0).ToDictionary(d => d.Value("name"), d => d.Value("exportbitmap"), StringComparer.Ordinal) ?? [];
}
