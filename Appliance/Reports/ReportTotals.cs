using System.Text.Json.Serialization;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Pipeline.Detections;

namespace Vmsweep.Appliance.Reports;

/// <param name="Findings">Those that count.</param>
/// <param name="Suppressed">Findings that allow lists take out.</param>
internal sealed record ReportTotals(long FilesSeen, long FilesScanned, long BytesSeen, long BytesRead, long Findings, long Gaps, long FilesCached = 0, long Suppressed = 0)
{
    /// <summary>What the program itself tells with severity <c>info</c>: part of the findings, but no detections.</summary>
    public long Informational { get; init; }

    /// <summary>Beside those scanned: an earlier scan did, and none of their bytes was written since.</summary>
    public long FilesUnchanged { get; init; }

    /// <summary>Theirs, which were not read.</summary>
    public long BytesUnchanged { get; init; }

    /// <summary>Beside those scanned: they show through whole from a base that was.</summary>
    public long FilesInherited { get; init; }

    /// <summary>Theirs, which were not read.</summary>
    public long BytesInherited { get; init; }

    public static ReportTotals None { get; } = new(0, 0, 0, 0, 0, 0);

    /// <summary>What is only worth knowing is no detection.</summary>
    [JsonIgnore]
    public string Verdict => Findings > Informational ? "detected" : Gaps > 0 ? "incomplete" : "clean";

    public static ReportTotals Of(TargetReport target)
    {
        IReadOnlyList<DiskReport> disks = target.Disks;
        VolumeReport[] volumes = [.. disks.SelectMany(d => d.Volumes)];
        return new ReportTotals(
            Saturating.Add(volumes.Total(v => v.Files.Seen), disks.Total(d => d.Outside.FilesSeen)),
            Saturating.Add(volumes.Total(v => v.Files.Scanned), disks.Total(d => d.Outside.FilesScanned)),
            Saturating.Add(Saturating.Add(volumes.Total(v => v.Bytes.Seen), disks.Total(d => d.Outside.BytesSeen)), target.Memory?.Bytes.Seen ?? 0),
            Saturating.Add(Saturating.Add(volumes.Total(v => v.Bytes.Read), disks.Total(d => d.Outside.BytesRead)), target.Memory?.Bytes.Read ?? 0),
            target.Findings.Count(f => f.Suppressed is null),
            target.Gaps.Count,
            Saturating.Add(volumes.Total(v => v.Files.Cached), disks.Total(d => d.Outside.FilesCached)),
            target.Findings.Count(f => f.Suppressed is not null))
        {
            FilesUnchanged = Saturating.Add(volumes.Total(v => v.Files.Unchanged), disks.Total(d => d.Outside.FilesUnchanged)),
            FilesInherited = Saturating.Add(volumes.Total(v => v.Files.Inherited), disks.Total(d => d.Outside.FilesInherited)),
            BytesInherited = Saturating.Add(volumes.Total(v => v.Bytes.Inherited), disks.Total(d => d.Outside.BytesInherited)),
            BytesUnchanged = Saturating.Add(volumes.Total(v => v.Bytes.Unchanged), disks.Total(d => d.Outside.BytesUnchanged)),
            Informational = target.Findings.Count(f => f.Suppressed is null && BuiltinDetection.IsOnlyWorthKnowing(f.Engine, f.Severity)),
        };
    }

    public ReportTotals Plus(ReportTotals other) => new(
        Saturating.Add(FilesSeen, other.FilesSeen),
        Saturating.Add(FilesScanned, other.FilesScanned),
        Saturating.Add(BytesSeen, other.BytesSeen),
        Saturating.Add(BytesRead, other.BytesRead),
        Findings + other.Findings,
        Gaps + other.Gaps,
        Saturating.Add(FilesCached, other.FilesCached),
        Suppressed + other.Suppressed)
    {
        Informational = Informational + other.Informational,
        FilesUnchanged = Saturating.Add(FilesUnchanged, other.FilesUnchanged),
        BytesUnchanged = Saturating.Add(BytesUnchanged, other.BytesUnchanged),
        FilesInherited = Saturating.Add(FilesInherited, other.FilesInherited),
        BytesInherited = Saturating.Add(BytesInherited, other.BytesInherited),
    };
}
