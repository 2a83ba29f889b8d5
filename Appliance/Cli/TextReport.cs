using System.Globalization;
using Spectre.Console;
using Vmsweep.Appliance.Reports;

namespace Vmsweep.Appliance.Cli;

/// <summary>A report for people: findings, a line of coverage for each volume, gaps, a verdict.</summary>
internal sealed class TextReport(IAnsiConsole console) : IReportForm
{
    /// <summary>More of one kind are counted; <c>--format json</c> has them all.</summary>
    private const int MostGapsShown = 20;

    private static readonly string[] SeverityOrder = ["critical", "high", "medium", "low", "info"];

    public void Add(TargetReport target)
    {
        console.MarkupLineInterpolated($"[bold]{Printable.Of(target.Target)}[/]{(target.Vm.Power == "unknown" ? "" : $" ({Printable.Of(target.Vm.Name)}, {target.Vm.Power})")}{(target.Snapshot is { } snapshot ? $", snapshot {Printable.Of(snapshot)}" : "")}");
        foreach (DiskReport disk in target.Disks)
        {
            WriteDisk(disk, target.Disks.Count > 1);
        }

        if (target.Memory is { } memory)
        {
            MemoryText.Write(memory, console);
        }

        WriteFindings(target);
        WriteGaps(target);
        foreach (string note in target.Notes ?? [])
        {
            console.MarkupLineInterpolated($"  note: {Printable.Of(note)}");
        }

        WriteActs(target);
        WriteChanges(target);
        console.WriteLine();
    }

    public void Finish(Report report)
    {
        foreach (RuleFaultReport fault in report.RuleFaults)
        {
            console.MarkupLineInterpolated($"[yellow]left out[/] {Printable.Of(fault.File)}:{fault.Line}: {Printable.Of(fault.Message)}");
        }

        foreach (EngineReport engine in report.Engines.Where(e => e.Fault is not null))
        {
            console.MarkupLineInterpolated($"[yellow]engine {engine.Name}[/]: {Printable.Of(engine.Fault!)}");
        }

        if (report.Sandbox != "full")
        {
            console.MarkupLineInterpolated($"[yellow]sandbox reduced[/]: {Printable.Of(report.SandboxDetail ?? "")}");
        }

        WriteVerdict(report);
    }

    private void WriteDisk(DiskReport disk, bool isOneOfMany)
    {
        string chain = disk.Chain.Count > 1 ? string.Create(CultureInfo.InvariantCulture, $", {disk.Chain.Count} layers") : "";
        string scheme = disk.Scheme is "" or "none" ? "" : ", " + disk.Scheme;
        string name = isOneOfMany ? Printable.Of(disk.Path) + ": " : "";
        console.MarkupLineInterpolated($"  {name}{Printable.Of(disk.Format)}, {Sizes.Show(disk.SizeBytes)}{scheme}{chain}");
        foreach (VolumeReport volume in disk.Volumes)
        {
            string label = volume.Label.Length > 0 ? $" \"{Printable.Of(volume.Label)}\"" : "";
            string coverage = volume.Files.Seen == 0 && volume.Bytes.Seen == 0
                ? volume.FileSystem == "empty" ? "nothing stored" : "nothing read"
                : string.Create(CultureInfo.InvariantCulture, $"{volume.Files.Scanned:N0} of {volume.Files.Seen:N0} files, {Sizes.Show(volume.Bytes.Read)} of {Sizes.Show(volume.Bytes.Seen)}");
            console.MarkupLineInterpolated($"  {volume.Id,-4} {Printable.Of(volume.FileSystem),-8} {Sizes.Show(volume.SizeBytes),10}  {coverage}{label}");
        }
    }

    private void WriteFindings(TargetReport target)
    {
        WriteSuppressed(target);
        if (target.Findings.TrueForAll(f => f.Suppressed is not null))
        {
            return;
        }

        Table table = new Table().Border(TableBorder.Rounded).AddColumns("severity", "rule", "path", "size", "SHA-256");
        foreach (FindingReport finding in target.Findings.Where(f => f.Suppressed is null).OrderBy(f => Array.IndexOf(SeverityOrder, f.Severity)).ThenBy(f => f.Path, StringComparer.Ordinal))
        {
            string path = Printable.Of(finding.Path) + Way(finding.Inside) + (finding.AlsoAt.Count > 0 ? string.Create(CultureInfo.InvariantCulture, $" (+{finding.AlsoAt.Count} names)") : "") + MemoryText.Of(finding.Memory);
            path += finding.GuestPath is { } shown ? "\n" + Printable.Of(shown) : "";
            table.AddRow(
                new Text(finding.Severity, Colour(finding.Severity)),
                new Text(Printable.Of(finding.Rule)),
                new Text(path),
                new Text(Sizes.Show(finding.SizeBytes)),
                new Text(finding.Sha256.Length > 12 ? finding.Sha256[..12] + "…" : finding.Sha256));
        }

        console.Write(table);
    }

    private void WriteActs(TargetReport target)
    {
        foreach (ActReport act in target.Acts ?? [])
        {
            console.MarkupLineInterpolated($"  {(act.IsDone ? "done" : "not done")}: {act.Act}: {Printable.Of(act.Detail)}{(act.Undo.Length > 0 ? "; undo with: " + Printable.Of(act.Undo) : "")}");
        }
    }

    private void WriteChanges(TargetReport target)
    {
        if (target.Changes is { } changes)
        {
            string since = changes.Since is { } at ? string.Create(CultureInfo.InvariantCulture, $"what changed since {at.UtcDateTime:yyyy-MM-dd HH:mm} UTC was read") : "all was read";
            console.MarkupLineInterpolated($"  changes: {since}; the next scan {(changes.IsKept ? "can" : "cannot")} build on this one{(changes.Detail.Length > 0 ? ": " + Printable.Of(changes.Detail) : "")}");
        }
    }

