using Vmsweep.Appliance.Nodes;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Store;
using Vmsweep.Appliance.Sweeps.Pacing;
using Vmsweep.Appliance.Sweeps.Planning;
using Vmsweep.Appliance.Tests.Results.Postgres;
using Vmsweep.Appliance.Tests.Sweeps;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Nodes;

/// <summary>Several nodes on one PostgreSQL run one sweep.</summary>
[Collection(PostgresCollection.Name)]
public sealed class SharedSweepTests(PostgresFixture server) : IDisposable
{
    private static readonly TimeSpan LongEnough = TimeSpan.FromSeconds(120);

    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void Each_VM_is_scanned_by_one_node_and_limits_hold_over_all()
    {
        var random = new Random(5);
        List<SweepVm> vms = [.. Enumerable.Range(0, 40).Select(i => FakeNight.Vm($"vm{i:00}", $"ds{random.Next(2)}", random.Next(2) == 0 ? "" : $"host{random.Next(2)}", random.Next(2) == 0 ? "t" : "", 1 + random.Next(2)))];
        using SharedNode one = Node("one", vms, "\"disks\": 8, \"disksPerNode\": 4, \"disksPerDatastore\": 5, \"disksPerHost\": 3, \"disksPerTenant\": 3");
        using SharedNode two = Node("two", vms, "\"disks\": 8, \"disksPerNode\": 4, \"disksPerDatastore\": 5, \"disksPerHost\": 3, \"disksPerTenant\": 3");
        var gate = new Lock();
        Dictionary<string, int> now = [];
        Dictionary<string, int> most = [];
        using var met = new ManualResetEventSlim();
        one.During = (vm, _) => At("one", vm);
        two.During = (vm, _) => At("two", vm);
        string run = one.Plan();
        Both(run, one, two);
        Assert.Equal(vms.Select(v => v.Name), one.Scanned.Concat(two.Scanned).Order(StringComparer.Ordinal));
        Assert.NotEmpty(one.Scanned);
        Assert.NotEmpty(two.Scanned);
        Assert.Equal(SweepStates.Finished, one.Store.Find(run)!.State);
        Assert.All(one.Store.Vms(run), v => Assert.Equal(SweepVmStates.Done, v.Report.State));
        foreach ((string of, int limit) in (ReadOnlySpan<(string, int)>)[("all", 8), ("node one", 4), ("node two", 4), ("ds0", 5), ("ds1", 5), ("host0", 3), ("host1", 3), ("t", 3)])
        {
            Assert.InRange(most[of], 1, limit);
        }

        Assert.True(most["all"] > 4, "two nodes were never at work at once");
        Assert.Equal(80L, Number("SELECT count(*) FROM finding WHERE scans = 1"));
        Assert.Equal(0L, Number("SELECT count(*) FROM sweep_claim"));

        void At(string node, SweepVm vm)
        {
            Count(1);
            // The first ones stay until both are at work.
            Assert.True(met.Wait(LongEnough, TestContext.Current.CancellationToken));
            Count(-1);

            void Count(int sign)
            {
                lock (gate)
                {
                    foreach (string of in (string[])["all", "node " + node, vm.Datastores[0], vm.Host, vm.Tenant])
                    {
                        now[of] = now.GetValueOrDefault(of) + (sign * vm.Datastores.Count);
                        most[of] = Math.Max(most.GetValueOrDefault(of), now[of]);
                    }

                    if (now.GetValueOrDefault("node one") > 0 && now.GetValueOrDefault("node two") > 0 && now["all"] > 4)
                    {
                        met.Set();
                    }
                }
            }
        }
    }

    [Fact]
    public void A_node_that_was_taken_for_dead_records_nothing_of_what_was_given_away()
    {
        List<SweepVm> vms = [.. Enumerable.Range(0, 4).Select(i => FakeNight.Vm($"vm{i}"))];
        using SharedNode slow = Node("slow", vms, "\"disks\": 1");
        using SharedNode other = Node("other", vms, "\"disks\": 1");
        string run = slow.Plan();
        bool isGiven = false;
        slow.During = (vm, _) =>
        {
            if (!isGiven)
            {
                isGiven = true;

                // As when nothing was heard of it for longer than it may be silent.
                Number("UPDATE sweep_claim SET node = 'nobody' RETURNING 1");
                Assert.Equal(SweepStates.Finished, other.Run(run).State);
            }
        };
        Assert.Equal(SweepStates.Finished, slow.Run(run).State);
        Assert.Equal(["vm0"], slow.Scanned);
        Assert.Equal(["vm0", "vm1", "vm2", "vm3"], other.Scanned);
        Assert.Equal(4L, Number("SELECT count(*) FROM scan"));
        Assert.Equal(8L, Number("SELECT count(*) FROM finding WHERE scans = 1"));
        Assert.Equal(0L, Number("SELECT count(*) FROM sweep_claim"));
    }

