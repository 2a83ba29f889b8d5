using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results.Store;
using Vmsweep.Appliance.Sweeps.Planning;
using Vmsweep.Appliance.Sweeps.Running;

namespace Vmsweep.Appliance.Tests.Sweeps;

/// <summary>Runs that are held to limits, interrupted, cancelled, or that fail.</summary>
public sealed class SweepRunnerTests
{
    private static readonly TimeSpan LongEnough = TimeSpan.FromSeconds(60);

    [Fact]
    public void Limits_of_disks_hold_and_are_used()
    {
        using var night = new FakeNight("2026-06-10T20:00Z", "\"limits\": { \"disks\": 6, \"disksPerDatastore\": 3, \"disksPerHost\": 2, \"disksPerTenant\": 2 }") { Duration = TimeSpan.Zero };
        var random = new Random(8);
        night.Vms = [.. Enumerable.Range(0, 60).Select(i => FakeNight.Vm(
            $"vm{i}", $"ds{random.Next(3)}", random.Next(3) == 0 ? "" : $"host{random.Next(4)}", random.Next(3) == 0 ? $"tenant{random.Next(2)}" : "", 1 + random.Next(2)))];
        // One has more disks than may be read at once.
        night.Vms.Add(FakeNight.Vm("large", "ds0", disks: 9));
        var gate = new Lock();
        var now = new Dictionary<string, int>();
        var most = new Dictionary<string, int>();
        using var used = new ManualResetEventSlim();
        night.During = (vm, _, _) =>
        {
            Count(vm, 1);
            // The first ones stay until as many are there as may be.
            Assert.True(vm.Name == "large" || used.Wait(LongEnough, TestContext.Current.CancellationToken));
            Count(vm, -1);
        };
        Assert.Equal(SweepStates.Finished, night.Run(night.Plan()).State);
        Assert.Equal(61, night.Recorded.Count);
        Assert.All(most, m => Assert.True(m.Value <= (m.Key == "all" ? 6 : m.Key.StartsWith("ds", StringComparison.Ordinal) ? 3 : 2), $"{m.Value} disks at once of {m.Key}"));
        Assert.Equal(9, night.Most["all datastores"]);

        void Count(SweepVm vm, int sign)
        {
            lock (gate)
            {
                // The large one is read when nothing else is.
                if (vm.Name == "large")
                {
                    Assert.Equal(0, now.GetValueOrDefault("all"));
                    return;
                }

                foreach (string of in (string[])["all", vm.Datastores[0], vm.Host, vm.Tenant])
                {
                    now[of] = now.GetValueOrDefault(of) + (sign * vm.Datastores.Count);
                    most[of] = of.Length > 0 ? Math.Max(most.GetValueOrDefault(of), now[of]) : 0;
                }

                if (now["all"] >= 5)
                {
                    used.Set();
                }
            }
        }
    }

    [Fact]
    public void Interrupted_it_goes_on_with_the_VM_it_was_at()
    {
        using var night = new FakeNight("2026-06-10T20:00Z", "\"limits\": { \"disks\": 1 }");
        using var ctrlC = new CancellationTokenSource();
        night.During = (vm, _, stop) =>
        {
            if (vm.Name == "vm3")
            {
                ctrlC.Cancel();
                Assert.True(stop.WaitHandle.WaitOne(LongEnough));
            }
        };
        string run = night.Plan();
        SweepRunRow row = night.Run(run, stop: ctrlC.Token);
        Assert.Equal((SweepStates.Paused, "interrupted"), (row.State, row.Detail));
        Assert.Equal(["vm1", "vm2"], night.Recorded.Select(r => r.Target.Vm.Name));
        night.During = (_, _, _) => { };
        night.Reopen();
        Assert.Equal(SweepStates.Finished, night.Run(run).State);
        Assert.Equal(["vm1", "vm2", "vm3", "vm4", "vm5", "vm6"], night.Recorded.Select(r => r.Target.Vm.Name));
        Assert.Equal(("clean", 6L), (night.Report(run).Verdict, night.Report(run).Totals.Done));
    }

    [Fact]
    public void Cancelled_from_elsewhere_it_ends_for_good()
    {
        using var night = new FakeNight("2026-06-10T20:00Z", "\"limits\": { \"disks\": 1 }");
        string run = night.Plan();
        night.During = (vm, _, stop) =>
        {
            if (vm.Name == "vm2")
            {
                // As another process would.
                using SweepStore other = SweepStore.Open(night.Path("state"), night.Time);
                other.Cancel(run);
                Assert.True(stop.WaitHandle.WaitOne(LongEnough));
            }
        };
        SweepRunRow row = night.Run(run);
        Assert.Equal(SweepStates.Cancelled, row.State);
        Assert.NotNull(row.Ended);
        SweepReport report = night.Report(run);
        Assert.Equal(("incomplete", 1L, 5L), (report.Verdict, report.Totals.Done, report.Totals.Skipped));
        Assert.Single(night.Recorded);
    }

