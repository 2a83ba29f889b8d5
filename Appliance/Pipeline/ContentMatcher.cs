using Vmsweep.DiskReaders.Blocks;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>Matches one content after another against all engines. Belongs to one thread.</summary>
internal sealed class ContentMatcher(Engines engines, CancellationToken cancellation) : IDisposable
{
    private readonly IMatcher[] _matchers = [.. engines.ByContent.Select(e => e.CreateMatcher())];

    /// <summary>Matches without a name: for engines none of which asks for names.</summary>
    public Verdict Match(ReadOnlySpan<byte> content) => Match(content, default(ContentFacts));

    /// <summary>Matches under each name that rules could tell apart; a rule that matches under several counts once.</summary>
    public Verdict Match(ReadOnlySpan<byte> content, ContentItem item)
    {
        List<VerdictFinding> findings = [];
        List<VerdictGap> gaps = [];
        bool isSettled = true;
        foreach (string path in item.Paths)
        {
            Verdict verdict = Match(content, Facts(path, item.Owner));
            findings.AddRange(verdict.Findings.Where(f => !findings.Exists(a => IsSameRule(a.Detection, f.Detection))));
            gaps.AddRange(verdict.Gaps);
            isSettled &= verdict.IsSettled;
        }

        return new Verdict(findings, gaps) { IsSettled = isSettled };
    }

    public void Dispose() => Array.ForEach(_matchers, m => m.Dispose());

    public static bool IsSameRule(Detection a, Detection b) => a.Engine == b.Engine && a.Namespace == b.Namespace && a.Rule == b.Rule;

    private Verdict Match(ReadOnlySpan<byte> content, in ContentFacts facts)
    {
        List<Detection> found = [];
        List<VerdictGap> gaps = [];
        foreach (IMatcher matcher in _matchers)
        {
            if (matcher.Match(content, facts, found, cancellation) is { } fault)
            {
                gaps.Add(new VerdictGap(
                    fault.Kind switch { MatchFaultKind.Timeout => Fault.Timeout, MatchFaultKind.Limit => Fault.Limit, MatchFaultKind.Transport => Fault.Transport, _ => Fault.Unsupported },
                    fault.Rule.Length > 0 ? $"{fault.Engine} rule {fault.Rule}" : fault.Engine, 0, content.Length, fault.Detail, []));
            }
        }

        return found.Count == 0 && gaps.Count == 0 ? Verdict.Clean : new Verdict([.. found.Select(f => new VerdictFinding(f))], gaps) { IsSettled = gaps.Count == 0 };
    }

    private static ContentFacts Facts(string path, string owner)
    {
        string name = path[(path.LastIndexOf('/') + 1)..];
        int dot = name.LastIndexOf('.');
        return new ContentFacts(name, path, dot > 0 ? name[dot..] : "", null, owner);
    }
}
