using Microsoft.Extensions.Time.Testing;
using Vmsweep.Appliance.Nodes;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Store;
using Vmsweep.Appliance.Sweeps.Planning;
using Vmsweep.Appliance.Sweeps.Running;
using Vmsweep.Appliance.Tests.Results.Postgres;
using Vmsweep.Appliance.Tests.Sweeps;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Nodes;

/// <summary>A host that one of several nodes does not reach: its VMs are the others', and gaps only where none of them reaches it.</summary>
[Collection(PostgresCollection.Name)]
public sealed class UnreachedVmTests(PostgresFixture server) : IDisposable
{
    private const string Away = "the host h";
    private const string OneDisk = "\"disks\": 2, \"disksPerNode\": 1";
    private static readonly string[] Here = ["h1", "h2", "h3", "z"];
    private static readonly DateTimeOffset Start = new(2026, 6, 10, 20, 0, 0, TimeSpan.Zero);

    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void It_is_scanned_by_the_node_that_reaches_it()
    {
        using SharedNode one = Node("one", of: Here);
        using SharedNode two = Node("two");
        one.Loses = IsAway;
        two.During = (vm, _) => AwaitIdle("one", vm);
        string run = two.Plan();
        Both(run, one, two);
        Assert.Equal(1 + LostVms.MostTries, one.Scanned.Count(v => v.StartsWith('h')));
        Assert.Equal(["h1", "h2", "h3"], two.Scanned.Where(v => v.StartsWith('h')));
        Check(run, one, gaps: 0, findings: 10);
    }

    [Fact]
    public void Where_no_node_reaches_it_each_VM_is_a_gap_once_beside_the_most_that_one_of_them_found()
    {
        using SharedNode one = Node("one", of: Here);
        using SharedNode two = Node("two", of: ["a", "h1", "h2", "z"]);
        one.Loses = (vm, target) => IsAway(vm, target, found: vm.Name == "h1" && one.Scanned.Count(v => v == "h1") == 1 ? 1 : 0);
        two.Loses = IsAway;
        two.During = (vm, _) => AwaitIdle("one", vm);
        using SharedNode planner = Node("planner");
        string run = planner.Plan();
        Both(run, one, two);
        Assert.Equal(2 * (1 + LostVms.MostTries), one.Scanned.Concat(two.Scanned).Count(v => v.StartsWith('h')));

        // What the first try of one node has found, and what is in the two that can be read.
        Check(run, one, gaps: 3, findings: 1 + 4);
        Assert.Equal(("detected", 1L), one.Store.Vms(run).Where(v => v.Key == "h1").Select(v => (v.Report.Verdict, v.Report.Findings)).Single());

        // The other does not see it, and leaves it to the one that knows why it is not read.
        Assert.Equal("No route to host", Assert.Single(one.Store.Vms(run).Single(v => v.Key == "h3").Report.GapReasons).Detail);
    }

    [Fact]
    public void Where_the_node_that_reaches_it_dies_the_others_tell_of_its_VMs()
    {
        using SharedNode one = Node("one", of: Here);
        using SharedNode two = Node("two");
        one.Loses = IsAway;
        using var isTold = new ManualResetEventSlim();
        two.During = (vm, _) =>
        {
            AwaitIdle("one", vm);
            if (vm.Place == Away)
            {
                Number("DELETE FROM node WHERE name = 'two' RETURNING 1");
                Assert.True(isTold.Wait(TimeSpan.FromMinutes(2), TestContext.Current.CancellationToken));
            }
        };
        string run = two.Plan();
        Both(run, one, two, isTold.Set);
        Check(run, one, gaps: 3, findings: 4);
    }

