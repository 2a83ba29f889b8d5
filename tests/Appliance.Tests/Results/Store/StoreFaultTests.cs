using Microsoft.Data.Sqlite;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Sqlite;
using Vmsweep.Appliance.Results.Store;
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
        using (SqliteDatabase database = SqliteDatabase.Open(folder, _clock, isDurable: true))
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

    private static FinishedScan Big(string vm, int at) =>
        Scans.Of(vm, at, [.. Enumerable.Range(0, 200).Select(i => Scans.Finding($"v1/folder with a name/file number {i} of {vm}"))]);

    private static long? Number(string sql, string folder) => DamageTests.Execute(Path.Combine(folder, "vmsweep.db"), sql) as long?;
}
