using Vmsweep.Appliance.Reports;

namespace Vmsweep.Appliance.Tests.Results.Store;

/// <summary>Reports of sweeps for tests.</summary>
internal static class SweepReports
{
    public static SweepReport Small(string runId, DateTimeOffset started)
    {
        SweepVmReport[] vms = [new SweepVmReport { Id = "vm", Name = "vm", State = SweepVmStates.Done, Verdict = "clean", Files = new FileCounts(10, 10) }];
        return new SweepReport
        {
            Sweep = "nightly", RunId = runId, StartedAt = started, FinishedAt = started.AddHours(1), State = SweepStates.Finished, Verdict = "clean", Vms = vms, Totals = SweepTotals.Of(vms),
        };
    }
}
