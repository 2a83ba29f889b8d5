using System.Collections.Concurrent;
using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>What the matching threads of one scan share.</summary>
internal sealed class MatchShared(Engines engines, Action<FindingReport> onFinding, IGapSink gaps, CancellationToken cancellation)
{
    public Engines Engines => engines;

    /// <summary>Rules ask for names, so that equal contents under other names may match otherwise.</summary>
    public bool UsesNames { get; } = engines.ByContent.Any(e => e.UsesNames);

    /// <summary>What is known of contents whose size more than one item has, so that each is matched once.</summary>
    public ConcurrentDictionary<(long Size, string Sha256), Verdict> Verdicts { get; } = new();

    public IGapSink Gaps => gaps;

    public CancellationToken Cancellation => cancellation;

    public void Report(FindingReport finding) => onFinding(finding);
}

/// <summary>Matches contents against all engines on one thread.</summary>
internal sealed class MatchConsumer(MatchShared shared, ProgressReporter progress) : IContentConsumer
{
    private readonly ContentMatcher _matcher = new(shared.Engines, shared.Cancellation);

    public void Consume(Content content)
    {
        progress.Step();
        if (content.Windows is { } windows)
        {
            ConsumeWindow(content, windows);
            return;
        }

        ContentItem item = content.Item;
        bool mayShare = item.MayHaveTwin && !shared.UsesNames && !content.IsPartial;
        ContentHashes? hashes = mayShare || (shared.Engines.Hashes is not null && !content.IsPartial) ? shared.Engines.HashNeeds.Of(content.Bytes) : null;
        if (!mayShare || !shared.Verdicts.TryGetValue((content.Bytes.Length, hashes!.Hex), out Verdict? verdict))
        {
            verdict = Match(content);
            if (mayShare && verdict.IsSettled)
            {
                shared.Verdicts.TryAdd((content.Bytes.Length, hashes!.Hex), verdict);
            }
        }

        verdict = WithKnownHash(verdict, hashes);
        AddGaps(item, verdict.Gaps, 0);
        if (verdict.Findings.Count > 0)
        {
            Report(item, verdict.Findings, content.IsPartial ? "" : (hashes ?? HashNeeds.Sha256Only.Of(content.Bytes)).Hex);
        }

        if (!content.IsPartial)
        {
            item.Coverage.Scanned();
        }
    }

    public void Dispose() => _matcher.Dispose();

    private Verdict Match(Content content) => shared.UsesNames ? _matcher.Match(content.Bytes, content.Item, content.Windows is null) : _matcher.Match(content.Bytes, content.Windows is null);

    private void ConsumeWindow(Content content, WindowedContent windows)
    {
        if (!content.Bytes.IsEmpty)
        {
            Verdict verdict = Match(content);
            AddGaps(content.Item, verdict.Gaps, content.Offset);
            lock (windows.Found)
            {
                foreach (Detection detection in verdict.Findings.Select(f => f.Detection))
                {
                    Merge(windows.Found, detection with { Matches = [.. detection.Matches.Select(m => m with { Offset = m.Offset + content.Offset })] });
                }
            }
        }

        if (windows.Finish() is { } hashes)
        {
            Verdict verdict = WithKnownHash(new Verdict([.. windows.Found.Select(f => new VerdictFinding(f))], []), hashes);
            if (verdict.Findings.Count > 0)
            {
                Report(content.Item, verdict.Findings, hashes.Hex);
            }

            if (!windows.IsBroken)
            {
                content.Item.Coverage.Scanned();
            }
        }
    }

    private Verdict WithKnownHash(Verdict verdict, ContentHashes? hashes) =>
        hashes is not null && shared.Engines.Hashes?.TryMatch(hashes.Sha256, hashes.Sha1, hashes.Md5) is { } known
            ? verdict with { Findings = [.. verdict.Findings, new VerdictFinding(known)] }
            : verdict;

    private static void Merge(List<Detection> all, Detection detection)
    {
        int at = all.FindIndex(a => ContentMatcher.IsSameRule(a, detection));
        if (at < 0)
        {
            all.Add(detection);
        }
        else
        {
            all[at] = all[at] with { Matches = [.. all[at].Matches.Union(detection.Matches).OrderBy(m => m.Id, StringComparer.Ordinal).ThenBy(m => m.Offset)] };
        }
    }

    /// <param name="base">Where the matched bytes begin in the content.</param>
    private void AddGaps(ContentItem item, IReadOnlyList<VerdictGap> gaps, long @base)
    {
        foreach (VerdictGap gap in gaps)
        {
            shared.Gaps.Add(new CoverageGap(gap.Fault, item.Path, gap.Structure, gap.Offset < 0 || gap.Inside.Count > 0 ? gap.Offset : gap.Offset + @base, gap.Bytes, gap.Detail) { Inside = gap.Inside });
        }
    }

    private void Report(ContentItem item, IReadOnlyList<VerdictFinding> found, string sha256)
    {
        IReadOnlyList<string> paths = item.Paths;
        foreach (VerdictFinding finding in found)
        {
            shared.Report(FindingReports.Of(finding, paths, item.SizeBytes, sha256));
        }
    }
}
