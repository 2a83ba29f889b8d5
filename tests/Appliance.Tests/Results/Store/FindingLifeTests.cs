using CsCheck;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Store;
using Vmsweep.Appliance.Tests.Results.Postgres;
using Vmsweep.Golden;
using Vmsweep.Signatures.Yara;

namespace Vmsweep.Appliance.Tests.Results.Store;

/// <summary>What becomes of findings from scan to scan.</summary>
public class FindingLifeTests : IDisposable
{
    private static readonly string[] Places = ["v1/a/x", "v1/a/y", "v1/b/x", "v2/a/x", "v1/a/x:stream", "v1/slack@4096"];
    private static readonly string[] GapPlaces = ["v1/a/x", "v1/a", "v1", "v2", "v1/b", "/images/vm.vmdk", "/images/vm.vmx", "v1/slack@4096", "v1/nowhere", "v3"];

    private readonly Scratch _scratch = new();
    private readonly SetClock _clock = new(Scans.Start.AddYears(1));

    public void Dispose()
    {
        _scratch.Dispose();
        GC.SuppressFinalize(this);
    }

    /// <summary>The database of a state folder.</summary>
    private protected virtual DatabasePlace Place(string folder) => folder;

    /// <summary>How much of a property is tried.</summary>
    private protected virtual int Samples(int all) => all;

    /// <summary>One step: what is found where (a bit each), where there are gaps (a bit each), which findings are suppressed, and whether an engine fails.</summary>
    private sealed record Step(int Found, int Gaps, int Suppressed, bool EngineFails, bool IsOther);

    [Fact]
    public void It_is_what_a_simple_model_says() =>
        Gen.Select(Gen.Int[0, 63], Gen.Frequency((3, Gen.Const(0)), (1, Gen.Int[0, 1023])), Gen.Frequency((3, Gen.Const(0)), (1, Gen.Int[0, 63])), Gen.Frequency((5, Gen.Const(false)), (1, Gen.Const(true))), Gen.Bool)
            .Select((found, gaps, suppressed, fails, other) => new Step(found, gaps, suppressed, fails, other))
            .Array[1, 12]
            .Sample(steps => Said(steps).SequenceEqual(Expected(steps)), iter: Samples(150), print: s => string.Join("; ", s.AsEnumerable()), threads: 1);

    [Fact]
    public void A_finding_is_new_then_open_then_gone_then_new_again()
    {
        using ResultLog log = Open();
        Assert.Equal((1, 0), Record(log, Scans.Of("vm", 1, Scans.Finding("v1/x"))));
        Assert.Equal(FindingStates.New, One().State);
        Assert.Equal((0, 0), Record(log, Scans.Of("vm", 2, Scans.Finding("v1/x", content: "other"))));
        Assert.Equal(FindingStates.Open, One().State);
        Assert.Equal((0, 1), Record(log, Scans.Of("vm", 3)));
        KnownFinding gone = One();
        Assert.Equal((FindingStates.Gone, 2L, Scans.Start.AddHours(1), Scans.Start.AddHours(2)), (gone.State, gone.Scans, gone.FirstSeen, gone.LastSeen));
        Assert.Equal("its place was read, and it was not there", gone.Detail);
        Assert.Equal((0, 0), Record(log, Scans.Of("vm", 4)));
        Assert.Equal((1, 0), Record(log, Scans.Of("vm", 5, Scans.Finding("v1/x"))));
        Assert.Equal((FindingStates.New, 3L), (One().State, One().Scans));
        FindingLife life = Life(One().Id);
        Assert.Equal(["new", "seen", "gone", "returned"], life.Scans.Select(s => s.Kind));
        Assert.Equal(3, life.Scans.Where(s => s.Sha256.Length > 0).Select(s => s.Sha256).Count());
        Assert.NotEqual(life.Scans[0].Sha256, life.Scans[1].Sha256);
        Assert.Equal("v1/x", life.Last!.Path);
    }

