using System.Text.Json;
using System.Text.Json.Serialization;
using Vmsweep.Appliance.Worker;
using Vmsweep.Signatures.Matching;
using Vmsweep.Signatures.Yara;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>
/// A verdict as bytes that are remembered: none for a clean one, otherwise JSON. A finding of a rule has the rule's id, so that it is dropped
/// when the rule is removed or changed.
/// </summary>
internal static class VerdictPayload
{
    /// <summary>Null when the verdict cannot be remembered: it is not settled, or longer than it is worth.</summary>
    public static byte[]? Write(Verdict verdict, Lazy<RuleIndex> rules)
    {
        if (!verdict.IsSettled)
        {
            return null;
        }

        if (verdict.Findings.Count == 0 && verdict.Gaps.Count == 0 && !verdict.HangsOnHashLists)
        {
            return [];
        }

        List<KeptFinding> findings = [];
        foreach (VerdictFinding finding in verdict.Findings)
        {
            Detection d = finding.Detection;
            UInt128? id = d.Engine == YaraRules.EngineName ? rules.Value.IdOf(d.Namespace, d.Rule) : null;
            if (d.Engine == YaraRules.EngineName && id is null)
            {
                return null;
            }

            findings.Add(new KeptFinding(
                d.Engine, d.Rule, d.Namespace, id, d.Tags, [.. d.Meta.Select(m => new KeptMeta(m.Key, m.Value.Kind, m.Value.Kind == MetaKind.Text ? m.Value.Text : null, m.Value.Number))],
                d.Severity, d.Matches, d.MatchesLeftOut, finding.Inner));
        }

        byte[] payload = JsonSerializer.SerializeToUtf8Bytes(new KeptFindings(findings, verdict.Gaps, verdict.HangsOnHashLists, verdict.Ways), KeptJson.Default.KeptFindings);
        return payload.Length <= KeptVerdict.MostPayloadBytes ? payload : null;
    }

    /// <summary>What is left of a remembered verdict under the rules in use; null when it cannot be understood, and so is not believed.</summary>
    public static Verdict? Read(byte[] payload, Lazy<RuleIndex> rules)
    {
        if (payload.Length == 0)
        {
            return Verdict.Clean;
        }

        KeptFindings? kept;
        try
        {
            kept = JsonSerializer.Deserialize(payload, KeptJson.Default.KeptFindings);
        }
        catch (Exception e) when (e is JsonException or NotSupportedException or ArgumentException)
        {
            return null;
        }

        // A list with nothing in it was never written.
        if (kept is null || kept.Findings.Any(f => f is null || f.Meta.Any(m => m is null)) || kept.Gaps.Any(g => g is null))
        {
            return null;
        }

        List<VerdictFinding> findings = [];
        foreach (KeptFinding f in kept.Findings)
        {
            if (f.Engine == YaraRules.EngineName && (f.Id is null || rules.Value.IdOf(f.Namespace, f.Rule) != f.Id))
            {
                continue;
            }

            List<KeyValuePair<string, MetaValue>> meta = [.. f.Meta.Select(m => KeyValuePair.Create(m.Key, m.Kind switch
            {
                MetaKind.Text => new MetaValue(m.Text ?? ""),
                MetaKind.Truth => new MetaValue(m.Number != 0),
                _ => new MetaValue(m.Number),
            }))];
            findings.Add(new VerdictFinding(new Detection(f.Engine, f.Rule, f.Namespace, f.Tags, meta, f.Severity, f.Matches, f.MatchesLeftOut), f.Inner));
        }

        return new Verdict(findings, kept.Gaps) { HangsOnHashLists = kept.HangsOnHashLists, Ways = kept.Ways };
    }
}

/// <param name="Id">Of the rule; null for what is no rule.</param>
internal sealed record KeptFinding(
    string Engine,
    string Rule,
    string Namespace,
    UInt128? Id,
    IReadOnlyList<string> Tags,
    IReadOnlyList<KeptMeta> Meta,
    Severity Severity,
    IReadOnlyList<StringMatch> Matches,
    long MatchesLeftOut,
    InnerContent? Inner);

internal sealed record KeptMeta(string Key, MetaKind Kind, string? Text, long Number);

internal sealed record KeptFindings(IReadOnlyList<KeptFinding> Findings, IReadOnlyList<VerdictGap> Gaps, bool HangsOnHashLists, IReadOnlyCollection<string>? Ways = null);

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    RespectNullableAnnotations = true,
    RespectRequiredConstructorParameters = true)]
[JsonSerializable(typeof(KeptFindings))]
internal sealed partial class KeptJson : JsonSerializerContext;
