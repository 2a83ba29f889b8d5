using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Cli;

/// <summary>What <c>info</c>, <c>ls</c>, <c>cat</c> and <c>read</c> share: one worker on one disk, its gaps on standard error.</summary>
internal sealed class DiskCommand(SandboxMode mode, IReadOnlyList<string> bases, CancellationToken cancellation)
{
    private static readonly TimeSpan Silence = TimeSpan.FromMinutes(2);

    private readonly Sandbox _sandbox = Sandboxes.Open(mode);

    public Sandbox Sandbox => _sandbox;

    /// <summary>The one disk of a target.</summary>
    /// <exception cref="TargetException">It has none, or several and none was chosen.</exception>
    public (VmDisk Disk, string Prefix) OneDisk(string target)
    {
        List<Vm> vms = [.. new TargetFinder(bases, cancellation).Find(target)];
        List<VmDisk> disks = [.. vms.SelectMany(v => v.Disks)];
        return disks.Count switch
        {
            1 => (disks[0], ""),
            0 => throw new TargetException($"{target}: {(vms.SelectMany(v => v.Gaps).FirstOrDefault() is { } gap ? gap.Detail : "no disk")}"),
            _ => throw new TargetException($"{target} has {disks.Count} disks; name one of: {string.Join(", ", disks.Select(d => d.Path))}"),
        };
    }

    /// <summary>Runs a job and returns its gaps. A failed job is an exception; a crash or hang is a gap.</summary>
    public List<GapReport> Run(VmDisk disk, Func<ChainPlan, DiskJob> job, Action<WorkerEvent> onEvent, Action<ReadOnlySpan<byte>>? onData = null)
    {
        (ChainPlan plan, List<(string Host, string Inside)> binds) = DiskBinds.Of(disk.Plan, _sandbox);
        List<GapReport> gaps = [];
        WorkerOutcome outcome = new WorkerProcess(_sandbox.WorkerStart, Silence).Run(job(plan), binds, message =>
        {
            if (message is GapEvent gap)
            {
                gaps.Add(gap.Gap);
            }
            else
            {
                onEvent(message);
            }
        }, onData, cancellation);
        switch (outcome.End)
        {
            case WorkerEnd.Done:
                return gaps;
            case WorkerEnd.Failed:
                throw new JobFailedException(outcome.Detail);
            case WorkerEnd.Cancelled:
                throw new OperationCanceledException(cancellation);
            default:
                gaps.Add(new GapReport(outcome.End == WorkerEnd.Hung ? "timeout" : "corrupt", disk.Path, "worker", -1, 0, outcome.Detail));
                return gaps;
        }
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
