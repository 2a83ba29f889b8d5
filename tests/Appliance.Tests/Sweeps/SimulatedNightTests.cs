using System.Globalization;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results.Store;
using Vmsweep.Appliance.Sweeps.Running;

namespace Vmsweep.Appliance.Tests.Sweeps;

/// <summary>Whole nights on a clock that the scans move: window ends, black-out dates, changes of clocks, priority and depth.</summary>
public sealed class SimulatedNightTests
{
    private const string Night = "\"timeZone\": \"Europe/Berlin\", \"windows\": [ { \"start\": \"22:00\", \"end\": \"23:15\" } ], \"limits\": { \"disks\": 1 }";

    [Fact]
    public void Finish_ends_what_is_being_scanned_and_the_rest_waits_for_the_next_run()
    {
        using var night = new FakeNight("2026-06-10T20:00Z", Night);
        string run = night.Plan();
        SweepRunRow row = night.Run(run);
        Assert.Equal((SweepStates.Paused, "the window is closed until 2026-06-11 22:00 +02:00"), (row.State, row.Detail));
        // 30 minutes each: the third begins at 23:00 and ends at 23:30, a quarter after the window.
        Assert.Equal(["vm1", "vm2", "vm3"], night.Ended.Select(e => e.Vm));
        Assert.Equal(At("2026-06-10T21:30Z"), night.Ended[^1].At);
        Assert.Equal("incomplete", night.Report(run).Verdict);

        night.Reopen();
        night.Time.Advance(At("2026-06-11T20:00Z") - night.Time.GetUtcNow());
        row = night.Run(run);
        Assert.Equal(SweepStates.Finished, row.State);
        Assert.Equal(["vm1", "vm2", "vm3", "vm4", "vm5", "vm6"], night.Ended.Select(e => e.Vm));
        Assert.Equal("clean", night.Report(run).Verdict);
        Assert.Equal(6, night.Recorded.Count);
        Assert.All(night.Recorded, r => Assert.Equal(run, r.RunId));
    }

    [Fact]
    public void Pause_breaks_off_and_scans_anew_in_the_next_window()
    {
        using var night = new FakeNight("2026-06-10T20:00Z", Night + ", \"atWindowEnd\": \"pause\"");
        string run = night.Plan();
        SweepRunRow row = night.Run(run, new RunOptions(WaitsForWindow: true));
        Assert.Equal(SweepStates.Finished, row.State);
        Assert.Equal([At("2026-06-11T20:00Z"), At("2026-06-12T20:00Z")], night.Waits);
        Assert.Equal(["vm1", "vm2", "vm3", "vm3", "vm4", "vm5", "vm5", "vm6"], night.Begun.Select(b => b.Vm));
        Assert.Equal(At("2026-06-10T21:15Z"), night.Ended[2].At);
        // What was broken off is recorded once, when it came to its end.
        Assert.Equal(["vm1", "vm2", "vm3", "vm4", "vm5", "vm6"], night.Recorded.Select(r => r.Target.Vm.Name));
        Assert.All(night.Begun, b => Assert.True(night.Sweep.Windows.IsOpen(b.At), $"{b.Vm} was begun at {b.At}"));
    }

    [Fact]
    public void End_leaves_out_the_rest_with_a_gap_and_the_next_run_begins_with_it()
    {
        using var night = new FakeNight("2026-06-10T20:00Z", Night + ", \"atWindowEnd\": \"end\"");
        string run = night.Plan();
        Assert.Equal(SweepStates.Finished, night.Run(run, new RunOptions(WaitsForWindow: true)).State);
        SweepReport report = night.Report(run);
        Assert.Equal(("incomplete", 3L, 3L, 3L), (report.Verdict, report.Totals.Done, report.Totals.Skipped, report.Totals.Gaps));
        Assert.All(report.Vms.Where(v => v.State == SweepVmStates.Skipped), v => Assert.Equal("the window closed before its turn", v.Detail));

        night.Time.Advance(At("2026-06-11T20:00Z") - night.Time.GetUtcNow());
        night.Run(night.Plan());
        Assert.Equal(["vm1", "vm2", "vm3", "vm4", "vm5", "vm6"], night.Ended.Select(e => e.Vm));
    }

    [Theory]
    // 22:00 to 05:00 is six hours in the night in which clocks go forward, eight in the one in which they go back, seven otherwise.
    [InlineData("2026-03-28T21:00Z", "2026-03-29T03:00Z", 6)]
    [InlineData("2026-10-24T20:00Z", "2026-10-25T04:00Z", 8)]
    [InlineData("2026-06-10T20:00Z", "2026-06-11T03:00Z", 7)]
    public void The_window_follows_the_clocks(string opens, string closes, int hours)
    {
        using var night = new FakeNight(opens, "\"timeZone\": \"Europe/Berlin\", \"windows\": [ { \"start\": \"22:00\", \"end\": \"05:00\" } ], \"atWindowEnd\": \"pause\", \"limits\": { \"disks\": 1 }")
        {
            Duration = TimeSpan.FromMinutes(55),
            Vms = [.. Enumerable.Range(10, 20).Select(i => FakeNight.Vm($"vm{i}"))],
        };
        Assert.Equal(SweepStates.Paused, night.Run(night.Plan()).State);
        Assert.Equal(hours, night.Recorded.Count);
        Assert.Equal(At(closes), night.Time.GetUtcNow());
    }

