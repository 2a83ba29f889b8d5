using System.Collections.Concurrent;
using Vmsweep.Appliance.Pipeline.Changes;
using Vmsweep.Appliance.Pipeline.Detections;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>What the matching threads of one scan share.</summary>
internal sealed class MatchShared(Engines engines, Action<FindingReport> onFinding, IGapSink gaps, CancellationToken cancellation)
{
    public Engines Engines => engines;

    /// <summary>Verdicts of earlier scans; null when nothing is remembered.</summary>
    public IVerdictMemory? Memory { get; init; }

    /// <summary>What is known of contents whose size more than one item has, so that each is matched once.</summary>
    public ConcurrentDictionary<(long Size, string Sha256), Verdict> Verdicts { get; } = new();

    /// <summary>The same of engines of which nothing is remembered.</summary>
    public ConcurrentDictionary<(long Size, string Sha256), Verdict> Unkept { get; } = new();

    /// <summary>Remembers what was done without a gap; null when nothing is.</summary>
    public KnownContents? Known { get; init; }

    /// <summary>Remembers where executables are; null when nobody records it.</summary>
    public SeenContents? Seen { get; init; }

    public IGapSink Gaps => gaps;

    public CancellationToken Cancellation => cancellation;

    public void Report(FindingReport finding) => onFinding(finding);
}

/// <summary>
/// Matches contents against all engines on one thread. Where verdicts are remembered, contents are hashed, some dozen of them are asked
/// for at once, and while the answer is on its way the next ones are hashed.
/// </summary>
internal sealed class MatchConsumer(MatchShared shared, ProgressReporter progress) : IContentConsumer
{
    private const int MostAsked = AskEvent.MostKeys;

    /// <summary>Contents that wait for an answer hold memory that the reader may need: large ones wait alone.</summary>
    private const long MostWaitingBytes = 8 << 20;

    private readonly ContentMatcher _matcher = new(shared.Engines, shared.Cancellation);
    private readonly ContentMatcher? _volatile = Beside(shared, shared.Engines.Volatile);
    private readonly ContentMatcher? _unkept = Beside(shared, shared.Engines.Unkept);
    private readonly ContentMatcher?[] _added = [.. shared.Engines.Added.Select(e => Beside(shared, e, knowsMembers: false))];
    private List<Waiting> _open = [];
    private List<Waiting> _asked = [];
    private Func<KnownVerdict[]>? _answer;
    private long _openBytes;

    public void Consume(Content content)
    {
        progress.Step();
        ContentItem item = content.Item;
        bool mayRemember = shared.Memory is not null && content.Windows is null && !content.IsPartial && item.SizeBytes > 0;
        if (!mayRemember)
        {
            using (content)
            {
                ConsumeNow(content);
            }

            return;
        }

        Waiting waiting;
        try
        {
            waiting = new Waiting(content, shared.Engines.HashNeeds.Of(content.Bytes));
        }
        catch
        {
            content.Dispose();
            throw;
        }

        if (shared.Engines.IsKnownGood(waiting.Hashes))
        {
            using (content)
            {
                ConcludeKnownGood(content, waiting.Hashes);
            }

            return;
        }

        if (item.MayHaveTwin && shared.Verdicts.TryGetValue((content.Bytes.Length, waiting.Hashes.Hex), out Verdict? verdict))
        {
            using (content)
            {
                Count(item, verdict);
                Conclude(content, verdict, waiting.Hashes);
            }

            return;
        }

        _open.Add(waiting);
        _openBytes += content.Bytes.Length;
        if (_open.Count >= MostAsked || _openBytes >= MostWaitingBytes)
        {
            Ask();
        }
    }

    public void Flush()
    {
        Ask();
        FinishAsked();
    }

    public void Dispose()
    {
        foreach (Waiting waiting in _open.Concat(_asked))
        {
            waiting.Content.Dispose();
        }

        _matcher.Dispose();
        _volatile?.Dispose();
        _unkept?.Dispose();
        Array.ForEach(_added, m => m?.Dispose());
    }

    /// <summary>Asks for the contents that were collected, and meanwhile finishes those that were asked for before.</summary>
    private void Ask()
    {
        if (_open.Count == 0)
        {
            return;
        }

        Func<KnownVerdict[]> answer = shared.Memory!.Ask([.. _open.Select(w => w.Key)], shared.Cancellation);
        FinishAsked();
        (_asked, _open, _openBytes, _answer) = (_open, [], 0, answer);
    }

    private void FinishAsked()
    {
        if (_answer is null)
        {
            return;
        }

        KnownVerdict[] known = _answer();
        _answer = null;
        for (int i = 0; i < known.Length; i++)
        {
            progress.Step();
            using Content content = _asked[i].Content;
            Conclude(content, Decide(_asked[i], known[i]), _asked[i].Hashes);
        }

        _asked = [];
    }