    [Fact]
    public void A_VM_that_one_node_does_not_see_is_scanned_by_the_other_and_one_that_none_sees_fails()
    {
        List<SweepVm> vms = [.. Enumerable.Range(0, 4).Select(i => FakeNight.Vm($"vm{i}"))];
        using SharedNode planner = Node("planner", vms, "\"disks\": 2");
        string run = planner.Plan();
        using SharedNode one = Node("one", [vms[0], vms[1]], "\"disks\": 2");
        using SharedNode two = Node("two", [vms[1], vms[2]], "\"disks\": 2");
        Both(run, one, two);
        Assert.Equal(["vm0", "vm1", "vm2"], one.Scanned.Concat(two.Scanned).Order(StringComparer.Ordinal));
        SweepVmRow left = Assert.Single(one.Store.Vms(run), v => v.Report.State == SweepVmStates.Failed);
        Assert.Equal(("vm3", "it is not in the inventory of any node"), (left.Key, left.Report.Detail));
    }

    [Fact]
    public void A_node_that_is_interrupted_leaves_the_run_to_the_others()
    {
        List<SweepVm> vms = [.. Enumerable.Range(0, 4).Select(i => FakeNight.Vm($"vm{i}"))];
        using SharedNode one = Node("one", vms, "\"disks\": 2, \"disksPerNode\": 1");
        using SharedNode two = Node("two", vms, "\"disks\": 2, \"disksPerNode\": 1");
        using var ctrlC = new CancellationTokenSource();
        using var isInterrupted = new ManualResetEventSlim();
        using var atWork = new ManualResetEventSlim();
        one.During = (_, stop) =>
        {
            Assert.True(atWork.Wait(LongEnough, TestContext.Current.CancellationToken));
            ctrlC.Cancel();
            Assert.True(stop.WaitHandle.WaitOne(LongEnough));
        };
        two.During = (_, _) =>
        {
            atWork.Set();
            Assert.True(isInterrupted.Wait(LongEnough, TestContext.Current.CancellationToken));
        };
        string run = one.Plan();
        var second = new Thread(() => two.Run(run));
        second.Start();
        Assert.Equal(SweepStates.Running, one.Run(run, ctrlC.Token).State);
        isInterrupted.Set();
        second.Join();
        Assert.Equal(SweepStates.Finished, two.Store.Find(run)!.State);
        Assert.Equal(["vm0", "vm1", "vm2", "vm3"], two.Scanned.Order(StringComparer.Ordinal));
        Assert.Equal(8L, Number("SELECT count(*) FROM finding WHERE scans = 1"));
    }

    [Fact]
    public void A_rate_is_divided_among_all_that_read()
    {
        using SharedNode node = Node("one", [], "\"bytesPerSecond\": \"8M\", \"bytesPerSecondPerDatastore\": \"6M\"");
        var board = new PaceBoard(node.Sweep.Limits, TimeProvider.System);
        using PaceLane lane = board.Join(FakeNight.Vm("vm", "ds0"));
        Assert.Equal(6 << 20, Rate(lane));
        board.Share([new DiskShare(["ds0"], "", ""), new DiskShare(["ds1"], "", ""), new DiskShare(["ds1"], "", "")]);
        Assert.Equal(2 << 20, Rate(lane));
        board.Share([new DiskShare(["ds0"], "", "")]);
        Assert.Equal(3 << 20, Rate(lane));
        board.Share([]);
        Assert.Equal(6 << 20, Rate(lane));

        static long Rate(PaceLane lane) => lane.Present[0];
    }

    [Fact]
    public void Nodes_are_listed_with_what_they_scan_and_the_dead_as_dead()
    {
        using SharedNode one = Node("one", [FakeNight.Vm("vm0")], "\"disks\": 1");
        using SharedNode two = Node("two", [], "\"disks\": 1");
        string run = one.Plan();
        one.During = (_, _) =>
        {
            Number("UPDATE node SET seen = seen - 3600000, since = 0 WHERE name = 'two' RETURNING 1");
            IReadOnlyList<NodeReport> nodes = List();
            Assert.Equal(["one True vm0", "two False "], nodes.Select(n => $"{n.Name} {n.IsAlive} {string.Join(',', n.Scanning)}"));
            Assert.Equal([run], nodes[0].Runs);
        };
        one.Run(run);
        Assert.Empty(List()[0].Scanning);

        IReadOnlyList<NodeReport> List()
        {
            using Database database = Database.Open(Place("one"), TimeProvider.System)!;
            return new NodeQueries(database, Place("one").Server!).List();
        }
    }

    private static void Both(string run, params SharedNode[] nodes)
    {
        var failures = new System.Collections.Concurrent.ConcurrentQueue<Exception>();
        Thread[] threads = [.. nodes.Select(n => new Thread(() =>
        {
            if (Record.Exception(() => n.Run(run)) is { } failure)
            {
                failures.Enqueue(failure);
            }
        }))];
        Array.ForEach(threads, t => t.Start());
        Array.ForEach(threads, t => t.Join());
        Assert.Empty(failures);
    }

    private DatabasePlace Place(string node) => server.Place(_scratch["state"], node);

    private SharedNode Node(string name, List<SweepVm> vms, string limits) => new(Place(name), limits) { Vms = vms };

    private long? Number(string sql)
    {
        using Database database = Database.Open(Place("one"), TimeProvider.System)!;
        return database.Number(sql);
    }
}