    [Fact]
    public void On_black_out_dates_it_waits()
    {
        using var night = new FakeNight("2026-12-23T21:00Z", "\"timeZone\": \"Europe/Berlin\", \"windows\": [ { \"start\": \"22:00\", \"end\": \"05:00\" } ], \"blackOut\": [\"2026-12-24..2026-12-26\"], \"atWindowEnd\": \"pause\", \"limits\": { \"disks\": 1 }")
        {
            Duration = TimeSpan.FromMinutes(55),
        };
        Assert.Equal(SweepStates.Finished, night.Run(night.Plan(), new RunOptions(WaitsForWindow: true)).State);
        Assert.Equal([At("2026-12-27T21:00Z")], night.Waits);
        Assert.Equal(2, night.Recorded.Count(r => r.FinishedAt < At("2026-12-24T00:00Z")));
        Assert.Equal(6, night.Recorded.Count);
    }

    [Fact]
    public void A_clock_that_is_set_back_scans_nothing_twice()
    {
        using var night = new FakeNight("2026-06-10T20:00Z", Night);
        bool isSet = false;
        night.Time.AutoAdvanceAmount = TimeSpan.Zero;
        night.During = (vm, _, _) =>
        {
            if (vm.Name == "vm2" && !isSet)
            {
                isSet = true;
                night.Time.AdjustTime(night.Time.GetUtcNow() - TimeSpan.FromMinutes(25));
            }
        };
        Assert.Equal(SweepStates.Paused, night.Run(night.Plan()).State);
        // The clock shows 20:05 once more: what it shows is what counts, and there is time for one more.
        Assert.Equal(["vm1", "vm2", "vm3", "vm4"], night.Begun.Select(b => b.Vm));
    }

    [Fact]
    public void Never_scanned_first_then_longest_ago_then_by_tag()
    {
        using var night = new FakeNight("2026-06-01T20:00Z", "\"priority\": [\"critical\", \"db\"], \"limits\": { \"disks\": 1 }")
        {
            Vms = [FakeNight.Vm("old"), FakeNight.Vm("older")],
        };
        night.Vms.Reverse();
        night.Run(night.Plan());
        night.Time.Advance(TimeSpan.FromDays(1));
        night.Vms = [FakeNight.Vm("b-yesterday"), FakeNight.Vm("a-yesterday"), FakeNight.Vm("yesterday-db", tags: ["x", "db"]), FakeNight.Vm("yesterday-critical", tags: ["critical"])];
        night.Run(night.Plan());
        night.Time.Advance(TimeSpan.FromDays(1));
        night.Begun.Clear();
        night.Vms = [.. night.Vms, FakeNight.Vm("older"), FakeNight.Vm("old"), FakeNight.Vm("new"), FakeNight.Vm("new-db", tags: ["db"])];
        night.Run(night.Plan());
        Assert.Equal(["new-db", "new", "old", "older", "yesterday-critical", "yesterday-db", "a-yesterday", "b-yesterday"], night.Begun.Select(b => b.Vm));
    }

    [Fact]
    public void Only_changes_are_read_until_a_full_scan_is_due()
    {
        using var night = new FakeNight("2026-06-01T20:00Z", "\"depth\": \"changed\", \"fullEveryDays\": 3") { Vms = [FakeNight.Vm("vm")], Duration = TimeSpan.Zero };
        // A scan that builds on an earlier one says so.
        night.During = (_, target, _) => target.Changes = night.OnlyChanges["vm"] ? new ChangesReport(night.Time.GetUtcNow().AddDays(-1), true, "") : null;
        List<bool> onlyChanges = [];
        for (int day = 0; day < 8; day++)
        {
            night.Run(night.Plan());
            onlyChanges.Add(night.OnlyChanges["vm"]);
            Assert.InRange(night.Time.GetUtcNow() - night.InheritFrom["vm"], onlyChanges[^1] ? TimeSpan.FromDays(3) : TimeSpan.Zero, onlyChanges[^1] ? TimeSpan.FromDays(3) : TimeSpan.FromMinutes(1));
            night.Time.Advance(TimeSpan.FromDays(1));
        }

        Assert.Equal([false, true, true, false, true, true, false, true], onlyChanges);
    }

    [Fact]
    public void What_is_inherited_from_earlier_nights_does_not_put_off_the_full_scan()
    {
        using var night = new FakeNight("2026-06-01T20:00Z", "\"depth\": \"changed\", \"fullEveryDays\": 3") { Vms = [FakeNight.Vm("vm")], Duration = TimeSpan.Zero };
        night.During = (_, target, _) => target.Disks.Add(new DiskReport { Path = "x", Outside = new CoverageCounts(FilesSeen: 1) { FilesInherited = 1 } });
        List<bool> onlyChanges = [];
        for (int day = 0; day < 8; day++)
        {
            night.Run(night.Plan());
            onlyChanges.Add(night.OnlyChanges["vm"]);
            night.Time.Advance(TimeSpan.FromDays(1));
        }

        // In a full one only what the same run has read is inherited.
        Assert.Equal([false, true, true, false, true, true, false, true], onlyChanges);
    }

    private static DateTimeOffset At(string text) => DateTimeOffset.Parse(text, CultureInfo.InvariantCulture);
}
