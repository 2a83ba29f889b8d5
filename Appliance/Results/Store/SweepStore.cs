using System.Data.Common;
using System.Text.Json.Serialization;
using System.Text.Json;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Sweeps.Planning;

namespace Vmsweep.Appliance.Results.Store;

/// <summary>A run of a sweep as it is kept.</summary>
/// <param name="State">Of <see cref="SweepStates"/>; one that says running may have been killed.</param>
internal sealed record SweepRunRow(string Id, string Sweep, DateTimeOffset Begun, DateTimeOffset? Ended, string State, string? Detail, bool IsCancelled, IReadOnlyList<HeldBackReport> HeldBack);

/// <param name="Number">Its place in the run.</param>
internal sealed record SweepVmRow(int Number, string Key, SweepVmReport Report);

/// <summary>
/// Runs of sweeps: what is planned, how far it is, and when each VM was last scanned. Unlike verdicts, which are found out anew where they are lost, a sweep cannot go on
/// without them: whatever fails here is a <see cref="SweepStoreException"/>. Safe for many threads.
/// </summary>
internal sealed class SweepStore(Database database) : IDisposable
{
    private readonly Lock _lock = new();

    /// <exception cref="SweepStoreException">It cannot be had.</exception>
    public static SweepStore Open(DatabasePlace place, TimeProvider time)
    {
        try
        {
            return new SweepStore(Database.OpenOrThrow(place, time, isDurable: true, DatabasePart.Sweeps));
        }
        catch (DatabaseException e)
        {
            throw new SweepStoreException($"the database {place.Name} cannot be used: {e.Message}", e);
        }
    }

    /// <summary>Begins a run with all its VMs, none of them scanned.</summary>
    public void Begin(string id, string sweep, DateTimeOffset now, IReadOnlyList<(string Key, SweepVmReport Report)> vms) => Do(() =>
    {
        using DatabaseTransaction transaction = database.Begin(isWriting: true);
        Change("INSERT INTO sweep_plan (id, sweep, begun, state, held, number) SELECT $id, $sweep, $begun, $state, '[]', coalesce(max(number), 0) + 1 FROM sweep_plan", ("$id", id), ("$sweep", sweep), ("$begun", now.ToUnixTimeMilliseconds()), ("$state", SweepStates.Running));
        database.ForEach(
            "INSERT INTO sweep_planned (run, number, key, state, report) VALUES ($run, $number, $key, $state, $report)", ["$run", "$number", "$key", "$state", "$report"],
            [.. vms.Select((v, i) => (object[])[id, i, v.Key, v.Report.State, Json(v.Report)])]);
        transaction.Commit();
        return true;
    });

    public void SetState(string run, string state, string? detail, DateTimeOffset? ended) => Do(() => Change(
        "UPDATE sweep_plan SET state = $state, detail = $detail, ended = $ended WHERE id = $run",
        ("$state", state), ("$detail", (object?)detail ?? DBNull.Value), ("$ended", (object?)ended?.ToUnixTimeMilliseconds() ?? DBNull.Value), ("$run", run)));

    /// <param name="change">Given what others have written by now.</param>
    public void ChangeHeldBack(string run, Func<IReadOnlyList<HeldBackReport>, IReadOnlyList<HeldBackReport>> change) => Do(() =>
    {
        using DatabaseTransaction transaction = database.Begin(isWriting: true);
        IReadOnlyList<HeldBackReport> held = change(Runs("WHERE id = $a", run, 1).FirstOrDefault()?.HeldBack ?? []);
        Change("UPDATE sweep_plan SET held = $held WHERE id = $run", ("$held", JsonSerializer.Serialize([.. held], SweepStoreJson.Default.IReadOnlyListHeldBackReport)), ("$run", run));
        transaction.Commit();
        return true;
    });

    public void SetVm(string run, int number, SweepVmReport report) => Do(() => SetVmNow(run, number, report));

    /// <summary>A VM was scanned: it says so and, where that counts, when.</summary>
    public void Finish(string run, SweepVmRow vm, bool wasWhole, DateTimeOffset now) => Do(() =>
    {
        using DatabaseTransaction transaction = database.Begin(isWriting: true);
        SetVmNow(run, vm.Number, vm.Report);
        Change(
            """
            INSERT INTO sweep_scanned (key, scanned, whole) VALUES ($key, $now, $whole)
            ON CONFLICT (key) DO UPDATE SET scanned = excluded.scanned, whole = coalesce(excluded.whole, sweep_scanned.whole)
            """,
            ("$key", vm.Key), ("$now", now.ToUnixTimeMilliseconds()), ("$whole", wasWhole ? now.ToUnixTimeMilliseconds() : DBNull.Value));
        transaction.Commit();
        return true;
    });

