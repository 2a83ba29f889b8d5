using Microsoft.Data.Sqlite;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Sqlite;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Results.Store;

/// <summary>The store of results on full disks, damaged, shared, and of an earlier version.</summary>
public sealed class StoreFaultTests : IDisposable
{
    private readonly Scratch _scratch = new();
    private readonly SetClock _clock = new(Scans.Start.AddDays(2));

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void A_full_disk_costs_the_record_and_nothing_else()
    {
        string folder = _scratch["small"];
        Directory.CreateDirectory(folder);
        Tool.Run("mount", "-t", "tmpfs", "-o", "size=3M", "tmpfs", folder);
        try
        {
            string filler = Path.Combine(folder, "filler");
            using (ResultLog log = ResultLog.Open(folder, _clock)!)
            {
                Assert.NotNull(log.Record(Big("vm0", 1)));
                File.WriteAllBytes(filler, new byte[1 << 20]);
                int recorded = 1;
                while (log.Record(Big($"vm{recorded}", 1)) is not null)
                {
                    recorded++;
                }

                Assert.InRange(recorded, 2, 200);
                Assert.Null(log.Record(Big("vm-more", 1)));
                Assert.Equal(recorded * 200L, Number("SELECT count(*) FROM finding", folder));
                File.Delete(filler);
                Assert.NotNull(log.Record(Big("vm-more", 1)));
                Assert.Equal((recorded + 1) * 200L, Number("SELECT count(*) FROM finding", folder));
            }

            Assert.Equal("ok", DamageTests.Execute(Path.Combine(folder, "vmsweep.db"), "PRAGMA integrity_check"));
            Assert.Empty(Directory.GetFiles(folder, "*.damaged-*"));
        }
        finally
        {
            Tool.Run("umount", folder);
        }
    }

    [Fact]
    public void Damage_anywhere_is_no_exception_and_the_store_begins_anew()
    {
        string sound = _scratch["sound"];
        using (ResultLog log = ResultLog.Open(sound, _clock)!)
        {
            for (int i = 0; i < 6; i++)
            {
                log.Record(Big($"vm{i}", 1).Seeing(Enumerable.Range(0, 300).Select(p => $"v1/bin/p{p}")));
            }
        }

        byte[] bytes = File.ReadAllBytes(Path.Combine(sound, "vmsweep.db"));
        var random = new Random(7);
        int begunAnew = 0;
        for (int i = 0; i < 40; i++)
        {
            string folder = _scratch[$"damaged{i}"];
            Directory.CreateDirectory(folder);
            byte[] damaged = [.. bytes];
            for (int flips = 1 << (i % 10); flips > 0; flips--)
            {
                damaged[random.Next(damaged.Length)] ^= (byte)(1 << random.Next(8));
            }

            File.WriteAllBytes(Path.Combine(folder, "vmsweep.db"), i % 8 == 7 ? damaged[..random.Next(damaged.Length)] : damaged);
            using (ResultLog? log = ResultLog.Open(folder, _clock))
            {
                for (int vm = 0; vm < 7; vm++)
                {
                    log?.Record(Big($"vm{vm}", 2).Seeing("v1/bin/p1", "v1/bin/other"));
                }

                log?.Last(null, 5);
            }

            if (Directory.GetFiles(folder, "*.damaged-*").Length > 0)
            {
                begunAnew++;
                using ResultLog again = ResultLog.Open(folder, _clock)!;
                Assert.NotNull(again.Record(Big("vm", 3)));
            }
        }

        Assert.True(begunAnew > 5, $"{begunAnew} of 40 were so damaged that it showed");
    }

    [Fact]
    public void Several_may_record_at_once_and_a_run_that_two_go_on_with_records_each_vm_once()
    {
        string folder = _scratch["state"];
        Parallel.For(0, 4, worker =>
        {
            using ResultLog log = ResultLog.Open(folder, _clock)!;
            for (int i = 0; i < 15; i++)
            {
                Assert.NotNull(log.Record(Scans.Of($"vm{worker}-{i}", 1, Scans.Finding("v1/x"))));
                Assert.NotNull(log.Record(Scans.Of($"shared{i}", 1, Scans.Finding("v1/x")).Seeing("v1/a.exe", "v1/b.exe") with { RunId = "run" }));
                log.Note("test", $"worker {worker}", "");
            }
        });
        Assert.Equal(75L, Number("SELECT count(*) FROM scan", folder));
        Assert.Equal(75L, Number("SELECT count(*) FROM finding WHERE scans = 1", folder));
        Assert.Equal(2L, Number("SELECT count(*) FROM place", folder));
        Assert.Equal(2L, Number("SELECT value FROM tally WHERE name = 'places'", folder));
        using Database database = Database.Open(folder, _clock)!;
        Assert.Null(new AuditLog(database, _clock).FirstBroken());
        Assert.Equal(60, new AuditLog(database, _clock).Last(1000).Count(e => e.Act == "test"));
    }