    [Fact]
    public void A_VM_that_another_sweep_scans_is_put_off_and_then_left_out()
    {
        using var night = new FakeNight("2026-06-10T20:00Z", "\"limits\": { \"disks\": 1 }");
        IDisposable? first = night.Locks.TryTakeVm("vm1");
        using IDisposable? second = night.Locks.TryTakeVm("vm2");
        Assert.NotNull(first);
        Assert.NotNull(second);
        night.During = (vm, _, _) =>
        {
            if (vm.Name == "vm4")
            {
                first.Dispose();
            }
        };
        string run = night.Plan();
        Assert.Equal(SweepStates.Finished, night.Run(run).State);
        Assert.Contains(night.Recorded, r => r.Target.Vm.Name == "vm1");
        SweepVmReport left = Assert.Single(night.Report(run).Vms, v => v.State == SweepVmStates.Skipped);
        Assert.Equal(("vm2", "another sweep is scanning it", 1L), (left.Name, left.Detail, left.Gaps));
        Assert.Equal("incomplete", night.Report(run).Verdict);
    }

    [Fact]
    public void What_left_the_inventory_meanwhile_is_a_gap()
    {
        using var night = new FakeNight("2026-06-10T20:00Z", "\"limits\": { \"disks\": 1 }");
        string run = night.Plan();
        night.Vms = [.. night.Vms.Where(v => v.Name != "vm4")];
        Assert.Equal(SweepStates.Finished, night.Run(run).State);
        SweepVmReport gone = Assert.Single(night.Report(run).Vms, v => v.State == SweepVmStates.Failed);
        Assert.Equal(("vm4", "transport"), (gone.Name, Assert.Single(gone.GapReasons).Fault));
    }

    [Fact]
    public void What_cannot_be_recorded_is_not_done()
    {
        using var night = new FakeNight("2026-06-10T20:00Z", "\"limits\": { \"disks\": 1 }");
        night.During = (vm, _, _) => night.CannotRecord = vm.Name == "vm3";
        string run = night.Plan();
        Assert.Throws<SweepStoreException>(() => night.Run(run));
        Assert.Equal(SweepStates.Failed, night.Store.Find(run)!.State);
        night.During = (_, _, _) => night.CannotRecord = false;
        Assert.Equal(SweepStates.Finished, night.Run(run).State);
        Assert.Equal(["vm1", "vm2", "vm3", "vm4", "vm5", "vm6"], night.Recorded.Select(r => r.Target.Vm.Name));
    }

    [Fact]
    public void A_full_disk_for_the_database_ends_it_and_nothing_is_lost()
    {
        using var night = new FakeNight("2026-06-10T20:00Z", "\"limits\": { \"disks\": 2 }") { Duration = TimeSpan.Zero };
        night.Vms = [.. Enumerable.Range(10, 60).Select(i => FakeNight.Vm($"vm{i}"))];
        string run = night.Plan();
        night.During = (vm, target, _) =>
        {
            if (vm.Name == "vm20")
            {
                // SQLite's own limit of pages gives the same error as a full disk.
                night.Fill();
            }

            target.Gaps.Add(new GapReport("limit", new string('x', 2000), "a", 0, 0, new string('y', 2000)));
        };
        SweepStoreException full = Assert.Throws<SweepStoreException>(() => night.Run(run));
        Assert.Contains("full", full.Message, StringComparison.Ordinal);
        night.Reopen();
        int recorded = night.Recorded.Count;
        Assert.InRange(recorded, 10, 59);
        night.During = (_, _, _) => { };
        Assert.Equal(SweepStates.Finished, night.Run(run).State);
        SweepReport report = night.Report(run);
        Assert.Equal((60L, 0L), (report.Totals.Done, report.Totals.Skipped));
        Assert.Equal(60, night.Recorded.Select(r => r.Target.Vm.Name).Distinct().Count());
    }

    [Fact]
    public void A_defect_in_one_scan_ends_the_run_and_not_the_process()
    {
        using var night = new FakeNight("2026-06-10T20:00Z", "\"limits\": { \"disks\": 2 }");
        night.During = (vm, _, _) => _ = vm.Name == "vm3" ? throw new InvalidOperationException("defect") : 0;
        string run = night.Plan();
        Assert.Throws<InvalidOperationException>(() => night.Run(run));
        night.During = (_, _, _) => { };
        Assert.Equal(SweepStates.Finished, night.Run(run).State);
        using IDisposable? free = night.Locks.TryTakeVm("vm3");
        Assert.NotNull(free);
    }
}
