using System.Globalization;
using Vmsweep.Appliance.Cli;

namespace Vmsweep.Appliance.Reports;

/// <summary>
/// A sweep's run as one table (RFC 4180): a line for each VM, finding, reason of gaps, datastore that was spared, and earlier run; the first column says which.
/// Spreadsheets take a text that begins with certain characters for a formula: such a text gets an apostrophe before it.
/// </summary>
internal static class SweepCsv
{
    private static readonly string[] Columns =
    [
        "kind", "sweep", "run", "tenant", "vm", "vmId", "datastore", "host", "state", "verdict", "severity", "rule", "engine", "path", "sha256", "fault", "structure", "detail", "count",
        "filesSeen", "filesScanned", "filesCached", "filesInherited", "filesUnchanged", "bytesSeen", "bytesRead", "findings", "gaps", "started", "finished", "slowedSeconds", "stoppedSeconds", "memory",
    ];

    public static void Write(SweepReport run, TextWriter writer)
    {
        Line(writer, Columns.ToDictionary(c => c, c => (object?)c));
        foreach (SweepVmReport vm in run.Vms)
        {
            Dictionary<string, object?> line = Begin(run, "vm", vm);
            line["state"] = vm.State;
            line["verdict"] = vm.Verdict;
            line["detail"] = vm.Detail;
            line["filesSeen"] = vm.Files.Seen;
            line["filesScanned"] = vm.Files.Scanned;
            line["filesCached"] = vm.Files.Cached;
            line["filesInherited"] = vm.Files.Inherited;
            line["filesUnchanged"] = vm.Files.Unchanged;
            line["bytesSeen"] = vm.Bytes.Seen;
            line["bytesRead"] = vm.Bytes.Read;
            line["memory"] = SweepText.Of(vm.Memory);
            line["findings"] = vm.Findings;
            line["gaps"] = vm.Gaps;
            line["started"] = vm.StartedAt;
            line["finished"] = vm.FinishedAt;
            Line(writer, line);
            foreach (GapReasonReport gap in vm.GapReasons)
            {
                line = Begin(run, "gap", vm);
                line["fault"] = gap.Fault;
                line["structure"] = gap.Structure;
                line["count"] = gap.Count;
                line["path"] = gap.Path;
                line["detail"] = gap.Detail;
                Line(writer, line);
            }
        }

        foreach (KnownFinding finding in run.Findings ?? [])
        {
            Dictionary<string, object?> line = Begin(run, "finding", null);
            line["tenant"] = finding.Tenant;
            line["vm"] = finding.VmName;
            line["vmId"] = finding.VmId;
            line["state"] = finding.State;
            line["severity"] = finding.Severity;
            line["rule"] = finding.Rule;
            line["engine"] = finding.Engine;
            line["path"] = string.Join(" » ", [finding.Path, .. finding.Inside]);
            line["sha256"] = finding.Sha256;
            line["detail"] = finding.Detail;
            line["started"] = finding.FirstSeen;
            line["finished"] = finding.LastSeen;
            Line(writer, line);
        }

        foreach (HeldBackReport held in run.HeldBack)
        {
            Dictionary<string, object?> line = Begin(run, "held-back", null);
            line["datastore"] = held.Datastore;
            line["detail"] = held.Reason;
            line["slowedSeconds"] = held.SlowedSeconds;
            line["stoppedSeconds"] = held.StoppedSeconds;
            Line(writer, line);
        }

        foreach (SweepTrend trend in (SweepTrend[])[SweepTrend.Of(run), .. run.Trend])
        {
            Dictionary<string, object?> line = Begin(run, "run", null);
            line["run"] = trend.RunId;
            line["state"] = trend.State;
            line["verdict"] = trend.Verdict;
            line["count"] = trend.Totals.Vms;
            line["filesSeen"] = trend.Totals.FilesSeen;
            line["filesScanned"] = trend.Totals.FilesScanned;
            line["filesCached"] = trend.Totals.FilesCached;
            line["filesInherited"] = trend.Totals.FilesInherited;
            line["filesUnchanged"] = trend.Totals.FilesUnchanged;
            line["bytesSeen"] = trend.Totals.BytesSeen;
            line["bytesRead"] = trend.Totals.BytesRead;
            line["findings"] = trend.Totals.Findings;
            line["gaps"] = trend.Totals.Gaps;
            line["started"] = trend.StartedAt;
            line["finished"] = trend.FinishedAt;
            Line(writer, line);
        }
    }

    private static Dictionary<string, object?> Begin(SweepReport run, string kind, SweepVmReport? vm) => new()
    {
        ["kind"] = kind,
        ["sweep"] = run.Sweep,
        ["run"] = run.RunId,
        ["tenant"] = vm?.Tenant,
        ["vm"] = vm?.Name,
        ["vmId"] = vm?.Id,
        ["datastore"] = vm?.Datastore,
        ["host"] = vm?.Host,
    };

    private static void Line(TextWriter writer, Dictionary<string, object?> values)
    {
        writer.Write(string.Join(',', Columns.Select(c => Field(values.GetValueOrDefault(c)))));
        writer.Write("\r\n");
    }

    /// <summary>Numbers stand as they are; every text stands in quotes.</summary>
    internal static string Field(object? value) => value switch
    {
        null => "",
        long or double => Convert.ToString(value, CultureInfo.InvariantCulture)!,
        DateTimeOffset time => time.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture),
        _ => Text((string)value),
    };

    private static string Text(string text)
    {
        string safe = Printable.Of(text);
        string first = safe.TrimStart();

        // The last four: what some spreadsheets read as the first four.
        bool isFormula = first.Length > 0 && first[0] is '=' or '+' or '-' or '@' or '|' or '%' or '＝' or '＋' or '－' or '＠';
        return $"\"{(isFormula ? "'" : "")}{safe.Replace("\"", "\"\"", StringComparison.Ordinal)}\"";
    }
}
