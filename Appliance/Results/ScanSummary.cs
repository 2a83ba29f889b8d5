using System.Text.Json.Serialization;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Pipeline.Detections;
using Vmsweep.Appliance.Reports;

namespace Vmsweep.Appliance.Results;

/// <summary>One VM's scan in numbers.</summary>
internal sealed record ScanSummary(FileCounts Files, ByteCounts Bytes, long Findings, long Suppressed, long Informational, long Gaps)
{
    /// <summary><c>detected</c>, <c>incomplete</c> or <c>clean</c>.</summary>
    [JsonIgnore]
    public string Verdict => Findings > Informational ? "detected" : Gaps > 0 ? "incomplete" : "clean";

    public static ScanSummary Of(TargetReport target)
    {
        List<VolumeReport> volumes = [.. target.Disks.SelectMany(d => d.Volumes)];
        List<CoverageCounts> outside = [.. target.Disks.Select(d => d.Outside)];
        return new ScanSummary(
            new FileCounts(
                Saturating.Add(volumes.Total(v => v.Files.Seen), outside.Total(o => o.FilesSeen)),
                Saturating.Add(volumes.Total(v => v.Files.Scanned), outside.Total(o => o.FilesScanned)),
                Saturating.Add(volumes.Total(v => v.Files.Inherited), outside.Total(o => o.FilesInherited)),
                Saturating.Add(volumes.Total(v => v.Files.Cached), outside.Total(o => o.FilesCached)),
                Saturating.Add(volumes.Total(v => v.Files.KnownGood), outside.Total(o => o.FilesKnownGood)),
                Saturating.Add(volumes.Total(v => v.Files.Unchanged), outside.Total(o => o.FilesUnchanged))),
            new ByteCounts(
                Saturating.Add(Saturating.Add(volumes.Total(v => v.Bytes.Seen), outside.Total(o => o.BytesSeen)), target.Memory?.Bytes.Seen ?? 0),
                Saturating.Add(Saturating.Add(volumes.Total(v => v.Bytes.Read), outside.Total(o => o.BytesRead)), target.Memory?.Bytes.Read ?? 0),
                Saturating.Add(volumes.Total(v => v.Bytes.Unchanged), outside.Total(o => o.BytesUnchanged)),
                Saturating.Add(volumes.Total(v => v.Bytes.Inherited), outside.Total(o => o.BytesInherited))),
            target.Findings.LongCount(f => f.Suppressed is null),
            target.Findings.LongCount(f => f.Suppressed is not null),
            target.Findings.LongCount(f => f.Suppressed is null && BuiltinDetection.IsOnlyWorthKnowing(f.Engine, f.Severity)),
            target.Gaps.Count);
    }
}

/// <summary>How results stand in the store, where a column has more than one value.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(ScanSummary))]
[JsonSerializable(typeof(IReadOnlyList<EngineReport>))]
[JsonSerializable(typeof(IReadOnlyList<GapReasonReport>))]
[JsonSerializable(typeof(IReadOnlyList<string>))]
[JsonSerializable(typeof(FindingReport))]
internal sealed partial class StoredJson : JsonSerializerContext;
