using System.Data.Common;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Vmsweep.Appliance.Reports;

namespace Vmsweep.Appliance.Results.Store;

/// <summary>Results of scans: what is recorded of each, in one transaction.</summary>
internal sealed class ResultStore(Database database, TimeProvider time)
{
    private const int MostText = 4096;

    private readonly FindingStore _findings = new(database, time);
    private readonly SightingStore _sightings = new(database);
    private readonly AuditLog _audit = new(database, time);

    /// <exception cref="DbException">Nothing of it was recorded.</exception>
    public RecordedScan Record(FinishedScan scan)
    {
        using DatabaseTransaction transaction = database.Begin(isWriting: true);

        // Changed to what it is: whoever takes the VM away waits until this is recorded, or has done so before.
        if (scan.Claim is { } claim && database.Change("UPDATE sweep_claim SET token = token WHERE key = $key AND token = $token", ("$key", claim.Key), ("$token", claim.Token)) == 0)
        {
            throw new ClaimLostException(scan.Target.Target);
        }

        (long machine, DateTimeOffset? before) = Machine(scan);
        if (scan.RunId is not null && database.Number("SELECT id FROM scan WHERE run = $run AND machine = $machine", ("$run", scan.RunId), ("$machine", machine)) is { } earlier)
        {
            return new RecordedScan(earlier, IsRepeat: true, 0, 0);
        }

        ScanSummary summary = ScanSummary.Of(scan.Target);
        long id = AddScan(machine, scan, summary);
        var places = new ReadPlaces(scan);
        (int found, int gone) = _findings.Take(machine, id, scan, places);
        _sightings.Take(machine, scan.Target.Seen, scan.Target.SeenLeftOut, Days.Of(scan.FinishedAt), before is { } at ? Days.Of(at) : null, places);
        AddCoverage(machine, scan, summary);
        foreach (ActReport act in scan.Target.Acts ?? [])
        {
            _audit.Add(act.Act, scan.Target.Vm.Id, act.IsDone ? act.Detail : "not done: " + act.Detail);
        }

        transaction.Commit();
        return new RecordedScan(id, IsRepeat: false, found, gone);
    }

    /// <summary>The VM, and when it was scanned before.</summary>
    private (long Id, DateTimeOffset? Before) Machine(FinishedScan scan)
    {
        VmReport vm = scan.Target.Vm;
        long finished = scan.FinishedAt.ToUnixTimeMilliseconds();
        object[] key = [StoredText.Of(scan.Tenant, MostText), StoredText.Key(vm.Id), StoredText.Key(scan.Target.Snapshot ?? "")];
        DateTimeOffset? before = null;
        using (DbCommand find = database.Command("SELECT last_scan FROM machine WHERE tenant = $tenant AND vm = $vm AND snapshot = $snapshot", "$tenant", "$vm", "$snapshot"))
        {
            database.Set(find, key);
            before = Database.Number(find) is { } last ? DateTimeOffset.FromUnixTimeMilliseconds(last) : null;
        }

        using DbCommand add = database.Command(
            """
            INSERT INTO machine (tenant, vm, snapshot, name, target, first_scan, last_scan) VALUES ($tenant, $vm, $snapshot, $name, $target, $at, $at)
            ON CONFLICT (tenant, vm, snapshot) DO UPDATE SET name = excluded.name, target = excluded.target, last_scan = greatest(machine.last_scan, excluded.last_scan)
            RETURNING id
            """,
            "$tenant", "$vm", "$snapshot", "$name", "$target", "$at");
        database.Set(add, [.. key, StoredText.Of(vm.Name, MostText), StoredText.Of(scan.Target.Target, MostText), finished]);
        return (Database.Number(add)!.Value, before);
    }

    private long AddScan(long machine, FinishedScan scan, ScanSummary summary)
    {
        using DbCommand add = database.Command(
            "INSERT INTO scan (machine, run, started, finished, verdict, engines, bundle) VALUES ($machine, $run, $started, $finished, $verdict, $engines, $bundle) RETURNING id",
            "$machine", "$run", "$started", "$finished", "$verdict", "$engines", "$bundle");
        database.Set(
            add, machine, (object?)scan.RunId ?? DBNull.Value, scan.StartedAt.ToUnixTimeMilliseconds(), scan.FinishedAt.ToUnixTimeMilliseconds(), summary.Verdict,
            JsonSerializer.Serialize(scan.Engines, StoredJson.Default.IReadOnlyListEngineReport), scan.Bundle?.Id ?? "");
        return Database.Number(add)!.Value;
    }

    /// <summary>Of a day the last scan stands.</summary>
    private void AddCoverage(long machine, FinishedScan scan, ScanSummary summary)
    {
        using DbCommand add = database.Command(
            """
            INSERT INTO coverage (machine, day, scans, verdict, counts, reasons) VALUES ($machine, $day, 1, $verdict, $counts, $reasons)
            ON CONFLICT (machine, day) DO UPDATE SET scans = coverage.scans + 1, verdict = excluded.verdict, counts = excluded.counts, reasons = excluded.reasons
            """,
            "$machine", "$day", "$verdict", "$counts", "$reasons");
        database.Set(
            add, machine, Days.Of(scan.FinishedAt), summary.Verdict,
            JsonSerializer.Serialize(summary, StoredJson.Default.ScanSummary),
            JsonSerializer.Serialize(GapReasonReport.Of(scan.Target.Gaps), StoredJson.Default.IReadOnlyListGapReasonReport));
        add.ExecuteNonQuery();
    }
}

/// <summary>Days since 1970, in UTC.</summary>
internal static class Days
{
    public static long Of(DateTimeOffset at) => at.ToUnixTimeSeconds() / 86_400;

    public static DateOnly Date(long day) => DateOnly.FromDateTime(DateTime.UnixEpoch).AddDays((int)day);
}

/// <summary>Texts of guests, as they are stored: no longer than they may be, and whole.</summary>
internal static class StoredText
{
    /// <summary>Two of these and a tenant's name are less than the third of a page that an index of PostgreSQL takes.</summary>
    private const int MostKey = 400;

    /// <summary>SQLite ends a text at a zero.</summary>
    public static string Of(string text, int most)
    {
        string cut = text.Length <= most ? text : text[..(char.IsHighSurrogate(text[most - 1]) ? most - 1 : most)] + "…";
        return cut.Replace('\0', '\uFFFD');
    }

    /// <summary>What something is found by: as it is or, where it is long, its beginning and its digest.</summary>
    public static string Key(string text) => Of(text.Length <= MostKey ? text : $"{Of(text, MostKey - 80)}{Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)))}", MostKey);
}