    private void WriteSuppressed(TargetReport target)
    {
        FindingReport[] suppressed = [.. target.Findings.Where(f => f.Suppressed is not null).OrderBy(f => f.Path, StringComparer.Ordinal)];
        foreach (FindingReport finding in suppressed.Take(MostGapsShown))
        {
            SuppressedReport by = finding.Suppressed!;
            console.MarkupLineInterpolated(CultureInfo.InvariantCulture, $"  [grey]suppressed[/] {Printable.Of(finding.Rule)} {Printable.Of(finding.Path)}: {Printable.Of(by.Why)} ({Printable.Of(by.Who)}, until {by.Until.UtcDateTime:yyyy-MM-dd HH:mm} UTC)");
        }

        if (suppressed.Length > MostGapsShown)
        {
            console.MarkupLineInterpolated(CultureInfo.InvariantCulture, $"  [grey]and {suppressed.Length - MostGapsShown:N0} more suppressed[/]; --format json lists all");
        }
    }

    private void WriteGaps(TargetReport target)
    {
        if (target.Gaps.Count == 0)
        {
            return;
        }

        console.MarkupLineInterpolated(CultureInfo.InvariantCulture, $"  [yellow]not read ({target.Gaps.Count:N0})[/]");
        foreach (GapReport gap in target.Gaps.Take(MostGapsShown))
        {
            string where = gap.Offset >= 0 ? string.Create(CultureInfo.InvariantCulture, $" at {gap.Offset}") : "";
            string bytes = gap.Bytes > 0 ? ", " + Sizes.Show(gap.Bytes) : "";
            console.MarkupLineInterpolated($"    {gap.Fault}: {Printable.Of(gap.Path) + Way(gap.Inside)}: {Printable.Of(gap.Structure)}{where}: {Printable.Of(gap.Detail)}{bytes}");
        }

        if (target.Gaps.Count > MostGapsShown)
        {
            console.MarkupLineInterpolated(CultureInfo.InvariantCulture, $"    and {target.Gaps.Count - MostGapsShown:N0} more; --format json lists all");
        }
    }

    private void WriteVerdict(Report report)
    {
        ReportTotals totals = report.Totals;
        string rules = string.Join(", ", report.Engines.Select(TextOf));
        string bundle = report.Bundle is { } used ? $"; bundle {Printable.Of(used.Title)}{(used.Publisher is null ? ", NOT SIGNED" : "")}" : "";
        double seconds = (report.FinishedAt - report.StartedAt).TotalSeconds;
        string cached = totals.FilesCached > 0 ? string.Create(CultureInfo.InvariantCulture, $" ({totals.FilesCached:N0} known from earlier scans)") : "";
        string unchanged = totals.FilesUnchanged > 0 ? string.Create(CultureInfo.InvariantCulture, $", {totals.FilesUnchanged:N0} more with {Sizes.Show(totals.BytesUnchanged)} unchanged since they were scanned") : "";
        string inherited = totals.FilesInherited > 0 ? string.Create(CultureInfo.InvariantCulture, $", {totals.FilesInherited:N0} more with {Sizes.Show(totals.BytesInherited)} inherited from bases that were scanned") : "";
        console.MarkupLineInterpolated(CultureInfo.InvariantCulture, $"{totals.FilesScanned:N0} of {totals.FilesSeen:N0} files{cached}{unchanged}{inherited}, {Sizes.Show(totals.BytesRead)} of {Sizes.Show(totals.BytesSeen)} in {seconds:0.0} s; {rules}{bundle}");
        (string colour, string text) = report.Verdict switch
        {
            "detected" => ("red bold", string.Create(CultureInfo.InvariantCulture, $"DETECTED: {totals.Findings:N0} findings{(totals.Gaps > 0 ? $", and {totals.Gaps:N0} gaps" : "")}")),
            "incomplete" => ("yellow bold", string.Create(CultureInfo.InvariantCulture, $"INCOMPLETE: nothing found, but {totals.Gaps:N0} gaps were not scanned")),
            _ => ("green bold", string.Create(
                CultureInfo.InvariantCulture,
                $"CLEAN: everything was read and matched{(totals.FilesUnchanged + totals.FilesInherited > 0 ? ", or was by an earlier scan and is unchanged" : "")}; {(totals.Informational == 0 ? "nothing found" : $"{totals.Informational:N0} things worth knowing")}")),
        };
        string suppressed = totals.Suppressed > 0 ? string.Create(CultureInfo.InvariantCulture, $" ({totals.Suppressed:N0} suppressed by allow lists)") : "";
        console.MarkupLine($"[{colour}]{Markup.Escape(text)}[/]{Markup.Escape(suppressed)}");
    }

    private static string TextOf(EngineReport engine)
    {
        string rules = engine.Rules is { } count ? string.Create(CultureInfo.InvariantCulture, $" with {count:N0} rules") : "";
        string date = engine.SignatureDate is { } made ? string.Create(CultureInfo.InvariantCulture, $" of {made:yyyy-MM-dd}") : "";
        return $"{engine.Name} {engine.Version}{rules}{date}";
    }

    /// <summary>Members on the way from the file.</summary>
    internal static string Way(IReadOnlyList<string>? inside) => string.Concat((inside ?? []).Select(i => " » " + Printable.Of(i)));

    internal static Style Colour(string severity) => severity switch
    {
        "critical" or "high" => new Style(Color.Red, decoration: Decoration.Bold),
        "medium" => new Style(Color.Yellow),
        _ => Style.Plain,
    };
}
