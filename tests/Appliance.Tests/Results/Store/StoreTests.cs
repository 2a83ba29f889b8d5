using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Store;
using Vmsweep.Appliance.Tests.Results.Postgres;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Results.Store;

/// <summary>Several writers, the audit log, retention.</summary>
public class StoreTests : IDisposable
{
    private readonly Scratch _scratch = new();
    private readonly SetClock _clock = new(Scans.Start.AddDays(2));

    public void Dispose()
    {
        _scratch.Dispose();
        GC.SuppressFinalize(this);
    }

    /// <summary>The database of a state folder.</summary>
    private protected virtual DatabasePlace Place(string folder) => folder;

    [Fact]
    public void Several_may_record_at_once_and_a_run_that_two_go_on_with_records_each_vm_once()
    {
        string folder = _scratch["state"];
        Parallel.For(0, 4, worker =>
        {
            using ResultLog log = ResultLog.Open(Place(folder), _clock)!;
            for (int i = 0; i < 15; i++)
            {
                Assert.NotNull(log.Record(Scans.Of($"vm{worker}-{i}", 1, Scans.Finding("v1/x"))));
                Assert.NotNull(log.Record(Scans.Of($"shared{i}", 1, Scans.Finding("v1/x")).Seeing("v1/a.exe", "v1/b.exe") with { RunId = "run" }));
                log.Note("test", $"worker {worker}", "");
            }
        });
        Assert.Equal(75L, Number("SELECT count(*) FROM scan"));
        Assert.Equal(75L, Number("SELECT count(*) FROM finding WHERE scans = 1"));
        Assert.Equal(2L, Number("SELECT count(*) FROM place"));
        Assert.Equal(2L, Number("SELECT value FROM tally WHERE name = 'places'"));
        using Database database = Database.Open(Place(folder), _clock)!;
        Assert.Null(new AuditLog(database, _clock).FirstBroken());
        Assert.Equal(60, new AuditLog(database, _clock).Last(1000).Count(e => e.Act == "test"));
    }

    [Fact]
    public void The_audit_log_shows_that_it_was_changed()
    {
        string folder = _scratch["state"];
        using Database database = Database.Open(Place(folder), _clock)!;
        var audit = new AuditLog(database, _clock);
        for (int i = 0; i < 5; i++)
        {
            audit.Note("test", "s", $"d{i}");
        }

        Assert.Null(audit.FirstBroken());
        audit.Configuration("/etc/vmsweep.json", [1]);
        audit.Configuration("/etc/vmsweep.json", [1]);
        audit.Configuration("/etc/vmsweep.json", [2]);
        Assert.Equal(2, audit.Last(100).Count(e => e.Act == "configuration"));
        Assert.Null(audit.FirstBroken());
        database.Execute("UPDATE audit SET detail = 'x' WHERE id = 1");
        Assert.Equal(1, audit.FirstBroken()!.Id);
        database.Execute("UPDATE audit SET detail = 'd0' WHERE id = 1");
        Assert.Null(audit.FirstBroken());
        database.Execute("DELETE FROM audit WHERE id = 3");
        Assert.Equal(4, audit.FirstBroken()!.Id);
    }

    [Fact]
    public void Retention_removes_what_is_old_and_nothing_that_is_open()
    {
        string folder = _scratch["state"];
        using (ResultLog log = ResultLog.Open(Place(folder), _clock)!)
        {
            log.Record(Scans.Of("vm", 1, Scans.Finding("v1/gone"), Scans.Finding("v1/stays")).Seeing("v1/a.exe", "v1/b.exe"));
            log.Record(Scans.Of("vm", 2, Scans.Finding("v1/stays")).Seeing("v1/a.exe"));
            log.Record(Scans.Of("vm", 26, Scans.Finding("v1/stays")).Seeing("v1/a.exe"));
            log.Record(Scans.Of("left", 1, Scans.Finding("v1/x")).Seeing("v1/only.exe"));
            log.Save(SweepReports.Small("old", Scans.Start));
            _clock.Now = Scans.Start.AddDays(500);
            log.Record(Scans.Of("vm", 24 * 499, Scans.Finding("v1/stays")).Seeing("v1/a.exe"));
            log.Save(SweepReports.Small("new", _clock.Now));
        }

        using Database database = Database.Open(Place(folder), _clock)!;
        Assert.Equal(["v1/stays", "v1/x"], Paths());
        Assert.Equal(1L, database.Number("SELECT count(*) FROM scan"));
        Assert.Equal(2L, database.Number("SELECT count(*) FROM place"));
        Assert.Equal(2L, database.Number("SELECT value FROM tally WHERE name = 'places'"));
        Assert.Equal(4L, database.Number("SELECT count(*) FROM coverage"));
        Assert.Equal("retention", new AuditLog(database, _clock).Last(1).Single().Act);
        Assert.Null(new RetentionStore(database, _clock).RunDaily(new Retention()));
        _clock.Now = Scans.Start.AddDays(1200);
        Removed removed = new RetentionStore(database, _clock).Run(new Retention());
        Assert.Equal((1L, 1L), (removed.Machines, removed.Findings));
        Assert.Equal(["v1/stays"], Paths());
        Assert.Equal(1L, database.Number("SELECT count(*) FROM place"));
        Assert.Equal(0L, database.Number("SELECT count(*) FROM finding_event WHERE finding NOT IN (SELECT id FROM finding)"));
        Assert.Null(new AuditLog(database, _clock).FirstBroken());

        IReadOnlyList<string> Paths() => [.. new FindingQueries(database).List(new FindingFilter()).Select(f => f.Path).Order(StringComparer.Ordinal)];
    }

    private long? Number(string sql)
    {
        using Database database = Database.Open(Place(_scratch["state"]), _clock)!;
        return database.Number(sql);
    }
}

/// <summary>The same on PostgreSQL.</summary>
[Collection(PostgresCollection.Name)]
public sealed class StorePostgresTests(PostgresFixture server) : StoreTests
{
    private protected override DatabasePlace Place(string folder) => server.Place(folder);
}