    private Verdict Decide(Waiting waiting, KnownVerdict known)
    {
        Content content = waiting.Content;
        (long, string) twin = (content.Bytes.Length, waiting.Hashes.Hex);
        if (content.Item.MayHaveTwin && shared.Verdicts.TryGetValue(twin, out Verdict? verdict))
        {
            Count(content.Item, verdict);
            return verdict;
        }

        bool isNew = true;
        verdict = known.Plan >= 0 && known.Plan < _added.Length ? VerdictPayload.Read(known.Payload, shared.Engines.Rules) : null;
        bool isRemembered = verdict is not null;
        if (verdict is null)
        {
            verdict = _matcher.Match(content.Bytes, waiting.Hashes.Sha256);
        }
        else
        {
            isNew = _added[known.Plan] is not null;
            if (_added[known.Plan] is { } added)
            {
                verdict = VerdictMerge.Of(verdict, added.Match(content.Bytes, waiting.Hashes.Sha256), shared.Engines.Rules);
            }
        }

        verdict = isRemembered ? verdict with { IsRemembered = true } : verdict;
        Count(content.Item, verdict);
        if (isNew && VerdictPayload.Write(verdict, shared.Engines.Rules) is { } payload)
        {
            shared.Memory!.Keep(waiting.Key, payload, verdict.HangsOnHashLists);
        }

        if (content.Item.MayHaveTwin && verdict.IsSettled)
        {
            shared.Verdicts.TryAdd(twin, verdict);
        }

        return verdict;
    }

    private static void Count(ContentItem item, Verdict verdict)
    {
        if (verdict.IsRemembered)
        {
            item.Coverage.Cached();
        }
    }

    private void ConsumeNow(Content content)
    {
        if (content.Windows is { } windows)
        {
            ConsumeWindow(content, windows);
            return;
        }

        bool mayShare = content.Item.MayHaveTwin && !content.IsPartial;
        ContentHashes? hashes = mayShare || (shared.Engines.LooksUpHashes && !content.IsPartial) ? shared.Engines.HashNeeds.Of(content.Bytes) : null;
        if (hashes is not null && shared.Engines.IsKnownGood(hashes))
        {
            ConcludeKnownGood(content, hashes);
            return;
        }

        if (!mayShare || !shared.Verdicts.TryGetValue((content.Bytes.Length, hashes!.Hex), out Verdict? verdict))
        {
            verdict = _matcher.Match(content.Bytes, hashes?.Sha256);
            if (mayShare && verdict.IsSettled)
            {
                shared.Verdicts.TryAdd((content.Bytes.Length, hashes!.Hex), verdict);
            }
        }

        Conclude(content, verdict, hashes);
    }

    /// <summary>Nothing but what outranks knowing it: lists of malware, and where it lies.</summary>
    private void ConcludeKnownGood(Content content, ContentHashes hashes)
    {
        content.Item.Coverage.KnownGood();
        Finish(content, WithKnownHash(Verdict.Clean, hashes), hashes);
    }

    /// <summary>Adds what does not follow from the content alone, or is not remembered, and reports.</summary>
    private void Conclude(Content content, Verdict verdict, ContentHashes? hashes) =>
        Finish(content, WithKnownHash(WithUnkept(WithVolatile(verdict, content), content, hashes), hashes), hashes);

    private void Finish(Content content, Verdict verdict, ContentHashes? hashes)
    {
        ContentItem item = content.Item;
        verdict = WithPlace(verdict, content);
        AddGaps(item, verdict.Gaps, 0);
        IReadOnlyList<FindingReport> reported = verdict.Findings.Count == 0 ? [] : Report(item, verdict.Findings, content.IsPartial ? "" : (hashes ?? HashNeeds.Sha256Only.Of(content.Bytes)).Hex);
        if (!content.IsPartial)
        {
            item.Coverage.Scanned();
            bool isExecutable = (shared.Seen is not null || shared.Known is not null) && item.HasWhole && SeenContents.IsExecutable(content.Bytes, item.Path);
            hashes ??= isExecutable || shared.Known is not null ? HashNeeds.Sha256Only.Of(content.Bytes) : null;
            if (isExecutable)
            {
                shared.Seen?.Add(item.Path, item.SizeBytes, hashes!.Sha256);
            }

            if (shared.Known is { } known)
            {
                known.Check(item, hashes!.Sha256);
                if (verdict is { IsSettled: true, Gaps.Count: 0 })
                {
                    known.Keep(item, reported, hashes.Sha256, isExecutable);
                }
            }
        }
    }

