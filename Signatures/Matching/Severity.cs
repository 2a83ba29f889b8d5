using System.Globalization;

namespace Vmsweep.Signatures.Matching;

/// <summary>How bad a detection is, worst first. The report's <c>severity</c> is this value in lower case.</summary>
public enum Severity
{
    Critical,
    High,
    Medium,
    Low,
    Info,
}

/// <summary>Reads a severity out of what a rule says of itself.</summary>
public static class Severities
{
    /// <summary><c>critical</c> to <c>info</c> in any case (<c>informational</c> too); null for anything else.</summary>
    public static Severity? Parse(string text) => text.Trim().ToLowerInvariant() switch
    {
        "critical" => Severity.Critical,
        "high" => Severity.High,
        "medium" or "moderate" => Severity.Medium,
        "low" => Severity.Low,
        "info" or "informational" => Severity.Info,
        _ => null,
    };

    /// <summary>
    /// Meta <c>severity</c> by name, or as a number from 0 to 100 as some public rule sets have it; else meta <c>score</c>, the
    /// 0 to 100 of LOKI and THOR rules; else medium.
    /// </summary>
    public static Severity Of(IReadOnlyList<KeyValuePair<string, MetaValue>> meta)
    {
        Severity? byScore = null;
        foreach ((string key, MetaValue value) in meta)
        {
            if (key.Equals("severity", StringComparison.OrdinalIgnoreCase) && (Parse(value.ToString()) ?? FromScore(value)) is { } named)
            {
                return named;
            }

            if (byScore is null && key.Equals("score", StringComparison.OrdinalIgnoreCase))
            {
                byScore = FromScore(value);
            }
        }

        return byScore ?? Severity.Medium;
    }

    private static Severity? FromScore(MetaValue value)
    {
        if (value.Kind == MetaKind.Truth || !long.TryParse(value.ToString(), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long score))
        {
            return null;
        }

        return score switch
        {
            >= 80 => Severity.High,
            >= 60 => Severity.Medium,
            _ => Severity.Low,
        };
    }
}
