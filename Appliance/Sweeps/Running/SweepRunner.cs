using System.Runtime.ExceptionServices;
using Vmsweep.Appliance.Nodes;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Store;
using Vmsweep.Appliance.Sweeps.Configuration;
using Vmsweep.Appliance.Sweeps.Pacing;
using Vmsweep.Appliance.Sweeps.Planning;
using Vmsweep.Scheduler.Triggers;

namespace Vmsweep.Appliance.Sweeps.Running;

/// <summary>What a run is asked beyond its configuration.</summary>
/// <param name="IgnoresWindow">It runs whatever the time is.</param>
/// <param name="WaitsForWindow">Where the window closes it stays, and goes on in the next one.</param>
internal sealed record RunOptions(bool IgnoresWindow = false, bool WaitsForWindow = false);

/// <summary>
/// Runs a sweep: scans what is planned, several VMs at once, inside its window and its limits. Everything it has done is in the store before it goes on, so that whatever ends it,
/// the next process goes on with the VMs that were not done: one that was being scanned is scanned anew, and nothing of it was recorded.
/// </summary>
internal sealed class SweepRunner : IDisposable
{
    /// <summary>How often limits, the window and the order to end are looked at.</summary>
    public static readonly TimeSpan Tick = TimeSpan.FromMilliseconds(500);

    private readonly SweepSettings _sweep;
    private readonly SweepStore _store;
    private readonly RunLedger _ledger;
    private readonly TimeProvider _time;
    private readonly ISweepListener _listener;
    private readonly RunOptions _options;
    private readonly VmClaims? _claims;
    private readonly PaceBoard _pace;
    private readonly LostVms _lost;
    private readonly RunningScans _scans;
    private readonly VmTurns _turns;
    private readonly Lock _sharing = new();
    private readonly LeftToOthers? _others;

    /// <param name="claims">Where several nodes share the work; null: this process does all of it.</param>
    public SweepRunner(
        SweepSettings sweep, SweepStore store, SweepLocks locks, ISweepScanner scanner, IResultRecorder recorder, TimeProvider time, ISweepListener listener, RunOptions? options = null,
        VmClaims? claims = null)
    {
        (_sweep, _store, _time, _listener, _options, _claims) = (sweep, store, time, listener, options ?? new(), claims);
        _ledger = new RunLedger(store, recorder, claims, time);
        _pace = new PaceBoard(sweep.Limits, time);
        _lost = new LostVms(time, hasOthers: claims is not null);
        _others = claims is null ? null : new LeftToOthers(store, claims, _ledger, listener, () => !_options.WaitsForWindow && _sweep.AtEnd != WindowEnd.End && !IsOpen());
        _scans = new RunningScans(sweep, scanner, _ledger, _lost, _pace, listener, time);
        _turns = new VmTurns(sweep, store, locks, claims, _scans, time, IsOpen);
    }

    /// <summary>The most disks that were read at once, by what they were counted for.</summary>
    public IReadOnlyDictionary<string, int> MostDisks => _scans.MostDisks;

    /// <summary>Plans a new run.</summary>
    /// <returns>Its id.</returns>
    public static string Plan(SweepSettings sweep, SweepStore store, IReadOnlyList<SweepVm> listed, TimeProvider time)
    {
        DateTimeOffset now = time.GetUtcNow();
        string id = $"{sweep.Name}-{now:yyyyMMdd-HHmmss}-{Guid.NewGuid().ToString("N")[..6]}";
        store.Begin(id, sweep.Name, now, [.. ScanOrder.Sort(listed, store.LastScans(), sweep.Priority, sweep.Zone).Select(v => (v.Key, SweepVmReports.Planned(v)))]);
        return id;
    }

