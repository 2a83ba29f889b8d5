using Serilog;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Connectors.Views;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Connectors.VSphere;

/// <summary>
/// A VM's disks at one moment. Running: by a snapshot without memory, of which everything below the files that the guest goes on writing stands still. Off or
/// suspended: as they lie, for as long as nobody starts the VM.
/// </summary>
internal sealed class VSphereView : IVmView
{
    private const string ViewsKey = "views";
    private const string ReferenceKey = "reference";
    private const string SnapshotKey = "snapshot";
    private const string SpoolKey = "spool";
    private const string Prefix = "vmsweep-";
    private const string Removed = "the VM was removed while it was read";

    /// <summary>Asking the server is no look at a local file system.</summary>
    private static readonly TimeSpan Looked = TimeSpan.FromSeconds(20);

    private readonly VSphereConnector _connector;
    private readonly MoRef _reference;
    private readonly string _power;
    private readonly Lease _lease;
    private readonly ViewLimits _limits;
    private readonly TimeProvider _time;
    private readonly DatastoreFiles _files;
    private readonly List<FolderReader> _readers;
    private readonly HotAdd _hotAdd;
    private readonly StillFiles _mounted;
    private long _lastLook;
    private string? _changed;
    private bool _isKept;

    private VSphereView(VSphereConnector connector, MoRef reference, string power, Vm vm, Lease lease, ViewLimits limits, TimeProvider time, DatastoreFiles files, List<FolderReader> readers, HotAdd hotAdd)
    {
        _connector = connector;
        _reference = reference;
        _power = power;
        Vm = vm;
        _lease = lease;
        _limits = limits;
        _time = time;
        _files = files;
        _readers = readers;
        _hotAdd = hotAdd;
        _mounted = new StillFiles(vm);
        _lastLook = time.GetTimestamp();
    }

    public Vm Vm { get; }

    public IViewChanges? Changes { get; private init; }

    /// <summary>As they were before anything was read.</summary>
    private IReadOnlyList<DiskFacts> Disks { get; init; } = [];

    /// <summary>Null where the VM stands still without one.</summary>
    private MoRef? Snapshot { get; init; }

    /// <summary>Of the snapshot, those whose files are read where they lie.</summary>
    private List<DiskFacts> ByFiles { get; init; } = [];

    public string? MustClose()
    {
        if (_time.GetElapsedTime(_lastLook) < Looked)
        {
            return null;
        }

        _lastLook = _time.GetTimestamp();
        return _limits.Exceeded() ?? (_changed ??= Change() ?? Moved());
    }

    public IReadOnlyList<GapReport> Conclude() =>
        (_changed ?? Change()) is { } change ? [new CoverageGap(Fault.Refused, Vm.Target, "VM", -1, 0, change).ToReport()] : [];

    public string? Keep()
    {
        if (!_lease.Record.Details.ContainsKey(SnapshotKey))
        {
            return null;
        }

        _isKept = true;
        _lease.Update(r => r with { IsKept = true });
        return _lease.Record.Id.ToString();
    }

