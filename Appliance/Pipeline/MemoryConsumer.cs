using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>Matches windows of memory on one thread.</summary>
internal sealed class MemoryConsumer(Engines engines, MemoryHits hits, ReadContext context, ProgressReporter progress, Coverage coverage) : IContentConsumer
{
    private readonly ContentMatcher _matcher = new(engines with { ByContent = [.. engines.ByContent, .. engines.Volatile] }, context.Cancellation);

    public void Consume(Content content)
    {
        using Content taken = content;
        progress.Step();
        var window = (MemoryWindow)content.Item;
        if (content.Bytes.ContainsAnyExcept((byte)0))
        {
            Verdict verdict = _matcher.Match(content.Bytes, window, isWhole: false);
            foreach (VerdictGap gap in verdict.Gaps)
            {
                context.Gaps.Add(new CoverageGap(gap.Fault, window.Path, gap.Structure, gap.Offset, gap.Bytes, gap.Detail));
            }

            foreach (VerdictFinding finding in verdict.Findings)
            {
                hits.Add(window, finding.Detection);
            }
        }

        coverage.Read(Math.Min(window.FreshBytes, content.Bytes.Length));
    }

    public void Flush()
    {
        // Nothing is kept.
    }

    public void Dispose() => _matcher.Dispose();
}
