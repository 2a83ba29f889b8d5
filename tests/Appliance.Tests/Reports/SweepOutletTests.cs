using System.Text.Json;
using Vmsweep.Appliance.Cli;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Tests.Results.Store;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Reports;

/// <summary>A sweep's run in every form, with names that are not what they seem.</summary>
public sealed class SweepOutletTests
{
    private static IEnumerable<string> Names => [.. HostileNames.Markup("http://127.0.0.1:1"), .. HostileNames.Terminal, .. HostileNames.Formulas];

    [Fact]
    public void Text_holds_nothing_that_acts_on_a_terminal()
    {
        foreach (string name in Names)
        {
            string text = Show(name, "text");
            Assert.DoesNotContain(text, c => (char.IsControl(c) && c != '\n') || c is '\u202E' or '\u202C' or '\u2066' or '\u2069' or '\u009b');
        }

        Assert.Contains("[red]not markup[/]", Show("[red]not markup[/]", "text"), StringComparison.Ordinal);
    }

    [Fact]
    public void Json_comes_back_as_it_was()
    {
        foreach (string name in Names.Where(n => !n.Contains('\ud800', StringComparison.Ordinal)))
        {
            JsonElement run = JsonDocument.Parse(Show(name, "json")).RootElement;
            Assert.Equal("vmsweep.sweep/1", run.GetProperty("schema").GetString());
            Assert.Equal(name, run.GetProperty("findings")[0].GetProperty("path").GetString());
            Assert.Equal(name, run.GetProperty("vms")[0].GetProperty("gapReasons")[0].GetProperty("detail").GetString());
            Assert.Equal(2, run.GetProperty("vms")[0].GetProperty("gapReasons")[0].GetProperty("count").GetInt64());
        }
    }

    /// <summary>Read by a program that nobody here wrote.</summary>
    [Fact]
    public void Csv_is_a_table_without_formulas()
    {
        using var scratch = new Scratch();
        foreach (string name in Names)
        {
            File.WriteAllText(scratch["run.csv"], Show(name, "csv"));
            string[][] rows = JsonSerializer.Deserialize<string[][]>(Tool.Run("python3", "-c", "import csv,json,sys; print(json.dumps(list(csv.reader(open(sys.argv[1], newline='', encoding='utf-8')))))", scratch["run.csv"]))!;
            Assert.All(rows, r => Assert.Equal(rows[0].Length, r.Length));
            Assert.Equal(["vm", "gap", "gap", "vm", "vm", "finding", "held-back", "run", "run", "run", "run"], rows.Skip(1).Select(r => r[0]));
            Assert.All(rows.SelectMany(r => r), f => Assert.False(f.TrimStart() is ['=' or '+' or '-' or '@' or '|' or '%' or '＝', ..] || f.Contains('\n', StringComparison.Ordinal), f));
            int path = Array.IndexOf(rows[0], "path");
            Assert.EndsWith(" » " + Printable.Of(name), rows.Single(r => r[0] == "finding")[path], StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Reasons_of_gaps_are_counted_and_bounded()
    {
        IReadOnlyList<GapReasonReport> reasons = GapReasonReport.Of(Enumerable.Range(0, 100).SelectMany(i => Enumerable.Repeat(new GapReport("corrupt", $"v1/{i}", $"s{i}", 0, long.MaxValue, new string('x', 5000)), 100 - i)));
        Assert.Equal(GapReasonReport.Most, reasons.Count);
        Assert.Equal(5050, reasons.Sum(r => r.Count));
        Assert.Equal(("s0", 100L, long.MaxValue), (reasons[0].Structure, reasons[0].Count, reasons[0].Bytes));
        Assert.All(reasons, r => Assert.True(r.Detail.Length < 400));
    }

    private static string Show(string name, string format)
    {
        using var writer = new StringWriter { NewLine = "\n" };
        SweepText.Write(SweepReports.Named(name), format, writer, isTerminal: false);
        return writer.ToString();
    }
}