    /// <summary>
    /// Matches beside the one whose verdict is kept; null where there is nothing to match with. That one has looked members up in the hash lists
    /// and counted what was not opened.
    /// </summary>
    private static ContentMatcher? Beside(MatchShared shared, IReadOnlyList<IEngine> engines, bool knowsMembers = true) => engines.Count == 0 ? null : new ContentMatcher(
        shared.Engines with { ByContent = engines, Hashes = null, KnowsMembers = knowsMembers, Archives = shared.Engines.Archives is { Limits: not null } archives ? archives : null }, shared.Cancellation);

    private Verdict WithVolatile(Verdict verdict, Content content) =>
        _volatile is null ? verdict : VerdictMerge.Of(verdict, _volatile.Match(content.Bytes, content.Item, content.Windows is null), shared.Engines.Rules);

    private Verdict WithUnkept(Verdict verdict, Content content, ContentHashes? hashes)
    {
        if (_unkept is null)
        {
            return verdict;
        }

        (long, string)? twin = content is { Item.MayHaveTwin: true, IsPartial: false } && hashes is not null ? (content.Bytes.Length, hashes.Hex) : null;
        if (twin is null || !shared.Unkept.TryGetValue(twin.Value, out Verdict? own))
        {
            own = _unkept.MatchWindow(content.Bytes);
            if (content.Windows is null && (ContentMatcher.IsUnread(own) || verdict.Ways?.All(_unkept.Opens) != true))
            {
                // It opens archives itself. It is given the members of those that it does not open, and where it did not look at all of one.
                own = _unkept.WithMembers(own, content.Bytes);
            }

            if (twin is not null && own.IsSettled)
            {
                shared.Unkept.TryAdd(twin.Value, own);
            }
        }

        return VerdictMerge.Of(verdict, own, shared.Engines.Rules);
    }

    private void ConsumeWindow(Content content, WindowedContent windows)
    {
        if (!content.Bytes.IsEmpty)
        {
            Verdict verdict = WithUnkept(WithVolatile(_matcher.MatchWindow(content.Bytes), content), content, null);
            AddGaps(content.Item, verdict.Gaps, content.Offset);
            List<Detection> placed = [];
            PlacedDetections.Add(content.Item, content.Bytes, content.Offset, placed);
            lock (windows.Found)
            {
                windows.HasGaps |= verdict is not { IsSettled: true, Gaps.Count: 0 };
                windows.IsExecutable |= content.Offset == 0 && SeenContents.IsExecutable(content.Bytes, content.Item.Path);
                placed.ForEach(d => Merge(windows.Found, d));
                foreach (Detection detection in verdict.Findings.Select(f => f.Detection))
                {
                    Merge(windows.Found, detection with { Matches = [.. detection.Matches.Select(m => m with { Offset = m.Offset + content.Offset })] });
                }
            }
        }

        if (windows.Finish() is { } hashes)
        {
            Verdict verdict = WithKnownHash(new Verdict([.. windows.Found.Select(f => new VerdictFinding(f))], []), hashes);
            IReadOnlyList<FindingReport> reported = verdict.Findings.Count == 0 ? [] : Report(content.Item, verdict.Findings, hashes.Hex);
            if (!windows.IsBroken)
            {
                content.Item.Coverage.Scanned();
                if (windows.IsExecutable && content.Item.HasWhole)
                {
                    shared.Seen?.Add(content.Item.Path, content.Item.SizeBytes, hashes.Sha256);
                }

                shared.Known?.Check(content.Item, hashes.Sha256);

                // What rules may speak of as a whole was not matched as one: that is a gap.
                if (!windows.HasGaps && !content.Item.HasWhole)
                {
                    shared.Known?.Keep(content.Item, reported, hashes.Sha256, isExecutable: false);
                }
            }
        }
    }

    private Verdict WithKnownHash(Verdict verdict, ContentHashes? hashes) =>
        hashes is not null && shared.Engines.Hashes?.TryMatch(hashes.Sha256, hashes.Sha1, hashes.Md5) is { } known
            ? verdict with { Findings = [.. verdict.Findings, new VerdictFinding(known)] }
            : verdict;

    private static Verdict WithPlace(Verdict verdict, Content content)
    {
        List<Detection> placed = [];
        PlacedDetections.Add(content.Item, content.Bytes, content.Offset, placed);
        return placed.Count == 0 ? verdict : verdict with { Findings = [.. verdict.Findings, .. placed.Select(d => new VerdictFinding(d))] };
    }

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

    private List<FindingReport> Report(ContentItem item, IReadOnlyList<VerdictFinding> found, string sha256)
    {
        IReadOnlyList<string> paths = item.Paths;
        List<FindingReport> reports = [.. found.Select(f => FindingReports.Of(f, paths, item.SizeBytes, sha256))];
        reports.ForEach(shared.Report);
        return reports;
    }

    private readonly record struct Waiting(Content Content, ContentHashes Hashes)
    {
        public ContentKey Key => ContentKey.Of(Hashes.Sha256, Content.Bytes.Length);
    }
}
