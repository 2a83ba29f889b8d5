using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Connectors.VSphere;

/// <summary>The disks of one view, each read by the first way of the operator's order that it can be read by.</summary>
/// <param name="vm">As it is once the view is open.</param>
/// <param name="snapshot">Of the view; null where the VM stands still without one.</param>
/// <param name="isRunning">It writes to its own disks meanwhile.</param>
/// <param name="spool">Where streams are written; null: nowhere.</param>
internal sealed class DiskWays(VSphereConnector connector, VmFacts vm, MoRef? snapshot, bool isRunning, Places places, DatastoreFiles files, HotAdd hotAdd, string? spool)
{
    private readonly Dictionary<DiskFacts, VmDisk> _read = new(ReferenceEqualityComparer.Instance);
    private readonly Dictionary<DiskFacts, List<(Fault Fault, string Why)>> _failures = new(ReferenceEqualityComparer.Instance);
    private readonly HashSet<string> _live = isRunning ? [.. vm.Disks.Where(d => d.Obstacle is null).Select(d => d.File)] : [];

    public List<GapReport> Gaps { get; } = [];

    /// <summary>Those that are read by their files, for as long as these lie where they are.</summary>
    public List<DiskFacts> ByFiles { get; } = [];

    /// <summary>What is worth telling and is no gap.</summary>
    public List<string> Notes { get; } = [];

    /// <param name="disks">Of the view's moment.</param>
    /// <exception cref="IOException">Something was made, and cannot be undone.</exception>
    public IReadOnlyList<VmDisk> Read(IReadOnlyList<DiskFacts> disks)
    {
        // What an independent disk was left out of a snapshot for may not be told by the snapshot itself.
        foreach (DiskFacts missing in vm.Disks.Where(d => disks.All(o => o.Key != d.Key)))
        {
            Gaps.Add(Gap(missing, missing.Obstacle ?? (Fault.Unsupported, "the snapshot does not hold it")));
        }

        List<(DiskFacts Disk, DatastorePath Path)> left = [];
        foreach (DiskFacts disk in disks)
        {
            if ((disk.Obstacle ?? vm.Disks.FirstOrDefault(d => d.Key == disk.Key)?.Obstacle) is { } obstacle)
            {
                _failures[disk] = [obstacle];
            }
            else if (_live.Contains(disk.File))
            {
                _failures[disk] = [(Fault.Refused, "the snapshot names the file that the running VM writes to; it is never read")];
            }
            else if (!DatastorePath.TryParse(disk.File, out DatastorePath top))
            {
                _failures[disk] = [(Fault.Unsupported, "it has no file in a datastore")];
            }
            else
            {
                left.Add((disk, top));
            }
        }

        foreach (ReadWay way in connector.Settings.Ways.TakeWhile(_ => left.Count > 0))
        {
            switch (way)
            {
                case ReadWay.Files:
                    // A mount that is not there is the operator's to mend, and no reason to burden the host instead.
                    foreach ((DiskFacts disk, DatastorePath path) in left.Where(d => connector.Settings.Mounts.ContainsKey(d.Path.Datastore)))
                    {
                        ByFile(disk, path);
                    }

                    left.RemoveAll(d => connector.Settings.Mounts.ContainsKey(d.Path.Datastore));
                    break;
                case ReadWay.HotAdd:
                    left.RemoveAll(d => ByHotAdd(d.Disk, d.Path));
                    break;
                case ReadWay.Ranges:
                    left.RemoveAll(d => places.Obstacle(d.Path) is { } without ? Fails(d.Disk, Fault.Unsupported, without) : ByFile(d.Disk, d.Path));
                    break;
                case ReadWay.Export:
                    ByExport([.. left.Select(d => d.Disk)]);
                    left.RemoveAll(d => _read.ContainsKey(d.Disk));
                    break;
            }
        }

        foreach (DiskFacts disk in disks.Where(d => !_read.ContainsKey(d)))
        {
            Gaps.Add(Gap(disk, _failures.TryGetValue(disk, out List<(Fault Fault, string Why)>? why)
                ? (why[^1].Fault, string.Join("; ", why.Select(w => w.Why)))
                : (Fault.Unsupported, "none of the \"ways\" that are configured is one for it")));
        }

        return [.. disks.Where(_read.ContainsKey).Select(d => _read[d])];
    }

