using System.Data.Common;
using System.Text.Json;
using Serilog;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results.Store;

namespace Vmsweep.Appliance.Results;

/// <summary>
/// The store of results, as scans and sweeps use it. A scan's own report never depends on it: what cannot be recorded is said loudly, and tried again with the
/// next VM. Safe for several threads.
/// </summary>
internal sealed class ResultLog : IResultRecorder, ISweepRuns, IDisposable
{
    private readonly Database _database;
    private readonly TimeProvider _time;
    private readonly Lock _lock = new();
    private readonly ResultStore _results;
    private readonly SweepRunStore _runs;
    private bool _isDamaged;

    private ResultLog(Database database, TimeProvider time)
    {
        _database = database;
        _time = time;
        _results = new ResultStore(database, time);
        _runs = new SweepRunStore(database);
    }

    public Retention Retention { get; init; } = new();

    /// <summary>Null when there can be none; the log says why.</summary>
    public static ResultLog? Open(DatabasePlace place, TimeProvider time, Retention? retention = null)
    {
        if (Database.Open(place, time, isDurable: true) is { } database)
        {
            return new ResultLog(database, time) { Retention = retention ?? new Retention() };
        }

        Log.Error("RESULTS ARE NOT RECORDED: the database {Name} cannot be used; they are in this command's own report alone", place.Name);
        return null;
    }

    public RecordedScan? Record(FinishedScan scan)
    {
        RecordedScan? recorded = Try($"THE RESULTS OF {scan.Target.Target} ARE NOT RECORDED; they are in its own report alone", () => _results.Record(scan));
        if (recorded is not null)
        {
            Try("old results are not removed", () => new RetentionStore(_database, _time).RunDaily(Retention) ?? new Removed(0, 0, 0, 0, 0, 0, 0));
        }

        return recorded;
    }

    public bool Save(SweepReport run) => Try($"THE RUN {run.RunId} OF THE SWEEP {run.Sweep} IS NOT RECORDED", () =>
    {
        _runs.Save(run);
        return run;
    }) is not null;

    public SweepReport? Find(string runId) => Try("a sweep's run cannot be read", () => _runs.Find(runId));

    public IReadOnlyList<SweepReport> Last(string? sweep, int most) => Try("runs of sweeps cannot be read", () => _runs.Last(sweep, most)) ?? [];

    /// <summary>A run with what it found and the runs before it, as reports show it.</summary>
    public SweepReport Complete(SweepReport run) => Try("what the sweep found cannot be read", () =>
    {
        IReadOnlyList<KnownFinding> findings = new FindingQueries(_database).List(new FindingFilter { RunId = run.RunId, Most = SweepReport.MostFindings + 1 });
        return _runs.WithTrend(run) with { Findings = [.. findings.Take(SweepReport.MostFindings)], FindingsAreCut = findings.Count > SweepReport.MostFindings ? true : null };
    }) ?? run;

    /// <summary>Writes an act into the audit log.</summary>
    public void Note(string act, string subject, string detail) => Try($"the audit log lacks this act: {act} {subject}", () =>
    {
        new AuditLog(_database, _time).Note(act, subject, detail);
        return act;
    });

    /// <summary>Writes into the audit log that a configuration is not what it was when it was last used.</summary>
    public void NoteConfiguration(string path, byte[] content) => Try($"the audit log lacks a change of {path}", () =>
    {
        new AuditLog(_database, _time).Configuration(path, content);
        return path;
    });

    public void Dispose()
    {
        if (_isDamaged)
        {
            _database.CloseDamaged(_time);
        }
        else
        {
            _database.Dispose();
        }
    }

    private T? Try<T>(string failure, Func<T?> action)
        where T : class
    {
        lock (_lock)
        {
            try
            {
                return action();
            }
            catch (Exception e) when (e is DbException or IOException or UnauthorizedAccessException or InvalidCastException or InvalidOperationException or FormatException or OverflowException
                or JsonException or ArgumentException or TimeoutException)
            {
                _isDamaged |= e is FormatException or JsonException || _database.IsDamage(e);
                Log.Error("{Failure}: the database {Path}: {Detail}", failure, _database.Name, e.GetBaseException().Message);
                return null;
            }
        }
    }
}