    [Fact]
    public void Where_the_window_closes_for_the_node_that_reaches_it_the_next_one_is_waited_for()
    {
        var clock = new FakeTimeProvider(Start);
        const string Nights = "\"timeZone\": \"UTC\", \"windows\": [ { \"start\": \"20:00\", \"end\": \"06:00\" } ],";
        using SharedNode one = Node("one", clock, Nights, Here);
        using SharedNode two = Node("two", clock, Nights);
        one.Loses = IsAway;
        two.During = (vm, _) =>
        {
            AwaitIdle("one", vm);
            clock.Advance(new DateTimeOffset(2026, 6, 11, 6, 0, 0, TimeSpan.Zero) - clock.GetUtcNow());
        };
        string run = two.Plan();
        Both(run, one, two);
        Assert.Equal(SweepStates.Paused, one.Store.Find(run)!.State);
        Assert.All(one.Store.Vms(run).Where(v => v.Key.StartsWith('h')), v => Assert.Equal(SweepVmStates.Waiting, v.Report.State));

        clock.Advance(TimeSpan.FromHours(14));
        two.During = (_, _) => { };
        Assert.Equal(SweepStates.Finished, two.Run(run).State);
        Check(run, one, gaps: 0, findings: 10);
    }

    [Fact]
    public void A_node_that_is_alone_tells_of_them_before_it_is_through_with_the_others()
    {
        using SharedNode one = Node("one", of: Here);

        // It stays away while the last of the others waits for its own.
        string run = "";
        long? told = null;
        int tries = 0;
        one.Loses = (vm, target) =>
        {
            told = vm.Name == "z" ? one.Store.Vms(run).Count(v => v.Report.State == SweepVmStates.Done) : told;
            return IsAway(vm, target) is var lost and > 0 ? lost : vm.Name == "z" && tries++ < LostVms.MostTries ? LostVms.MostTries : 0;
        };
        run = one.Plan();
        Assert.Equal(SweepStates.Finished, one.Run(run).State);
        Assert.Equal(3, told);
        Assert.Equal(4L, Number("SELECT count(*) FROM scan"));
    }

    private static int IsAway(SweepVm vm, TargetReport target) => IsAway(vm, target, found: 0);

    private static int IsAway(SweepVm vm, TargetReport target, int found)
    {
        if (vm.Place != Away)
        {
            return 0;
        }

        target.Findings.RemoveRange(found, target.Findings.Count - found);
        target.Gaps.Add(new CoverageGap(Fault.Transport, vm.Name, "VM", -1, 0, "No route to host").ToReport());
        return LostVms.MostTries;
    }

    private static void Both(string run, SharedNode one, SharedNode two, Action? between = null)
    {
        Exception? failure = null;
        two.Session.Work(run, isIdle: false);
        var second = new Thread(() => failure = Record.Exception(() => two.Run(run)));
        second.Start();
        one.Run(run);
        between?.Invoke();
        second.Join();
        Assert.Null(failure);
    }

    /// <summary>All is told of, each VM once, and nobody has it any more.</summary>
    private void Check(string run, SharedNode node, long gaps, long findings)
    {
        SweepReport report = SweepVmReports.Of(node.Store.Find(run)!, [.. node.Store.Vms(run).Select(v => v.Report)]);
        Assert.Equal((SweepStates.Finished, 5L, gaps, findings), (report.State, report.Totals.Done, report.Totals.Gaps, report.Totals.Findings));
        Assert.Equal(5L, Number("SELECT count(*) FROM scan"));
        Assert.Equal(findings, Number("SELECT count(*) FROM finding WHERE scans = 1"));
        Assert.Equal(0L, Number("SELECT count(*) FROM sweep_claim"));
    }

    /// <summary>Scans the VM that no other node sees until a node has nothing to do any more but to wait for others.</summary>
    private void AwaitIdle(string node, SweepVm vm)
    {
        for (int i = 0; vm.Name == "a" && Number($"SELECT count(*) FROM node WHERE name = '{node}' AND idle = 1") == 0; i++)
        {
            Assert.True(i < 300, "the node never came to its end");
            Thread.Sleep(400);
        }
    }

    private long? Number(string sql)
    {
        using Database database = Database.Open(server.Place(_scratch["state"]), TimeProvider.System)!;
        return database.Number(sql);
    }

    private SharedNode Node(string name, TimeProvider? time = null, string sweep = "", params string[] of)
    {
        string[] names = of.Length > 0 ? of : ["a", .. Here];
        return new SharedNode(server.Place(_scratch["state"], name), OneDisk, sweep)
        {
            Time = time ?? new FakeTimeProvider(Start),
            Vms = [.. names.Select(n => FakeNight.Vm(n) with { Place = n[0] == 'h' ? Away : "the host z" })],
        };
    }
}
