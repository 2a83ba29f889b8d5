using System.Globalization;
using Serilog;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Connectors.Views;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Connectors.Xen;

/// <summary>
/// A VM's disks by a snapshot of the VM, whatever its state. One call for all disks: the pool makes all of them or none, right one after the other, and keeps
/// them under one name that is ours; asked for disk by disk they would lie further apart and could be left behind one by one. A VM that is off is read by a
/// snapshot too: a disk that is read directly is attached for that, and its VM could not be started meanwhile.
/// </summary>
internal sealed class XenView : IVmView
{
    public const string Prefix = "vmsweep-";

    private const string ViewsKey = "views";
    private const string SnapshotKey = "snapshot";
    private const string SpoolKey = "spool";
    private const string DiskPrefix = "disk.";
    private const string RecordPrefix = "record.";

    /// <summary>Asking the pool is no look at a local file system.</summary>
    private static readonly TimeSpan Looked = TimeSpan.FromSeconds(20);

    private readonly XenConnector _connector;
    private readonly Lease _lease;
    private readonly ViewLimits _limits;
    private readonly TimeProvider _time;
    private readonly SnapshotDisks? _disks;
    private readonly XenChanges? _changes;
    private readonly string? _snapshot;
    private long _lastLook;
    private string? _changed;
    private bool _isKept;

    private XenView(XenConnector connector, Vm vm, Lease lease, ViewLimits limits, TimeProvider time, SnapshotDisks? disks, XenChanges? changes, string? snapshot)
    {
        _connector = connector;
        Vm = vm;
        _lease = lease;
        _limits = limits;
        _time = time;
        _disks = disks;
        _changes = changes;
        _snapshot = snapshot;
        _lastLook = time.GetTimestamp();
    }

    public Vm Vm { get; }

    public IViewChanges? Changes => _changes;

    public string? MustClose()
    {
        if (_time.GetElapsedTime(_lastLook) < Looked)
        {
            return null;
        }

        _lastLook = _time.GetTimestamp();
        return _limits.Exceeded() ?? (_changed ??= Change());
    }

    public IReadOnlyList<GapReport> Conclude() =>
        (_changed ?? Change()) is { } change ? [new CoverageGap(Fault.Refused, Vm.Target, "VM", -1, 0, change).ToReport()] : [];

    public string? Keep()
    {
        if (_snapshot is null)
        {
            return null;
        }

        // What is evidence is no record for the next scan, which would take it away.
        _changes?.Forgo();
        _isKept = true;
        _lease.Update(r => r with { IsKept = true, Details = r.Details.Where(d => !d.Key.StartsWith(RecordPrefix, StringComparison.Ordinal)).ToDictionary() });
        return _lease.Record.Id.ToString();
    }

    public void Dispose()
    {
        _disks?.Dispose();
        using (_changes)
        using (_lease)
        {
            if (_isKept)
            {
                RemoveSpool(_lease.Record);
                ViewFolder.Remove(_lease.Record.Details[ViewsKey], _lease.Record.Key);
            }
            else
            {
                Undo(_connector, _lease.Record);
                _lease.Complete();
            }
        }
    }

    /// <param name="note">Why the guest was not asked to write out first, where the operator wants that; null otherwise.</param>
    private static string Snapshot(XenConnector connector, XenVm vm, string name, IReadOnlyList<string> ignored, out string? note)
    {
        note = null;
        if (connector.Settings.Quiesce == true && vm.Power == "running")
        {
            string why = "no such snapshot leaves disks out, and the VM has some that none can hold";
            if (ignored.Count == 0)
            {
                try
                {
                    return connector.Tasks.SnapshotQuiesced(vm.Reference, name);
                }
                catch (XapiException e) when (e.IsNoQuiesce)
                {
                    why = e.Message;
                }
            }

            note = $"the guest was not quiesced, and its disks are read as after a power failure: {why}";
            Log.Information("{Vm}: {Note}", vm.Name, note);
        }

        return connector.Tasks.Snapshot(vm.Reference, name, ignored);
    }

