using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Connectors.HyperV.Wmi;
using Vmsweep.Appliance.Connectors.Views;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Connectors.HyperV;

/// <summary>
/// A VM's disks at one moment. Running or paused: by a checkpoint without memory, of which the files below those that the guest goes on writing stand still.
/// Off or saved: as they lie, for as long as nobody starts the VM. Files are read where the operator mounted their storage.
/// </summary>
internal sealed class HyperVView : IVmView
{
    /// <summary>Asking a host is no look at a local file system.</summary>
    private static readonly TimeSpan Looked = TimeSpan.FromSeconds(20);

    private readonly HyperVConnector _connector;
    private readonly string _id;
    private readonly string _power;
    private readonly Lease? _lease;
    private readonly ViewLimits _limits;
    private readonly TimeProvider _time;
    private readonly ReferencePoint? _reference;
    private readonly StillFiles _files;
    private string _host;
    private long _lastLook;
    private string? _changed;
    private bool _isKept;

    private HyperVView(HyperVConnector connector, VmFacts facts, Vm vm, Lease? lease, ReferencePoint? reference, ViewLimits limits, TimeProvider time)
    {
        (_connector, _id, _power, _host) = (connector, facts.Id, facts.Power, facts.Host.Name);
        Vm = vm;
        _lease = lease;
        _reference = reference;
        _limits = limits;
        _time = time;
        _lastLook = time.GetTimestamp();
        _files = new StillFiles(vm);
    }

    public Vm Vm { get; }

    public IViewChanges? Changes => _reference;

    public string? MustClose()
    {
        if (_time.GetElapsedTime(_lastLook) < Looked)
        {
            return null;
        }

        _lastLook = _time.GetTimestamp();
        return (_lease is null ? null : _limits.Exceeded()) ?? (_changed ??= Change());
    }

    public IReadOnlyList<GapReport> Conclude() =>
        (_changed ?? Change()) is { } change ? [new CoverageGap(Fault.Refused, Vm.Target, "VM", -1, 0, change).ToReport()] : [];

    public string? Keep()
    {
        // What became a reference point is no checkpoint any more.
        if (_lease is null || _reference is { IsConverted: true })
        {
            return null;
        }

        _isKept = true;
        _lease.Update(r => r with { IsKept = true });
        return _lease.Record.Id.ToString();
    }

    public void Dispose()
    {
        using (_reference)
        using (_lease)
        {
            if (_lease is not null && !_isKept)
            {
                Undo(_connector, _lease.Record);
                _lease.Complete();
            }
        }
    }

    /// <param name="tracking">The view tells what changed since an earlier mark, which may be null; null: it tells nothing.</param>
    /// <exception cref="IOException">The host refuses.</exception>
    public static HyperVView Open(HyperVConnector connector, InventoryVm listed, string target, ViewRequest request, Tracking? tracking, TimeProvider time)
    {
        VmFacts vm = connector.Find(listed.Id, listed.Host) ?? throw new ConnectorException($"{listed.Name}: no host that can be asked has it any more (it was listed on {listed.Host})");
        HyperVCare.Check(vm, connector.Settings);
        VmReport identity = listed.ToReport() with { Name = vm.Name, Power = vm.Power == "paused" ? "running" : vm.Power };
        string[] folders = [.. vm.Disks.Where(d => d.Path is not null).Select(d => connector.Paths.Find(d.Path!, vm.Host.Name)?.Folder).OfType<string>().Where(Directory.Exists).Distinct()];
        var limits = new ViewLimits(connector.Settings, folders, time);
        if (vm.Power is "off" or "suspended" || !vm.Disks.Any(d => d.Obstacle is null))
        {
            return new HyperVView(connector, vm, Read(connector, vm, vm.Disks, new HashSet<HostPath>(), target, identity, null), null, null, limits, time);
        }

        if (limits.Exceeded() is { } full)
        {
            throw new ConnectorException($"{vm.Name}: no view is opened: {full}");
        }

        Lease lease = request.Journal.Begin(HyperVConnector.ViewKind, connector.Name, vm.Id, vm.Name, key => Checkpoints.Describe(vm, key));
        ReferencePoint? reference = null;
        try
        {
            // After the lease of the checkpoint, for they are undone in the order of their age.
            reference = tracking is null ? null : ReferencePoint.Begin(connector, vm, request.Journal, tracking.Since);
            (VmFacts now, CheckpointFacts made) = Checkpoints.Create(vm, lease, connector.Settings.Quiesce ?? true);

            // What is read is what the checkpoint has, never what the VM has meanwhile.
            IReadOnlyList<DiskFacts> frozen = DiskFacts.Of(now.Host.PartsOf("Msvm_StorageAllocationSettingData", made.Instance), []);
            HashSet<HostPath> live = [.. now.Disks.Select(d => d.Path).OfType<HostPath>()];
            reference?.Take(now.Host, made);
            Vm read = Read(connector, now, frozen, live, target, identity, reference);
            return new HyperVView(connector, now, read, lease, reference, limits, time);
        }
        catch
        {
            lease.Abandon(() => Undo(connector, lease.Record), reference);

            throw;
        }
    }

