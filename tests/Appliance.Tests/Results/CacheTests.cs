using System.Text.Json;
using Vmsweep.Appliance.Tests.EndToEnd;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Results;

/// <summary>The cache as a user meets it: through the launcher, with real workers in their sandbox.</summary>
public sealed class CacheTests : IDisposable
{
    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void A_second_scan_knows_what_the_first_found()
    {
        string disk = TestDisks.Raw(_scratch, Enumerable.Range(0, 150).ToDictionary(i => $"home/f{i}.txt", i => i % 10 == 0 ? $"MARKER {i}" : $"nothing {i}"));
        File.WriteAllText(_scratch["rules.yar"], "rule marker { strings: $a = \"MARKER\" condition: $a }\nrule named { condition: filename == \"f7.txt\" }\n");
        (JsonElement first, _) = Scan(disk);
        Assert.Equal(32, first.Findings().Count);
        Assert.Equal(0, Cached(first));
        (JsonElement second, string quiet) = Scan(disk);
        Assert.Equal(first.Findings().Order(StringComparer.Ordinal), second.Findings().Order(StringComparer.Ordinal));
        Assert.Equal("full", second.GetProperty("sandbox").GetString());
        Assert.Equal(second.GetProperty("totals").GetProperty("filesScanned").GetInt64(), Cached(second));
        JsonElement files = second.GetProperty("targets")[0].GetProperty("disks")[0].GetProperty("volumes")[0].GetProperty("files");
        Assert.Equal(files.GetProperty("scanned").GetInt64(), files.GetProperty("cached").GetInt64());
        Assert.DoesNotContain("WARNING", quiet, StringComparison.Ordinal);

        (JsonElement without, _) = Scan(disk, "--no-cache");
        Assert.Equal(0, Cached(without));

        File.WriteAllText(_scratch["state/vmsweep.db"], "this is no database, and was never one: " + new string('x', 10_000));
        (JsonElement anew, string said) = Scan(disk);
        Assert.Equal(first.Findings().Order(StringComparer.Ordinal), anew.Findings().Order(StringComparer.Ordinal));
        Assert.Equal(0, Cached(anew));
        Assert.Contains("is damaged", said, StringComparison.Ordinal);
    }

    private (JsonElement Report, string Error) Scan(string disk, params string[] options)
    {
        (int status, string output, string error) = Launcher.Run(["scan", "--format", "json", "--state", _scratch["state"], "--rules", _scratch["rules.yar"], .. options, disk]);
        Assert.True(status == 1, error);
        return (JsonDocument.Parse(output).RootElement, error);
    }

    private static long Cached(JsonElement report) => report.GetProperty("totals").GetProperty("filesCached").GetInt64();
}
