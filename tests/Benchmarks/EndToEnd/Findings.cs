using System.Text.Json;

namespace Vmsweep.Benchmarks.EndToEnd;

/// <summary>What a program found: rule with namespace, and file below the scanned folder or volume.</summary>
internal sealed record Finding(string Rule, string File);

/// <summary>The findings of one run.</summary>
/// <param name="InFiles">In the files that all programs see.</param>
/// <param name="Elsewhere">In bytes that only a scan of the disk sees: boot sectors, streams, space between volumes.</param>
/// <param name="Gaps">What was not read or not matched.</param>
internal sealed record Findings(IReadOnlySet<Finding> InFiles, IReadOnlyList<Finding> Elsewhere, IReadOnlyList<string> Gaps)
{
    private const string Volume = "v1/";

    /// <summary>Lines of <c>yara -e</c>: <c>namespace:rule path</c>.</summary>
    public static Findings OfYara(string output, string folder)
    {
        HashSet<Finding> found = [];
        foreach (string line in File.ReadLines(output))
        {
            int space = line.IndexOf(' ', StringComparison.Ordinal);
            found.Add(new Finding(line[..space], Path.GetRelativePath(folder, line[(space + 1)..])));
        }

        return new Findings(found, [], [.. File.ReadLines(output + ".errors")]);
    }

    /// <summary>A report of <c>vmsweep scan --format json</c>.</summary>
    /// <param name="files">The files that all programs see.</param>
    public static Findings OfReport(string report, IReadOnlySet<string> files)
    {
        using FileStream stream = File.OpenRead(report);
        using JsonDocument json = JsonDocument.Parse(stream);
        HashSet<Finding> found = [];
        List<Finding> elsewhere = [];
        List<string> gaps = [];
        foreach (JsonElement target in json.RootElement.GetProperty("targets").EnumerateArray())
        {
            foreach (JsonElement finding in target.GetProperty("findings").EnumerateArray())
            {
                string rule = finding.GetProperty("namespace").GetString() + ":" + finding.GetProperty("rule").GetString();
                foreach (string path in PathsOf(finding))
                {
                    string inside = path.StartsWith(Volume, StringComparison.Ordinal) ? path[Volume.Length..] : path;
                    if (files.Contains(inside))
                    {
                        found.Add(new Finding(rule, inside));
                    }
                    else
                    {
                        elsewhere.Add(new Finding(rule, path));
                    }
                }
            }

            gaps.AddRange(target.GetProperty("gaps").EnumerateArray().Select(g => $"{g.GetProperty("fault")} {g.GetProperty("path")} {g.GetProperty("structure")}: {g.GetProperty("detail")}"));
        }

        return new Findings(found, elsewhere, gaps);
    }

    private static IEnumerable<string> PathsOf(JsonElement finding) =>
        finding.TryGetProperty("alsoAt", out JsonElement also)
            ? also.EnumerateArray().Select(p => p.GetString()!).Prepend(finding.GetProperty("path").GetString()!)
            : [finding.GetProperty("path").GetString()!];
}