    /// <param name="isTracked">It tells what changed since an earlier view.</param>
    /// <param name="since">The mark of that; null when there is none.</param>
    /// <exception cref="IOException">The pool refuses.</exception>
    public static XenView Open(XenConnector connector, InventoryVm listed, string target, ViewRequest request, TimeProvider time, bool isTracked, string? since)
    {
        string reference = connector.Session.Find("VM", listed.Id) ?? throw new ConnectorException($"{connector.Name}: there is no VM {listed.Id} any more");
        XenVm vm = XenVm.Read(connector.Session, reference);
        XenCare.Check(connector.Session, vm, connector.Settings);
        List<XenDisk> readable = [.. vm.Disks.Where(d => d.Obstacle is null)];
        var limits = new ViewLimits(connector.Settings, () => FreeSpace(connector, readable), time);
        if (readable.Count > 0 && limits.Exceeded() is { } full)
        {
            throw new ConnectorException($"{vm.Name}: no view is opened: {full}");
        }

        string views = connector.Settings.Views;
        Lease lease = request.Journal.Begin(XenConnector.ViewKind, connector.Name, listed.Id, vm.Name, key =>
        {
            var details = new Dictionary<string, string> { [ViewsKey] = views };
            if (readable.Count > 0)
            {
                details[SnapshotKey] = Prefix + key;
                if (connector.Settings.Spool is { } spool)
                {
                    details[SpoolKey] = Path.Combine(spool, Prefix + key);
                }
            }

            return details;
        });
        SnapshotDisks? disks = null;
        XenChanges? changes = null;
        try
        {
            ViewFolder.Make(views, lease.Record.Key, null);
            var read = new Vm(target, listed.ToReport() with { Name = vm.Name, Power = vm.Power == "paused" ? "running" : vm.Power }, [], [.. GapsOf(connector, vm, target)]);
            if (readable.Count == 0)
            {
                return new XenView(connector, read, lease, limits, time, null, null, null);
            }

            // After the lease of the view, for they are undone in the order of their age.
            changes = isTracked ? XenChanges.Begin(connector, listed, readable, request.Journal, since) : null;
            string snapshot = Snapshot(connector, vm, lease.Record.Details[SnapshotKey], [.. vm.Disks.Where(d => d.Obstacle is not null).Select(d => d.Reference)], out string? note);
            read = note is null ? read : read with { Notes = [note] };
            IReadOnlyList<XenDisk> made = XenVm.Read(connector.Session, snapshot).Disks;
            lease.Update(r => r with { Details = With(r.Details, made.Where(d => d.SnapshotOf is not null).Select(d => d.Uuid), DiskPrefix) });
            changes?.Take(readable, made);
            disks = new SnapshotDisks(connector, ViewFolder.SocketIn(views, lease.Record.Key), lease.Record.Details.GetValueOrDefault(SpoolKey));
            List<VmDisk> opened = [];
            List<GapReport> gaps = [.. read.Gaps];
            foreach (XenDisk disk in readable)
            {
                try
                {
                    opened.Add(disks.Open(disk, made.FirstOrDefault(m => m.SnapshotOf == disk.Reference) ?? throw new IOException("the snapshot does not hold it")));
                }
                catch (Exception e) when (e is IOException or UnauthorizedAccessException or InvalidDataException)
                {
                    gaps.Add(Gap(disk, (Fault.Transport, e.Message)));
                }
            }

            changes?.Bind(lease);
            return new XenView(connector, read with { Disks = opened, Gaps = gaps }, lease, limits, time, disks, changes, snapshot);
        }
        catch
        {
            lease.Abandon(
                () =>
                {
                    disks?.Dispose();
                    Undo(connector, lease.Record);
                },
                changes);

            throw;
        }
    }

    /// <summary>Writes down that some disks of the snapshot stay as records of what changed, when the rest of it goes.</summary>
    public static void Spare(Lease lease, IEnumerable<string> uuids) => lease.Update(r => r with { Details = With(r.Details, uuids, RecordPrefix) });

    /// <summary>Removes the snapshot of a lease, as far as it is there and is ours.</summary>
    public static void Undo(XenConnector connector, LeaseRecord lease)
    {
        if (lease.Details.TryGetValue(SnapshotKey, out string? name))
        {
            if (name != Prefix + lease.Key)
            {
                throw new InvalidDataException($"{name} is not this lease's");
            }

            // A pool goes on with what a killed scan asked for.
            if (connector.Session.Find("VM", lease.VmId) is { } vm)
            {
                connector.Tasks.Settle(vm, XenTasks.MostCreate);
            }

            RemoveSnapshot(connector, name, Uuids(lease, DiskPrefix), Uuids(lease, RecordPrefix));
        }

        RemoveSpool(lease);
        ViewFolder.Remove(lease.Details[ViewsKey], lease.Key);
    }

