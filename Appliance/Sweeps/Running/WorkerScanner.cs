using System.Collections.Concurrent;
using Serilog;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Pipeline.Changes;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Sweeps.Planning;
using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Sweeps.Running;

/// <summary>Scans VMs in workers, as <c>vmsweep scan</c> does, several at once.</summary>
internal sealed class WorkerScanner(ScanSettings settings, Sandbox sandbox, IWorker worker, TimeProvider time) : ISweepScanner, IDisposable
{
    private readonly ConcurrentDictionary<string, ConcurrentBag<ScanLane>> _free = new(StringComparer.Ordinal);
    private readonly List<ScanLane> _all = [];
    private readonly Lock _opening = new();
    private readonly LayerGate _gate = new();

    /// <summary>Files that VMs are made over.</summary>
    public IReadOnlySet<string> Bases { get; init; } = new HashSet<string>();

    public SweepScan Scan(SweepVm vm, bool onlyChanges, DateTimeOffset inheritFrom, IScanPacing? pacing, IScanListener listener, CancellationToken cancellation)
    {
        ScanLane lane = TakeLane(vm.Scope, cancellation);
        try
        {
            OpenedVm opened;
            try
            {
                opened = vm.Open(cancellation);
            }
            catch (Exception e) when (e is TargetException or IOException or UnauthorizedAccessException)
            {
                // It was planned and is gone, or its datastore or hypervisor is: a gap, and the sweep goes on.
                bool isGone = vm.Root is { } root ? IsGone(root) : HostLoss.Is(e);
                string lost = isGone && vm.Root is not null ? $"the datastore {vm.Root} is not there any more" : e.Message;
                Log.Warning("{Vm} cannot be scanned: {Reason}", vm.Target, lost);
                var target = new TargetReport { Target = vm.Target, Vm = new VmReport(vm.Id, vm.Name, vm.Power, "") };
                target.Gaps.Add(new CoverageGap(Fault.Transport, vm.Target, "VM", -1, 0, lost).ToReport());
                return Of(target, lane) with { Retries = isGone ? LostVms.MostTries : 0 };
            }

            using (opened.Owner)
            {
                var run = new ScanRun(settings with { OnlyChanges = onlyChanges, InheritFrom = inheritFrom, Scope = vm.Scope }, sandbox, worker, time, listener, cancellation) { Pacing = pacing, KeepsSeen = true, Gate = _gate, Bases = Bases };
                TargetReport target = run.Scan(opened.Vm, lane);
                return Of(target, lane) with { Retries = RetriesOf(vm, target.Loss) };
            }
        }
        finally
        {
            _free.GetOrAdd(vm.Scope, _ => []).Add(lane);
        }
    }

    public void Dispose()
    {
        // The first has the engines that the others use.
        for (int i = _all.Count - 1; i >= 0; i--)
        {
            _all[i].Dispose();
        }
    }

    /// <summary>
    /// What went away is looked for again. What is there may have come back meanwhile; or a sector of it is bad, and once more is enough to know. What a hypervisor that answers does not
    /// open, it will not open in a minute.
    /// </summary>
    private static int RetriesOf(SweepVm vm, ReadLoss loss) => loss switch
    {
        ReadLoss.None => 0,
        ReadLoss.Hypervisor => LostVms.MostTries,
        _ when (vm.Root is { } root ? IsGone(root) : vm.IsAway()) => LostVms.MostTries,
        ReadLoss.Part when vm.Root is null => 0,
        _ => 1,
    };

    /// <summary>Where a store is mounted there may be an empty folder without it.</summary>
    private static bool IsGone(string root)
    {
        try
        {
            return !Directory.EnumerateFileSystemEntries(root).Any();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return true;
        }
    }

    private SweepScan Of(TargetReport target, ScanLane lane) => new(target, lane.Reports, settings.Bundle)
    {
        Depth = new ScanDepth(settings.IncludeDeleted, settings.Archives is not null),
        Rules = lane.RuleIndex,
    };

    private ScanLane TakeLane(string scope, CancellationToken cancellation)
    {
        if (_free.TryGetValue(scope, out ConcurrentBag<ScanLane>? ofScope) && ofScope.TryTake(out ScanLane? free))
        {
            return free;
        }

        lock (_opening)
        {
            // One after the other: what the first compiles, the others find in the database.
            var lane = ScanLane.Open(settings with { Scope = scope }, sandbox, worker, time, cancellation, _all.Count > 0 ? _all[0].Engines : null);
            _all.Add(lane);
            return lane;
        }
    }
}
