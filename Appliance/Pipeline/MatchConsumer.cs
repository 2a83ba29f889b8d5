using System.Collections.Concurrent;
using System.Text.Json;
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
    public ConcurrentDictionary<(long Size, string Sha256), IReadOnlyList<Detection>> Verdicts { get; } = new();

    public IGapSink Gaps => gaps;

    public CancellationToken Cancellation => cancellation;

    public void Report(FindingReport finding) => onFinding(finding);
}

/// <summary>Matches contents against all engines on one thread.</summary>
internal sealed class MatchConsumer(MatchShared shared, ProgressReporter progress) : IContentConsumer
{
    private readonly IMatcher[] _matchers = [.. shared.Engines.ByContent.Select(e => e.CreateMatcher())];

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
        IReadOnlyList<Detection>? found = null;
        if (!mayShare || !shared.Verdicts.TryGetValue((content.Bytes.Length, hashes!.Hex), out found))
        {
            (found, bool isComplete) = Match(content);
            if (mayShare && isComplete)
            {
                shared.Verdicts.TryAdd((content.Bytes.Length, hashes!.Hex), found);
            }
        }

        found = WithKnownHash(found, hashes);
        if (found.Count > 0)
        {
            Report(item, found, content.IsPartial ? "" : (hashes ?? HashNeeds.Sha256Only.Of(content.Bytes)).Hex);
        }

        if (!content.IsPartial)
        {
            item.Coverage.Scanned();
        }
    }

    public void Dispose() => Array.ForEach(_matchers, m => m.Dispose());

    /// <summary>Matches under each name that rules could tell apart.</summary>
    private (IReadOnlyList<Detection> Found, bool Complete) Match(Content content)
    {
        if (!shared.UsesNames)
        {
            List<Detection> found = [];
            return (found, MatchAs(content, default, found, content.Item));
        }

        List<Detection> all = [];
        bool complete = true;
        foreach (string path in content.Item.Paths)
        {
            List<Detection> found = [];
            complete &= MatchAs(content, Facts(path, content.Item.Owner), found, content.Item);
            all.AddRange(found.Where(f => !all.Exists(a => IsSameRule(a, f))));
        }

        return (all, complete);
    }

    private bool MatchAs(Content content, ContentFacts facts, List<Detection> found, ContentItem item)
    {
        bool complete = true;
        foreach (IMatcher matcher in _matchers)
        {
            if (matcher.Match(content.Bytes, facts, found, shared.Cancellation) is { } fault)
            {
                complete = false;
                shared.Gaps.Add(new CoverageGap(
                    fault.Kind switch { MatchFaultKind.Timeout => Fault.Timeout, MatchFaultKind.Limit => Fault.Limit, _ => Fault.Unsupported },
                    item.Path, fault.Rule.Length > 0 ? $"{fault.Engine} rule {fault.Rule}" : fault.Engine, content.Offset, content.Bytes.Length, fault.Detail));
            }
        }

        return complete;
    }

    private void ConsumeWindow(Content content, WindowedContent windows)
    {
        if (!content.Bytes.IsEmpty)
        {
            (IReadOnlyList<Detection> found, _) = Match(content);
            lock (windows.Found)
            {
                foreach (Detection detection in found)
                {
                    Merge(windows.Found, detection with { Matches = [.. detection.Matches.Select(m => m with { Offset = m.Offset + content.Offset })] });
                }
            }
        }

        if (windows.Finish() is { } hashes)
        {
            IReadOnlyList<Detection> found = WithKnownHash(windows.Found, hashes);
            if (found.Count > 0)
            {
                Report(content.Item, found, hashes.Hex);
            }

            if (!windows.IsBroken)
            {
                content.Item.Coverage.Scanned();
            }
        }
    }

    private IReadOnlyList<Detection> WithKnownHash(IReadOnlyList<Detection> found, ContentHashes? hashes) =>
        hashes is not null && shared.Engines.Hashes?.TryMatch(hashes.Sha256, hashes.Sha1, hashes.Md5) is { } known ? [.. found, known] : found;

    private static void Merge(List<Detection> all, Detection detection)
    {
        int at = all.FindIndex(a => IsSameRule(a, detection));
        if (at < 0)
        {
            all.Add(detection);
        }
        else
        {
            all[at] = all[at] with { Matches = [.. all[at].Matches.Union(detection.Matches).OrderBy(m => m.Id, StringComparer.Ordinal).ThenBy(m => m.Offset)] };
        }
    }

    private static bool IsSameRule(Detection a, Detection b) => a.Engine == b.Engine && a.Namespace == b.Namespace && a.Rule == b.Rule;

    private static ContentFacts Facts(string path, string owner)
    {
        string name = path[(path.LastIndexOf('/') + 1)..];
        int dot = name.LastIndexOf('.');
        return new ContentFacts(name, path, dot > 0 ? name[dot..] : "", null, owner);
    }

    private void Report(ContentItem item, IReadOnlyList<Detection> found, string sha256)
    {
        IReadOnlyList<string> paths = item.Paths;
        foreach (Detection detection in found)
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

            shared.Report(new FindingReport
            {
                Path = paths[0],
                AlsoAt = [.. paths.Skip(1)],
                SizeBytes = item.SizeBytes,
                Sha256 = sha256,
                Engine = detection.Engine,
                Rule = detection.Rule,
                Namespace = detection.Namespace,
                Tags = detection.Tags,
                Meta = meta,
                Severity = detection.Severity.ToString().ToLowerInvariant(),
                Matches = [.. detection.Matches.Select(m => new MatchReport(m.Id, m.Offset, m.Length))],
            });
        }
    }
}
