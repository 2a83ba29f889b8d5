using System.Text.Json;
using Vmsweep.Appliance.Cli;
using Vmsweep.Appliance.Reports;

namespace Vmsweep.Appliance.Tests.Cli;

public sealed class JsonReportTests
{
    private const string Hostile = "é 漢 😀 \u001b\n  \"targets\": [],\n";

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(3)]
    public void It_is_what_the_serializer_makes_of_the_whole_report(int targets)
    {
        Report report = Whole(targets);
        Assert.Equal(JsonSerializer.Serialize(report, ReportJson.Default.Report) + "\n", Written(report));
    }

    [Fact]
    public void What_it_has_taken_it_does_not_hold()
    {
        using var json = new JsonReport(TextWriter.Null);
        WeakReference taken = Add(json);
        GC.Collect();
        Assert.False(taken.IsAlive);
        json.Finish(Whole(0));

        static WeakReference Add(JsonReport json)
        {
            TargetReport target = Target(1);
            json.Add(target);
            return new WeakReference(target);
        }
    }

    [Fact]
    public void Totals_add_up_to_the_verdict_of_all()
    {
        Report report = Whole(3);
        Assert.Equal((30, 3, "detected"), (report.Totals.Findings, report.Totals.Gaps, report.Totals.Verdict));
        TargetReport incomplete = Target(1);
        incomplete.Findings.Clear();
        Assert.Equal("incomplete", ReportTotals.Of(incomplete).Verdict);
        Assert.Equal("clean", ReportTotals.None.Verdict);
    }

    private static string Written(Report report)
    {
        using var output = new StringWriter { NewLine = "\n" };
        using var json = new JsonReport(output);
        foreach (TargetReport target in report.Targets)
        {
            json.Add(target);
        }

        json.Finish(report);
        return output.ToString();
    }

    private static Report Whole(int targets)
    {
        TargetReport[] all = [.. Enumerable.Range(0, targets).Select(Target)];
        ReportTotals totals = all.Aggregate(ReportTotals.None, (sum, target) => sum.Plus(ReportTotals.Of(target)));
        return new Report
        {
            Verdict = totals.Verdict,
            StartedAt = DateTimeOffset.UnixEpoch,
            FinishedAt = DateTimeOffset.UnixEpoch,
            Sandbox = "reduced",
            SandboxDetail = Hostile,
            Engines = [new EngineReport(Hostile, "1", 2, "")],
            RuleFaults = [new RuleFaultReport(Hostile, 1, Hostile)],
            Targets = all,
            Totals = totals,
        };
    }

    private static TargetReport Target(int number)
    {
        var target = new TargetReport { Target = Hostile + number, Vm = new VmReport("id", Hostile, "off", "") };
        target.Disks.Add(new DiskReport { Path = Hostile });
        target.Findings.AddRange(Enumerable.Range(0, 10).Select(i => new FindingReport
        {
            Path = Hostile,
            SizeBytes = i,
            Sha256 = "",
            Engine = "yara",
            Rule = "r",
            Namespace = "n",
            Severity = "high",
            Matches = [new MatchReport("$a", i, 1)],
            Meta = new Dictionary<string, JsonElement> { ["author"] = JsonSerializer.SerializeToElement(Hostile) },
        }));
        target.Gaps.Add(new GapReport("corrupt", Hostile, "s", 0, 1, Hostile));
        return target;
    }
}
