using System.Data.Common;
using System.Globalization;
using System.Text.Json;
using Serilog;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Store;
using Vmsweep.Appliance.Sweeps.Configuration;
using Vmsweep.Appliance.Sweeps.Pacing;
using Vmsweep.Appliance.Sweeps.Planning;

namespace Vmsweep.Appliance.Nodes;

/// <summary>A VM that a node scans. Its token is what results must show: whoever takes the VM away makes another one.</summary>
internal sealed record VmClaim(string Key, string Token);

/// <summary>What a node found to do.</summary>
/// <param name="Taken">The place among the candidates of the VM that is its now; null for none.</param>
/// <param name="Claim">Null where none was taken.</param>
/// <param name="Done">VMs that other nodes have done since they were looked at, by their places among the candidates.</param>
/// <param name="Held">What the first of the others waits for; empty for nothing.</param>
/// <param name="MayWait">Another node is at work for the same run, or limits are held by one: to wait is of use.</param>
internal sealed record NodeTurn(int? Taken, VmClaim? Claim, IReadOnlyList<(int Place, SweepVmReport Report)> Done, string Held, bool MayWait);

/// <summary>
/// Hands the VMs of a run each to one node, under limits that hold for all of them. All that is asked is answered in one transaction, which others wait for: what is free and what is
/// taken is then no matter of luck. A node that is dead gives back what it had.
/// </summary>
internal sealed class VmClaims(Database database, NodeSession node) : IDisposable
{
    private readonly Lock _lock = new();

    public NodeSession Node => node;

    /// <exception cref="DatabaseException">The database cannot be used.</exception>
    public static VmClaims Open(NodeSession node) => new(Database.OpenOrThrow(new DatabasePlace("", node.Settings), TimeProvider.System, isDurable: true, DatabasePart.Sweeps), node);

    /// <summary>Takes the first of the candidates that may be taken.</summary>
    /// <param name="fits">Asked last, for what this node alone knows: null when it may begin, or else what it waits for.</param>
    public NodeTurn TakeNext(string run, SweepSettings sweep, IReadOnlyList<(SweepVmRow Row, SweepVm Vm)> candidates, Func<SweepVmRow, SweepVm, string?> fits, DateTimeOffset now) => Do(() =>
    {
        using DatabaseTransaction transaction = database.Begin(isWriting: true);
        ReleaseDead();
        List<Claimed> claims = Claims();
        Dictionary<string, Claimed> byKey = claims.ToDictionary(c => c.Key, StringComparer.Ordinal);
        List<(int, SweepVmReport)> done = [];
        var slots = new DiskSlots(sweep.Limits);
        foreach (Claimed claim in claims.Where(c => c.Sweep == sweep.Name))
        {
            slots.Take(claim.Share);
        }

        int mine = claims.Where(c => c.Node == node.Id && c.Sweep == sweep.Name).Sum(c => c.Share.Datastores.Count);
        string held = "";
        bool mayWait = false;
        for (int i = 0; i < candidates.Count; i++)
        {
            (SweepVmRow row, SweepVm vm) = candidates[i];
            string? why = null;
            if (byKey.TryGetValue(vm.Key, out Claimed? other))
            {
                (why, mayWait) = other.Run == run ? ("another node scans it", true) : ("another sweep is scanning it", mayWait);
            }
            else if (WhyNot(sweep.Limits, vm, slots, mine) is { } limit)
            {
                (why, mayWait) = (limit, true);
            }
            else if (ReportOf(run, row.Number) is { State: not (SweepVmStates.Waiting or SweepVmStates.Running) } report)
            {
                done.Add((i, report));
                continue;
            }

            if ((why ??= fits(row, vm)) is not null)
            {
                held = held.Length == 0 ? $"{vm.Name}: {why}" : held;
                continue;
            }

            VmClaim claim = Insert(run, sweep.Name, row, DiskShare.Of(vm));
            SetVm(run, row.Number, row.Report with { State = SweepVmStates.Running, StartedAt = now });
            transaction.Commit();
            return new NodeTurn(i, claim, done, held, true);
        }

        // What the dead had is given back whether or not this node may take it.
        transaction.Commit();
        return new NodeTurn(null, null, done, held, mayWait);
    });

