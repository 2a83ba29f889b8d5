using Serilog;
using Vmsweep.Appliance.Nodes;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Store;
using Vmsweep.Appliance.Sweeps.Configuration;
using Vmsweep.Appliance.Sweeps.Pacing;
using Vmsweep.Appliance.Sweeps.Planning;

namespace Vmsweep.Appliance.Sweeps.Running;

/// <summary>The VMs that are being scanned, each on a thread of its own, the disks they take of the limits, and those that came back without a result. Safe for many threads.</summary>
internal sealed class RunningScans(SweepSettings sweep, ISweepScanner scanner, RunLedger ledger, LostVms lost, PaceBoard pace, ISweepListener listener, TimeProvider time) : IDisposable
{
    private readonly Lock _gate = new();
    private readonly DiskSlots _slots = new(sweep.Limits);
    private readonly SemaphoreSlim _changed = new(0);
    private readonly Dictionary<int, CancellationTokenSource> _scanning = [];
    private readonly List<(SweepVmRow Row, SweepVm Vm)> _broken = [];
    private Exception? _failure;
    private int _returned;

    /// <summary>The most disks that were read at once, by what they were counted for.</summary>
    public IReadOnlyDictionary<string, int> MostDisks => _slots.Most;

    /// <summary>What keeps all VMs from being scanned; null for nothing.</summary>
    public Exception? Failure => _failure;

    public bool Any
    {
        get
        {
            lock (_gate)
            {
                return _scanning.Count > 0;
            }
        }
    }

    /// <summary>How many disks are read.</summary>
    public int Disks
    {
        get
        {
            lock (_gate)
            {
                return _slots.Taken;
            }
        }
    }

    /// <summary>How many have come back: whoever looks through what waits sees whether room was made meanwhile.</summary>
    public int Returned
    {
        get
        {
            lock (_gate)
            {
                return _returned;
            }
        }
    }

    /// <summary>Waits until one comes back.</summary>
    /// <returns>False: none did in time.</returns>
    public bool Wait(TimeSpan most) => _changed.Wait(most, CancellationToken.None);

    /// <summary>Takes a VM's disks of the limits, unless one came back since <paramref name="returned"/> was asked for.</summary>
    /// <param name="why">What it waits for; null when they are taken.</param>
    public bool TryTake(SweepVmRow row, SweepVm vm, int returned, out string? why)
    {
        why = lost.WhyNot(row.Number, vm);
        lock (_gate)
        {
            if (_returned != returned)
            {
                return false;
            }

            why ??= _slots.TryTake(vm);
            return true;
        }
    }

    /// <summary>The same, whatever comes back.</summary>
    public string? TryTake(SweepVmRow row, SweepVm vm)
    {
        lock (_gate)
        {
            return lost.WhyNot(row.Number, vm) ?? _slots.TryTake(vm);
        }
    }

    public void Return(SweepVm vm)
    {
        lock (_gate)
        {
            _slots.Return(vm);
        }
    }

    /// <summary>Those that came back without a result, in the order of the run.</summary>
    public IReadOnlyList<(SweepVmRow Row, SweepVm Vm)> TakeBroken()
    {
        lock (_gate)
        {
            (SweepVmRow, SweepVm)[] broken = [.. _broken.OrderBy(b => b.Row.Number)];
            _broken.Clear();
            return broken;
        }
    }

    public void StopAll()
    {
        lock (_gate)
        {
            foreach (CancellationTokenSource stop in _scanning.Values)
            {
                stop.Cancel();
            }
        }
    }

    /// <param name="owned">Disposed when it comes back; null for nothing.</param>
    /// <param name="claim">Null where this process does all of the run.</param>
    public void Begin(SweepRun run, SweepVmRow row, SweepVm vm, IDisposable? owned, VmClaim? claim)
    {
        listener.OnVm(row.Report);
        var stop = new CancellationTokenSource();
        lock (_gate)
        {
            _scanning.Add(row.Number, stop);
        }

        bool onlyChanges = sweep.OnlyChanges && run.Last.TryGetValue(vm.Key, out LastScan scan) && scan.Whole is { } whole && time.GetUtcNow() - whole < TimeSpan.FromDays(sweep.FullEveryDays);

        // Read anew is what this run reads: a base that it has read for one VM it need not read for the next.
        DateTimeOffset inheritFrom = onlyChanges ? time.GetUtcNow() - TimeSpan.FromDays(sweep.FullEveryDays) : run.Row.Begun;
        new Thread(() => Scan(run, row, vm, onlyChanges, inheritFrom, owned, claim, stop)) { IsBackground = true, Name = "sweep" }.Start();
    }

    public void Dispose() => _changed.Dispose();

    private void Scan(SweepRun run, SweepVmRow row, SweepVm vm, bool onlyChanges, DateTimeOffset inheritFrom, IDisposable? owned, VmClaim? claim, CancellationTokenSource stop)
    {
        SweepVmReport? done = null;
        try
        {
            using PaceLane? lane = pace.IsNeeded ? pace.Join(vm) : null;
            SweepScan scan = scanner.Scan(vm, onlyChanges, inheritFrom, lane, run.Progress.Begin(vm.Key, vm.Name), stop.Token);
            if (stop.IsCancellationRequested)
            {
                ledger.GiveBack(run.Id, row, claim);
            }
            else if (lost.PutOff(row.Number, vm, scan))
            {
                Log.Warning(scan.Retries < LostVms.MostTries
                    ? "not all of {Vm} could be read; it is tried once more"
                    : "the datastore or the hypervisor of {Vm} was lost while it was read; it is tried again", vm.Target);
                ledger.GiveBack(run.Id, row, claim);
            }
            else
            {
                done = ledger.Record(run.Id, row, vm, onlyChanges, lost.Best(row.Number, scan), claim);
            }
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            ledger.GiveBack(run.Id, row, claim);
        }
        catch (ClaimLostException e)
        {
            // It was so slow that it was taken for dead. The VM is another node's, or done.
            Log.Warning("{Reason}; what was found here is left to it", e.Message);
            done = null;
        }
        catch (Exception e)
        {
            // Of a VM nothing is thrown: what comes here keeps all of them from being scanned, or is a defect.
            Log.Error(e, "the sweep {Run} ends at {Vm}", run.Id, vm.Target);
            Interlocked.CompareExchange(ref _failure, e, null);
            done = null;
            ledger.GiveBack(run.Id, row, claim);
        }
        finally
        {
            run.Progress.End(vm.Key, done);
            if (done is not null)
            {
                listener.OnVm(done);
            }

            owned?.Dispose();
            lock (_gate)
            {
                _scanning.Remove(row.Number);
                _slots.Return(vm);
                _returned++;
                if (done is null)
                {
                    _broken.Add((row with { Report = row.Report with { State = SweepVmStates.Waiting, StartedAt = null } }, vm));
                }
            }

            stop.Dispose();
            _changed.Release();
        }
    }
}
