using System.Globalization;
using Spectre.Console;
using Vmsweep.Appliance.Reports;

namespace Vmsweep.Appliance.Cli;

/// <summary>Recorded results for people. Every text of guests, images and hypervisors is made harmless.</summary>
internal static class ResultText
{
    public static void Write(IReadOnlyList<KnownFinding> findings, IAnsiConsole console)
    {
        Table table = new Table().Border(TableBorder.Rounded).AddColumns("id", "severity", "state", "rule", "VM", "path", "first seen", "last seen", "SHA-256");
        foreach (KnownFinding finding in findings)
        {
            table.AddRow(
                new Text(finding.Id.ToString(CultureInfo.InvariantCulture)),
                new Text(finding.Severity, TextReport.Colour(finding.Severity)),
                new Text(finding.State),
                new Text(Printable.Of(finding.Rule)),
                new Text(Vm(finding.Tenant, finding.VmName, finding.Snapshot)),
                new Text(Printable.Of(finding.Path) + TextReport.Way(finding.Inside)),
                new Text(Time(finding.FirstSeen)),
                new Text(Time(finding.LastSeen)),
                new Text(finding.Sha256.Length > 12 ? finding.Sha256[..12] + "…" : finding.Sha256));
        }

        console.Write(table);
    }

    public static void Write(FindingLife life, IAnsiConsole console)
    {
        KnownFinding finding = life.Finding;
        console.MarkupLineInterpolated($"[bold]{Printable.Of(finding.Rule)}[/] ({Printable.Of(finding.Engine)}, {finding.Severity}): {finding.State}");
        Line("VM", Vm(finding.Tenant, finding.VmName, finding.Snapshot) + "  " + Printable.Of(finding.VmId));
        Line("path", Printable.Of(finding.Path) + TextReport.Way(finding.Inside));
        Line("in the guest", Printable.Of(finding.GuestPath ?? ""));
        Line("SHA-256", finding.Sha256 + (finding.SizeBytes > 0 ? "  " + Sizes.Show(finding.SizeBytes) : ""));
        Line("first seen", Time(finding.FirstSeen));
        Line("last seen", string.Create(CultureInfo.InvariantCulture, $"{Time(finding.LastSeen)}, by {finding.Scans} scans"));
        Line(finding.State is FindingStates.New or FindingStates.Open ? "not seen since" : "because", Printable.Of(finding.Detail ?? ""));
        foreach (FindingSeen seen in life.Scans)
        {
            string when = seen.FinishedAt is { } at ? Time(at) : "removed by retention";
            string run = seen.Run is { } id ? "  run " + Printable.Of(id) : "";
            console.MarkupLineInterpolated(CultureInfo.InvariantCulture, $"  {seen.Kind,-10} scan {seen.Scan,-8} {when}{run}{(seen.Sha256.Length > 12 ? $"  {seen.Sha256[..12]}…" : "")}");
        }

        void Line(string name, string text)
        {
            if (text.Length > 0)
            {
                console.MarkupLineInterpolated(CultureInfo.InvariantCulture, $"  {name,-14} {text}");
            }
        }
    }

    public static void Write(HuntReport hunt, bool isByHash, IAnsiConsole console)
    {
        if (hunt.Findings.Count > 0)
        {
            Write(hunt.Findings, console);
        }

        if (hunt.Sightings.Count > 0)
        {
            Table table = new Table().Border(TableBorder.Rounded).AddColumns("VM", "path", "size", "first seen", "last seen");
            foreach (SightingReport seen in hunt.Sightings)
            {
                table.AddRow(
                    new Text(Vm(seen.Tenant, seen.VmName, seen.Snapshot)),
                    new Text(Printable.Of(seen.Path)),
                    new Text(Sizes.Show(seen.SizeBytes)),
                    new Text(seen.FirstSeen.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture)),
                    new Text(seen.LastSeen?.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture) ?? $"{Time(seen.LastScan)}, the VM's last scan"));
            }

            console.Write(table);
        }

        console.MarkupLineInterpolated(CultureInfo.InvariantCulture, $"{hunt.Findings.Count:N0} findings{(isByHash ? $" and {hunt.Sightings.Count:N0} other places" : "")} in what is recorded of {hunt.Vms:N0} VMs");
        if (isByHash)
        {
            console.MarkupLine("[grey]Kept are hashes of findings and of executables and scripts; not of documents and other data, nor of what lies in archives and was not found by a rule.[/]");
        }

        foreach (NotKeptReport more in hunt.NotKept)
        {
            console.MarkupLineInterpolated(CultureInfo.InvariantCulture, $"[yellow]not all kept[/]: {Printable.Of(more.VmName)} has {more.Count:N0} executables more than are kept");
        }
    }

    private static string Vm(string tenant, string name, string? snapshot) =>
        (tenant.Length > 0 ? Printable.Of(tenant) + "/" : "") + Printable.Of(name) + (snapshot is null ? "" : $" ({Printable.Of(snapshot)})");

    private static string Time(DateTimeOffset time) => time.UtcDateTime.ToString("yyyy-MM-dd HH:mm'Z'", CultureInfo.InvariantCulture);
}
