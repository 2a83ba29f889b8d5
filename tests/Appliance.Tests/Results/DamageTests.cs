using Microsoft.Data.Sqlite;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Store;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Results;

/// <summary>A database that is damaged costs what it remembered, and never a finding.</summary>
public sealed class DamageTests
{
    private const string Rules = "rule a { strings: $a = \"w01x\" $b = \"w02x\" condition: any of them }\nrule b { strings: $a = /w[0-2]\\dx/ condition: #a > 1 }\n";

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public void Flipped_bytes_anywhere_lose_no_finding()
    {
        using var scan = new CachedScan(11);
        scan.Write(new Dictionary<string, string> { ["a.yar"] = Rules });
        IReadOnlyList<string> expected = CachedScan.Said(scan.Scan(withState: false, Cancellation));
        scan.Scan(withState: true, Cancellation);
        Assert.True(scan.Scan(withState: true, Cancellation).Totals.FilesCached > 0);
        byte[] sound = File.ReadAllBytes(scan.Database);
        for (int i = 0; i < 60; i++)
        {
            byte[] damaged = [.. sound];
            for (int flips = scan.Random.Next(1, 1 << (i % 8)); flips > 0; flips--)
            {
                damaged[scan.Random.Next(damaged.Length)] ^= (byte)(1 << scan.Random.Next(8));
            }

            Clear(scan);
            File.WriteAllBytes(scan.Database, i % 10 == 9 ? damaged[..scan.Random.Next(damaged.Length)] : damaged);
            Assert.Equal(expected, CachedScan.Said(scan.Scan(withState: true, Cancellation)));
            Assert.Equal(expected, CachedScan.Said(scan.Scan(withState: true, Cancellation)));
        }
    }

    [Fact]
    public void What_is_no_database_is_set_aside_and_a_new_one_begun()
    {
        using var scan = new CachedScan(12);
        scan.Write(new Dictionary<string, string> { ["a.yar"] = Rules });
        Directory.CreateDirectory(scan.State);
        byte[] junk = [.. Enumerable.Range(0, 50_000).Select(i => (byte)(i * 31))];
        File.WriteAllBytes(scan.Database, junk);
        Assert.Equal(0, scan.Scan(withState: true, Cancellation).Totals.FilesCached);
        Assert.True(scan.Scan(withState: true, Cancellation).Totals.FilesCached > 0);
        string aside = Assert.Single(Directory.GetFiles(scan.State, "vmsweep.db.damaged-*"));
        Assert.Equal(junk, File.ReadAllBytes(aside));
    }

    [Fact]
    public void Compiled_rules_that_are_not_what_was_written_are_not_loaded()
    {
        using var scan = new CachedScan(13);
        scan.Write(new Dictionary<string, string> { ["a.yar"] = Rules });
        IReadOnlyList<string> expected = CachedScan.Said(scan.Scan(withState: true, Cancellation));
        string compiled = Assert.Single(Directory.GetFiles(Path.Combine(scan.State, "compiled")));
        Assert.Equal("600\n600\n", Tool.Run("stat", "-c", "%a", compiled, scan.Database));
        byte[] bytes = File.ReadAllBytes(compiled);
        bytes[bytes.Length / 2] ^= 1;
        File.WriteAllBytes(compiled, bytes);
        Assert.Equal(expected, CachedScan.Said(scan.Scan(withState: true, Cancellation)));
        File.Delete(compiled);
        Assert.Equal(expected, CachedScan.Said(scan.Scan(withState: true, Cancellation)));
    }

    [Fact]
    public void A_database_of_a_newer_version_is_left_as_it_is()
    {
        using var scan = new CachedScan(14);
        scan.Write(new Dictionary<string, string> { ["a.yar"] = Rules });
        Report first = scan.Scan(withState: true, Cancellation);
        Execute(scan.Database, "PRAGMA user_version = 1000");
        Assert.Equal(CachedScan.Said(first), CachedScan.Said(scan.Scan(withState: true, Cancellation)));
        Assert.Equal(1000L, Execute(scan.Database, "PRAGMA user_version"));
        Assert.Empty(Directory.GetFiles(scan.State, "*.damaged-*"));
    }