    public void Dispose()
    {
        using (_lease)
        {
            Close(_files, _readers, _hotAdd);
            if (_isKept)
            {
                HotAdd.Detach(_connector, _lease.Record);
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

    /// <param name="tracking">The view tells what changed since an earlier mark, which may be null; null: it tells nothing.</param>
    /// <exception cref="IOException">The server refuses.</exception>
    public static VSphereView Open(VSphereConnector connector, MoRef reference, InventoryVm listed, string target, ViewRequest request, TimeProvider time, Tracking? tracking = null)
    {
        VmFacts vm = VmFacts.Read(connector.Properties, reference);
        Places places = Places.Of(connector, vm);
        VmCare.Check(vm, connector.Settings);
        bool isRunning = vm.Power is not ("off" or "suspended");
        var limits = new ViewLimits(connector.Settings, () => places.FreeSpace(), time);
        List<DiskFacts> readable = [.. vm.Disks.Where(d => d.Obstacle is null)];
        bool needsSnapshot = isRunning && readable.Count > 0;
        if (needsSnapshot && limits.Exceeded() is { } full)
        {
            throw new ConnectorException($"{vm.Name}: no view is opened: {full}");
        }

        string views = connector.Settings.Views;
        Lease lease = request.Journal.Begin(VSphereConnector.ViewKind, connector.Name, listed.Id, vm.Name, key =>
        {
            var details = new Dictionary<string, string> { [ViewsKey] = views, [ReferenceKey] = reference.Value };
            if (needsSnapshot)
            {
                details[SnapshotKey] = Prefix + key;
                if (connector.Settings.Spool is { } spool)
                {
                    details[SpoolKey] = Path.Combine(spool, Prefix + key);
                }
            }

            return details;
        });
        List<FolderReader> readers = [];
        DatastoreFiles? files = null;
        var hotAdd = new HotAdd(connector, lease);
        try
        {
            ViewFolder.Make(views, lease.Record.Key, null);
            files = new DatastoreFiles(ViewFolder.SocketIn(views, lease.Record.Key), connector.Settings.Ways.Contains(ReadWay.Files) ? connector.Settings.Mounts : new Dictionary<string, string>(), Ranges(connector, places, readers));
            IReadOnlyList<DiskFacts> disks = vm.Disks;
            MoRef? snapshot = null;
            List<string> notes = [];
            if (needsSnapshot)
            {
                // What is read is what the snapshot has, never what the VM has meanwhile.
                (MoRef made, disks) = MakeSnapshot(connector, vm, lease.Record, notes);
                snapshot = made;
                vm = VmFacts.Read(connector.Properties, reference);
            }

            var ways = new DiskWays(connector, vm, snapshot, isRunning, places, files, hotAdd, lease.Record.Details.GetValueOrDefault(SpoolKey));
            IReadOnlyList<VmDisk> disksRead = ways.Read(disks);
            VmMemory? memory = vm.Power == "suspended" ? MemoryOf(vm, target, files, ways.Gaps) : null;
            var read = new Vm(target, listed.ToReport() with { Name = vm.Name, Power = vm.Power }, disksRead, ways.Gaps) { Memory = memory, Notes = [.. notes, .. ways.Notes] };
            return new VSphereView(connector, reference, vm.Power, read, lease, limits, time, files, readers, hotAdd)
            {
                Disks = [.. vm.Disks.Where(d => d.Obstacle is null)],
                Snapshot = snapshot,
                ByFiles = ways.ByFiles,
                Changes = tracking is null ? null : VSphereChanges.Of(connector, vm, snapshot, disks, tracking.Since, lease.Record.Key),
            };
        }
        catch
        {
            lease.Abandon(() =>
            {
                Close(files, readers, hotAdd);
                Undo(connector, lease.Record);
            });

            throw;
        }
    }

    /// <summary>Detaches disks of a lease and removes its snapshot, as far as they are there and are ours.</summary>
    public static void Undo(VSphereConnector connector, LeaseRecord lease)
    {
        // First of all: a snapshot whose disk is attached elsewhere cannot be merged.
        HotAdd.Detach(connector, lease);
        if (lease.Details.TryGetValue(SnapshotKey, out string? name))
        {
            if (name != Prefix + lease.Key)
            {
                throw new InvalidDataException($"{name} is not this lease's");
            }

            if (connector.Locate(lease.VmId, lease.Details[ReferenceKey]) is { } vm)
            {
                connector.Tasks.Settle(vm, VmTasks.MostCreate);
                if (connector.Tasks.Find(vm, name) is { } ours)
                {
                    connector.Tasks.RemoveSnapshot(ours.Reference);
                    if (connector.Tasks.Find(vm, name) is not null)
                    {
                        throw new ConnectorException($"{lease.VmName}: the snapshot {name} is still there");
                    }
                }

                // VMs that need it before they are scanned are left alone, so that this is of our making.
                if (VmFacts.Read(connector.Properties, vm).NeedsConsolidation)
                {
                    Log.Warning("{Vm}: its disks need consolidation after its snapshot was removed; the host is asked for it", lease.VmName);
                    connector.Tasks.Consolidate(vm);
                    if (VmFacts.Read(connector.Properties, vm).NeedsConsolidation)
                    {
                        throw new ConnectorException($"{lease.VmName}: its disks still need consolidation (\"Consolidate\" in vSphere)");
                    }
                }
            }
        }

        RemoveSpool(lease);
        ViewFolder.Remove(lease.Details[ViewsKey], lease.Key);
    }

    /// <summary>Streams are of use only while they are read, whatever becomes of the snapshot.</summary>
    private static void RemoveSpool(LeaseRecord lease)
    {
        if (lease.Details.TryGetValue(SpoolKey, out string? spool) && Path.GetFileName(spool) == Prefix + lease.Key && HostFile.KindOf(spool) == HostFileKind.Folder)
        {
            Directory.Delete(spool, recursive: true);
        }
    }

    /// <summary>Sources first: a host refuses to merge what is being read.</summary>
    private static void Close(DatastoreFiles? files, List<FolderReader> readers, HotAdd hotAdd)
    {
        foreach (FolderReader reader in readers)
        {
            reader.Dispose();
        }

        files?.Dispose();
        hotAdd.Dispose();
    }

    private static Func<DatastorePath, FolderReader> Ranges(VSphereConnector connector, Places places, List<FolderReader> made) =>
        connector.Settings.Ways.Contains(ReadWay.Ranges) ? places.Reader(made) : path => throw new IOException($"{path}: \"ranges\" is not among the \"ways\" that are configured");

    private static (MoRef Snapshot, IReadOnlyList<DiskFacts> Disks) MakeSnapshot(VSphereConnector connector, VmFacts vm, LeaseRecord lease, List<string> notes)
    {
        string name = lease.Details[SnapshotKey], description = $"being scanned for malware; removed when that ends, or by: vmsweep leases reap {lease.Id}";
        MoRef snapshot;
        try
        {
            snapshot = connector.Tasks.CreateSnapshot(vm.Reference, name, description, connector.Settings.Quiesce == true);
        }
        catch (VimFaultException e) when (connector.Settings.Quiesce == true && e.Kind is not ("NoPermission" or "InvalidPowerState" or "InsufficientResourcesFault"))
        {
            notes.Add($"the guest was not quiesced, and its disks are read as after a power failure: {e.Message}");
            Log.Information("{Vm}: {Note}", vm.Name, notes[^1]);
            if (connector.Tasks.Find(vm.Reference, name) is { } half)
            {
                connector.Tasks.RemoveSnapshot(half.Reference);
            }

            snapshot = connector.Tasks.CreateSnapshot(vm.Reference, name, description, quiesce: false);
        }

        return connector.Properties.Get(snapshot, "config.hardware.device")["config.hardware.device"] is { } devices
            ? (snapshot, VmFacts.DisksOf(devices))
            : throw new ConnectorException($"{vm.Name}: the server does not tell which disks the snapshot has");
    }

    /// <summary>The files that hold a suspended VM's memory, as the hypervisor lists them.</summary>
    private static VmMemory? MemoryOf(VmFacts vm, string target, DatastoreFiles files, List<GapReport> gaps)
    {
        try
        {
            DatastorePath[] named =
            [
                .. vm.Files.Where(f => f.Type is "suspend" or "suspendMemory").OrderBy(f => f.Type == "suspend" ? 0 : 1)
                    .Select(f => DatastorePath.TryParse(f.Name, out DatastorePath path) ? path : throw new IOException($"{f.Name} is no file of a datastore")),
            ];
            if (named.Length == 0)
            {
                gaps.Add(new CoverageGap(Fault.MissingParent, target, "guest memory", -1, 0, "the VM is suspended, and the hypervisor names no file with its memory").ToReport());
                return null;
            }

            return vm.IsEncrypted
                ? throw new IOException("the hypervisor encrypts this VM's memory; its keys are with a key server")
                : new VmMemory(named[0].ToString(), new MemoryPlan([.. named.Select((f, i) => files.Open(f) with { Id = i })]));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            gaps.Add(new CoverageGap(vm.IsEncrypted ? Fault.Encrypted : Fault.Transport, target, "guest memory", -1, 0, e.Message).ToReport());
            return null;
        }
    }

    /// <summary>What became of the VM since, that spoils what is read; null where nothing did.</summary>
    private string? Change()
    {
        try
        {
            // One that was registered anew has its snapshots still.
            if (_connector.Locate(_lease.Record.VmId, _reference.Value) is not { } vm)
            {
                return Removed;
            }

            VmFacts now = VmFacts.Read(_connector.Properties, vm);
            return _lease.Record.Details.TryGetValue(SnapshotKey, out string? snapshot)
                ? now.Snapshots.Any(s => s.Name == snapshot) ? null : "somebody removed the snapshot while it was read; what was read afterwards may be of another moment"
                : _power is not ("off" or "suspended") ? null
                : now.Power != _power ? $"the VM was {_power} and is {now.Power}; what it changed meanwhile may have been missed"
                : Disks.FirstOrDefault(d => !IsStill(d, now)) is { } changed ? $"{changed.File} is not what it was: the VM was started, reverted or moved while it was read, and what was read may be of several moments"
                : _mounted.Change();
        }
        catch (VimFaultException e) when (e.IsGone)
        {
            return Removed;
        }
    }

    /// <summary>
    /// Where the frozen files of a running VM lie now, if elsewhere: it was moved to other storage, or a snapshot below was merged. What was read before is right,
    /// and the rest cannot be had: no file of a large disk need be tried for that.
    /// </summary>
    private string? Moved()
    {
        if (Snapshot is not { } snapshot || ByFiles.Count == 0)
        {
            return null;
        }

        try
        {
            IReadOnlyList<DiskFacts> now = VmFacts.DisksOf(_connector.Properties.Get(snapshot, "config.hardware.device")["config.hardware.device"]);
            foreach (DiskFacts disk in ByFiles)
            {
                if (now.FirstOrDefault(n => n.Key == disk.Key) is { } at && !at.Chain.SequenceEqual(disk.Chain))
                {
                    return $"{disk.File} is {at.File} now: the VM was moved to other storage, or a snapshot below was removed, while it was read; what was not read until then is missing";
                }
            }

            return null;
        }
        catch (VimFaultException e) when (e.IsGone)
        {
            // Registered anew, the VM has its snapshot under another reference.
            return null;
        }
    }

    /// <summary>True where a disk's files are those that it had, below what somebody's snapshot laid over them meanwhile, and nothing was written to them.</summary>
    private static bool IsStill(DiskFacts disk, VmFacts now)
    {
        DiskFacts? then = now.Disks.FirstOrDefault(d => d.Key == disk.Key);
        return then is not null && then.Chain.TakeLast(disk.Chain.Count).SequenceEqual(disk.Chain) && then.ContentIds.TakeLast(disk.ContentIds.Count).SequenceEqual(disk.ContentIds);
    }
}
