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

    /// <summary>A run in which everything that others may name is called one thing.</summary>
    public static SweepReport Named(string name, int trend = 3)
    {
        SweepVmReport[] vms =
        [
            new SweepVmReport
            {
                Id = name, Name = name, Datastore = name, Host = name, Tenant = name, State = SweepVmStates.Done, Verdict = "detected", Files = new FileCounts(100, 90, 3, 20, 1, 5), Bytes = new ByteCounts(1 << 20, 1 << 19),
                Findings = 2, Informational = 1, Gaps = 3, Detail = name, GapReasons = GapReasonReport.Of([new GapReport("corrupt", name, name, 5, 10, name), new GapReport("corrupt", name, name, 9, 10, name), new GapReport("limit", name, "size", -1, 0, name)]),
            },
            new SweepVmReport { Id = "2", Name = name, State = SweepVmStates.Held, Detail = name },
            new SweepVmReport { Id = "3", Name = name, State = SweepVmStates.Skipped, Detail = name },
        ];
        SweepReport run = Small("run", Scans.Start) with
        {
            Sweep = name, RunId = name, Detail = name, Verdict = "detected", Vms = vms, Totals = SweepTotals.Of(vms), HeldBack = [new HeldBackReport(name, 12.5, 4000, name)],
            Findings =
            [
                new KnownFinding
                {
                    Id = 1, Tenant = name, VmId = name, VmName = name, Snapshot = name, Path = name, GuestPath = name, Inside = [name, name], SizeBytes = 5, Sha256 = new string('a', 64), Engine = "yara", Rule = name,
                    Namespace = name, Severity = "high", State = FindingStates.New, FirstSeen = Scans.Start, LastSeen = Scans.Start, Scans = 1, Detail = name,
                },
            ],
        };
        return run with { Trend = [.. Enumerable.Range(0, trend).Select(i => SweepTrend.Of(Small($"before{i}", Scans.Start.AddDays(-1 - i))) with { RunId = name })] };
    }
}
