using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Connectors.Views;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Cli;

/// <summary>What <c>info</c>, <c>ls</c>, <c>cat</c> and <c>read</c> share: one worker on the disks of one VM, its gaps on standard error.</summary>
internal sealed class DiskCommand(DiskOptions options, CancellationToken cancellation) : IDisposable
{
    private static readonly TimeSpan Silence = TimeSpan.FromMinutes(2);

    /// <summary>A listing of ten million files is some 2 GiB.</summary>
    private const long MostListingBytes = 4L << 30;

    // Tried while the target is looked at.
    private readonly Task<Sandbox> _sandbox = Task.Run(() => Sandboxes.Open(options.Sandbox), CancellationToken.None);
    private readonly Hypervisors _hypervisors = Hypervisors.Open(options.Configuration, options.State, options.Bases);
    private IVmView? _view;
    private ViewWatch? _watch;
    private PeriodicReaper? _reaper;

    private Sandbox Sandbox => _sandbox.GetAwaiter().GetResult();

    /// <summary>What a target holds, in the states that were chosen.</summary>
    /// <exception cref="TargetException">It is not there, or has no such state.</exception>
    public IReadOnlyList<Vm> Find(string target) =>
        [.. SnapshotChoice.Choose([.. _hypervisors.Find(target, new TargetFinder(options.Bases, cancellation))], options.Snapshot, options.Bases)];

    /// <summary>The one VM or image of a target, in one state.</summary>
    /// <exception cref="TargetException">There is none, or several and none was chosen.</exception>
    public Vm OneVm(string target)
    {
        List<Vm> states = OneVmsStates(target);
        return states.Count == 1 ? states[0] : throw new TargetException($"{target} has {states.Count} states; name one with --snapshot, not all");
    }

    /// <summary>The one VM or image of a target, in every state that was chosen.</summary>
    /// <exception cref="TargetException">There is none, or several and none was chosen.</exception>
    public List<Vm> OneVmsStates(string target)
    {
        IReadOnlyList<Vm> vms = Find(target);
        List<Vm> withDisks = [.. vms.Where(v => v.Disks.Count > 0 || v.Open is not null)];
        if (withDisks is [{ Open: { } open }])
        {
            _hypervisors.Reap();
            _reaper = _hypervisors.ReapPeriodically();
            _view = open();
            _watch = new ViewWatch(_view, TimeProvider.System, cancellation);
            return [_view.Vm];
        }

        return withDisks.DistinctBy(v => v.Target).Count() switch
        {
            1 => withDisks,
            0 => throw new TargetException($"{target}: {(vms.SelectMany(v => v.Gaps).FirstOrDefault() is { } gap ? gap.Detail : "no disk")}"),
            int count => throw new TargetException($"{target} holds {count} VMs or images; name one of: {string.Join(", ", withDisks.Select(v => v.Target).Distinct())}"),
        };
    }

    /// <summary>Runs a job and returns its gaps, those of the VM itself first. A failed job is an exception; a crash or hang is a gap.</summary>
    public List<GapReport> Run(Vm vm, Func<JobStart, VmJob> job, Action<WorkerEvent> onEvent, Action<ReadOnlySpan<byte>>? onData = null)
    {
        List<GapReport> gaps = [.. vm.Gaps];
        if (vm.Disks.Count == 0 && vm.Memory is null)
        {
            return gaps;
        }

        (List<ChainPlan> plans, List<(string Host, string Inside)> binds) = DiskBinds.Of(vm.Disks, Sandbox);
        var start = new JobStart(DiskLimits.ForReading with { HeapBytes = DiskLimits.ForReading.HeapBytes + DiskLimits.ForKeys(options.Secrets) }, plans, options.Secrets, DiskBinds.Of(vm.Memory, Sandbox, binds));
        WorkerOutcome outcome = new WorkerProcess(Sandbox.WorkerStart, Silence) { MostEventBytes = MostListingBytes }.Run(job(start) with { VolumeStates = vm.VolumeStates, Sockets = DiskBinds.Sockets(start.Disks, start.Memory) }, binds, message =>
        {
            if (message is GapEvent gap)
            {
                gaps.Add(gap.Gap);
            }
            else
            {
                onEvent(message);
            }
        }, onData, _watch?.Token ?? cancellation);
        switch (outcome.End)
        {
            case WorkerEnd.Done:
                return gaps;
            case WorkerEnd.Failed:
                throw new JobFailedException(outcome.Detail);
            case WorkerEnd.Cancelled when _watch?.Closed is { } why:
                gaps.Add(new GapReport("limit", vm.Target, "view", -1, 0, why));
                return gaps;
            case WorkerEnd.Cancelled:
                throw new OperationCanceledException(cancellation);
            default:
                gaps.Add(new GapReport(outcome.End == WorkerEnd.Hung ? "timeout" : "corrupt", vm.Target, "worker", -1, 0, outcome.Detail));
                return gaps;
        }
    }

    /// <summary>Closes the view that was read, where one was opened.</summary>
    public void Dispose()
    {
        _watch?.Dispose();
        _reaper?.Dispose();
        _view?.Dispose();
        _hypervisors.Dispose();
    }

    /// <summary>Shows gaps on standard error; the status is incomplete when there are any.</summary>
    public static int Conclude(IReadOnlyList<GapReport> gaps)
    {
        foreach (GapReport gap in gaps)
        {
            Console.Error.WriteLine($"vmsweep: {gap.Fault}: {Printable.Of(gap.Path)}: {Printable.Of(gap.Structure)}{(gap.Offset >= 0 ? $" at {gap.Offset}" : "")}: {Printable.Of(gap.Detail)}");
        }

        return gaps.Count > 0 ? ExitStatus.Incomplete : ExitStatus.Clean;
    }
}

/// <summary>What every job on disks is given.</summary>
internal sealed record JobStart(WorkerLimits Limits, IReadOnlyList<ChainPlan> Disks, IReadOnlyList<byte[]> Secrets, MemoryPlan? Memory);
