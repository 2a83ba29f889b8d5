using System.Globalization;
using CsCheck;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Store;
using Vmsweep.Appliance.Tests.Results.Postgres;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Results.Store;

/// <summary>Where contents were seen.</summary>
public class SightingTests : IDisposable
{
    private readonly Scratch _scratch = new();
    private readonly SetClock _clock = new(Scans.Start);

    public void Dispose()
    {
        _scratch.Dispose();
        GC.SuppressFinalize(this);
    }

    /// <summary>The database of a state folder.</summary>
    private protected virtual DatabasePlace Place(string folder) => folder;

    /// <summary>How much of a property is tried.</summary>
    private protected virtual int Samples(int all) => all;

    [Fact]
    public void A_set_of_places_comes_back_as_it_was() =>
        Gen.Int[0, PlaceSet.Size - 1].Array[0, 300].Sample(places => PlaceSet.Unpack(PlaceSet.Pack(places)).SequenceEqual(places.Distinct().Order()), iter: 2000);

    [Fact]
    public void Damaged_sets_are_data_or_a_format_exception() =>
        Gen.Byte.Array[0, 140].Sample(bytes => Record.Exception(() => PlaceSet.Unpack(bytes).Count()) is null or FormatException, iter: 5000);

    /// <summary>Days on which a set of programs is there; the model keeps from which day to which each was.</summary>
    [Fact]
    public void It_is_known_from_which_day_to_which_each_was_there() =>
        Gen.Select(Gen.Int[0, 255], Gen.Frequency((4, Gen.Const(false)), (1, Gen.Const(true)))).Array[1, 10].Sample(
            days =>
            {
                string folder = _scratch[Guid.NewGuid().ToString("N")];
                Dictionary<int, List<(long First, long? Last)>> model = [];
                using (ResultLog log = ResultLog.Open(Place(folder), _clock)!)
                {
                    long? before = null;
                    foreach ((int i, (int there, bool isUnread)) in days.Index())
                    {
                        FinishedScan scan = Scans.Of("vm", 24 * i).Seeing(Programs(there));
                        log.Record(isUnread ? scan.With(Scans.Gap("v1")) : scan);
                        long day = Days.Of(scan.FinishedAt);
                        for (int bit = 0; bit < 8; bit++)
                        {
                            List<(long First, long? Last)> life = model.TryGetValue(bit, out List<(long, long?)>? known) ? known : model[bit] = [];
                            bool isOpen = life is [.., (_, null)];
                            if ((there >> bit & 1) != 0)
                            {
                                if (!isOpen)
                                {
                                    life.Add((day, null));
                                }
                            }
                            else if (isOpen && !isUnread)
                            {
                                life[^1] = (life[^1].First, before);
                            }
                        }

                        before = day;
                    }
                }

                using Database database = Database.Open(Place(folder), _clock)!;
                return Enumerable.Range(0, 8).All(bit => new SightingStore(database).Find(Scans.Hash($"p{bit}.exe")).Select(s => (s.First, s.Last)).Order().SequenceEqual(model.GetValueOrDefault(bit, []).Order()));
            },
            iter: Samples(60), threads: 1);

    [Fact]
    public void A_hunt_finds_it_in_every_vm_and_says_what_is_not_kept()
    {
        using (ResultLog log = ResultLog.Open(Place(_scratch["state"]), _clock)!)
        {
            for (int i = 0; i < 30; i++)
            {
                FinishedScan scan = Scans.Of($"vm{i:00}", 1, i % 10 == 0 ? [Scans.Finding("v1/found", content: "evil.exe")] : []).Seeing(i % 3 == 0 ? "v1/tmp/evil.exe" : "v1/tmp/good.exe", "v1/windows/notepad.exe");
                scan.Target.SeenLeftOut = i == 7 ? 12 : 0;
                log.Record(scan);
            }
        }

        using Database database = Database.Open(Place(_scratch["state"]), _clock)!;
        HuntReport hunt = new HuntQueries(database).ByHash(Scans.Hash("evil.exe"));
        Assert.Equal(Enumerable.Range(0, 10).Select(i => $"vm{3 * i:00} v1/tmp/evil.exe"), hunt.Sightings.Select(s => $"{s.VmId} {s.Path}"));
        Assert.Equal(3, hunt.Findings.Count);
        Assert.Equal(30, hunt.Vms);
        Assert.Equal(("vm07", 12L), (Assert.Single(hunt.NotKept).VmId, hunt.NotKept[0].Count));
        Assert.Equal(30, new HuntQueries(database).ByHash(Scans.Hash("notepad.exe")).Sightings.Count);
        Assert.Empty(new HuntQueries(database).ByHash(Scans.Hash("never")).Sightings);
        Assert.Equal(3, new HuntQueries(database).ByRule("r*").Findings.Count);
        Assert.Empty(new HuntQueries(database).ByRule("r?").Findings);
    }

    [Fact]
    public void A_full_store_keeps_what_it_has_and_counts_the_rest()
    {
        using Database database = Database.Open(Place(_scratch["state"]), _clock)!;
        var store = new SightingStore(database, mostPlaces: 100);
        FinishedScan scan = Scans.Of("vm", 1);
        long machine = Machine(database);
        store.Take(machine, [.. Enumerable.Range(0, 150).Select(i => new SeenContent(Scans.Hash($"{i}"), 1, $"v1/{i}"))], 5, 10, null, new ReadPlaces(scan));
        Assert.Equal(100L, database.Number("SELECT count(*) FROM place"));
        Assert.Equal(55L, database.Number("SELECT left_out FROM machine"));
        Assert.Equal(100L, database.Number("SELECT sightings FROM machine"));
    }

    private static string[] Programs(int there) => [.. Enumerable.Range(0, 8).Where(bit => (there >> bit & 1) != 0).Select(bit => $"v1/bin/p{bit}.exe")];

    private static long Machine(Database database)
    {
        database.Execute("INSERT INTO machine (tenant, vm, snapshot, name, target, first_scan, last_scan) VALUES ('', 'vm', '', 'vm', 'vm', 1, 1)");
        return 1;
    }
}

/// <summary>The same on PostgreSQL.</summary>
[Collection(PostgresCollection.Name)]
public sealed class SightingPostgresTests(PostgresFixture server) : SightingTests
{
    private protected override DatabasePlace Place(string folder) => server.Place(folder);

    private protected override int Samples(int all) => all / 10;
}
