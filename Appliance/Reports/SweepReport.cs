using System.Text.Json.Serialization;

namespace Vmsweep.Appliance.Reports;

/// <summary>A run of a sweep, as it stands or as it ended: schema <c>vmsweep.sweep/1</c>. Fields are only ever added.</summary>
internal sealed record SweepReport
{
    /// <summary>How many earlier runs a report compares itself with.</summary>
    public const int MostTrend = 30;

    /// <summary>How many findings stand in a report; <c>findings list</c> has all.</summary>
    public const int MostFindings = 20_000;

    public string Schema { get; init; } = "vmsweep.sweep/1";

    /// <summary>The sweep's name in the configuration.</summary>
    public required string Sweep { get; init; }

    /// <summary>Names the run for good.</summary>
    public required string RunId { get; init; }

    public required DateTimeOffset StartedAt { get; init; }

    /// <summary>Absent while it is not at its end.</summary>
    public DateTimeOffset? FinishedAt { get; init; }

    /// <summary>One of <see cref="SweepStates"/>.</summary>
    public required string State { get; init; }

    /// <summary>Why it is paused, was cancelled or failed; absent where there is nothing to say.</summary>
    public string? Detail { get; init; }

    /// <summary><c>detected</c>, <c>incomplete</c> or <c>clean</c>; of a run that is not at its end, what is known by now, and never <c>clean</c>.</summary>
    public required string Verdict { get; init; }

    public required IReadOnlyList<SweepVmReport> Vms { get; init; }

    /// <summary>What was done so that the guests would not feel it, for each datastore.</summary>
    public IReadOnlyList<HeldBackReport> HeldBack { get; init; } = [];

    public required SweepTotals Totals { get; init; }

    /// <summary>Earlier runs of the same sweep, the latest first.</summary>
    public IReadOnlyList<SweepTrend> Trend { get; init; } = [];

    /// <summary>What was found, as the store knows it; absent where there is no store.</summary>
    public IReadOnlyList<KnownFinding>? Findings { get; init; }

    /// <summary>There are more findings than stand here.</summary>
    public bool? FindingsAreCut { get; init; }
}

/// <summary>How a run stands.</summary>
internal static class SweepStates
{
    public const string Running = "running";
    public const string Paused = "paused";
    public const string Finished = "finished";
    public const string Cancelled = "cancelled";
    public const string Failed = "failed";
}

/// <summary>How one VM of a run stands.</summary>
internal static class SweepVmStates
{
    public const string Waiting = "waiting";
    public const string Running = "running";
    public const string Done = "done";

    /// <summary>It was not begun, and will not be in this run.</summary>
    public const string Skipped = "skipped";

    /// <summary>It waits for something else than its turn: a limit, a governor, the window.</summary>
    public const string Held = "held";

    public const string Failed = "failed";
}

/// <summary>One VM of a run.</summary>
internal sealed record SweepVmReport
{
    /// <summary>As in <see cref="VmReport"/>.</summary>
    public required string Id { get; init; }

    public required string Name { get; init; }

    /// <summary>Empty where it is not known.</summary>
    public string Datastore { get; init; } = "";

    public string Host { get; init; } = "";

    public string Tenant { get; init; } = "";

    /// <summary><c>off</c>, <c>suspended</c>, <c>running</c> or <c>unknown</c>.</summary>
    public string Power { get; init; } = "unknown";

    /// <summary>One of <see cref="SweepVmStates"/>.</summary>
    public required string State { get; init; }

    /// <summary><c>detected</c>, <c>incomplete</c> or <c>clean</c>; absent until it is scanned.</summary>
    public string? Verdict { get; init; }

    public DateTimeOffset? StartedAt { get; init; }

    public DateTimeOffset? FinishedAt { get; init; }

    /// <summary>With its memory, where that was scanned.</summary>
    public ByteCounts Bytes { get; init; } = new();

    /// <summary>Its memory alone; absent where it has none that could be scanned.</summary>
    public SweepMemoryReport? Memory { get; init; }

    public FileCounts Files { get; init; } = new();

    /// <summary>Those that count; see <see cref="ReportTotals"/>.</summary>
    public long Findings { get; init; }

    public long Suppressed { get; init; }

    /// <summary>Part of the findings that is only worth knowing.</summary>
    public long Informational { get; init; }

    public long Gaps { get; init; }

    /// <summary>The gaps by their reasons, the most frequent first.</summary>
    public IReadOnlyList<GapReasonReport> GapReasons { get; init; } = [];

    /// <summary>As in <see cref="TargetReport"/>.</summary>
    public IReadOnlyList<string>? Notes { get; init; }

