using System.Globalization;
using System.Net;
using System.Security.Cryptography;
using System.Text;
using Vmsweep.Appliance.Cli;

namespace Vmsweep.Appliance.Reports;

/// <summary>
/// A sweep's run as one page that needs nothing else: no script at all, no image, no font, and a policy that lets none in. What guests, images and hypervisors
/// call things is text in it and never markup; the policy holds even if that should fail once.
/// </summary>
internal static class SweepHtml
{
    private const string Style =
        """
        :root { color-scheme: light dark; --text: #1c2330; --soft: #5b6675; --line: #d5dae2; --page: #ffffff; --panel: #f4f6f9; --bad: #b3261e; --warn: #8a5a00; --good: #1e6b3a; --bar: #3b6ea8; }
        @media (prefers-color-scheme: dark) { :root { --text: #e4e8ef; --soft: #9aa5b5; --line: #3a4350; --page: #151a21; --panel: #1e252f; --bad: #ff8a80; --warn: #f0b95a; --good: #7fd69a; --bar: #7fb0e8; } }
        * { box-sizing: border-box; }
        body { margin: 0 auto; padding: 1.5rem; max-width: 90rem; background: var(--page); color: var(--text); font: 15px/1.45 system-ui, sans-serif; }
        h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; } p { margin: .25rem 0; }
        .soft { color: var(--soft); } .detected, .critical, .high { color: var(--bad); font-weight: 600; } .incomplete, .medium { color: var(--warn); font-weight: 600; } .clean { color: var(--good); font-weight: 600; }
        dl { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1rem 0; } dl div { background: var(--panel); border: 1px solid var(--line); border-radius: .4rem; padding: .5rem .9rem; }
        dt { color: var(--soft); font-size: .8rem; } dd { margin: 0; font-size: 1.15rem; font-variant-numeric: tabular-nums; }
        .wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .87rem; } th, td { text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid var(--line); }
        th { color: var(--soft); font-weight: 600; } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
        td.w { overflow-wrap: anywhere; min-width: 14rem; } code { font: .82rem ui-monospace, monospace; overflow-wrap: anywhere; } ul { margin: 0; padding-left: 1.1rem; }
        svg { max-width: 100%; height: auto; } .bar { fill: var(--bar); } .bar-bad { fill: var(--bad); } .axis { fill: var(--soft); font-size: 10px; }
        @media print { :root { --text: #000; --soft: #444; --line: #bbb; --page: #fff; --panel: #fff; --bad: #900; --warn: #640; --good: #042; --bar: #555; } body { max-width: none; padding: 0; font-size: 9pt; } tr, svg, dl div { break-inside: avoid; } thead { display: table-header-group; } h2 { break-after: avoid; } .wide { overflow: visible; } }
        """;

    private static readonly string Policy = $"default-src 'none'; style-src 'sha256-{Convert.ToBase64String(SHA256.HashData(Encoding.UTF8.GetBytes(Style)))}'; base-uri 'none'; form-action 'none'";

