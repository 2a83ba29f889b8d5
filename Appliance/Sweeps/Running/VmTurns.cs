using Vmsweep.Appliance.Nodes;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results.Store;
using Vmsweep.Appliance.Sweeps.Configuration;
using Vmsweep.Appliance.Sweeps.Planning;

namespace Vmsweep.Appliance.Sweeps.Running;

/// <summary>Whose turn it is: begins those of the VMs that wait which the window, the limits and other sweeps and nodes let begin.</summary>
/// <param name="claims">Where several nodes share the work; null: this process does all of it.</param>
internal sealed class VmTurns(SweepSettings sweep, SweepStore store, SweepLocks locks, VmClaims? claims, RunningScans scans, TimeProvider time, Func<bool> isOpen)
{
    /// <summary>What the first of those that could not begin waits for; empty for nothing.</summary>
    public string Held { get; private set; } = "";

    /// <summary>Where nodes share the work: to wait is of use.</summary>
    public bool MayWait { get; private set; }

    /// <param name="waiting">What begins is taken out, and so is what other nodes have done.</param>
    /// <returns>False: nothing could be started.</returns>
    public bool Start(SweepRun run, List<(SweepVmRow Row, SweepVm Vm)> waiting) => claims is null ? StartSome(run, waiting) : StartShared(run, waiting, claims);

    private bool StartSome(SweepRun run, List<(SweepVmRow Row, SweepVm Vm)> waiting)
    {
        string held = "";
        bool hasStarted = false;
        int returned = scans.Returned;

        // The window is asked before each: what was begun a moment ago may have taken until its end.
        for (int i = 0; i < waiting.Count && isOpen() && scans.Failure is null;)
        {
            (SweepVmRow row, SweepVm vm) = waiting[i];
            if (i == 0)
            {
                returned = scans.Returned;
            }

            if (!scans.TryTake(row, vm, returned, out string? why))
            {
                // Room was made meanwhile: it is for the first of those that wait, not for the one that is looked at now.
                (i, held) = (0, "");
                continue;
            }

            IDisposable? owned = null;
            if (why is null && (owned = locks.TryTakeVm(vm.Key)) is null)
            {
                scans.Return(vm);
                why = "another sweep is scanning it";
            }

            if (why is not null)
            {
                held = held.Length == 0 ? $"{vm.Name}: {why}" : held;
                i++;
                continue;
            }

            waiting.RemoveAt(i);
            SweepVmReport begun = row.Report with { State = SweepVmStates.Running, StartedAt = time.GetUtcNow() };
            store.SetVm(run.Id, row.Number, begun);
            hasStarted = true;
            scans.Begin(run, row with { Report = begun }, vm, owned, null);
        }

        Held = held;
        return hasStarted;
    }

    /// <summary>As above, where other nodes work on the same run: what is free for this one is asked of all.</summary>
    private bool StartShared(SweepRun run, List<(SweepVmRow Row, SweepVm Vm)> waiting, VmClaims shared)
    {
        bool hasStarted = false;
        while (waiting.Count > 0 && isOpen() && scans.Failure is null)
        {
            DateTimeOffset now = time.GetUtcNow();
            NodeTurn turn = shared.TakeNext(run.Id, sweep, waiting, scans.TryTake, now);
            (Held, MayWait) = (turn.Held, turn.MayWait);
            (SweepVmRow Row, SweepVm Vm)? taken = turn.Taken is { } place ? waiting[place] : null;
            foreach ((_, SweepVmReport report) in turn.Done)
            {
                run.Progress.Add(report);
            }

            HashSet<int> gone = [.. turn.Done.Select(d => d.Place)];
            int at = 0;
            waiting.RemoveAll(_ => at++ is var i && (i == turn.Taken || gone.Contains(i)));
            if (taken is not { } next)
            {
                break;
            }

            hasStarted = true;
            scans.Begin(run, next.Row with { Report = next.Row.Report with { State = SweepVmStates.Running, StartedAt = now } }, next.Vm, null, turn.Claim);
            if (sweep.Limits.DisksPerNode is { } most && scans.Disks >= most)
            {
                // All nodes wait for each other there: what is known beforehand is not asked.
                break;
            }
        }

        return hasStarted;
    }
}