    /// <summary>Removes the checkpoint of a lease, as far as it is there and is ours.</summary>
    public static void Undo(HyperVConnector connector, LeaseRecord lease)
    {
        if (lease.Details[Checkpoints.NameKey] != Checkpoints.Prefix + lease.Key)
        {
            throw new InvalidDataException($"{lease.Details[Checkpoints.NameKey]} is not this lease's");
        }

        if (connector.Find(lease.VmId, lease.Details[Checkpoints.HostKey]) is { } vm)
        {
            Checkpoints.Undo(vm, lease);
        }
    }

    private static Vm Read(HyperVConnector connector, VmFacts vm, IReadOnlyList<DiskFacts> disks, HashSet<HostPath> live, string target, VmReport identity, ReferencePoint? reference)
    {
        List<VmDisk> read = [];
        List<GapReport> gaps = [];

        // What is no file, or no checkpoint holds, is not among the checkpoint's disks.
        foreach (DiskFacts missing in vm.Disks.Where(d => disks.All(o => !o.Key.Equals(d.Key, StringComparison.OrdinalIgnoreCase))))
        {
            gaps.Add(Gap(missing, missing.Obstacle ?? (Fault.Unsupported, "the checkpoint does not hold it")));
        }

        foreach (DiskFacts disk in disks)
        {
            if (disk.Obstacle is { } obstacle)
            {
                gaps.Add(Gap(disk, obstacle));
            }
            else if (live.Contains(disk.Path!))
            {
                gaps.Add(Gap(disk, (Fault.Refused, "the checkpoint names the file that the running VM writes to; it is never read")));
            }
            else
            {
                try
                {
                    DiskChain chain = vm.Host.ChainOf(disk.Path!);
                    (string? path, Fault fault, string why) = connector.Paths.Open(disk.Path!, vm.Host.Name);
                    if (path is null)
                    {
                        gaps.Add(Gap(disk, (fault, why)));
                        continue;
                    }

                    var policy = new HostChainPolicy(chain.Files, live, p => connector.Paths.Open(p, vm.Host.Name));
                    string name = disk.Path!.ToString();
                    ChainPlan plan = ChainPlanner.Plan(new PlannedFile(0, name, path), policy, disk.Path.Extension is "vhd" or "avhd" ? "vhd" : "vhdx");
                    read.Add(new VmDisk(name, plan, policy.Refused));
                    reference?.Knows(name, chain);
                }
                catch (Exception e) when (e is IOException or UnauthorizedAccessException or InvalidDataException)
                {
                    gaps.Add(Gap(disk, (Fault.Transport, e.Message)));
                }
            }
        }

        if (vm.Power == "suspended")
        {
            gaps.Add(new CoverageGap(Fault.Unsupported, vm.ConfigurationRoot.Length > 0 ? $@"{vm.ConfigurationRoot}\{HyperVFiles.MachineFolder}\{vm.Id}.VMRS" : target, "guest memory", -1, 0, "the VM is saved; the memory in its state file (.vmrs) is not read").ToReport());
        }

        return new Vm(target, identity, read, gaps) { Generation = vm.Generation };
    }

    private static GapReport Gap(DiskFacts disk, (Fault Fault, string Why) because) =>
        new CoverageGap(because.Fault, disk.Source, "disk", -1, 0, because.Why).ToReport();

    /// <summary>What became of the VM since, that spoils what is read; null where nothing did.</summary>
    private string? Change()
    {
        if (_connector.Find(_id, _host) is not { } now)
        {
            return "the VM was removed while it was read";
        }

        // It may move to another node: its storage, and its checkpoint, go with it.
        _host = now.Host.Name;
        return _lease is not null
            ? Checkpoints.Ours(now, _lease.Record) is null ? "somebody removed the checkpoint while it was read; what was read afterwards may be of another moment" : null
            : now.IsMerging ? "its disks were merged while they were read"
            : _power is not ("off" or "suspended") ? null
            : now.Power != _power ? $"the VM was {_power} and is {now.Power}; what it changed meanwhile may have been missed" : _files.Change();
    }
}
