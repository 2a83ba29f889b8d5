using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Pipeline.Detections;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results.Store;
using Vmsweep.Appliance.Sweeps.Planning;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Sweeps.Running;

/// <summary>VMs and runs as reports have them.</summary>
internal static class SweepVmReports
{
    public static SweepVmReport Planned(SweepVm vm) => new()
    {
        Id = vm.Id,
        Name = vm.Name,
        Datastore = string.Join(", ", vm.Datastores.Distinct()),
        Host = vm.Host,
        Tenant = vm.Tenant,
        Power = vm.Power,
        State = SweepVmStates.Waiting,
    };

    public static SweepVmReport Done(SweepVmReport planned, TargetReport target, DateTimeOffset finished)
    {
        List<VolumeReport> volumes = [.. target.Disks.SelectMany(d => d.Volumes)];
        CoverageCounts[] outside = [.. target.Disks.Select(d => d.Outside)];
        long findings = target.Findings.LongCount(f => f.Suppressed is null);
        long informational = target.Findings.LongCount(f => f.Suppressed is null && BuiltinDetection.IsOnlyWorthKnowing(f.Engine, f.Severity));
        return planned with
        {
            State = SweepVmStates.Done,
            Power = target.Vm.Power,
            Verdict = findings > informational ? "detected" : target.Gaps.Count > 0 ? "incomplete" : "clean",
            FinishedAt = finished,
            Files = new FileCounts(
                Saturating.Add(volumes.Total(v => v.Files.Seen), outside.Total(o => o.FilesSeen)),
                Saturating.Add(volumes.Total(v => v.Files.Scanned), outside.Total(o => o.FilesScanned)),
                volumes.Total(v => v.Files.Inherited),
                Saturating.Add(volumes.Total(v => v.Files.Cached), outside.Total(o => o.FilesCached)),
                Saturating.Add(volumes.Total(v => v.Files.KnownGood), outside.Total(o => o.FilesKnownGood)),
                Saturating.Add(volumes.Total(v => v.Files.Unchanged), outside.Total(o => o.FilesUnchanged))),
            Bytes = new ByteCounts(
                Saturating.Add(Saturating.Add(volumes.Total(v => v.Bytes.Seen), outside.Total(o => o.BytesSeen)), target.Memory?.Bytes.Seen ?? 0),
                Saturating.Add(Saturating.Add(volumes.Total(v => v.Bytes.Read), outside.Total(o => o.BytesRead)), target.Memory?.Bytes.Read ?? 0),
                Saturating.Add(volumes.Total(v => v.Bytes.Unchanged), outside.Total(o => o.BytesUnchanged))),
            Memory = target.Memory is { } memory ? new SweepMemoryReport(memory.IsScanned, memory.Bytes) : null,
            Notes = target.Notes is { Count: > 0 } notes ? [.. notes.Take(GapReasonReport.Most)] : null,
            Findings = findings,
            Suppressed = target.Findings.LongCount(f => f.Suppressed is not null),
            Informational = informational,
            Gaps = target.Gaps.Count,
            GapReasons = GapReasonReport.Of(target.Gaps),
            Detail = null,
        };
    }

    /// <summary>It is not scanned in this run, which is a gap.</summary>
    public static SweepVmReport Skipped(SweepVmReport planned, string why, string state = SweepVmStates.Skipped) => planned with
    {
        State = state,
        Verdict = "incomplete",
        Gaps = 1,
        GapReasons = GapReasonReport.Of([new CoverageGap(state == SweepVmStates.Failed ? Fault.Transport : Fault.Limit, planned.Name, "sweep", -1, 0, why).ToReport()]),
        Detail = why,
    };

    public static SweepReport Of(SweepRunRow run, IReadOnlyList<SweepVmReport> vms, IReadOnlyList<SweepTrend>? trend = null)
    {
        SweepTotals totals = SweepTotals.Of(vms);
        return new SweepReport
        {
            Sweep = run.Sweep,
            RunId = run.Id,
            StartedAt = run.Begun,
            FinishedAt = run.Ended,
            State = run.State,
            Detail = run.Detail,
            Verdict = totals.Findings > totals.Informational ? "detected" : run.State != SweepStates.Finished || totals.Gaps > 0 || totals.Done < totals.Vms ? "incomplete" : "clean",
            Vms = vms,
            HeldBack = run.HeldBack,
            Totals = totals,
            Trend = trend ?? [],
        };
    }

    /// <summary>What was done to hold back by two stretches of the same run.</summary>
    public static IReadOnlyList<HeldBackReport> Join(IReadOnlyList<HeldBackReport> before, IReadOnlyList<HeldBackReport> now) =>
    [
        .. now.Select(n => before.FirstOrDefault(b => b.Datastore == n.Datastore) is { } earlier ? n with { SlowedSeconds = earlier.SlowedSeconds + n.SlowedSeconds, StoppedSeconds = earlier.StoppedSeconds + n.StoppedSeconds } : n),
        .. before.Where(b => !now.Any(n => n.Datastore == b.Datastore)),
    ];
}
