using Vmsweep.Appliance.Nodes;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results.Store;
using Vmsweep.Appliance.Sweeps.Configuration;
using Vmsweep.Appliance.Sweeps.Planning;

namespace Vmsweep.Appliance.Sweeps.Running;

/// <summary>
/// VMs of a run that this node leaves to the others: it does not see them, or has looked for what they are read through often enough. It does not try them again. What none of the nodes
/// takes that live and have something to do there is told of by one of those that left it, by the one that read most of it before.
/// </summary>
/// <param name="isOver">Whether those that went away meanwhile go on with the run in another window.</param>
internal sealed class LeftToOthers(SweepStore store, VmClaims claims, RunLedger ledger, ISweepListener listener, Func<bool> isOver)
{
    private readonly List<SweepVmRow> _missing = [];
    private readonly List<(SweepVmRow Row, SweepVm Vm, SweepScan Read)> _lost = [];
    private bool _hadCompany;

    public bool Any => _missing.Count > 0 || _lost.Count > 0;

    /// <summary>A VM that this node does not see.</summary>
    public void AddMissing(SweepVmRow row) => _missing.Add(row);

    /// <summary>A VM that this node does not reach any more.</summary>
    /// <param name="read">The most that it read of it.</param>
    public void AddLost(SweepVmRow row, SweepVm vm, SweepScan read) => _lost.Add((row, vm, read));

    /// <summary>Where no other has anything to do any more, what this node does not reach is told of at once.</summary>
    public void SettleLost(SweepRun run)
    {
        if (_lost.Count > 0 && !MayBeTaken(run) && !IsPaused)
        {
            Settle(run, claims.LeftByOthers(run.Id));
        }
    }

    /// <summary>This node has nothing else to do.</summary>
    /// <returns>True: others may still take some. False: all are told of, or the run goes on in another window.</returns>
    public bool Wait(SweepRun run)
    {
        Dictionary<int, SweepVmReport> done = store.Vms(run.Id).Where(v => v.Report.State is not (SweepVmStates.Waiting or SweepVmStates.Running)).ToDictionary(v => v.Number, v => v.Report);
        _missing.RemoveAll(m => done.ContainsKey(m.Number));
        foreach (SweepVmReport report in _lost.Where(l => done.ContainsKey(l.Row.Number)).Select(l => done[l.Row.Number]))
        {
            run.Progress.Add(report);
        }

        _lost.RemoveAll(l => done.ContainsKey(l.Row.Number));

        // Said before it is idle: who sees that nobody has anything to do sees all that is left, too.
        claims.Node.Work(run.Id, isIdle: true, [.. _lost.Select(l => Of(l.Row, l.Read))]);
        if (!Any || MayBeTaken(run))
        {
            return Any;
        }

        if (IsPaused)
        {
            return false;
        }

        ILookup<int, LeftVm> others = claims.LeftByOthers(run.Id);
        Settle(run, others);
        foreach (SweepVmRow missing in _missing.Where(m => !others.Contains(m.Number)))
        {
            Tell(run, ledger.Leave(run.Id, missing, "it is not in the inventory of any node", SweepVmStates.Failed));
        }

        _missing.RemoveAll(m => !others.Contains(m.Number));
        return Any;
    }

    /// <summary>The run is over, whoever may reach them.</summary>
    public void End(SweepRun run, string why)
    {
        foreach ((SweepVmRow row, SweepVm vm, SweepScan read) in _lost)
        {
            Tell(run, ledger.SettleOrLeave(run.Row, row, vm, read));
        }

        foreach (SweepVmRow missing in _missing)
        {
            Tell(run, ledger.Leave(run.Id, missing, why, SweepVmStates.Skipped));
        }

        _lost.Clear();
        _missing.Clear();
    }

    private bool IsPaused => _hadCompany && isOver();

    private static LeftVm Of(SweepVmRow row, SweepScan read)
    {
        (long findings, long bytes) = LostVms.Read(read);
        return new LeftVm(row.Number, findings, bytes);
    }

    private bool MayBeTaken(SweepRun run)
    {
        bool isAtWork = claims.IsShared(run.Id, andWorks: true);
        _hadCompany |= isAtWork;
        return isAtWork;
    }

    private void Settle(SweepRun run, ILookup<int, LeftVm> others)
    {
        // One that another sweep scans at this moment waits for that.
        foreach ((SweepVmRow Row, SweepVm Vm, SweepScan Read) left in _lost.Where(l => !others[l.Row.Number].Any(o => Of(l.Row, l.Read).IsLessThan(o))).ToArray())
        {
            if (ledger.Settle(run.Row, left.Row, left.Vm, left.Read) is { } told)
            {
                _lost.Remove(left);
                Tell(run, told);
            }
        }
    }

    private void Tell(SweepRun run, SweepVmReport? report)
    {
        if (report is not null)
        {
            run.Progress.Add(report);
            listener.OnVm(report);
        }
    }
}
