using System.Security.Cryptography;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.Signatures.Archives;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>Matches one content after another, and what is inside of them, against all engines. Belongs to one thread.</summary>
internal sealed class ContentMatcher(Engines engines, CancellationToken cancellation) : IMemberMatcher, IDisposable
{
    private readonly IMatcher[] _matchers = [.. engines.ByContent.Select(e => e.CreateMatcher())];
    private string _path = "";
    private string _owner = "";

    public bool UsesNames { get; } = engines.ByContent.Any(e => e.UsesNames);

    public bool Opens(string way) => engines.ByContent.Count > 0 && engines.ByContent.All(e => e.Opens(way));

    /// <summary>An engine said that it did not look at all of the content.</summary>
    public static bool IsUnread(Verdict verdict) => verdict.Gaps.Any(g => g.Fault == Fault.Limit);

    /// <summary>Matches without a name: for engines none of which asks for names.</summary>
    /// <param name="content">The whole content.</param>
    /// <param name="sha256">Its hash, where it is known already.</param>
    public Verdict Match(ReadOnlySpan<byte> content, byte[]? sha256 = null) => WithMembers(MatchWindow(content), content, sha256);

    /// <summary>The same of one window of a content, or all of it, without what is inside.</summary>
    public Verdict MatchWindow(ReadOnlySpan<byte> content)
    {
        _path = _owner = "";
        return Match(content, default(ContentFacts));
    }

    /// <summary>Matches under each name that rules could tell apart; a rule that matches under several counts once. Members belong to the first name.</summary>
    public Verdict Match(ReadOnlySpan<byte> content, ContentItem item, bool isWhole = true)
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

        var all = new Verdict(findings, gaps) { IsSettled = isSettled };
        (_path, _owner) = (item.Path, item.Owner);
        return isWhole ? WithMembers(all, content) : all;
    }

    /// <summary>A member's path is its archive's, then its own: rules see what they would if it had been unpacked there.</summary>
    public Verdict MatchMember(ReadOnlySpan<byte> content, IReadOnlyList<string> inside) =>
        Match(content, UsesNames ? Facts($"{_path}/{string.Join('/', inside)}".Replace('\\', '/'), _owner) : default);

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

    /// <summary>Adds what is found inside of the content.</summary>
    /// <param name="known">Its SHA-256, where it is known already.</param>
    public Verdict WithMembers(Verdict verdict, ReadOnlySpan<byte> content, byte[]? known = null)
    {
        if (engines.Archives is not { } archives || !ArchiveContents.Formats.IsArchive(content))
        {
            return verdict;
        }

        if (archives.Limits is not { } limits)
        {
            // Kept, it would be taken for all there is to say, and the next scan would not know what it left out.
            archives.LeaveUnopened();
            return verdict with { IsSettled = false };
        }

        if (archives.IsUsedUp)
        {
            VerdictGap gap = new(Fault.Limit, "archive bytes", 0, content.Length, "what was unpacked before is all that one scan unpacks; this was matched but not opened", []);
            return verdict with { Gaps = [.. verdict.Gaps, gap], IsSettled = false };
        }

        byte[] sha256 = known ?? SHA256.HashData(content);
        bool isUnread = IsUnread(verdict);
        MemberMatching? members = null;
        ArchiveWalk walk = ArchiveWalk.Open(
            content, limits, ArchiveContents.Formats, archives.Memory, w => members = new MemberMatching(archives, w, engines, this, sha256, isUnread), archives.OnStep, cancellation);
        archives.Spend(walk.Bytes);
        return verdict with
        {
            Findings = members!.Findings.Count == 0 ? verdict.Findings : [.. verdict.Findings, .. members.Findings],
            Gaps = members.Gaps.Count == 0 ? verdict.Gaps : [.. verdict.Gaps, .. members.Gaps],
            IsSettled = verdict.IsSettled && members.IsSettled && !walk.IsLate,
            HangsOnHashLists = verdict.HangsOnHashLists || walk.Members > 0,
            Ways = members.Ways,
        };
    }

    private static ContentFacts Facts(string path, string owner)
    {
        string name = path[(path.LastIndexOf('/') + 1)..];
        int dot = name.LastIndexOf('.');
        return new ContentFacts(name, path, dot > 0 ? name[dot..] : "", null, owner);
    }
}
