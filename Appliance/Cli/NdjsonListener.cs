using System.Text.Json;
using System.Text.Json.Serialization;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Worker;

namespace Vmsweep.Appliance.Cli;

/// <summary>One JSON object a line as things happen: <c>target</c>, <c>volume</c>, <c>finding</c>, <c>gap</c>, <c>note</c>, <c>act</c>, <c>progress</c>, <c>summary</c>.</summary>
internal sealed class NdjsonListener(TextWriter output) : IScanListener, IReportForm
{
    public void OnTarget(TargetReport target, int number, int count) => Write(new NdjsonLine("target", target.Target) { Vm = target.Vm, Snapshot = target.Snapshot, Number = number, Count = count });

    public void OnVolume(TargetReport target, DiskReport disk, VolumeReport volume) => Write(new NdjsonLine("volume", target.Target) { Disk = disk.Path, Volume = volume });

    public void OnFinding(TargetReport target, FindingReport finding) => Write(new NdjsonLine("finding", target.Target) { Finding = finding });

    public void OnGap(TargetReport target, GapReport gap) => Write(new NdjsonLine("gap", target.Target) { Gap = gap });

    public void OnNote(TargetReport target, string note) => Write(new NdjsonLine("note", target.Target) { Note = note });

    public void OnAct(TargetReport target, ActReport act) => Write(new NdjsonLine("act", target.Target) { Act = act });

    public void OnProgress(TargetReport target, ProgressEvent progress) =>
        Write(new NdjsonLine("progress", target.Target) { BytesDone = progress.BytesDone, BytesTotal = progress.BytesTotal });

    /// <summary>All of it was said as it happened.</summary>
    public void Add(TargetReport target)
    {
    }

    public void Finish(Report report) => Write(new NdjsonLine("summary", null)
    {
        Schema = report.Schema,
        Verdict = report.Verdict,
        StartedAt = report.StartedAt,
        FinishedAt = report.FinishedAt,
        Sandbox = report.Sandbox,
        Bundle = report.Bundle,
        Engines = report.Engines,
        RuleFaults = report.RuleFaults,
        Totals = report.Totals,
    });

    private void Write(NdjsonLine line)
    {
        output.WriteLine(JsonSerializer.Serialize(line, NdjsonJson.Default.NdjsonLine));
        output.Flush();
    }
}

/// <summary>An event of the <c>ndjson</c> format; fields that do not belong to it are absent.</summary>
internal sealed record NdjsonLine(string Event, string? Target)
{
    public VmReport? Vm { get; init; }

    public string? Snapshot { get; init; }

    public int? Number { get; init; }

    public int? Count { get; init; }

    public string? Disk { get; init; }

    public VolumeReport? Volume { get; init; }

    public FindingReport? Finding { get; init; }

    public GapReport? Gap { get; init; }

    public string? Note { get; init; }

    public ActReport? Act { get; init; }

    public long? BytesDone { get; init; }

    public long? BytesTotal { get; init; }

    public string? Schema { get; init; }

    public string? Verdict { get; init; }

    public DateTimeOffset? StartedAt { get; init; }

    public DateTimeOffset? FinishedAt { get; init; }

    public string? Sandbox { get; init; }

    public BundleReport? Bundle { get; init; }

    public IReadOnlyList<EngineReport>? Engines { get; init; }

    public IReadOnlyList<RuleFaultReport>? RuleFaults { get; init; }

    public ReportTotals? Totals { get; init; }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(NdjsonLine))]
internal sealed partial class NdjsonJson : JsonSerializerContext;