    /// <summary>Why it was held, skipped or failed; absent where there is nothing to say.</summary>
    public string? Detail { get; init; }
}

/// <param name="IsScanned">False where it was left out, as it was asked for.</param>
internal sealed record SweepMemoryReport(bool IsScanned, ByteCounts Bytes);

/// <summary>Gaps of one reason.</summary>
/// <param name="Fault">As in <see cref="GapReport"/>.</param>
/// <param name="Detail">The first one's. Text of guests and images.</param>
/// <param name="Path">The first one's.</param>
internal sealed record GapReasonReport(string Fault, string Structure, long Count, long Bytes, string Path, string Detail)
{
    /// <summary>Reasons that are kept of one VM; the rest is counted in the last one.</summary>
    public const int Most = 20;

    private const int MostText = 300;

    public static IReadOnlyList<GapReasonReport> Of(IEnumerable<GapReport> gaps)
    {
        List<GapReasonReport> all = [.. gaps.GroupBy(g => (g.Fault, g.Structure))
            .Select(g => new GapReasonReport(g.Key.Fault, Short(g.Key.Structure), g.LongCount(), g.Aggregate(0L, (sum, gap) => Pipeline.Saturating.Add(sum, Math.Max(0, gap.Bytes))), Short(g.First().Path), Short(g.First().Detail)))
            .OrderByDescending(r => r.Count).ThenBy(r => r.Fault, StringComparer.Ordinal).ThenBy(r => r.Structure, StringComparer.Ordinal)];
        if (all.Count <= Most)
        {
            return all;
        }

        GapReasonReport[] rest = [.. all.Skip(Most - 1)];
        return [.. all.Take(Most - 1), rest[0] with { Structure = "several", Count = rest.Sum(r => r.Count), Bytes = rest.Aggregate(0L, (sum, r) => Pipeline.Saturating.Add(sum, r.Bytes)) }];
    }

    private static string Short(string text) => text.Length <= MostText ? text : text[..MostText] + "…";
}

/// <summary>How much a sweep held itself back on a datastore.</summary>
/// <param name="SlowedSeconds">How long it read more slowly than it could have.</param>
/// <param name="StoppedSeconds">How long it did not read at all.</param>
internal sealed record HeldBackReport(string Datastore, double SlowedSeconds, double StoppedSeconds, string Reason);

/// <param name="Vms">All that the run was to scan.</param>
/// <param name="Done">Those that were scanned.</param>
/// <param name="Skipped">Those that were not, and will not be in this run.</param>
internal sealed record SweepTotals(
    long Vms, long Done, long Skipped, long FilesSeen, long FilesScanned, long FilesCached, long FilesInherited, long FilesUnchanged,
    long BytesSeen, long BytesRead, long Findings, long Gaps)
{
    public long Suppressed { get; init; }

    public long Informational { get; init; }

    public long BytesUnchanged { get; init; }

    public static SweepTotals Of(IReadOnlyList<SweepVmReport> vms) => new(
        vms.Count,
        vms.LongCount(v => v.State == SweepVmStates.Done),
        vms.LongCount(v => v.State is SweepVmStates.Skipped or SweepVmStates.Failed),
        Sum(vms, v => v.Files.Seen), Sum(vms, v => v.Files.Scanned), Sum(vms, v => v.Files.Cached), Sum(vms, v => v.Files.Inherited), Sum(vms, v => v.Files.Unchanged),
        Sum(vms, v => v.Bytes.Seen), Sum(vms, v => v.Bytes.Read), Sum(vms, v => v.Findings), Sum(vms, v => v.Gaps))
    {
        Suppressed = Sum(vms, v => v.Suppressed),
        Informational = Sum(vms, v => v.Informational),
        BytesUnchanged = Sum(vms, v => v.Bytes.Unchanged),
    };

    private static long Sum(IReadOnlyList<SweepVmReport> vms, Func<SweepVmReport, long> of) => vms.Aggregate(0L, (sum, vm) => Pipeline.Saturating.Add(sum, of(vm)));
}

/// <summary>An earlier run, to compare with.</summary>
internal sealed record SweepTrend(string RunId, DateTimeOffset StartedAt, DateTimeOffset? FinishedAt, string State, string Verdict, SweepTotals Totals)
{
    public static SweepTrend Of(SweepReport run) => new(run.RunId, run.StartedAt, run.FinishedAt, run.State, run.Verdict, run.Totals);
}

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    WriteIndented = true)]
[JsonSerializable(typeof(SweepReport))]
internal sealed partial class SweepJson : JsonSerializerContext;

/// <summary>The same, as it is stored.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(SweepReport))]
internal sealed partial class SweepStoredJson : JsonSerializerContext;
