using System.Security.Cryptography;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Store;
using Vmsweep.Appliance.Tests.Results.Postgres;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Results;

/// <summary>The store of verdicts by itself: bounds, several writers, and whom it believes.</summary>
public class VerdictStoreTests : IDisposable
{
    private static readonly byte[] Rules = RuleIds.Pack([1, 2, 3]);

    private readonly Scratch _scratch = new();
    private readonly Clock _clock = new();

    public void Dispose()
    {
        _scratch.Dispose();
        GC.SuppressFinalize(this);
    }

    /// <summary>The database of a state folder.</summary>
    private protected virtual DatabasePlace Place(string folder) => folder;

    internal static ContentKey Key(int number) => ContentKey.Of(SHA256.HashData(BitConverter.GetBytes(number)), number);

    internal static byte[] Payload(int number) => [.. Enumerable.Repeat((byte)number, number % 50)];

    [Fact]
    public void A_full_store_forgets_what_was_not_used_for_longest()
    {
        const long Most = 2400 * VerdictStore.RowBytes;
        using VerdictCache cache = VerdictCache.Open(Place(_scratch["state"]), _clock, Most)!;
        long basis = cache.Verdicts.Open(0, [1], Rules).Id;
        Keep(cache, basis, 0, 1500);
        _clock.Days += 20;
        Assert.Equal(400, Known(cache, basis, 0, 400));
        _clock.Days += 1;
        Keep(cache, basis, 1500, 1000);
        cache.Verdicts.MakeRoom();
        Assert.Equal(400, Known(cache, basis, 0, 400));
        Assert.InRange(Known(cache, basis, 400, 1100), 0, 500);
        Assert.Equal(1000, Known(cache, basis, 1500, 1000));
        Assert.True(Sum("bytes") <= Most);
        Assert.Equal(Number("SELECT count(*) FROM verdict")!.Value, Sum("verdicts"));
        Assert.Equal(Number($"SELECT sum(length(payload) + {VerdictStore.RowBytes}) FROM verdict")!.Value, Sum("bytes"));
    }

    [Fact]
    public void More_than_fits_that_was_used_on_one_day_is_bounded_too()
    {
        const long Most = 500 * VerdictStore.RowBytes;
        using VerdictCache cache = VerdictCache.Open(Place(_scratch["state"]), _clock, Most)!;
        long basis = cache.Verdicts.Open(0, [1], Rules).Id;
        Keep(cache, basis, 0, 3000);
        cache.Verdicts.MakeRoom();
        Assert.InRange(Sum("bytes"), Most / 2, Most);
        Assert.True(Known(cache, basis, 0, 3000) > 200);
    }

    [Fact]
    public void Several_processes_may_write_at_once()
    {
        Parallel.For(0, 4, worker =>
        {
            using VerdictCache cache = VerdictCache.Open(Place(_scratch["state"]), _clock)!;
            long basis = cache.Verdicts.Open(0, [1], Rules).Id;
            for (int batch = 0; batch < 40; batch++)
            {
                Keep(cache, basis, (batch * 50) + (worker % 2 * 25), 50);
            }

            Assert.True(cache.IsUsable);
        });
        using VerdictCache all = VerdictCache.Open(Place(_scratch["state"]), _clock)!;
        Assert.Equal(2025, Known(all, all.Verdicts.Open(0, [1], Rules).Id, 0, 2025));
        Assert.Equal(2025, Sum("verdicts"));
        CheckFile();
    }

    [Fact]
    public void Scopes_and_sizes_and_bases_are_told_apart()
    {
        using VerdictCache cache = VerdictCache.Open(Place(_scratch["state"]), _clock)!;
        long basis = cache.Verdicts.Open(0, [1], Rules).Id;
        long other = cache.Verdicts.Open(0, [2], Rules).Id;
        Assert.NotEqual(basis, other);
        Assert.Equal(basis, cache.Verdicts.Open(0, [1], Rules).Id);
        cache.Verdicts.Keep(0, basis, [new StoredVerdict(Key(7), [1], 0, [])]);
        Dictionary<long, int> ranks = new() { [basis] = 0 };
        Assert.NotNull(cache.Verdicts.Find(0, [Key(7)], ranks, [])[0].Payload);
        Assert.Null(cache.Verdicts.Find(1, [Key(7)], ranks, [])[0].Payload);
        Assert.Null(cache.Verdicts.Find(0, [Key(7) with { SizeBytes = 8 }], ranks, [])[0].Payload);
        Assert.Null(cache.Verdicts.Find(0, [Key(7)], new Dictionary<long, int> { [other] = 0 }, [])[0].Payload);
    }