    private bool ByFile(DiskFacts disk, DatastorePath top)
    {
        try
        {
            var policy = new ChainPolicy(disk.Chain, _live, places.Labels, files.Open);
            ChainPlan plan = ChainPlanner.Plan(files.Open(top), policy, "vmdk");
            if (ThinDisks.LeaveOut(connector, vm, snapshot, disk, plan, files) is { } note)
            {
                Notes.Add(note);
            }

            _read.Add(disk, new VmDisk(disk.File, plan, policy.Refused));
            ByFiles.Add(disk);
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or InvalidDataException)
        {
            return Fails(disk, Fault.Transport, e.Message);
        }
    }

    private bool ByHotAdd(DiskFacts disk, DatastorePath top)
    {
        if (snapshot is null)
        {
            return Fails(disk, Fault.Unsupported, "hotadd: the disk of a VM that may be started is not attached to another; disks of snapshots are");
        }

        if (places.IsVirtualVolumes(top))
        {
            return Fails(disk, Fault.Unsupported, "hotadd: it is a virtual volume of an array");
        }

        (IBlockSource? source, string why) = hotAdd.Attach(vm.Reference, disk, disk.Datastore ?? places.DatastoreOf(top));
        if (source is null)
        {
            string note = $"{(why == hotAdd.Obstacle() ? "" : disk.Name + ": ")}not by hotadd: {why}";
            if (!Notes.Contains(note))
            {
                Notes.Add(note);
            }

            return Fails(disk, Fault.Transport, "hotadd: " + why);
        }

        // What the guest sees, whatever files it is made of: nothing in it may be taken for an image.
        _read.Add(disk, new VmDisk(disk.File, new ChainPlan("raw", [files.Serve(disk.File, source)], []), []));
        return true;
    }

    /// <summary>Spools disks, where the operator gave a folder for that.</summary>
    private void ByExport(List<DiskFacts> disks)
    {
        if (snapshot is not { } made || spool is null)
        {
            return;
        }

        HashSet<string> doubled = [.. disks.GroupBy(d => d.Name).Where(g => g.Count() > 1).Select(g => g.Key)];
        disks.RemoveAll(d => doubled.Contains(d.Name) && !Fails(d, Fault.Unsupported, "the server tells of two disks in one slot, by which streams are known"));
        if (disks.Count == 0)
        {
            return;
        }

        try
        {
            Directory.CreateDirectory(spool, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            IReadOnlyDictionary<string, (string? Path, string Why)> streams = new SnapshotExport(connector, spool).Fetch(made, disks);
            foreach (DiskFacts disk in disks)
            {
                (string? path, string why) = streams[disk.Name];
                if (path is null)
                {
                    Fails(disk, Fault.Transport, why);
                }
                else
                {
                    _read.Add(disk, new VmDisk(disk.File, new ChainPlan("vmdk", [new PlannedFile(0, disk.File, path)], []), []));
                }
            }
        }
        catch (Exception e) when (e is IOException or InvalidDataException)
        {
            disks.ForEach(d => Fails(d, Fault.Transport, e.Message));
        }
    }

    /// <summary>False: another way may do.</summary>
    private bool Fails(DiskFacts disk, Fault fault, string why)
    {
        _failures.TryAdd(disk, []);
        _failures[disk].Add((fault, why));
        return false;
    }

    private static GapReport Gap(DiskFacts disk, (Fault Fault, string Why) because) =>
        new CoverageGap(because.Fault, disk.File, "disk", -1, disk.CapacityBytes, $"{disk.Name}: {because.Why}").ToReport();
}