    /// <summary>A VM's scan came to its end, or was broken off. False: it was given to another node meanwhile, and nothing was changed.</summary>
    public bool End(VmClaim claim, string run, int number, SweepVmReport report) => Do(() =>
    {
        using DatabaseTransaction transaction = database.Begin(isWriting: true);
        if (database.Change("DELETE FROM sweep_claim WHERE key = $key AND token = $token", ("$key", claim.Key), ("$token", claim.Token)) == 0)
        {
            return false;
        }

        SetVm(run, number, report);
        transaction.Commit();
        return true;
    });

    /// <summary>Takes a VM that is not to be scanned any more, to tell of what was read of it before. Null: another node scans it, or has done so.</summary>
    public VmClaim? Take(SweepRunRow run, SweepVmRow row) => Do(() =>
    {
        using DatabaseTransaction transaction = database.Begin(isWriting: true);
        ReleaseDead();
        VmClaim? claim = database.Number("SELECT count(*) FROM sweep_claim WHERE key = $key", ("$key", row.Key)) == 0
            && ReportOf(run.Id, row.Number) is { State: SweepVmStates.Waiting or SweepVmStates.Running }
            ? Insert(run.Id, run.Sweep, row, DiskShare.Nothing)
            : null;
        transaction.Commit();
        return claim;
    });

    /// <summary>A VM is not scanned in this run. False: another node scans it, or has done so.</summary>
    public bool Settle(string run, int number, SweepVmReport report) => Do(() =>
    {
        using DatabaseTransaction transaction = database.Begin(isWriting: true);
        ReleaseDead();
        if (database.Number("SELECT count(*) FROM sweep_claim WHERE run = $run AND number = $number", ("$run", run), ("$number", number)) > 0
            || ReportOf(run, number) is { State: not (SweepVmStates.Waiting or SweepVmStates.Running) })
        {
            return false;
        }

        SetVm(run, number, report);
        transaction.Commit();
        return true;
    });

    /// <summary>What other nodes read of a sweep now.</summary>
    public IReadOnlyList<DiskShare> Others(string sweep) => Do<IReadOnlyList<DiskShare>>(() => [.. Claims().Where(c => c.Sweep == sweep && c.Node != node.Id).Select(c => c.Share)]);

    /// <summary>True when a node that lives takes part in a run, beside this one.</summary>
    /// <param name="andWorks">Only such as have something to do there.</param>
    public bool IsShared(string run, bool andWorks = false) => Do(() => database.Number(
        $"SELECT count(*) FROM node WHERE run = $run AND id <> $id AND {node.IsAlive}{(andWorks ? " AND idle = 0" : "")}", ("$run", run), ("$id", node.Id)) > 0);

    /// <summary>VMs of a run that other nodes which live do not reach, told by those that wait for nothing but others.</summary>
    public ILookup<int, LeftVm> LeftByOthers(string run) => Do(() =>
    {
        List<LeftVm> left = [];
        using DbCommand find = database.Command($"SELECT leaves FROM node WHERE run = $run AND id <> $id AND idle = 1 AND {node.IsAlive}", "$run", "$id");
        database.Set(find, run, node.Id);
        using DbDataReader row = find.ExecuteReader();
        while (row.Read())
        {
            left.AddRange(JsonSerializer.Deserialize(row.GetString(0), LeftVmJson.Default.IReadOnlyListLeftVm) ?? []);
        }

        return left.ToLookup(l => l.Number);
    });

    /// <summary>Keeps others from planning a sweep, until what is answered is disposed.</summary>
    public IDisposable Planning(string sweep, CancellationToken cancellation)
    {
        while (Do(() => database.Number("SELECT CASE WHEN pg_try_advisory_lock(hashtextextended($sweep, 0)) THEN 1 ELSE 0 END", ("$sweep", "vmsweep plan " + sweep))) != 1)
        {
            cancellation.WaitHandle.WaitOne(TimeSpan.FromMilliseconds(200));
            cancellation.ThrowIfCancellationRequested();
        }

        return new Released(() => Do(() => database.Number("SELECT CASE WHEN pg_advisory_unlock(hashtextextended($sweep, 0)) THEN 1 ELSE 0 END", ("$sweep", "vmsweep plan " + sweep))));
    }