    [Fact]
    public void A_worker_can_neither_change_what_is_known_nor_tell_what_it_did_not_ask_for()
    {
        using VerdictCache cache = VerdictCache.Open(Place(_scratch["state"]), _clock)!;
        VerdictSession session = VerdictSession.Begin(cache, 0, [1], Rules, [], _ => null, [])!;
        session.Keep([(Key(1), [9], false)]);
        Assert.Equal(-1, Ask(session, 1).Plan);
        session.Keep([(Key(1), [1], false), (Key(2), [2], false)]);
        Assert.Equal([1], Ask(session, 1).Payload);
        session.Keep([(Key(1), [], false)]);
        Assert.Equal([1], Ask(session, 1).Payload);
        Assert.Equal(-1, Ask(session, 2).Plan);
    }

    [Fact]
    public void A_verdict_under_fewer_rules_gives_way_to_one_under_more_and_not_to_one_under_others()
    {
        using VerdictCache cache = VerdictCache.Open(Place(_scratch["state"]), _clock)!;
        VerdictSession first = VerdictSession.Begin(cache, 0, [1], Rules, [], _ => null, [])!;
        Ask(first, 1);
        first.Keep([(Key(1), [1], false)]);
        var added = new Worker.DataPart(10, 20);
        VerdictSession more = Begin(RuleIds.Pack([1, 2, 3, 4]));
        Assert.Equal((1, 1), (Ask(more, 1).Plan, more.Plans.Count - 1));
        Assert.Equal(added, more.Plans[1]);
        more.Keep([(Key(1), [2], false)]);
        Assert.Equal(1L, Number("SELECT count(*) FROM verdict"));
        VerdictSession others = Begin(RuleIds.Pack([7, 8]));
        Assert.Equal([2], Ask(others, 1).Payload);
        others.Keep([(Key(1), [3], false)]);
        Assert.Equal(2L, Number("SELECT count(*) FROM verdict"));

        VerdictSession Begin(byte[] rules) => VerdictSession.Begin(cache, 0, [1], rules, VerdictSession.Earlier(cache, 0, [1]), _ => added, [])!;
    }

    [Fact]
    public void What_hangs_on_hash_lists_holds_as_long_as_they_do()
    {
        using VerdictCache cache = VerdictCache.Open(Place(_scratch["state"]), _clock)!;
        VerdictSession before = Begin([1]);
        Ask(before, 1);
        Ask(before, 2);
        before.Keep([(Key(1), [1], true), (Key(2), [2], false)]);
        Assert.Equal([1], Ask(Begin([1]), 1).Payload);
        VerdictSession after = Begin([2]);
        Assert.Equal(-1, Ask(after, 1).Plan);
        Assert.Equal([2], Ask(after, 2).Payload);
        after.Keep([(Key(1), [3], true)]);
        Assert.Equal([3], Ask(Begin([2]), 1).Payload);
        Assert.Equal(-1, Ask(Begin([1]), 1).Plan);
        Assert.Equal(2L, Sum("verdicts"));

        VerdictSession Begin(byte[] lists) => VerdictSession.Begin(cache, 0, [1], Rules, [], _ => null, lists)!;
    }

    private protected virtual void CheckFile() => Assert.Equal("ok", DamageTests.Execute(_scratch["state/vmsweep.db"], "PRAGMA integrity_check"));

    private long? Number(string sql)
    {
        using Database database = Database.Open(Place(_scratch["state"]), _clock)!;
        return database.Number(sql);
    }

    private static KnownVerdict Ask(VerdictSession session, int number)
    {
        byte[] bytes = new byte[ContentKey.Bytes];
        Key(number).Write(bytes);
        return session.Find(bytes)[0];
    }

    private static void Keep(VerdictCache cache, long basis, int from, int count)
    {
        foreach (int[] batch in Enumerable.Range(from, count).Chunk(100))
        {
            cache.Verdicts.Keep(0, basis, [.. batch.Select(i => new StoredVerdict(Key(i), Payload(i), 0, []))]);
        }
    }

    private static int Known(VerdictCache cache, long basis, int from, int count) =>
        cache.Verdicts.Find(0, [.. Enumerable.Range(from, count).Select(Key)], new Dictionary<long, int> { [basis] = 0 }, []).Count(f => f.Payload is not null);

    private long Sum(string column) => Number($"SELECT sum({column}) FROM basis")!.Value;

    private sealed class Clock : TimeProvider
    {
        public int Days { get; set; }

        public override DateTimeOffset GetUtcNow() => new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero).AddDays(Days);
    }
}

/// <summary>The same on PostgreSQL.</summary>
[Collection(PostgresCollection.Name)]
public sealed class VerdictStorePostgresTests(PostgresFixture server) : VerdictStoreTests
{
    private protected override DatabasePlace Place(string folder) => server.Place(folder);

    private protected override void CheckFile()
    {
    }
}
