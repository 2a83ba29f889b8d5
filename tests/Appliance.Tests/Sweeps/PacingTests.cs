using System.Buffers.Binary;
using System.Diagnostics;
using Microsoft.Extensions.Time.Testing;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Sweeps.Configuration;
using Vmsweep.Appliance.Sweeps.Pacing;
using Vmsweep.Appliance.Sweeps.Planning;
using Vmsweep.Appliance.Tests.EndToEnd;
using Vmsweep.Appliance.Worker;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Sweeps;

/// <summary>Rates as they are divided among VMs, and as workers keep to them.</summary>
public sealed class PacingTests : IDisposable
{
    private const long MiB = 1 << 20;

    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void Limits_of_rates_hold_in_all_and_for_each_datastore_host_and_tenant()
    {
        var limits = new SweepLimits { BytesPerSecond = 400 * MiB, BytesPerSecondPerDatastore = 100 * MiB, BytesPerSecondPerHost = 60 * MiB, BytesPerSecondPerTenant = 30 * MiB };
        var board = new PaceBoard(limits, TimeProvider.System);
        var random = new Random(3);
        var lanes = new List<PaceLane>();
        for (int i = 0; i < 40; i++)
        {
            string first = $"ds{random.Next(3)}";
            SweepVm vm = FakeNight.Vm($"vm{i}", first, random.Next(2) == 0 ? "" : $"h{random.Next(3)}", random.Next(2) == 0 ? "" : $"t{random.Next(3)}");
            lanes.Add(board.Join(random.Next(3) == 0 ? vm with { Datastores = [first, "ds9"] } : vm));
            if (lanes.Count > 8)
            {
                lanes[0].Dispose();
                lanes.RemoveAt(0);
            }

            (PaceLane Lane, long[] Rates)[] now = [.. lanes.Select(l => (l, Rates(l)))];
            Assert.All(now.SelectMany(n => n.Rates), r => Assert.True(r > 0));
            Assert.InRange(now.Sum(n => n.Rates.Sum()), 1, limits.BytesPerSecond.Value);
            foreach (string store in lanes.SelectMany(l => l.Stores).Distinct())
            {
                Assert.InRange(now.Sum(n => n.Lane.Stores.Zip(n.Rates).Where(s => s.First == store).Sum(s => s.Second)), 1, limits.BytesPerSecondPerDatastore.Value);
            }

            Assert.All(now.Where(n => n.Lane.Vm.Host.Length > 0).GroupBy(n => n.Lane.Vm.Host), g => Assert.InRange(g.Sum(n => n.Rates.Sum()), 1, limits.BytesPerSecondPerHost.Value));
            Assert.All(now.Where(n => n.Lane.Vm.Tenant.Length > 0).GroupBy(n => n.Lane.Vm.Tenant), g => Assert.InRange(g.Sum(n => n.Rates.Sum()), 1, limits.BytesPerSecondPerTenant.Value));
        }

        lanes.ForEach(l => l.Dispose());
    }

    [Fact]
    public void One_alone_has_all_of_it_and_without_limits_there_is_none()
    {
        var board = new PaceBoard(new SweepLimits { BytesPerSecondPerDatastore = 100 * MiB }, TimeProvider.System);
        using PaceLane first = board.Join(FakeNight.Vm("a"));
        Assert.Equal([100 * MiB], Rates(first));
        using (PaceLane second = board.Join(FakeNight.Vm("b")))
        {
            Assert.Equal([50 * MiB], Rates(first));
            Assert.Equal([50 * MiB], Rates(second));
            using PaceLane elsewhere = board.Join(FakeNight.Vm("c", "other"));
            Assert.Equal([100 * MiB], Rates(elsewhere));
        }

        Assert.Equal([100 * MiB], Rates(first));
        Assert.False(new PaceBoard(new SweepLimits(), TimeProvider.System).IsNeeded);
        var governed = new PaceBoard(new SweepLimits { TargetLatency = TimeSpan.FromMilliseconds(20), StopLatency = TimeSpan.FromMilliseconds(100) }, TimeProvider.System);
        using PaceLane free = governed.Join(FakeNight.Vm("a"));
        Assert.Equal([-1L], Rates(free));
    }

