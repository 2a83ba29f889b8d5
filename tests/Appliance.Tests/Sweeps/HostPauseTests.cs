using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results.Store;
using Vmsweep.Appliance.Sweeps.Planning;
using Vmsweep.Appliance.Sweeps.Running;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Tests.Sweeps;

/// <summary>A host that does not answer in the middle of a sweep: its VMs are left alone until it is looked for again, and the others are scanned meanwhile.</summary>
public sealed class HostPauseTests
{
    private const string Away = "the host a";
    private static readonly DateTimeOffset Start = new(2026, 6, 10, 20, 0, 0, TimeSpan.Zero);

    [Fact]
    public void One_VM_finds_it_away_and_all_are_scanned_when_it_is_back()
    {
        using FakeNight night = Night(Start.AddMinutes(10));
        string run = night.Plan();
        Assert.Equal(SweepStates.Finished, night.Run(run).State);
        Assert.Equal(["vm1", "vm5", "vm6", "vm2", "vm3", "vm4", "vm1"], night.Begun.Select(b => b.Vm));
        Assert.Equal(("clean", 6L, 0L), (night.Report(run).Verdict, night.Report(run).Totals.Done, night.Report(run).Totals.Gaps));
    }

    [Fact]
    public void Where_it_does_not_come_back_it_is_looked_for_by_one_VM_at_a_time_and_all_are_gaps()
    {
        using FakeNight night = Night(DateTimeOffset.MaxValue);
        string run = night.Plan();
        Assert.Equal(SweepStates.Finished, night.Run(run).State);
        Assert.Equal(1 + LostVms.MostTries, night.Begun.Count(b => PlaceOf(b.Vm) == Away));

        // Never more often than a host is looked for, which is less and less often.
        DateTimeOffset[] looked = [.. night.Begun.Where(b => PlaceOf(b.Vm) == Away).Select(b => b.At)];
        Assert.All(looked.Zip(looked.Skip(1)), pair => Assert.True(pair.Second - pair.First >= TimeSpan.FromMinutes(1)));
        Assert.True(looked[^1] - looked[0] > TimeSpan.FromHours(1));
        Assert.Equal(6, night.Recorded.Count);
        Assert.All(night.Recorded.Where(r => PlaceOf(r.Target.Vm.Name) == Away), r => Assert.Equal("transport", Assert.Single(r.Target.Gaps).Fault));
        Assert.Equal(("incomplete", 6L, 4L), (night.Report(run).Verdict, night.Report(run).Totals.Done, night.Report(run).Totals.Gaps));
    }

    [Fact]
    public void VMs_that_were_not_tried_say_since_when_it_is_away()
    {
        var time = new Microsoft.Extensions.Time.Testing.FakeTimeProvider(Start);
        var lost = new LostVms(time);
        SweepVm first = FakeNight.Vm("vm1") with { Place = Away };
        SweepVm other = FakeNight.Vm("vm2") with { Place = Away };
        for (int i = 0; i <= LostVms.MostTries; i++)
        {
            Assert.Null(lost.GiveUp(2, other));
            Assert.Equal(i < LostVms.MostTries, lost.PutOff(1, first, Scan(LostVms.MostTries)));
            Assert.Contains(Away, lost.WhyNot(2, other), StringComparison.Ordinal);

            // Another was read at that moment: the same loss.
            lost.PutOff(3, FakeNight.Vm("vm3") with { Place = Away }, Scan(LostVms.MostTries));
            time.Advance(TimeSpan.FromMinutes(15));
        }

        GapReport gap = Assert.Single(lost.GiveUp(2, other)!.Target.Gaps);
        Assert.Equal("the host a was lost at 2026-06-10 20:00 UTC, and was not there any of the 8 times that it was looked for since", gap.Detail);
        Assert.Null(lost.GiveUp(4, FakeNight.Vm("vm4") with { Place = "the host b" }));
    }

    [Fact]
    public void What_answers_is_not_away()
    {
        var lost = new LostVms(new Microsoft.Extensions.Time.Testing.FakeTimeProvider(Start));
        SweepVm first = FakeNight.Vm("vm1") with { Place = Away };
        SweepVm other = FakeNight.Vm("vm2") with { Place = Away };
        lost.PutOff(1, first, Scan(LostVms.MostTries));
        Assert.NotNull(lost.WhyNot(3, other));
        lost.PutOff(2, other, Scan(0));
        Assert.Null(lost.WhyNot(3, other));

        // A bad sector is the VM's own.
        lost.PutOff(4, other, Scan(1));
        Assert.Null(lost.WhyNot(3, other));
    }

    private static SweepScan Scan(int retries) => new(new TargetReport { Target = "vm", Vm = new VmReport("vm", "vm", "off", "") }, []) { Retries = retries };

    private static string PlaceOf(string vm) => vm is "vm5" or "vm6" ? "the host b" : Away;

    private static FakeNight Night(DateTimeOffset back)
    {
        var night = new FakeNight("2026-06-10T20:00Z", "\"limits\": { \"disks\": 1 }") { Duration = TimeSpan.Zero };
        night.Vms = [.. night.Vms.Select(v => v with { Place = PlaceOf(v.Name) })];
        night.During = (vm, target, _) =>
        {
            if (IsAway(vm))
            {
                target.Gaps.Add(new CoverageGap(Fault.Transport, vm.Name, "VM", -1, 0, "No route to host").ToReport());
            }
        };
        night.Retries = vm => IsAway(vm) ? LostVms.MostTries : 0;
        return night;

        bool IsAway(SweepVm vm) => vm.Place == Away && night.Time.GetUtcNow() < back;
    }
}
