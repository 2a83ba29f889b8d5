using System.Text;
using System.Text.Json;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.EndToEnd;

/// <summary>The program as a user starts it: the launcher at the root of the checkout, sandbox on.</summary>
internal static class Launcher
{
    public static (int Status, string Output, string Error) Run(params string[] arguments)
    {
        (int status, byte[] output, string error) = RunRaw(arguments);
        return (status, Encoding.UTF8.GetString(output), error);
    }

    public static (int Status, byte[] Output, string Error) RunRaw(params string[] arguments) =>
        Tool.Try(Path.Combine(RepositoryRoot.Path, "vmsweep"), RepositoryRoot.Path, arguments);

    /// <summary>A scan's report; the status must be the one that belongs to its verdict.</summary>
    public static JsonElement Scan(params string[] arguments)
    {
        (int status, string output, string error) = Run(["scan", "--format", "json", "--state", "none", .. arguments]);
        Assert.True(output.StartsWith('{'), $"status {status}: {error}{output}");
        JsonElement report = JsonDocument.Parse(output).RootElement;
        Assert.Equal(report.GetProperty("verdict").GetString() switch { "clean" => 0, "detected" => 1, _ => 3 }, status);
        Assert.Equal("vmsweep.report/1", report.GetProperty("schema").GetString());
        return report;
    }

    /// <summary>All findings of a report, as "rule path".</summary>
    public static IReadOnlyList<string> Findings(this JsonElement report) =>
        [.. report.GetProperty("targets").EnumerateArray().SelectMany(t => t.GetProperty("findings").EnumerateArray())
            .Select(f => $"{f.GetProperty("rule").GetString()} {f.GetProperty("path").GetString()}")];

    public static IReadOnlyList<JsonElement> Gaps(this JsonElement report) =>
        [.. report.GetProperty("targets").EnumerateArray().SelectMany(t => t.GetProperty("gaps").EnumerateArray())];
}
