using Serilog;
using Vmsweep.Appliance.Nodes;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Store;
using Vmsweep.Appliance.Sweeps.Planning;

namespace Vmsweep.Appliance.Sweeps.Running;

/// <summary>Writes down what becomes of the VMs of a run. Where several nodes share it, only for VMs that are this one's to tell of.</summary>
/// <param name="claims">Null: this process does all of the run.</param>
internal sealed class RunLedger(SweepStore store, IResultRecorder recorder, VmClaims? claims, TimeProvider time)
{
    /// <summary>A VM is not scanned in this run.</summary>
    /// <returns>Null: another node scans it, or has done so.</returns>
    public SweepVmReport? Leave(string run, SweepVmRow row, string why, string state)
    {
        SweepVmReport left = SweepVmReports.Skipped(row.Report, why, state);
        if (claims is null)
        {
            store.SetVm(run, row.Number, left);
            return left;
        }

        return claims.Settle(run, row.Number, left) ? left : null;
    }

    /// <summary>A VM is not tried again: what was read of it is all.</summary>
    /// <returns>Null: another node scans it, or has done so, or another sweep scans it.</returns>
    public SweepVmReport? Settle(SweepRunRow run, SweepVmRow row, SweepVm vm, SweepScan read)
    {
        VmClaim? claim = claims?.Take(run, row);
        if (claim is null && claims is not null)
        {
            return null;
        }

        try
        {
            return Record(run.Id, row, vm, onlyChanges: false, read, claim);
        }
        catch (ClaimLostException)
        {
            return null;
        }
    }

    /// <summary>The same at the run's end: what another sweep scans then is that one's to tell of.</summary>
    public SweepVmReport? SettleOrLeave(SweepRunRow run, SweepVmRow row, SweepVm vm, SweepScan read) =>
        Settle(run, row, vm, read) ?? Leave(run.Id, row, "another sweep is scanning it", SweepVmStates.Skipped);

    /// <summary>A run that could not go on, unless others go on with it.</summary>
    public void Fail(string run, Exception e)
    {
        try
        {
            if (claims?.IsShared(run) != true)
            {
                store.SetState(run, SweepStates.Failed, e.Message, null);
            }
        }
        catch (SweepStoreException)
        {
            // The same failure again: it stands as it was written last, and can be resumed.
        }
    }

    /// <summary>What was done to spare datastores, added to what was when the run was taken up.</summary>
    public void KeepHeldBack(SweepRunRow row, IReadOnlyList<HeldBackReport> heldBack)
    {
        // Of several nodes each has held back by itself.
        string of = claims is null ? "" : $" (node {claims.Node.Settings.Node})";
        IReadOnlyList<HeldBackReport> mine = [.. heldBack.Select(h => h with { Datastore = h.Datastore + of })];
        store.ChangeHeldBack(row.Id, present => claims is null
            ? SweepVmReports.Join(row.HeldBack, mine)
            : [.. present.Where(p => !p.Datastore.EndsWith(of, StringComparison.Ordinal)), .. SweepVmReports.Join([.. row.HeldBack.Where(h => h.Datastore.EndsWith(of, StringComparison.Ordinal))], mine)]);
    }

    /// <summary>What was found is in the store, and then that the VM is done.</summary>
    /// <param name="claim">Null where this process does all of the run.</param>
    /// <exception cref="SweepStoreException">It could not be written.</exception>
    /// <exception cref="ClaimLostException">The VM was given to another node meanwhile; nothing was written.</exception>
    public SweepVmReport Record(string run, SweepVmRow row, SweepVm vm, bool onlyChanges, SweepScan scan, VmClaim? claim)
    {
        SweepVmReport done = SweepVmReports.Done(row.Report, scan.Target, time.GetUtcNow());
        var finished = new FinishedScan(run, vm.Tenant, scan.Target, scan.Engines, scan.Bundle, row.Report.StartedAt ?? done.FinishedAt!.Value, done.FinishedAt!.Value) { Depth = scan.Depth, Rules = scan.Rules, Claim = claim };
        if (recorder.Record(finished) is null)
        {
            // What was found must not be lost: the VM is not done, and is scanned again when the sweep is resumed.
            throw new SweepStoreException("what was found could not be recorded; the log says why");
        }

        if (claim is not null && !claims!.End(claim, run, row.Number, done))
        {
            throw new ClaimLostException(vm.Target);
        }

        // What was inherited from before this run was not read in it.
        bool hasInherited = onlyChanges && scan.Target.Disks.Exists(d => d.Outside.FilesInherited > 0 || d.Volumes.Exists(v => v.Files.Inherited > 0));
        store.Finish(run, row with { Report = done }, wasWhole: scan.Target.Changes?.Since is null && !hasInherited && !scan.Target.Gaps.Exists(g => g.Fault == Faults.Name(DiskReaders.Blocks.Fault.Transport)), time.GetUtcNow());
        return done;
    }

    /// <summary>A VM whose scan was broken off is not being scanned any more, whoever asks.</summary>
    public void GiveBack(string run, SweepVmRow row, VmClaim? claim)
    {
        SweepVmReport waits = row.Report with { State = SweepVmStates.Waiting, StartedAt = null };
        try
        {
            if (claim is not null)
            {
                claims!.End(claim, run, row.Number, waits);
            }
            else
            {
                store.SetVm(run, row.Number, waits);
            }
        }
        catch (SweepStoreException e)
        {
            Log.Warning("the sweep {Run} could not note that {Vm} waits again: {Reason}", run, row.Report.Name, e.Message);
        }
    }
}