    [Fact]
    public void A_state_folder_that_cannot_be_used_costs_the_cache_alone()
    {
        using var scan = new CachedScan(15);
        scan.Write(new Dictionary<string, string> { ["a.yar"] = Rules });
        IReadOnlyList<string> expected = CachedScan.Said(scan.Scan(withState: false, Cancellation));
        File.WriteAllText(scan.State, "a file where a folder should be");
        Assert.Equal(expected, CachedScan.Said(scan.Scan(withState: true, Cancellation)));
        File.Delete(scan.State);
        Directory.CreateDirectory(scan.Database);
        Assert.Equal(expected, CachedScan.Said(scan.Scan(withState: true, Cancellation)));
    }

    /// <summary>What the power leaves of a log that was being written: any beginning of it, and behind that anything.</summary>
    [Fact]
    public void A_log_cut_at_any_byte_gives_some_beginning_of_what_was_written()
    {
        using var scratch = new Scratch();
        const int Batches = 30;
        const int InBatch = 20;
        var random = new Random(3);
        byte[] file;
        byte[] log;
        using (Database database = Database.Open(scratch["state"], TimeProvider.System)!)
        {
            var store = new VerdictStore(database, TimeProvider.System, long.MaxValue);
            database.Execute("PRAGMA wal_autocheckpoint = 0");
            long basis = store.Open(0, [1], [.. new byte[RuleIds.Bytes]]).Id;
            for (int batch = 0; batch < Batches; batch++)
            {
                store.Keep(0, basis, [.. Enumerable.Range(batch * InBatch, InBatch).Select(i => new StoredVerdict(VerdictStoreTests.Key(i), VerdictStoreTests.Payload(i), 0, []))]);
            }

            file = ReadShared(scratch["state/vmsweep.db"]);
            log = ReadShared(scratch["state/vmsweep.db-wal"]);
        }

        HashSet<int> lengths = [];
        for (int i = 0; i < 60; i++)
        {
            string folder = scratch[$"cut{i}"];
            Directory.CreateDirectory(folder);
            File.WriteAllBytes(Path.Combine(folder, "vmsweep.db"), file);
            byte[] left = log[..random.Next(log.Length + 1)];
            if (i % 3 == 0)
            {
                byte[] junk = new byte[random.Next(10_000)];
                random.NextBytes(junk);
                left = [.. left, .. junk];
            }

            File.WriteAllBytes(Path.Combine(folder, "vmsweep.db-wal"), left);
            using (Database database = Database.Open(folder, TimeProvider.System)!)
            {
                var store = new VerdictStore(database, TimeProvider.System, long.MaxValue);
                Assert.Empty(Directory.GetFiles(folder, "*.damaged-*"));
                long basis = store.Open(0, [1], [.. new byte[RuleIds.Bytes]]).Id;
                var found = store.Find(0, [.. Enumerable.Range(0, Batches * InBatch).Select(VerdictStoreTests.Key)], new Dictionary<long, int> { [basis] = 0 }, []);
                int known = found.TakeWhile(f => f.Payload is not null).Count();
                Assert.Equal(0, known % InBatch);
                Assert.All(found.Skip(known), f => Assert.Null(f.Payload));
                Assert.All(found.Take(known).Index(), f => Assert.Equal(VerdictStoreTests.Payload(f.Index), f.Item.Payload));
                lengths.Add(known);
            }

            Assert.Equal("ok", Execute(Path.Combine(folder, "vmsweep.db"), "PRAGMA integrity_check"));
            Directory.Delete(folder, recursive: true);
        }

        Assert.True(lengths.Count > 10);
    }

    internal static object? Execute(string database, string sql)
    {
        using var connection = new SqliteConnection(new SqliteConnectionStringBuilder { DataSource = database, Pooling = false }.ToString());
        connection.Open();
        using SqliteCommand command = connection.CreateCommand();
#pragma warning disable CA2100 // Every text stands in these tests.
        command.CommandText = sql;
#pragma warning restore CA2100
        return command.ExecuteScalar();
    }

    private static byte[] ReadShared(string path)
    {
        using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        byte[] bytes = new byte[stream.Length];
        stream.ReadExactly(bytes);
        return bytes;
    }

    private static void Clear(CachedScan scan)
    {
        foreach (string path in Directory.GetFiles(scan.State, "vmsweep.db*"))
        {
            File.Delete(path);
        }
    }
}