    [Theory]
    [InlineData("v1/a/x", true)]
    [InlineData("v1/a", true)]
    [InlineData("v1", true)]
    [InlineData("/images/vm.vmdk", true)]
    [InlineData("/images/vm.vmx", true)]
    [InlineData("what is this", true)]
    [InlineData("v1/a/y", false)]
    [InlineData("v1/a/x2", false)]
    [InlineData("v2", false)]
    [InlineData("d1/partition@1024", false)]
    public void A_gap_over_the_place_keeps_it_open(string gap, bool isKept)
    {
        using ResultLog log = Open();
        Record(log, Scans.Of("vm", 1, Scans.Finding("v1/a/x")));
        Record(log, Scans.Of("vm", 2).With(Scans.Gap(gap)));
        Assert.Equal(isKept ? FindingStates.New : FindingStates.Gone, One().State);
        Assert.Equal(isKept, One().Detail!.StartsWith("not read: corrupt: " + gap, StringComparison.Ordinal));
    }

    [Fact]
    public void A_gap_at_a_member_covers_what_is_in_that_member()
    {
        using ResultLog log = Open();
        FindingReport inA = Scans.Finding("v1/z.zip") with { Inside = ["a.zip", "x"] };
        FindingReport inB = Scans.Finding("v1/z.zip") with { Inside = ["b"] };
        Record(log, Scans.Of("vm", 1, inA, inB));
        Record(log, Scans.Of("vm", 2).With(Scans.Gap("v1/z.zip", "encrypted", "zip", "a.zip")));
        IReadOnlyList<KnownFinding> all = All();
        Assert.Equal(FindingStates.New, all.Single(f => f.Inside[0] == "a.zip").State);
        Assert.Equal(FindingStates.Gone, all.Single(f => f.Inside[0] == "b").State);
        Record(log, Scans.Of("vm", 3) with { Depth = new ScanDepth(Archives: false) });
        Assert.Equal(FindingStates.New, All().Single(f => f.Inside[0] == "a.zip").State);
    }

    [Fact]
    public void What_was_not_asked_for_or_was_not_there_does_not_make_it_gone()
    {
        using ResultLog log = Open();
        FindingReport inMemory = Scans.Finding("memory/0x1000") with { Memory = new MemoryPlace("0x1000", "0x1", "init", 1) };
        Record(log, Scans.Of("vm", 1, Scans.Finding("v1/$Deleted/x"), Scans.Finding("v7/x"), inMemory, Scans.Finding("v1/h", engine: "clamav"), Scans.Finding("v2/z")));
        Record(log, Scans.Of("vm", 2));
        Assert.Equal(["v2/z"], All().Where(f => f.State == FindingStates.Gone).Select(f => f.Path));
        FinishedScan unopened = Scans.Of("vm2", 1, Scans.Finding("v1/x"));
        Record(log, unopened);
        FinishedScan second = Scans.Of("vm2", 2);
        second.Target.Disks[0].Scheme = "";
        Record(log, second);
        Assert.Equal(FindingStates.New, All().Single(f => f.VmId == "vm2").State);
    }