    [Fact]
    public void What_was_held_back_is_reported_for_each_datastore()
    {
        var time = new FakeTimeProvider();
        var board = new PaceBoard(new SweepLimits { TargetLatency = TimeSpan.FromMilliseconds(20), StopLatency = TimeSpan.FromMilliseconds(100) }, time);
        using PaceLane slow = board.Join(FakeNight.Vm("a", "slow"));
        using PaceLane fast = board.Join(FakeNight.Vm("b", "fast"));
        Say(200_000);
        Assert.Equal([0L], Rates(slow));
        Assert.Equal([-1L], Rates(fast));
        for (int i = 0; i < 4; i++)
        {
            Say(30_000);
        }

        Assert.InRange(Rates(slow)[0], 1, 5 * MiB);
        IReadOnlyList<HeldBackReport> held = board.HeldBack();
        HeldBackReport of = held.Single(h => h.Datastore == "slow");
        Assert.Equal(1, of.StoppedSeconds);
        Assert.Equal(0.9, of.SlowedSeconds);
        Assert.Contains("stopped 1 times at 100 ms", of.Reason, StringComparison.Ordinal);
        Assert.Contains("50 reads took 64.0 ms on average and 400.0 ms at most", of.Reason, StringComparison.Ordinal);
        Assert.Equal((0, 0), (held.Single(h => h.Datastore == "fast").SlowedSeconds, held.Single(h => h.Datastore == "fast").StoppedSeconds));

        void Say(long each)
        {
            slow.OnPace(new PaceEvent([new StorePace(10, 10 * (256 << 10), 10 * each, 2 * each, 300_000)]));
            fast.OnPace(new PaceEvent([new StorePace(10, 10 * (256 << 10), 10_000, 2000, 0)]));
            time.Advance(TimeSpan.FromMilliseconds(500));
            board.Step();
        }
    }

    [Fact]
    public void A_worker_that_lies_about_its_reads_breaks_no_sums()
    {
        var board = new PaceBoard(new SweepLimits { TargetLatency = TimeSpan.FromMilliseconds(20), StopLatency = TimeSpan.FromMilliseconds(100) }, TimeProvider.System);
        using PaceLane lane = board.Join(FakeNight.Vm("a"));
        var most = new StorePace(long.MaxValue, long.MaxValue, long.MaxValue, long.MaxValue, long.MaxValue);
        for (int i = 0; i < 1000; i++)
        {
            lane.OnPace(new PaceEvent([most, most, most]));
            lane.OnPace(new PaceEvent([]));
            board.Step();
        }

        Assert.NotEmpty(board.HeldBack());
        Assert.Throws<InvalidDataException>(() => WorkerEvents.Check(new PaceEvent([new StorePace(-1, 0, 0, 0, 0)])));
    }

    [Fact]
    public void A_worker_reads_no_faster_than_it_may_and_says_what_it_read()
    {
        string disk = TestDisks.Raw(_scratch, new Dictionary<string, string> { ["a.txt"] = new('x', 3 << 20), ["b.txt"] = new('y', 2 << 20) });
        (TimeSpan free, List<WorkerEvent> events) = Scan(disk, -1);
        StorePace read = Sum(events);
        Assert.True(read.Bytes > 10 * MiB, $"{read.Bytes} bytes were told of");
        Assert.Equal(0, read.WaitedMicroseconds);

        (TimeSpan limited, List<WorkerEvent> slow) = Scan(disk, 4 * MiB);
        // A burst of a tenth of a second is free, and so is what one read goes beyond.
        double least = (read.Bytes - (2 * MiB)) / (4.0 * MiB);
        Assert.True(limited.TotalSeconds >= least, $"{read.Bytes} bytes in {limited}, {free} without a limit");
        Assert.True(Sum(slow).WaitedMicroseconds > 500_000);
        Assert.Equal(Findings(events), Findings(slow));
        Assert.Equal(events.Gaps(), slow.Gaps());

        // Waiting is work to whoever watches for hangs.
        Assert.True(slow.OfType<ProgressEvent>().Select(p => p.Steps).Distinct().Count() > 4);
    }

