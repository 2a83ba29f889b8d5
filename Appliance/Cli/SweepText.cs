using System.Globalization;
using System.Text.Json;
using Spectre.Console;
using Vmsweep.Appliance.Reports;

namespace Vmsweep.Appliance.Cli;

/// <summary>A sweep's run in the form that is asked for.</summary>
internal static class SweepText
{
    /// <summary>More VMs of one kind are counted.</summary>
    private const int MostShown = 50;

    public static IReadOnlyList<string> Formats { get; } = ["text", "json", "csv", "html"];

    /// <param name="format">One of <see cref="Formats"/>.</param>
    public static void Write(SweepReport run, string format, TextWriter writer, bool isTerminal)
    {
        switch (format)
        {
            case "json":
                writer.WriteLine(JsonSerializer.Serialize(run, SweepJson.Default.SweepReport));
                break;
            case "csv":
                SweepCsv.Write(run, writer);
                break;
            case "html":
                SweepHtml.Write(run, writer);
                break;
            default:
                Write(run, TextConsole.Of(writer, isTerminal));
                break;
        }
    }

    /// <summary>Whether memory was scanned; empty where there is none.</summary>
    public static string Of(SweepMemoryReport? memory) => memory is null ? "" : memory.IsScanned ? $"{Sizes.Show(memory.Bytes.Read)} of {Sizes.Show(memory.Bytes.Seen)}" : "left out";

    private static void Write(SweepReport run, IAnsiConsole console)
    {
        SweepTotals totals = run.Totals;
        string end = run.FinishedAt is { } finished ? " to " + Time(finished) : "";
        console.MarkupLineInterpolated($"[bold]{Printable.Of(run.Sweep)}[/] run {Printable.Of(run.RunId)}: {run.State}, {run.Verdict}; {Time(run.StartedAt)}{end}{(run.Detail is { } detail ? "; " + Printable.Of(detail) : "")}");
        console.MarkupLineInterpolated(CultureInfo.InvariantCulture, $"  {totals.Done:N0} of {totals.Vms:N0} VMs, {totals.Skipped:N0} skipped or failed; {totals.FilesScanned:N0} of {totals.FilesSeen:N0} files ({totals.FilesCached:N0} known before), {totals.FilesUnchanged:N0} unchanged, {totals.FilesInherited:N0} inherited; {Sizes.Show(totals.BytesRead)} of {Sizes.Show(totals.BytesSeen)} read");
        if (run.Vms.Any(v => v.Memory is not null))
        {
            console.MarkupLineInterpolated(CultureInfo.InvariantCulture, $"  memory of {run.Vms.LongCount(v => v.Memory is { IsScanned: true }):N0} VMs scanned, of {run.Vms.LongCount(v => v.Memory is { IsScanned: false }):N0} left out");
        }

        if (run.Findings is { Count: > 0 } findings)
        {
            ResultText.Write(findings, console);
        }

        SweepVmReport[] notable = [.. run.Vms.Where(v => v.State != SweepVmStates.Done || v.Gaps > 0 || v.Notes is not null).OrderBy(v => v.State, StringComparer.Ordinal).ThenBy(v => v.Name, StringComparer.Ordinal)];
        foreach (SweepVmReport vm in notable.Take(MostShown))
        {
            console.MarkupLineInterpolated($"  {(vm.Tenant.Length > 0 ? Printable.Of(vm.Tenant) + "/" : "")}{Printable.Of(vm.Name)}: {vm.State}{(vm.Detail is { Length: > 0 } why ? ": " + Printable.Of(why) : "")}");
            foreach (string note in vm.Notes ?? [])
            {
                console.MarkupLineInterpolated($"    {Printable.Of(note)}");
            }

            foreach (GapReasonReport gap in vm.GapReasons)
            {
                console.MarkupLineInterpolated(CultureInfo.InvariantCulture, $"    [yellow]{gap.Fault}[/] {gap.Count:N0} × {Printable.Of(gap.Structure)}: {Printable.Of(gap.Detail)} ({Printable.Of(gap.Path)})");
            }
        }

        if (notable.Length > MostShown)
        {
            console.MarkupLineInterpolated(CultureInfo.InvariantCulture, $"  and {notable.Length - MostShown:N0} more VMs with gaps or notes, or not scanned; --format json lists all");
        }

        foreach (HeldBackReport held in run.HeldBack)
        {
            console.MarkupLineInterpolated(CultureInfo.InvariantCulture, $"  held back on {Printable.Of(held.Datastore)}: slowed {held.SlowedSeconds:0.#} s, stopped {held.StoppedSeconds:0.#} s: {Printable.Of(held.Reason)}");
        }

        if (run.Trend is [var before, ..])
        {
            console.MarkupLineInterpolated(CultureInfo.InvariantCulture, $"  the run before, {Time(before.StartedAt)}: {before.Verdict}, {before.Totals.Done:N0} VMs, {before.Totals.Findings:N0} findings, {before.Totals.Gaps:N0} gaps");
        }

        console.MarkupLineInterpolated(CultureInfo.InvariantCulture, $"{totals.Findings - totals.Informational:N0} findings, {totals.Informational:N0} things worth knowing, {totals.Suppressed:N0} suppressed, {totals.Gaps:N0} gaps");
    }

    private static string Time(DateTimeOffset time) => time.UtcDateTime.ToString("yyyy-MM-dd HH:mm'Z'", CultureInfo.InvariantCulture);
}