    [Fact]
    public void In_memory_a_finding_is_its_process()
    {
        using ResultLog log = Open();
        FindingReport At(string address, string process) => Scans.Finding("memory/" + address) with { Memory = new MemoryPlace(address, "0x1", process, 1) };
        FinishedScan Scan(int at, params IReadOnlyList<FindingReport> findings)
        {
            FinishedScan scan = Scans.Of("vm", at, findings);
            scan.Target.Memory = new MemoryReport { Path = "/images/vm.vmem" };
            return scan;
        }

        Record(log, Scan(1, At("0x1000", "a"), At("0x2000", "b")));
        Record(log, Scan(2, At("0x9000", "a")).With(Scans.Gap("memory/0x7000")));
        Assert.Equal([FindingStates.New, FindingStates.Open], All().Select(f => f.State).Order(StringComparer.Ordinal));
        Record(log, Scan(3, At("0x8000", "a")));
        Assert.Equal([FindingStates.Gone, FindingStates.Open], All().Select(f => f.State).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void A_scan_with_other_rules_does_not_make_it_gone()
    {
        using ResultLog log = Open();
        Record(log, Scans.Of("vm", 1, Scans.Finding("v1/x"), Scans.Finding("v1/x", "r2")));
        var rules = new Pipeline.RuleIndex([new RuleIdentity("default", "r2", 5, false, false)]);
        Record(log, Scans.Of("vm", 2) with { Rules = rules, Engines = [new EngineReport("yara", "4.2.3", 1, "sha256:other")] });
        Assert.Equal((FindingStates.New, "its rule was not in use"), All().Where(f => f.Rule == "r1").Select(f => (f.State, f.Detail)).Single());
        Assert.Equal((FindingStates.Gone, "it does not match any more; signatures changed since it was seen"), All().Where(f => f.Rule == "r2").Select(f => (f.State, f.Detail)).Single());
    }

    [Fact]
    public void Of_scans_that_overlap_the_one_that_began_earlier_cannot_end_a_finding()
    {
        using ResultLog log = Open();
        Record(log, Scans.Of("vm", 2, Scans.Finding("v1/x")));
        Record(log, Scans.Of("vm", 2.2));
        Assert.Equal(FindingStates.New, One().State);
        Record(log, Scans.Of("vm", 3));
        Assert.Equal(FindingStates.Gone, One().State);
    }

    [Fact]
    public void A_run_that_records_a_vm_twice_changes_nothing()
    {
        using ResultLog log = Open();
        FinishedScan scan = Scans.Of("vm", 1, Scans.Finding("v1/x")) with { RunId = "run" };
        Assert.False(log.Record(scan)!.IsRepeat);
        Assert.True(log.Record(Scans.Of("vm", 2) with { RunId = "run" })!.IsRepeat);
        Assert.Equal((FindingStates.New, 1L), (One().State, One().Scans));
        Assert.False(log.Record(Scans.Of("vm", 3, Scans.Finding("v1/x")) with { RunId = "other" })!.IsRepeat);
        Assert.Equal((FindingStates.Open, 2L), (One().State, One().Scans));
    }

    [Fact]
    public void Tenants_and_snapshots_are_told_apart()
    {
        using ResultLog log = Open();
        Record(log, Scans.Of("vm", 1, Scans.Finding("v1/x")) with { Tenant = "a" });
        Record(log, Scans.Of("vm", 2) with { Tenant = "b" });
        Assert.Equal((FindingStates.New, "a"), (One().State, One().Tenant));
        FinishedScan then = Scans.Of("vm", 3);
        Record(log, then with { Tenant = "a", Target = Renamed(then.Target) });
        Assert.Equal(FindingStates.New, One().State);

        static TargetReport Renamed(TargetReport target)
        {
            TargetReport state = target with { Snapshot = "before the update" };
            return state;
        }
    }

    [Fact]
    public void The_worst_of_a_flood_are_kept_and_none_is_called_gone_for_it()
    {
        using ResultLog log = Open();
        FindingReport[] flood = [.. Enumerable.Range(0, FindingStore.MostOfMachine + 500).Select(i => Scans.Finding($"v1/f{i}", severity: i % 100 == 0 ? "critical" : "low"))];
        Record(log, Scans.Of("vm", 1, flood));
        Assert.Equal(FindingStore.MostOfMachine, All().Count);
        Assert.Equal(flood.Count(f => f.Severity == "critical"), All().Count(f => f.Severity == "critical"));
        Record(log, Scans.Of("vm", 2, [.. flood.Reverse()]));
        Assert.Equal(FindingStore.MostOfMachine, All().Count(f => f.State == FindingStates.Open));
    }

    private static IReadOnlyList<string> Expected(Step[] steps)
    {
        Dictionary<string, string> states = [];
        for (int i = 0; i < steps.Length; i++)
        {
            Step step = steps[i];
            foreach ((int bit, string place) in Places.Index())
            {
                if ((step.Found >> bit & 1) != 0)
                {
                    string before = states.GetValueOrDefault(place, "none");
                    states[place] = (step.Suppressed >> bit & 1) != 0 ? FindingStates.Suppressed : before is "none" or FindingStates.Gone ? FindingStates.New : FindingStates.Open;
                }
                else if (states.ContainsKey(place) && !step.EngineFails && !GapPlaces.Where((_, g) => (step.Gaps >> g & 1) != 0).Any(g => Hides(g, place)))
                {
                    states[place] = FindingStates.Gone;
                }
            }
        }

        return [.. states.Select(s => $"{s.Key} {s.Value}").Order(StringComparer.Ordinal)];
    }

    /// <summary>By hand, so that it is not what it is to check.</summary>
    private static bool Hides(string gap, string place) => gap switch
    {
        "/images/vm.vmdk" or "/images/vm.vmx" => true,
        "v1" => place.StartsWith("v1/", StringComparison.Ordinal),
        "v2" => place == "v2/a/x",
        "v1/a" => place is "v1/a/x" or "v1/a/y" or "v1/a/x:stream",
        "v1/b" => place == "v1/b/x",
        "v1/a/x" => place is "v1/a/x" or "v1/a/x:stream",
        "v1/slack@4096" => place == gap,
        _ => false,
    };

    private IReadOnlyList<string> Said(Step[] steps)
    {
        string folder = _scratch[Guid.NewGuid().ToString("N")];
        using ResultLog log = ResultLog.Open(Place(folder), _clock)!;
        for (int i = 0; i < steps.Length; i++)
        {
            Step step = steps[i];
            IReadOnlyList<FindingReport> found = [.. Places.Where((_, bit) => (step.Found >> bit & 1) != 0).Select(p => Scans.Finding(p, content: step.IsOther ? p + i : p) with
            {
                Suppressed = (step.Suppressed >> Array.IndexOf(Places, p) & 1) != 0 ? new SuppressedReport("me", "because", Scans.Start.AddYears(2), "allow.json:3") : null,
            })];
            FinishedScan scan = Scans.Of("vm", i + 1, found).With(GapPlaces.Where((_, bit) => (step.Gaps >> bit & 1) != 0).Select(g => Scans.Gap(g)));
            Assert.NotNull(log.Record(step.EngineFails ? scan with { Engines = [new EngineReport("yara", "4.2.3", 1, "") { Fault = "no" }] } : scan));
        }

        using Database database = Database.Open(Place(folder), _clock)!;
        return [.. new FindingQueries(database).List(new FindingFilter()).Select(f => $"{f.Path} {f.State}").Order(StringComparer.Ordinal)];
    }

    private ResultLog Open() => ResultLog.Open(Place(_scratch["state"]), _clock)!;

    private static (int New, int Gone) Record(ResultLog log, FinishedScan scan) => log.Record(scan) is { } recorded ? (recorded.New, recorded.Gone) : throw new InvalidOperationException("not recorded");

    private KnownFinding One() => Assert.Single(All());

    private IReadOnlyList<KnownFinding> All()
    {
        using Database database = Database.Open(Place(_scratch["state"]), _clock)!;
        return new FindingQueries(database).List(new FindingFilter { Most = int.MaxValue });
    }

    private FindingLife Life(long id)
    {
        using Database database = Database.Open(Place(_scratch["state"]), _clock)!;
        return new FindingQueries(database).Show(id)!;
    }
}

/// <summary>The same on PostgreSQL.</summary>
[Collection(PostgresCollection.Name)]
public sealed class FindingLifePostgresTests(PostgresFixture server) : FindingLifeTests
{
    private protected override DatabasePlace Place(string folder) => server.Place(folder);

    private protected override int Samples(int all) => all / 10;
}
