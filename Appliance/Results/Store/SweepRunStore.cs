using System.Data.Common;
using System.Text.Json;
using Vmsweep.Appliance.Reports;

namespace Vmsweep.Appliance.Results.Store;

/// <summary>Runs of sweeps, each as its report stands. Findings are not part of it: they have a life of their own.</summary>
internal sealed class SweepRunStore(Database database)
{
    public void Save(SweepReport run)
    {
        using DatabaseTransaction transaction = database.Begin(isWriting: true);
        database.Change(
            "INSERT INTO sweep_run (id, sweep, started, report) VALUES ($id, $sweep, $started, $report) ON CONFLICT (id) DO UPDATE SET report = excluded.report",
            ("$id", run.RunId), ("$sweep", run.Sweep), ("$started", run.StartedAt.ToUnixTimeMilliseconds()),
            ("$report", JsonSerializer.SerializeToUtf8Bytes(run with { Findings = null, FindingsAreCut = null, Trend = [] }, SweepStoredJson.Default.SweepReport)));
        transaction.Commit();
    }

    public SweepReport? Find(string runId) => Read("WHERE id = $id", ("$id", runId)).FirstOrDefault();

    /// <summary>The latest first.</summary>
    public IReadOnlyList<SweepReport> Last(string? sweep, int most) => sweep is null
        ? [.. Read("ORDER BY started DESC, id LIMIT $most", ("$most", most))]
        : [.. Read("WHERE sweep = $sweep ORDER BY started DESC, id LIMIT $most", ("$most", most), ("$sweep", sweep))];

    /// <summary>With the runs of the same sweep that began before it.</summary>
    public SweepReport WithTrend(SweepReport run) => run with
    {
        Trend = [.. Read(
            "WHERE sweep = $sweep AND started < $started ORDER BY started DESC, id LIMIT $most",
            ("$sweep", run.Sweep), ("$started", run.StartedAt.ToUnixTimeMilliseconds()), ("$most", SweepReport.MostTrend)).Select(SweepTrend.Of)],
    };

    private List<SweepReport> Read(string which, params ReadOnlySpan<(string Name, object Value)> parameters)
    {
        List<SweepReport> runs = [];
        using DbCommand find = database.Command("SELECT report FROM sweep_run " + which);
        foreach ((string name, object value) in parameters)
        {
            database.Add(find, name, value);
        }

        using DbDataReader row = find.ExecuteReader();
        while (row.Read())
        {
            runs.Add(JsonSerializer.Deserialize(row.GetFieldValue<byte[]>(0), SweepStoredJson.Default.SweepReport) ?? throw new FormatException("a sweep's run is damaged"));
        }

        return runs;
    }
}
