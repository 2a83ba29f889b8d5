using Vmsweep.Appliance.Cli;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results.Store;
using Vmsweep.Appliance.Sweeps.Planning;
using Vmsweep.Appliance.Sweeps.Running;
using Vmsweep.Appliance.Tests.Hostile;
using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Sweeps;

/// <summary>A datastore that goes away in the middle of a sweep: its VMs are tried again, and nothing that was found until then is lost.</summary>
public sealed class LostDatastoreTests
{
    private const string OneDisk = "\"limits\": { \"disks\": 1 }";

    [Fact]
    public void VMs_are_tried_again_after_the_others_and_recorded_once()
    {
        using FakeNight night = Night(OneDisk, comesBackAt: 3);
        night.Duration = TimeSpan.Zero;
        string run = night.Plan();
        Assert.Equal(SweepStates.Finished, night.Run(run).State);
        Assert.Equal(["vm1", "vm2", "vm3", "vm4", "vm5", "vm6", "vm2", "vm2"], night.Begun.Select(b => b.Vm));
        Assert.Equal(["vm1", "vm3", "vm4", "vm5", "vm6", "vm2"], night.Recorded.Select(r => r.Target.Vm.Name));
        Assert.Empty(night.Recorded[^1].Target.Gaps);
        SweepReport report = night.Report(run);
        Assert.Equal(("clean", 6L, 0L), (report.Verdict, report.Totals.Done, report.Totals.Gaps));
    }

    [Fact]
    public void What_does_not_come_back_is_a_gap_beside_all_that_was_found_before()
    {
        using FakeNight night = Night(OneDisk, comesBackAt: int.MaxValue);
        string run = night.Plan();
        Assert.Equal(SweepStates.Finished, night.Run(run).State);
        Assert.Equal(1 + LostVms.MostTries, night.Begun.Count(b => b.Vm == "vm2"));
        TargetReport lost = Assert.Single(night.Recorded, r => r.Target.Vm.Name == "vm2").Target;
        Assert.Equal("Early", Assert.Single(lost.Findings).Rule);
        Assert.Equal("transport", Assert.Single(lost.Gaps).Fault);
        Assert.Equal(("detected", 6L, 1L), (night.Report(run).Verdict, night.Report(run).Totals.Done, night.Report(run).Totals.Gaps));
    }

    [Theory]
    [InlineData("pause")]
    [InlineData("finish")]
    public void They_are_tried_within_the_window_and_then_in_the_next(string atEnd)
    {
        using FakeNight night = Night($"{OneDisk}, \"timeZone\": \"UTC\", \"windows\": [ {{ \"start\": \"20:00\", \"end\": \"23:20\" }} ], \"atWindowEnd\": \"{atEnd}\"", comesBackAt: 4);
        string run = night.Plan();
        Assert.Equal(SweepStates.Finished, night.Run(run, new RunOptions(WaitsForWindow: true)).State);
        Assert.Single(night.Waits);
        Assert.All(night.Begun, b => Assert.True(night.Sweep.Windows.IsOpen(b.At), $"{b.Vm} was begun at {b.At}"));
        Assert.Equal(6, night.Recorded.Count);
        Assert.Equal("clean", night.Report(run).Verdict);
    }

    [Fact]
    public void Where_the_window_ends_for_good_what_was_read_is_recorded()
    {
        using FakeNight night = Night($"{OneDisk}, \"timeZone\": \"UTC\", \"windows\": [ {{ \"start\": \"20:00\", \"end\": \"21:30\" }} ], \"atWindowEnd\": \"end\"", comesBackAt: int.MaxValue);
        night.Duration = TimeSpan.FromMinutes(10);
        string run = night.Plan();
        Assert.Equal(SweepStates.Finished, night.Run(run).State);
        TargetReport lost = Assert.Single(night.Recorded, r => r.Target.Vm.Name == "vm2").Target;
        Assert.Equal(("Early", "transport"), (Assert.Single(lost.Findings).Rule, Assert.Single(lost.Gaps).Fault));
        Assert.Equal(("detected", 6L, 0L), (night.Report(run).Verdict, night.Report(run).Totals.Done, night.Report(run).Totals.Skipped));
    }

    [Fact]
    public void It_is_told_by_its_folder_before_and_while_a_VM_is_read()
    {
        using var scratch = new Scratch();
        Directory.CreateDirectory(scratch["ds"]);
        File.WriteAllBytes(scratch["ds/vm.raw"], HostileScan.Fat($"printf '{HostileScan.Mark}' > a.txt; mcopy -i image a.txt ::A.TXT"));
        Action beforeOpen = () => { };
        Action afterOpen = () => { };
        SweepVm vm = FakeNight.Vm("vm", scratch["ds"]) with
        {
            Root = scratch["ds"],
            Open = _ =>
            {
                beforeOpen();
                var opened = new OpenedVm(new TargetFinder([]).Find(scratch["ds/vm.raw"]).Single());
                afterOpen();
                return opened;
            },
        };
        using var scanner = new WorkerScanner(HostileScan.Settings, Sandbox.Probe(SandboxMode.Reduced), new InProcessWorker(), TimeProvider.System);

        // A folder without what was mounted there.
        beforeOpen = () =>
        {
            Away();
            Directory.CreateDirectory(scratch["ds"]);
        };
        Assert.Equal((LostVms.MostTries, "transport"), Scan());
        Directory.Delete(scratch["ds"]);
        Back();

        // It went away between the look at it and the reading.
        (beforeOpen, afterOpen) = (() => { }, Away);
        Assert.Equal((LostVms.MostTries, "transport"), Scan());
        Back();

        // It is there again when that is looked at.
        afterOpen = () => File.Move(scratch["ds/vm.raw"], scratch["ds/vm.away"]);
        Assert.Equal((1, "transport"), Scan());

        // A VM that was removed is no datastore that was lost.
        afterOpen = () => { };
        Assert.Equal((0, "transport"), Scan());
        File.Move(scratch["ds/vm.away"], scratch["ds/vm.raw"]);
        Assert.Equal((0, ""), Scan());

        void Away() => Directory.Move(scratch["ds"], scratch["gone"]);

        void Back() => Directory.Move(scratch["gone"], scratch["ds"]);

        (int, string) Scan()
        {
            SweepScan scan = scanner.Scan(vm, false, TimeProvider.System.GetUtcNow(), null, new NdjsonListener(TextWriter.Null), TestContext.Current.CancellationToken);
            Assert.Equal(scan.Target.Gaps.Count == 0 ? 1 : 0, scan.Target.Findings.Count);
            return (scan.Retries, string.Join(' ', scan.Target.Gaps.Select(g => g.Fault).Distinct()));
        }
    }

    /// <summary>The second VM's datastore is away until it was tried so often; what was found at first is not there afterwards.</summary>
    private static FakeNight Night(string sweep, int comesBackAt)
    {
        var night = new FakeNight("2026-06-10T20:00Z", sweep);
        int tries = 0;
        night.During = (vm, target, _) =>
        {
            if (vm.Name == "vm2" && ++tries < comesBackAt)
            {
                target.Gaps.Add(new CoverageGap(Fault.Transport, vm.Name, "storage", -1, 0, "Input/output error").ToReport());
                if (tries == 1)
                {
                    target.Findings.Add(new FindingReport { Path = "v1/a", SizeBytes = 1, Sha256 = "", Engine = "yara", Rule = "Early", Namespace = "", Severity = "high" });
                }
            }
        };
        night.Retries = vm => vm.Name == "vm2" && tries < comesBackAt ? LostVms.MostTries : 0;
        return night;
    }
}