    public void Dispose() => database.Dispose();

    private static string Json(SweepVmReport report) => JsonSerializer.Serialize(report, SweepStoreJson.Default.SweepVmReport);

    /// <summary>What all nodes read of this sweep counts; that one may not take too much is for it alone.</summary>
    private static string? WhyNot(SweepLimits limits, SweepVm vm, DiskSlots slots, int mine) => limits.DisksPerNode is { } most && mine > 0 && mine + vm.Datastores.Count > most
        ? string.Create(CultureInfo.InvariantCulture, $"no more than {most} disks at once of one node")
        : slots.WhyNot(DiskShare.Of(vm));

    private VmClaim Insert(string run, string sweep, SweepVmRow row, DiskShare share)
    {
        var claim = new VmClaim(row.Key, Guid.NewGuid().ToString("N"));
        database.Change(
            "INSERT INTO sweep_claim (key, token, node, sweep, run, number, name, share) VALUES ($key, $token, $node, $sweep, $run, $number, $name, $share)",
            ("$key", claim.Key), ("$token", claim.Token), ("$node", node.Id), ("$sweep", sweep), ("$run", run), ("$number", row.Number), ("$name", row.Report.Name),
            ("$share", JsonSerializer.Serialize(share, DiskShareJson.Default.DiskShare)));
        return claim;
    }

    /// <summary>VMs of nodes that are dead wait again.</summary>
    private void ReleaseDead()
    {
        List<(string Key, string Run, int Number, string Name)> left = [];
        using (DbCommand find = database.Command($"SELECT key, run, number, name FROM sweep_claim WHERE node NOT IN (SELECT id FROM node WHERE {node.IsAlive})"))
        using (DbDataReader row = find.ExecuteReader())
        {
            while (row.Read())
            {
                left.Add((row.GetString(0), row.GetString(1), row.GetInt32(2), row.GetString(3)));
            }
        }

        foreach ((string key, string run, int number, string name) in left)
        {
            Log.Warning("{Vm} waits again: the node that scanned it is not heard of any more", name);
            database.Change("DELETE FROM sweep_claim WHERE key = $key", ("$key", key));
            if (ReportOf(run, number) is { State: SweepVmStates.Running } report)
            {
                SetVm(run, number, report with { State = SweepVmStates.Waiting, StartedAt = null });
            }
        }
    }

    private List<Claimed> Claims()
    {
        List<Claimed> claims = [];
        using DbCommand find = database.Command("SELECT key, node, sweep, run, share FROM sweep_claim");
        using DbDataReader row = find.ExecuteReader();
        while (row.Read())
        {
            claims.Add(new Claimed(row.GetString(0), row.GetString(1), row.GetString(2), row.GetString(3), JsonSerializer.Deserialize(row.GetString(4), DiskShareJson.Default.DiskShare)!));
        }

        return claims;
    }

    private SweepVmReport? ReportOf(string run, int number)
    {
        using DbCommand find = database.Command("SELECT report FROM sweep_planned WHERE run = $run AND number = $number", "$run", "$number");
        database.Set(find, run, number);
        return find.ExecuteScalar() is string json ? JsonSerializer.Deserialize(json, SweepStoreJson.Default.SweepVmReport) : null;
    }

    private void SetVm(string run, int number, SweepVmReport report) => database.Change(
        "UPDATE sweep_planned SET state = $state, report = $report WHERE run = $run AND number = $number", ("$state", report.State), ("$report", Json(report)), ("$run", run), ("$number", number));

    private T Do<T>(Func<T> action)
    {
        lock (_lock)
        {
            try
            {
                return action();
            }
            catch (Exception e) when (e is DbException or JsonException or InvalidCastException or InvalidOperationException or TimeoutException)
            {
                throw new SweepStoreException($"the database {database.Name} fails: {e.GetBaseException().Message}", e);
            }
        }
    }

    private sealed record Claimed(string Key, string Node, string Sweep, string Run, DiskShare Share);

    private sealed class Released(Action release) : IDisposable
    {
        public void Dispose() => release();
    }
}