    /// <summary>Disks first: the snapshot is what they are found by.</summary>
    private static void RemoveSnapshot(XenConnector connector, string name, HashSet<string> written, HashSet<string> records)
    {
        IReadOnlyList<string> snapshots = connector.Tasks.Named(name);
        HashSet<string> uuids = [.. written, .. snapshots.SelectMany(s => XenVm.Read(connector.Session, s).Disks).Where(d => d.SnapshotOf is not null).Select(d => d.Uuid)];
        foreach (string disk in uuids.Where(u => !records.Contains(u)))
        {
            if (connector.Session.Find("VDI", disk) is { } vdi)
            {
                connector.Tasks.Destroy("VDI", vdi);
            }
        }

        foreach (string snapshot in snapshots)
        {
            connector.Tasks.Destroy("VM", snapshot);
        }

        foreach (string disk in records)
        {
            if (connector.Session.Find("VDI", disk) is { } vdi && connector.Session.Record("VDI", vdi).Text("type") != "cbt_metadata")
            {
                // The pool refuses it while the snapshot has the disk.
                connector.Tasks.DestroyData(vdi);
            }
        }
    }

    private static IEnumerable<GapReport> GapsOf(XenConnector connector, XenVm vm, string target)
    {
        foreach (XenDisk disk in vm.Disks)
        {
            if (disk.Obstacle is { } obstacle)
            {
                yield return Gap(disk, obstacle);
            }
        }

        if (vm.Power == "suspended")
        {
            XapiRecord? image = vm.SuspendImage is { } at ? connector.Tasks.Look("VDI", at) : null;
            yield return new CoverageGap(Fault.Unsupported, target, "guest memory", -1, Math.Max(0, image?.Number("virtual_size") ?? 0), $"the VM is suspended; its memory lies in the disk {image?.Text("uuid")}, which is not read").ToReport();
        }
    }

    private static IEnumerable<(string Name, long FreeBytes)> FreeSpace(XenConnector connector, IReadOnlyList<XenDisk> disks)
    {
        foreach (string repository in disks.Select(d => d.Repository).Distinct())
        {
            XapiRecord record = connector.Session.Record("SR", repository);
            if (record.Number("physical_size") is > 0 and var size)
            {
                yield return ($"the storage repository {record.Text("name_label")}", size - record.Number("physical_utilisation"));
            }
        }
    }

    private static Dictionary<string, string> With(IReadOnlyDictionary<string, string> details, IEnumerable<string> uuids, string prefix)
    {
        var more = details.ToDictionary();
        foreach ((int i, string uuid) in uuids.Index())
        {
            more[prefix + i.ToString(CultureInfo.InvariantCulture)] = uuid;
        }

        return more;
    }

    private static HashSet<string> Uuids(LeaseRecord lease, string prefix) => [.. lease.Details.Where(d => d.Key.StartsWith(prefix, StringComparison.Ordinal)).Select(d => d.Value)];

    /// <summary>Streams are of use only while they are read, whatever becomes of the snapshot.</summary>
    private static void RemoveSpool(LeaseRecord lease)
    {
        if (lease.Details.TryGetValue(SpoolKey, out string? spool) && Path.GetFileName(spool) == Prefix + lease.Key && HostFile.KindOf(spool) == HostFileKind.Folder)
        {
            Directory.Delete(spool, recursive: true);
        }
    }

    private static GapReport Gap(XenDisk disk, (Fault Fault, string Why) because) =>
        new CoverageGap(because.Fault, disk.Path, "disk", -1, disk.SizeBytes, $"{disk.Device}: {because.Why}").ToReport();

    /// <summary>What spoils what is read; null where nothing does. What becomes of the VM itself does not: the snapshot stays what it is.</summary>
    private string? Change() =>
        _snapshot is not null && _connector.Tasks.Look("VM", _snapshot) is null ? "somebody removed the snapshot while it was read; what was not read by then is missing" : null;
}
