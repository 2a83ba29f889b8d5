using System.Text.Json;
using Vmsweep.Appliance.Reports;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>Findings as the report has them.</summary>
internal static class FindingReports
{
    /// <param name="finding">What matched.</param>
    /// <param name="paths">Every name of the content, the first one leading.</param>
    /// <param name="sizeBytes">Of the content.</param>
    /// <param name="sha256">Of the content; empty when it has no hash.</param>
    public static FindingReport Of(VerdictFinding finding, IReadOnlyList<string> paths, long sizeBytes, string sha256)
    {
        Detection detection = finding.Detection;
        return new FindingReport
        {
            Path = paths[0],
            AlsoAt = [.. paths.Skip(1)],
            SizeBytes = finding.Inner?.SizeBytes ?? sizeBytes,
            Sha256 = finding.Inner?.Sha256 ?? sha256,
            Engine = detection.Engine,
            Rule = detection.Rule,
            Namespace = detection.Namespace,
            Tags = detection.Tags,
            Meta = MetaOf(detection),
            Severity = detection.Severity.ToString().ToLowerInvariant(),
            Matches = [.. detection.Matches.Select(m => new MatchReport(m.Id, m.Offset, m.Length))],
            Inside = finding.Inner?.Inside ?? [],
        };
    }

    private static Dictionary<string, JsonElement> MetaOf(Detection detection)
    {
        var meta = new Dictionary<string, JsonElement>();
        foreach ((string key, MetaValue value) in detection.Meta)
        {
            meta.TryAdd(key, value.Kind switch
            {
                MetaKind.Number => JsonSerializer.SerializeToElement(value.Number, MetaJson.Default.Int64),
                MetaKind.Truth => JsonSerializer.SerializeToElement(value.Truth, MetaJson.Default.Boolean),
                _ => JsonSerializer.SerializeToElement(value.Text, MetaJson.Default.String),
            });
        }

        return meta;
    }
}
