using System.Runtime.ExceptionServices;
using Serilog;
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
    private readonly SweepLocks _locks;
    private readonly ISweepScanner _scanner;
    private readonly RunLedger _ledger;
    private readonly TimeProvider _time;
    private readonly ISweepListener _listener;
    private readonly RunOptions _options;
    private readonly VmClaims? _claims;
    private readonly DiskSlots _slots;
    private readonly PaceBoard _pace;
    private readonly LostVms _lost;
    private readonly Lock _gate = new();
    private readonly Lock _sharing = new();
    private readonly SemaphoreSlim _changed = new(0);
    private readonly Dictionary<int, CancellationTokenSource> _scanning = [];
    private readonly List<(SweepVmRow Row, SweepVm Vm)> _broken = [];
    private readonly List<SweepVmRow> _missing = [];
    private Exception? _failure;
    private int _returned;
    private string _held = "";
    private bool _mayWait;

    /// <param name="claims">Where several nodes share the work; null: this process does all of it.</param>
    public SweepRunner(
        SweepSettings sweep, SweepStore store, SweepLocks locks, ISweepScanner scanner, IResultRecorder recorder, TimeProvider time, ISweepListener listener, RunOptions? options = null,
        VmClaims? claims = null)
    {
        (_sweep, _store, _locks, _scanner, _time, _listener, _options, _claims) = (sweep, store, locks, scanner, time, listener, options ?? new(), claims);
        _ledger = new RunLedger(store, recorder, claims, time);
        _slots = new DiskSlots(sweep.Limits);
        _pace = new PaceBoard(sweep.Limits, time);
        _lost = new LostVms(time);
    }

    /// <summary>The most disks that were read at once, by what they were counted for.</summary>
    public IReadOnlyDictionary<string, int> MostDisks => _slots.Most;

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
        IReadOnlyDictionary<string, LastScan> last = _store.LastScans();
        var progress = new ProgressBoard(_time, planned.Count);
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
            else if (_claims is not null)
            {
                // Another node may see it.
                _missing.Add(vm);
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
            Loop(row, waiting, last, progress, cancellation);
            if (_failure is not null)
            {
                ExceptionDispatchInfo.Throw(_failure);
            }

            KeepHeldBack(row);
            (string state, string? detail) = Conclude(run, waiting, progress);
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
            StopAll();
            while (IsScanning())
            {
                _changed.Wait(Tick, CancellationToken.None);
            }

            _ledger.Fail(run, e);
            throw;
        }
    }

    public void Dispose() => _changed.Dispose();

    /// <summary>Starts what may be started, and waits for what changes that.</summary>
    private void Loop(SweepRunRow row, List<(SweepVmRow Row, SweepVm Vm)> waiting, IReadOnlyDictionary<string, LastScan> last, ProgressBoard progress, CancellationToken cancellation)
    {
        string run = row.Id;
        DateTimeOffset? saidWaiting = null;
        while (true)
        {
            bool isEnding = cancellation.IsCancellationRequested || _failure is not null || IsCancelled(run);
            if (isEnding)
            {
                StopAll();
            }

            OpenSpan? open = _options.IgnoresWindow ? new OpenSpan(DateTimeOffset.MinValue, null) : _sweep.Windows.From(_time.GetUtcNow());
            bool isOpen = IsOpen();

            // Asked before: one that comes back in this moment is seen the next time.
            bool wasScanning = IsScanning();
            TakeBack(waiting);
            bool stays = !isEnding && waiting.Count > 0 && (isOpen || (_options.WaitsForWindow && _sweep.AtEnd != WindowEnd.End && open is not null));
            bool isPutOff = waiting.Exists(w => _lost.WhyNot(w.Row.Number) is not null);
            bool hasStarted = stays && isOpen && (_claims is null ? StartSome(run, row.Begun, waiting, last, progress) : StartShared(run, row.Begun, waiting, last, progress));

            // One that was started here may have come back before it is looked for.
            bool isScanning = wasScanning || hasStarted || IsScanning();
            _listener.OnProgress(progress.Now(_held));
            if (!isScanning && (!stays || waiting.Count == 0))
            {
                if (isEnding || waiting.Count > 0 || !WaitsForMissing(run, progress))
                {
                    return;
                }

                _changed.Wait(Tick, CancellationToken.None);
                continue;
            }

            if (!isScanning && isOpen)
            {
                if (isPutOff || (_claims is not null && _mayWait))
                {
                    _changed.Wait(Tick, CancellationToken.None);
                }
                else if (IsOpen() && !hasStarted && _failure is null)
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

            if (_changed.Wait(Tick, CancellationToken.None))
            {
                KeepHeldBack(row);
            }
        }
    }

    /// <summary>VMs that were broken off go to the head of those that wait, and those that were lost behind all others.</summary>
    private void TakeBack(List<(SweepVmRow Row, SweepVm Vm)> waiting)
    {
        lock (_gate)
        {
            waiting.InsertRange(0, _broken.Where(b => _lost.Best(b.Row.Number) is null).OrderBy(b => b.Row.Number));
            waiting.AddRange(_broken.Where(b => _lost.Best(b.Row.Number) is not null).OrderBy(b => b.Row.Number));
            _broken.Clear();
        }
    }

    private (string State, string? Detail) Conclude(string run, List<(SweepVmRow Row, SweepVm Vm)> waiting, ProgressBoard progress)
    {
        TakeBack(waiting);
        bool isCancelled = IsCancelled(run);
        if (waiting.Count == 0 && !isCancelled)
        {
            return (SweepStates.Finished, null);
        }

        OpenSpan? open = _options.IgnoresWindow ? null : _sweep.Windows.From(_time.GetUtcNow());
        bool closed = !IsOpen();
        if (isCancelled || (closed && _sweep.AtEnd == WindowEnd.End))
        {
            foreach ((SweepVmRow left, SweepVm vm) in waiting)
            {
                if (_lost.Best(left.Number) is not { } read)
                {
                    Leave(run, left, progress, isCancelled ? "the sweep was cancelled" : "the window closed before its turn", SweepVmStates.Skipped);
                    continue;
                }

                // It had its turn, and is not tried again: what was read of it until it was lost is what there is, unless another node has more.
                if (_claims?.Settle(run, left.Number, left.Report) == false)
                {
                    continue;
                }

                SweepVmReport done = _ledger.Record(run, left, vm, onlyChanges: false, read, null);
                progress.Add(done);
                _listener.OnVm(done);
            }

            return isCancelled ? (SweepStates.Cancelled, "cancelled by the operator") : (SweepStates.Finished, "the window closed before all VMs had their turn");
        }

        return (SweepStates.Paused, closed ? Until(open?.Start) : "interrupted");
    }

    private void Leave(string run, SweepVmRow vm, ProgressBoard progress, string why, string state)
    {
        if (_ledger.Leave(run, vm, why, state) is { } left)
        {
            progress.Add(left);
            _listener.OnVm(left);
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

    private bool IsScanning()
    {
        lock (_gate)
        {
            return _scanning.Count > 0;
        }
    }

    private bool IsCancelled(string run) => _store.Find(run) is { IsCancelled: true };

    private string Until(DateTimeOffset? start) =>
        start is { } at ? $"the window is closed until {TimeZoneInfo.ConvertTime(at, _sweep.Zone):yyyy-MM-dd HH:mm zzz}" : "the window does not open again";

    /// <returns>False: nothing could be started.</returns>
    private bool StartSome(string run, DateTimeOffset begunAt, List<(SweepVmRow Row, SweepVm Vm)> waiting, IReadOnlyDictionary<string, LastScan> last, ProgressBoard progress)
    {
        string held = "";
        bool hasStarted = false;
        int returned;
        lock (_gate)
        {
            returned = _returned;
        }

        // The window is asked before each: what was begun a moment ago may have taken until its end.
        for (int i = 0; i < waiting.Count && IsOpen() && _failure is null;)
        {
            (SweepVmRow row, SweepVm vm) = waiting[i];
            string? why = _lost.WhyNot(row.Number);
            lock (_gate)
            {
                if (i > 0 && _returned != returned)
                {
                    // Room was made meanwhile: it is for the first of those that wait, not for the one that is looked at now.
                    (i, held, returned) = (0, "", _returned);
                    continue;
                }

                why ??= _slots.TryTake(vm);
            }

            IDisposable? owned = null;
            if (why is null && (owned = _locks.TryTakeVm(vm.Key)) is null)
            {
                lock (_gate)
                {
                    _slots.Return(vm);
                }

                why = "another sweep is scanning it";
            }

            if (why is not null)
            {
                held = held.Length == 0 ? $"{vm.Name}: {why}" : held;
                i++;
                continue;
            }

            waiting.RemoveAt(i);
            SweepVmReport begun = row.Report with { State = SweepVmStates.Running, StartedAt = _time.GetUtcNow() };
            _store.SetVm(run, row.Number, begun);
            hasStarted = true;
            Begin(run, begunAt, row with { Report = begun }, vm, last, progress, owned, null);
        }

        _held = held;
        return hasStarted;
    }

    /// <summary>As above, where other nodes work on the same run: what is free for this one is asked of all.</summary>
    private bool StartShared(string run, DateTimeOffset begunAt, List<(SweepVmRow Row, SweepVm Vm)> waiting, IReadOnlyDictionary<string, LastScan> last, ProgressBoard progress)
    {
        bool hasStarted = false;
        while (waiting.Count > 0 && IsOpen() && _failure is null)
        {
            DateTimeOffset now = _time.GetUtcNow();
            NodeTurn turn = _claims!.TakeNext(run, _sweep, waiting, TakeSlots, now);
            (_held, _mayWait) = (turn.Held, turn.MayWait);
            (SweepVmRow Row, SweepVm Vm)? taken = turn.Taken is { } place ? waiting[place] : null;
            foreach ((_, SweepVmReport report) in turn.Done)
            {
                progress.Add(report);
            }

            HashSet<int> gone = [.. turn.Done.Select(d => d.Place)];
            int at = 0;
            waiting.RemoveAll(_ => at++ is var i && (i == turn.Taken || gone.Contains(i)));
            if (taken is not { } next)
            {
                break;
            }

            hasStarted = true;
            Begin(run, begunAt, next.Row with { Report = next.Row.Report with { State = SweepVmStates.Running, StartedAt = now } }, next.Vm, last, progress, null, turn.Claim);
        }

        return hasStarted;

        string? TakeSlots(SweepVmRow row, SweepVm vm)
        {
            lock (_gate)
            {
                return _lost.WhyNot(row.Number) ?? _slots.TryTake(vm);
            }
        }
    }

    /// <summary>VMs that this node does not see are another's; what none of those that are at work sees is there no more. True: another may still see it.</summary>
    private bool WaitsForMissing(string run, ProgressBoard progress)
    {
        if (_missing.Count == 0)
        {
            return false;
        }

        HashSet<int> left = [.. _store.Vms(run).Where(v => v.Report.State is SweepVmStates.Waiting or SweepVmStates.Running).Select(v => v.Number)];
        _missing.RemoveAll(m => !left.Contains(m.Number));
        _claims!.Node.Work(run, isIdle: true);
        if (_missing.Count > 0 && _claims.IsShared(run, andWorks: true))
        {
            return true;
        }

        _missing.ForEach(m => Leave(run, m, progress, "it is not in the inventory of any node", SweepVmStates.Failed));
        _missing.Clear();
        return false;
    }

    private void Begin(
        string run, DateTimeOffset begunAt, SweepVmRow row, SweepVm vm, IReadOnlyDictionary<string, LastScan> last, ProgressBoard progress, IDisposable? owned, VmClaim? claim)
    {
        _listener.OnVm(row.Report);
        var stop = new CancellationTokenSource();
        lock (_gate)
        {
            _scanning.Add(row.Number, stop);
        }

        bool onlyChanges = _sweep.OnlyChanges && last.TryGetValue(vm.Key, out LastScan scan) && scan.Whole is { } whole && _time.GetUtcNow() - whole < TimeSpan.FromDays(_sweep.FullEveryDays);

        // Read anew is what this run reads: a base that it has read for one VM it need not read for the next.
        DateTimeOffset inheritFrom = onlyChanges ? _time.GetUtcNow() - TimeSpan.FromDays(_sweep.FullEveryDays) : begunAt;
        new Thread(() => Scan(run, row, vm, onlyChanges, inheritFrom, progress, owned, claim, stop)) { IsBackground = true, Name = "sweep" }.Start();
    }

    private void Scan(
        string run, SweepVmRow row, SweepVm vm, bool onlyChanges, DateTimeOffset inheritFrom, ProgressBoard progress, IDisposable? owned, VmClaim? claim, CancellationTokenSource stop)
    {
        SweepVmReport? done = null;
        try
        {
            using PaceLane? lane = _pace.IsNeeded ? _pace.Join(vm) : null;
            SweepScan scan = _scanner.Scan(vm, onlyChanges, inheritFrom, lane, progress.Begin(vm.Key, vm.Name), stop.Token);
            if (!stop.IsCancellationRequested && _lost.PutOff(row.Number, scan))
            {
                Log.Warning("the datastore or the hypervisor of {Vm} was lost while it was read; it is tried again", vm.Target);
                _ledger.GiveBack(run, row, claim);
            }
            else if (!stop.IsCancellationRequested)
            {
                done = _ledger.Record(run, row, vm, onlyChanges, _lost.Best(row.Number, scan), claim);
            }
            else
            {
                _ledger.GiveBack(run, row, claim);
            }
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            _ledger.GiveBack(run, row, claim);
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
            Log.Error(e, "the sweep {Run} ends at {Vm}", run, vm.Target);
            Interlocked.CompareExchange(ref _failure, e, null);
            done = null;
            _ledger.GiveBack(run, row, claim);
        }
        finally
        {
            progress.End(vm.Key, done);
            if (done is not null)
            {
                _listener.OnVm(done);
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

    /// <summary>On the clock's own thread, so that the window's end is kept whatever the loop waits for.</summary>
    private void OnTick()
    {
        if (_sweep.AtEnd == WindowEnd.Pause && !IsOpen())
        {
            StopAll();
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

    private void StopAll()
    {
        lock (_gate)
        {
            foreach (CancellationTokenSource stop in _scanning.Values)
            {
                stop.Cancel();
            }
        }
    }
}