    /// <summary>Scans what a run has not scanned, until that is all, its window closes, or it is to end.</summary>
    /// <param name="run">As it was planned.</param>
    /// <param name="listed">The VMs as they are now.</param>
    /// <exception cref="SweepStoreException">How far it is could not be written: it stands as it was written last.</exception>
    /// <exception cref="Worker.JobFailedException">The rules cannot be used.</exception>
    public SweepRunRow Run(string run, IReadOnlyList<SweepVm> listed, CancellationToken cancellation)
    {
        SweepRunRow row = _store.Find(run) ?? throw new SweepStoreException($"there is no run {run}");
        IReadOnlyList<SweepVmRow> planned = _store.Vms(run);
        Dictionary<string, SweepVm> vms = listed.GroupBy(v => v.Key).ToDictionary(g => g.Key, g => g.First(), StringComparer.Ordinal);
        var progress = new ProgressBoard(_time, planned.Count);
        var working = new SweepRun(row, _store.LastScans(), progress);
        List<(SweepVmRow Row, SweepVm Vm)> waiting = [];
        foreach (SweepVmRow vm in planned)
        {
            if (vm.Report.State is SweepVmStates.Done or SweepVmStates.Skipped or SweepVmStates.Failed)
            {
                progress.Add(vm.Report);
            }
            else if (vms.TryGetValue(vm.Key, out SweepVm? found))
            {
                waiting.Add((vm with { Report = SweepVmReports.Planned(found) }, found));
            }
            else if (_others is not null)
            {
                // Another node may see it.
                _others.AddMissing(vm);
            }
            else
            {
                Leave(run, vm, progress, "it is not in the inventory any more", SweepVmStates.Failed);
            }
        }

        _store.SetState(run, SweepStates.Running, null, null);
        try
        {
            using ITimer timer = _time.CreateTimer(_ => OnTick(), null, Tick, Tick);
            Loop(working, waiting, cancellation);
            if (_scans.Failure is { } failure)
            {
                ExceptionDispatchInfo.Throw(failure);
            }

            KeepHeldBack(row);
            (string state, string? detail) = Conclude(working, waiting);
            if (state == SweepStates.Paused && _claims?.IsShared(run) == true)
            {
                // Others go on with it.
                return _store.Find(run)!;
            }

            _store.SetState(run, state, detail, state is SweepStates.Finished or SweepStates.Cancelled ? _time.GetUtcNow() : null);
            return _store.Find(run)!;
        }
        catch (Exception e)
        {
            _scans.StopAll();
            while (_scans.Any)
            {
                _scans.Wait(Tick);
            }

            _ledger.Fail(run, e);
            throw;
        }
    }

    public void Dispose() => _scans.Dispose();

    /// <summary>Starts what may be started, and waits for what changes that.</summary>
    private void Loop(SweepRun working, List<(SweepVmRow Row, SweepVm Vm)> waiting, CancellationToken cancellation)
    {
        (string run, ProgressBoard progress) = (working.Id, working.Progress);
        DateTimeOffset? saidWaiting = null;
        while (true)
        {
            bool isEnding = cancellation.IsCancellationRequested || _scans.Failure is not null || IsCancelled(run);
            if (isEnding)
            {
                _scans.StopAll();
            }

            OpenSpan? open = _options.IgnoresWindow ? new OpenSpan(DateTimeOffset.MinValue, null) : _sweep.Windows.From(_time.GetUtcNow());
            bool isOpen = IsOpen();

            // Asked before: one that comes back in this moment is seen the next time.
            bool wasScanning = _scans.Any;
            TakeBack(waiting);
            if (!isEnding)
            {
                GiveUp(working, waiting);
            }

            bool stays = !isEnding && waiting.Count > 0 && (isOpen || (_options.WaitsForWindow && _sweep.AtEnd != WindowEnd.End && open is not null));
            bool isPutOff = waiting.Exists(w => _lost.WhyNot(w.Row.Number, w.Vm) is not null);
            bool hasStarted = stays && isOpen && _turns.Start(working, waiting);

            // One that was started here may have come back before it is looked for.
            bool isScanning = wasScanning || hasStarted || _scans.Any;
            _listener.OnProgress(progress.Now(_turns.Held));
            if (!isScanning && (!stays || waiting.Count == 0))
            {
                if (isEnding || waiting.Count > 0 || _others?.Wait(working) != true)
                {
                    return;
                }

                _scans.Wait(Tick);
                continue;
            }

            if (!isScanning && isOpen)
            {
                if (isPutOff || (_claims is not null && _turns.MayWait))
                {
                    _scans.Wait(Tick);
                }
                else if (IsOpen() && !hasStarted && _scans.Failure is null)
                {
                    // All that are left are being scanned by others. Whoever waited for them would wait with nothing to do.
                    waiting.ForEach(left => Leave(run, left.Row, progress, "another sweep is scanning it", SweepVmStates.Skipped));
                    waiting.Clear();
                }

                continue;
            }

            if (!isScanning && saidWaiting != open!.Start)
            {
                saidWaiting = open.Start;
                _store.SetState(run, SweepStates.Paused, Until(open.Start), null);
                _listener.OnWaiting(open.Start);
                continue;
            }

            if (isOpen && saidWaiting is not null)
            {
                saidWaiting = null;
                _store.SetState(run, SweepStates.Running, null, null);
            }

            if (_scans.Wait(Tick))
            {
                KeepHeldBack(working.Row);
            }
        }
    }