    /// <summary>Asks whoever runs it to end it.</summary>
    public void Cancel(string run) => Do(() => Change("UPDATE sweep_plan SET cancel = 1 WHERE id = $run", ("$run", run)));

    public SweepRunRow? Find(string run) => Do(() => Runs("WHERE id = $a", run, 1).FirstOrDefault());

    /// <summary>The latest runs first.</summary>
    /// <param name="sweep">Null for all.</param>
    public IReadOnlyList<SweepRunRow> Last(string? sweep, int most) => Do(() => sweep is null ? Runs("", null, most) : Runs("WHERE sweep = $a", sweep, most));

    public IReadOnlyList<SweepVmRow> Vms(string run) => Do(() =>
    {
        List<SweepVmRow> vms = [];
        using DbCommand find = database.Command("SELECT number, key, report FROM sweep_planned WHERE run = $run ORDER BY number", "$run");
        database.Set(find, run);
        using DbDataReader row = find.ExecuteReader();
        while (row.Read())
        {
            vms.Add(new SweepVmRow(row.GetInt32(0), row.GetString(1), JsonSerializer.Deserialize(row.GetString(2), SweepStoreJson.Default.SweepVmReport) ?? throw new InvalidDataException("a VM's report is empty")));
        }

        return vms;
    });

    public IReadOnlyDictionary<string, LastScan> LastScans() => Do(() =>
    {
        var last = new Dictionary<string, LastScan>(StringComparer.Ordinal);
        using DbCommand find = database.Command("SELECT key, scanned, whole FROM sweep_scanned");
        using DbDataReader row = find.ExecuteReader();
        while (row.Read())
        {
            last[row.GetString(0)] = new LastScan(DateTimeOffset.FromUnixTimeMilliseconds(row.GetInt64(1)), row.IsDBNull(2) ? null : DateTimeOffset.FromUnixTimeMilliseconds(row.GetInt64(2)));
        }

        return last;
    });

    /// <summary>For tests: the database may not grow beyond what it has, as on a full disk.</summary>
    internal void LimitPages() => Do(() =>
    {
        database.Execute("PRAGMA max_page_count = 1");
        return true;
    });

    public void Dispose() => database.Dispose();

    private List<SweepRunRow> Runs(string where, string? a, int most)
    {
        List<SweepRunRow> runs = [];
        using DbCommand find = database.Command($"SELECT id, sweep, begun, ended, state, detail, cancel, held FROM sweep_plan {where} ORDER BY begun DESC, number DESC LIMIT $most", a is null ? ["$most"] : ["$a", "$most"]);
        database.Set(find, a is null ? [most] : [a, most]);
        using DbDataReader row = find.ExecuteReader();
        while (row.Read())
        {
            runs.Add(new SweepRunRow(
                row.GetString(0),
                row.GetString(1),
                DateTimeOffset.FromUnixTimeMilliseconds(row.GetInt64(2)),
                row.IsDBNull(3) ? null : DateTimeOffset.FromUnixTimeMilliseconds(row.GetInt64(3)),
                row.GetString(4),
                row.IsDBNull(5) ? null : row.GetString(5),
                row.GetInt64(6) != 0,
                JsonSerializer.Deserialize(row.GetString(7), SweepStoreJson.Default.IReadOnlyListHeldBackReport) ?? []));
        }

        return runs;
    }

    private bool SetVmNow(string run, int number, SweepVmReport report) => Change(
        "UPDATE sweep_planned SET state = $state, report = $report WHERE run = $run AND number = $number",
        ("$state", report.State), ("$report", Json(report)), ("$run", run), ("$number", number));

    private bool Change(string sql, params ReadOnlySpan<(string Name, object Value)> values) => database.Change(sql, values) > 0;

    private static string Json(SweepVmReport report) => JsonSerializer.Serialize(report, SweepStoreJson.Default.SweepVmReport);

    private T Do<T>(Func<T> action)
    {
        lock (_lock)
        {
            try
            {
                return action();
            }
            catch (Exception e) when (e is DbException or IOException and not SweepStoreException or JsonException or InvalidDataException or InvalidCastException or InvalidOperationException or TimeoutException)
            {
                throw new SweepStoreException($"the database {database.Name} fails: {e.GetBaseException().Message}", e);
            }
        }
    }
}

/// <summary>How far a sweep is cannot be read or written.</summary>
internal sealed class SweepStoreException(string message, Exception? inner = null) : IOException(message, inner);

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(SweepVmReport))]
[JsonSerializable(typeof(IReadOnlyList<HeldBackReport>))]
internal sealed partial class SweepStoreJson : JsonSerializerContext;