    [Fact]
    public void A_database_of_the_version_before_is_brought_to_this_one_with_all_that_is_in_it()
    {
        string folder = _scratch["state"];
        using (VerdictCache cache = VerdictCache.Open(folder, _clock)!)
        {
            long basis = cache.Verdicts.Open(0, [1], RuleIds.Pack([1, 2])).Id;
            cache.Verdicts.Keep(0, basis, [new StoredVerdict(VerdictStoreTests.Key(1), [1, 2, 3], 0, [])]);
        }

        string path = Path.Combine(folder, "vmsweep.db");
        long? present = Number("PRAGMA user_version", folder);
        const string Later = "FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT IN ('basis', 'verdict', 'compiled', 'traced', 'traced_part')";
        foreach (string table in ((string)DamageTests.Execute(path, "SELECT group_concat(name) " + Later)!).Split(','))
        {
            DamageTests.Execute(path, $"DROP TABLE {table}");
        }

        DamageTests.Execute(path, "PRAGMA user_version = 2");
        using (ResultLog log = ResultLog.Open(folder, _clock)!)
        {
            Assert.NotNull(log.Record(Scans.Of("vm", 1, Scans.Finding("v1/x"))));
        }

        using VerdictCache again = VerdictCache.Open(folder, _clock)!;
        long same = again.Verdicts.Open(0, [1], RuleIds.Pack([1, 2])).Id;
        Assert.Equal([1, 2, 3], again.Verdicts.Find(0, [VerdictStoreTests.Key(1)], new Dictionary<long, int> { [same] = 0 }, [])[0].Payload!);
        Assert.Equal(present, Number("PRAGMA user_version", folder));
        Assert.Equal("600\n", Tool.Run("stat", "-c", "%a", path));
    }

    [Fact]
    public async Task A_back_up_is_whole_while_others_write_and_replaces_nothing_but_a_back_up()
    {
        string folder = _scratch["state"];
        string file = _scratch["backup.db"];
        using (ResultLog first = ResultLog.Open(folder, _clock)!)
        {
            first.Record(Big("vm", 1));
        }

        using var stop = new CancellationTokenSource();
        Task writer = Task.Run(
            () =>
            {
                using ResultLog log = ResultLog.Open(folder, _clock)!;
                for (int i = 0; !stop.IsCancellationRequested; i++)
                {
                    Assert.NotNull(log.Record(Big($"w{i % 20}", i + 2)));
                }
            },
            TestContext.Current.CancellationToken);
        using (Database database = Database.Open(folder, _clock)!)
        {
            for (int i = 0; i < 10; i++)
            {
                Assert.True(database.BackUp(file) > 0);
                Assert.Equal("ok", DamageTests.Execute(file, "PRAGMA integrity_check"));
                // Each scan is there with all its findings or not at all.
                Assert.Equal(0L, (long)DamageTests.Execute(file, "SELECT count(*) FROM finding")! % 200);
                Assert.Equal(0L, DamageTests.Execute(file, "SELECT count(*) FROM machine WHERE id NOT IN (SELECT machine FROM finding)"));
            }

            await stop.CancelAsync();
            await writer;
            File.WriteAllText(_scratch["letter"], "dear all");
            Assert.Throws<IOException>(() => database.BackUp(_scratch["letter"]));
            Assert.Equal("dear all", File.ReadAllText(_scratch["letter"]));
            Assert.ThrowsAny<IOException>(() => database.BackUp(_scratch["no/such/folder"]));
        }

        Assert.Equal("600\n", Tool.Run("stat", "-c", "%a", file));
        Directory.CreateDirectory(_scratch["restored"]);
        File.Copy(file, _scratch["restored/vmsweep.db"]);
        using ResultLog restored = ResultLog.Open(_scratch["restored"], _clock)!;
        Assert.NotNull(restored.Record(Big("vm", 5000)));
    }

    [Fact]
    public void The_audit_log_shows_that_it_was_changed()
    {
        string folder = _scratch["state"];
        using Database database = Database.Open(folder, _clock)!;
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
        using (ResultLog log = ResultLog.Open(folder, _clock)!)
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

        using Database database = Database.Open(folder, _clock)!;
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

    private static FinishedScan Big(string vm, int at) =>
        Scans.Of(vm, at, [.. Enumerable.Range(0, 200).Select(i => Scans.Finding($"v1/folder with a name/file number {i} of {vm}"))]);

    private static long? Number(string sql, string folder) => DamageTests.Execute(Path.Combine(folder, "vmsweep.db"), sql) as long?;
}