    [Fact]
    public async Task Stopped_a_worker_waits_and_goes_on_when_it_may()
    {
        string disk = TestDisks.Raw(_scratch, new Dictionary<string, string> { ["a.txt"] = "text" });
        string rates = _scratch["rates"];
        Write(rates, 0);
        Task<(TimeSpan, List<WorkerEvent> Events)> scan = Task.Run(() => Run(disk, rates), TestContext.Current.CancellationToken);
        Assert.NotSame(scan, await Task.WhenAny(scan, Task.Delay(TimeSpan.FromSeconds(1), TestContext.Current.CancellationToken)));
        Write(rates, -1);
        (_, List<WorkerEvent> events) = await scan.WaitAsync(TimeSpan.FromSeconds(60), TestContext.Current.CancellationToken);
        Assert.Empty(events.Gaps());
        Assert.True(Sum(events).WaitedMicroseconds > 500_000);
    }

    [Fact]
    public void Workers_have_less_weight()
    {
        string shown = _scratch["shown"];
        ProcessStartInfo start = new WorkerWeight(7, "idle").Put(new ProcessStartInfo("/bin/sh") { ArgumentList = { "-c", $"echo $$ > '{shown}'; nice >> '{shown}'; ionice -p $$ >> '{shown}'" } });
        using Process process = Process.Start(start)!;
        process.WaitForExit();
        string[] lines = File.ReadAllLines(shown);
        Assert.Equal(process.Id.ToString(System.Globalization.CultureInfo.InvariantCulture), lines[0]);
        Assert.True(int.Parse(lines[1], System.Globalization.CultureInfo.InvariantCulture) >= 7, lines[1]);
        Assert.StartsWith("idle", lines[2], StringComparison.Ordinal);
        Assert.Equal("/bin/true", new WorkerWeight(0, "none").Put(new ProcessStartInfo("/bin/true")).FileName);
    }

    private (TimeSpan Time, List<WorkerEvent> Events) Scan(string disk, long rate)
    {
        Write(_scratch["rates"], rate);
        return Run(disk, _scratch["rates"]);
    }

    private static (TimeSpan Time, List<WorkerEvent> Events) Run(string disk, string rates)
    {
        long started = Stopwatch.GetTimestamp();
        List<WorkerEvent> events = InProcess.Run(new ScanJob(null, [], 1, 64 << 20, 60) { Limits = InProcess.Limits, Disks = InProcess.Plans(disk), Pacing = new PacingJob(rates, [0]) });
        return (Stopwatch.GetElapsedTime(started), events);
    }

    private static StorePace Sum(List<WorkerEvent> events) => events.OfType<PaceEvent>().Select(p => Assert.Single(p.Stores))
        .Aggregate(new StorePace(0, 0, 0, 0, 0), (a, b) => new StorePace(a.Reads + b.Reads, a.Bytes + b.Bytes, a.Microseconds + b.Microseconds, Math.Max(a.LongestMicroseconds, b.LongestMicroseconds), a.WaitedMicroseconds + b.WaitedMicroseconds));

    private static IReadOnlyList<string> Findings(List<WorkerEvent> events) => [.. events.OfType<FindingEvent>().Select(f => f.Finding.Path)];

    private static void Write(string path, long rate)
    {
        byte[] bytes = new byte[sizeof(long)];
        BinaryPrimitives.WriteInt64LittleEndian(bytes, rate);
        using FileStream file = new(path, FileMode.OpenOrCreate, FileAccess.Write, FileShare.ReadWrite);
        file.Write(bytes);
    }

    private static long[] Rates(PaceLane lane)
    {
        var binds = new List<(string Host, string Inside)>();
        lane.JobOf([], Sandbox.Probe(SandboxMode.Reduced), binds);
        byte[] bytes = File.ReadAllBytes(binds[0].Host);
        return [.. Enumerable.Range(0, bytes.Length / sizeof(long)).Select(i => BinaryPrimitives.ReadInt64LittleEndian(bytes.AsSpan(i * sizeof(long))))];
    }
}
