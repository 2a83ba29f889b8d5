namespace Vmsweep.Appliance.Pipeline;

/// <summary>Two verdicts on one content, such as a remembered one and that of rules which were added since, as one.</summary>
internal static class VerdictMerge
{
    /// <summary>What both say counts once. The result is in the order of reports where that follows from the rules.</summary>
    public static Verdict Of(Verdict first, Verdict second, Lazy<RuleIndex> rules)
    {
        bool hangsOnHashLists = first.HangsOnHashLists || second.HangsOnHashLists;
        if (second is { IsSettled: true, Findings.Count: 0, Gaps.Count: 0 })
        {
            return first.HangsOnHashLists == hangsOnHashLists ? first : first with { HangsOnHashLists = hangsOnHashLists };
        }

        List<VerdictFinding> findings = [.. first.Findings];
        findings.AddRange(second.Findings.Where(f => !first.Findings.Any(a => IsSame(a, f))));
        List<VerdictGap> gaps = [.. first.Gaps];
        gaps.AddRange(second.Gaps.Where(g => !first.Gaps.Any(a => IsSame(a, g))));

        // Inner contents keep the order of their first finding.
        List<string> members = [.. findings.Select(MemberOf).Distinct()];
        return new Verdict([.. findings.OrderBy(f => f.Inner is null ? -1 : members.IndexOf(MemberOf(f))).ThenBy(f => rules.Value.OrdinalOf(f.Detection))], gaps)
        {
            IsSettled = first.IsSettled && second.IsSettled,
            HangsOnHashLists = hangsOnHashLists,
            Ways = first.Ways,
        };
    }

    private static bool IsSame(VerdictFinding a, VerdictFinding b) => ContentMatcher.IsSameRule(a.Detection, b.Detection) && MemberOf(a) == MemberOf(b);

    private static bool IsSame(VerdictGap a, VerdictGap b) => a with { Inside = b.Inside } == b && a.Inside.SequenceEqual(b.Inside);

    private static string MemberOf(VerdictFinding finding) => finding.Inner is null ? "" : string.Join('\0', finding.Inner.Inside.Append(finding.Inner.Sha256));
}