    /// <summary>VMs that were broken off go to the head of those that wait, and those that were lost behind all others.</summary>
    private void TakeBack(List<(SweepVmRow Row, SweepVm Vm)> waiting)
    {
        IReadOnlyList<(SweepVmRow Row, SweepVm Vm)> broken = _scans.TakeBroken();
        waiting.InsertRange(0, broken.Where(b => _lost.Best(b.Row.Number) is null));
        waiting.AddRange(broken.Where(b => _lost.Best(b.Row.Number) is not null));
    }

    /// <summary>VMs that are read through what was looked for in vain, often enough: what there is of them is all, unless other nodes reach them.</summary>
    private void GiveUp(SweepRun run, List<(SweepVmRow Row, SweepVm Vm)> waiting)
    {
        foreach ((SweepVmRow Row, SweepVm Vm) left in waiting.ToArray())
        {
            if (_lost.GiveUp(left.Row.Number, left.Vm) is { } read)
            {
                waiting.Remove(left);
                if (_others is not null)
                {
                    _others.AddLost(left.Row, left.Vm, read);
                }
                else
                {
                    Tell(run.Progress, _ledger.Settle(run.Row, left.Row, left.Vm, read));
                }
            }
        }

        _others?.SettleLost(run);
    }

    private (string State, string? Detail) Conclude(SweepRun run, List<(SweepVmRow Row, SweepVm Vm)> waiting)
    {
        TakeBack(waiting);
        bool isCancelled = IsCancelled(run.Id);
        if (waiting.Count == 0 && _others?.Any != true && !isCancelled)
        {
            return (SweepStates.Finished, null);
        }

        OpenSpan? open = _options.IgnoresWindow ? null : _sweep.Windows.From(_time.GetUtcNow());
        bool closed = !IsOpen();
        if (isCancelled || (closed && _sweep.AtEnd == WindowEnd.End))
        {
            string why = isCancelled ? "the sweep was cancelled" : "the window closed before its turn";
            foreach ((SweepVmRow left, SweepVm vm) in waiting)
            {
                // It had its turn, and is not tried again: what was read of it until it was lost is what there is.
                if (_lost.Best(left.Number) is { } read)
                {
                    Tell(run.Progress, _ledger.SettleOrLeave(run.Row, left, vm, read));
                }
                else
                {
                    Leave(run.Id, left, run.Progress, why, SweepVmStates.Skipped);
                }
            }

            _others?.End(run, why);
            return isCancelled ? (SweepStates.Cancelled, "cancelled by the operator") : (SweepStates.Finished, "the window closed before all VMs had their turn");
        }

        return (SweepStates.Paused, closed ? Until(open?.Start) : "interrupted");
    }

    private void Leave(string run, SweepVmRow vm, ProgressBoard progress, string why, string state) => Tell(progress, _ledger.Leave(run, vm, why, state));

    private void Tell(ProgressBoard progress, SweepVmReport? report)
    {
        if (report is not null)
        {
            progress.Add(report);
            _listener.OnVm(report);
        }
    }

    private void KeepHeldBack(SweepRunRow row)
    {
        if (_pace.IsNeeded)
        {
            _ledger.KeepHeldBack(row, _pace.HeldBack());
        }
    }

    private bool IsOpen() => _options.IgnoresWindow || _sweep.Windows.IsOpen(_time.GetUtcNow());

    private bool IsCancelled(string run) => _store.Find(run) is { IsCancelled: true };

    private string Until(DateTimeOffset? start) =>
        start is { } at ? $"the window is closed until {TimeZoneInfo.ConvertTime(at, _sweep.Zone):yyyy-MM-dd HH:mm zzz}" : "the window does not open again";

    /// <summary>On the clock's own thread, so that the window's end is kept whatever the loop waits for.</summary>
    private void OnTick()
    {
        if (_sweep.AtEnd == WindowEnd.Pause && !IsOpen())
        {
            _scans.StopAll();
        }

        _pace.Step();

        // Where the database is slow the next ticks leave it alone: each would hold a thread of the pool, and with all of them held no answer arrives any more.
        if (_claims is null || !_pace.IsNeeded || !_sharing.TryEnter())
        {
            return;
        }

        try
        {
            _pace.Share(_claims.Others(_sweep.Name));
        }
        catch (SweepStoreException)
        {
            // The loop meets it too, and ends the run.
        }
        finally
        {
            _sharing.Exit();
        }
    }
}