    public static void Write(SweepReport run, TextWriter writer)
    {
        writer.Write($"<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta http-equiv=\"Content-Security-Policy\" content=\"{Policy}\">\n");
        writer.Write("<meta name=\"referrer\" content=\"no-referrer\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
        writer.Write($"<title>{E(run.Sweep)}: {E(run.Verdict)}</title>\n<style>{Style}</style>\n</head>\n<body>\n");
        WriteHead(run, writer);
        WriteFindings(run, writer);
        WriteCoverage(run, writer);
        WriteHeldBack(run, writer);
        WriteTrend(run, writer);
        writer.Write("</body>\n</html>\n");
    }

    /// <summary>Any text as text: nothing in it is markup, and nothing turns the direction of writing or hides.</summary>
    internal static string E(string? text) => WebUtility.HtmlEncode(Printable.Of(text ?? ""));

    private static void WriteHead(SweepReport run, TextWriter writer)
    {
        SweepTotals totals = run.Totals;
        string took = run.FinishedAt is { } end ? $"{T(run.StartedAt)} to {T(end)}" : $"since {T(run.StartedAt)}";
        writer.Write($"<h1>{E(run.Sweep)}: <span class=\"{Class(run.Verdict)}\">{E(run.Verdict)}</span></h1>\n");
        writer.Write($"<p class=\"soft\">Run <code>{E(run.RunId)}</code>, {E(run.State)}, {took}</p>\n");
        if (run.Detail is { Length: > 0 } detail)
        {
            writer.Write($"<p>{E(detail)}</p>\n");
        }

        writer.Write("<dl>\n");
        Fact("VMs scanned", $"{N(totals.Done)} of {N(totals.Vms)}");
        Fact("skipped or failed", N(totals.Skipped));
        Fact("findings", N(totals.Findings - totals.Informational));
        Fact("worth knowing", N(totals.Informational));
        Fact("suppressed", N(totals.Suppressed));
        Fact("gaps", N(totals.Gaps));
        Fact("files scanned", $"{N(totals.FilesScanned)} of {N(totals.FilesSeen)}");
        Fact("of them known before", N(totals.FilesCached));
        Fact("unchanged or inherited", N(totals.FilesUnchanged + totals.FilesInherited));
        Fact("read", $"{E(Sizes.Show(totals.BytesRead))} of {E(Sizes.Show(totals.BytesSeen))}");
        writer.Write("</dl>\n");

        void Fact(string name, string value) => writer.Write($"<div><dt>{name}</dt><dd>{value}</dd></div>\n");
    }

    private static void WriteFindings(SweepReport run, TextWriter writer)
    {
        writer.Write("<h2>Findings</h2>\n");
        if (run.Findings is not { Count: > 0 } findings)
        {
            writer.Write(run.Findings is null ? "<p class=\"soft\">Findings are not recorded.</p>\n" : "<p class=\"soft\">None.</p>\n");
            return;
        }

        Table(writer, ["severity", "state", "rule", "VM", "path", "first seen", "last seen", "SHA-256"]);
        foreach (KnownFinding finding in findings)
        {
            string where = E(finding.Path) + string.Concat(finding.Inside.Select(i => " » " + E(i))) + (finding.GuestPath is { } shown ? "<br>" + E(shown) : "") + (finding.Detail is { } why ? $"<br><span class=\"soft\">{E(why)}</span>" : "");
            writer.Write($"<tr><td class=\"{Class(finding.Severity)}\">{E(finding.Severity)}</td><td>{E(finding.State)}</td><td>{E(finding.Rule)}</td><td>{Vm(finding.Tenant, finding.VmName)}</td><td class=\"w\">{where}</td><td>{T(finding.FirstSeen)}</td><td>{T(finding.LastSeen)}</td><td><code>{E(finding.Sha256)}</code></td></tr>\n");
        }

        End(writer);
        if (run.FindingsAreCut == true)
        {
            writer.Write($"<p>More than {N(SweepReport.MostFindings)}: <code>vmsweep findings list</code> has all.</p>\n");
        }
    }

    /// <summary>Those that were not scanned, or not as a whole, come first.</summary>
    private static void WriteCoverage(SweepReport run, TextWriter writer)
    {
        writer.Write("<h2>Coverage</h2>\n");
        Table(writer, ["VM", "datastore", "host", "state", "verdict", "#files", "#known before", "#unchanged or inherited", "#read", "memory, notes, and what was not scanned"]);
        foreach (SweepVmReport vm in run.Vms.OrderBy(v => v.State == SweepVmStates.Done).ThenByDescending(v => v.Gaps > 0).ThenByDescending(v => v.Findings).ThenBy(v => v.Name, StringComparer.Ordinal))
        {
            string why = (vm.Memory is null ? "" : $"<p>memory {E(SweepText.Of(vm.Memory))}</p>") + string.Concat((vm.Notes ?? []).Select(n => $"<p>{E(n)}</p>")) + (vm.Detail is { Length: > 0 } detail ? $"<p>{E(detail)}</p>" : "") + (vm.GapReasons.Count > 0 ? $"<ul>{string.Concat(vm.GapReasons.Select(Reason))}</ul>" : "");
            string verdict = vm.Verdict is { } said ? $"<span class=\"{Class(said)}\">{E(said)}</span>" : "";
            writer.Write($"<tr><td>{Vm(vm.Tenant, vm.Name)}</td><td>{E(vm.Datastore)}</td><td>{E(vm.Host)}</td><td>{E(vm.State)}</td><td>{verdict}</td><td class=\"n\">{N(vm.Files.Scanned)} of {N(vm.Files.Seen)}</td><td class=\"n\">{N(vm.Files.Cached)}</td><td class=\"n\">{N(vm.Files.Unchanged + vm.Files.Inherited)}</td><td class=\"n\">{E(Sizes.Show(vm.Bytes.Read))} of {E(Sizes.Show(vm.Bytes.Seen))}</td><td class=\"w\">{why}</td></tr>\n");
        }

        End(writer);

        static string Reason(GapReasonReport gap) =>
            $"<li><b>{E(gap.Fault)}</b> {N(gap.Count)} × {E(gap.Structure)}: {E(gap.Detail)}{(gap.Bytes > 0 ? ", " + E(Sizes.Show(gap.Bytes)) : "")}<br><span class=\"soft\">{(gap.Count > 1 ? "first: " : "")}{E(gap.Path)}</span></li>";
    }

    private static void WriteHeldBack(SweepReport run, TextWriter writer)
    {
        writer.Write("<h2>Held back</h2>\n");
        if (run.HeldBack.Count == 0)
        {
            writer.Write("<p class=\"soft\">Nothing was held back.</p>\n");
            return;
        }

        Table(writer, ["datastore", "#slowed", "#stopped", "why"]);
        foreach (HeldBackReport held in run.HeldBack)
        {
            writer.Write($"<tr><td>{E(held.Datastore)}</td><td class=\"n\">{S(held.SlowedSeconds)}</td><td class=\"n\">{S(held.StoppedSeconds)}</td><td class=\"w\">{E(held.Reason)}</td></tr>\n");
        }

        End(writer);
    }

    private static void WriteTrend(SweepReport run, TextWriter writer)
    {
        writer.Write("<h2>Against the runs before</h2>\n");
        if (run.Trend.Count == 0)
        {
            writer.Write("<p class=\"soft\">There are none.</p>\n");
            return;
        }

        SweepTrend[] runs = [SweepTrend.Of(run), .. run.Trend.Take(SweepReport.MostTrend)];
        WriteBars([.. runs.Reverse()], writer);
        Table(writer, ["started", "#took", "state", "verdict", "#VMs", "#findings", "#gaps", "#files", "#read"]);
        foreach (SweepTrend trend in runs)
        {
            string took = trend.FinishedAt is { } end ? S((end - trend.StartedAt).TotalSeconds) : "";
            SweepTotals totals = trend.Totals;
            writer.Write($"<tr><td>{T(trend.StartedAt)}</td><td class=\"n\">{took}</td><td>{E(trend.State)}</td><td><span class=\"{Class(trend.Verdict)}\">{E(trend.Verdict)}</span></td><td class=\"n\">{N(totals.Done)} of {N(totals.Vms)}</td><td class=\"n\">{N(totals.Findings)}</td><td class=\"n\">{N(totals.Gaps)}</td><td class=\"n\">{N(totals.FilesScanned)} of {N(totals.FilesSeen)}</td><td class=\"n\">{E(Sizes.Show(totals.BytesRead))}</td></tr>\n");
        }

        End(writer);
    }

    /// <summary>Findings upwards, gaps below, the latest run on the right.</summary>
    private static void WriteBars(SweepTrend[] runs, TextWriter writer)
    {
        const int Width = 22;
        const int Height = 60;
        double mostFindings = Math.Max(1, runs.Max(r => r.Totals.Findings));
        double mostGaps = Math.Max(1, runs.Max(r => r.Totals.Gaps));
        writer.Write(string.Create(CultureInfo.InvariantCulture, $"<svg viewBox=\"0 0 {(runs.Length * Width) + 60} {(2 * Height) + 20}\" width=\"{(runs.Length * Width) + 60}\" role=\"img\" aria-label=\"Findings and gaps of each run\">\n"));
        foreach ((int i, SweepTrend run) in runs.Index())
        {
            double up = run.Totals.Findings / mostFindings * Height;
            double down = run.Totals.Gaps / mostGaps * Height;
            writer.Write(string.Create(
                CultureInfo.InvariantCulture,
                $"<rect class=\"bar-bad\" x=\"{i * Width}\" y=\"{Height - up:0.#}\" width=\"{Width - 4}\" height=\"{up:0.#}\"><title>{T(run.StartedAt)}: {N(run.Totals.Findings)} findings</title></rect><rect class=\"bar\" x=\"{i * Width}\" y=\"{Height + 2}\" width=\"{Width - 4}\" height=\"{down:0.#}\"><title>{T(run.StartedAt)}: {N(run.Totals.Gaps)} gaps</title></rect>\n"));
        }

        writer.Write(string.Create(CultureInfo.InvariantCulture, $"<text class=\"axis\" x=\"{(runs.Length * Width) + 4}\" y=\"{Height - 4}\">findings</text><text class=\"axis\" x=\"{(runs.Length * Width) + 4}\" y=\"{Height + 14}\">gaps</text>\n</svg>\n"));
    }

    /// <param name="columns">One that begins with # is of numbers.</param>
    private static void Table(TextWriter writer, string[] columns)
    {
        writer.Write("<div class=\"wide\"><table><thead><tr>");
        writer.Write(string.Concat(columns.Select(c => c[0] == '#' ? $"<th class=\"n\">{c[1..]}</th>" : $"<th>{c}</th>")));
        writer.Write("</tr></thead><tbody>\n");
    }

    private static void End(TextWriter writer) => writer.Write("</tbody></table></div>\n");

    private static string Vm(string tenant, string name) => (tenant.Length > 0 ? E(tenant) + "/" : "") + E(name);

    /// <summary>Only words that the style knows.</summary>
    private static string Class(string word) => word is "detected" or "incomplete" or "clean" or "critical" or "high" or "medium" ? word : "soft";

    private static string N(long number) => number.ToString("N0", CultureInfo.InvariantCulture);

    private static string S(double seconds) => seconds < 120
        ? string.Create(CultureInfo.InvariantCulture, $"{seconds:0.#} s")
        : string.Create(CultureInfo.InvariantCulture, $"{(long)seconds / 3600}:{(long)seconds / 60 % 60:00}:{(long)seconds % 60:00}");

    private static string T(DateTimeOffset time) => time.UtcDateTime.ToString("yyyy-MM-dd HH:mm 'UTC'", CultureInfo.InvariantCulture);
}
