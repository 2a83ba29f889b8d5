using System.Globalization;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.GuestMemory;
using Vmsweep.DiskReaders.GuestMemory.Systems;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>
/// Matches guest-physical memory in windows that overlap. A window never reaches from one run into another, which are no neighbours. What is not
/// stored, or is zero as a whole, is not matched. Pages that equal those of files are matched again: to know them, every page of every file would
/// have to be hashed, and rules speak of more than a page.
/// </summary>
internal static class MemoryScan
{
    /// <summary>Names memory among volumes.</summary>
    public const string Id = "memory";

    private const int MostWindowBytes = 8 << 20;
    private const int MostOverlapBytes = 256 << 10;

    /// <summary>Zeros that are not stored split a window from here on.</summary>
    private const int LeastHoleBytes = 64 << 10;

    /// <summary>The memory of a VM in its report, before anything of it is read; null where it has none.</summary>
    /// <param name="isWanted">False when the operator has memory left out: that is no gap of a VM with disks, whose report names the memory, but it is one where nothing else is there.</param>
    public static MemoryReport? Announce(Vm vm, bool isWanted, Action<GapReport> onGap)
    {
        if (vm.Memory is not { } memory)
        {
            return null;
        }

        if (!isWanted && vm.Disks.Count == 0)
        {
            onGap(new CoverageGap(Fault.Refused, memory.Path, "guest memory", -1, new FileInfo(memory.Path) is { Exists: true } file ? file.Length : 0, "left out by --memory-scan no, or by \"memoryScan\": \"no\" of the sweep").ToReport());
        }

        return new MemoryReport { Path = memory.Path, IsScanned = isWanted };
    }

    public static void Run(ScanJob job, GuestMemoryImage memory, MemoryReport report, ReadContext context, EventWriter writer, ProgressReporter progress)
    {
        using Engines engines = Engines.Load(job, null);
        if (engines.ByContent.Count + engines.Volatile.Count == 0)
        {
            context.Gaps.Add(new CoverageGap(Fault.Unsupported, report.Path, "guest memory", -1, memory.SizeBytes, "lists of hashes are of files; no engine that looks at content was asked for"));
            return;
        }

        var coverage = new Coverage(Id);
        foreach (MemoryRun run in memory.Runs)
        {
            coverage.See(run.Length);
        }

        foreach (MemoryArea area in memory.Areas)
        {
            coverage.See(area.Content.Length);
        }

        var hits = new MemoryHits();
        progress.Begin(coverage, memory.SizeBytes);
        try
        {
            using var buffers = new ContentBuffers(job.MemoryBytes);
            int windowBytes = (int)Math.Clamp(buffers.MostContentBytes / 2, 1, MostWindowBytes);
            new ContentPump(buffers, job.Threads, engines.HashNeeds, context.Gaps, long.MaxValue, 0, progress.Step, context.Cancellation)
                .Run(Windows(memory, coverage, windowBytes, context), () => new MemoryConsumer(engines, hits, context, progress, coverage), windowsAreGaps: false);
        }
        finally
        {
            progress.Send();
        }

        if (hits.IsCutShort)
        {
            context.Gaps.Add(new CoverageGap(Fault.Limit, Id, "findings", -1, 0, $"more than {MemoryHits.MostMatches} matches in memory; no more are listed"));
        }

        Tell(hits, memory, report, context, writer);
    }

    private static void Tell(MemoryHits hits, GuestMemoryImage memory, MemoryReport report, ReadContext context, EventWriter writer)
    {
        long[] pages = [.. hits.Pages];
        IReadOnlyDictionary<long, IReadOnlyList<MappedPage>> mapped = new Dictionary<long, IReadOnlyList<MappedPage>>();
        if (pages.Length > 0)
        {
            try
            {
                if (GuestSystem.Find(memory, context) is { } system)
                {
                    writer.Send(new MemoryEvent(report with { System = MemoryWork.Report(system) }));
                    mapped = system.Locate(pages);
                }
            }
            catch (DiskFormatException)
            {
                // Matching has met and reported it. The findings are told without their processes.
            }
        }

        foreach (FindingReport finding in hits.Findings(mapped))
        {
            writer.Find(finding);
        }
    }

    private static IEnumerable<ContentItem> Windows(GuestMemoryImage memory, Coverage coverage, int windowBytes, ReadContext context)
    {
        foreach (MemoryRun run in memory.Runs)
        {
            foreach (MemoryWindow window in Windows(memory.Physical, run.Address, run.End, null, coverage, windowBytes, context))
            {
                yield return window;
            }
        }

        foreach (MemoryArea area in memory.Areas)
        {
            foreach (MemoryWindow window in Windows(area.Content, 0, area.Content.Length, area.Name, coverage, windowBytes, context))
            {
                yield return window;
            }
        }
    }

    private static IEnumerable<MemoryWindow> Windows(IBlockSource source, long start, long end, string? area, Coverage coverage, int windowBytes, ReadContext context)
    {
        int overlap = Math.Min(MostOverlapBytes, windowBytes / 4);
        long counted = start;
        for (long at = start; at < end;)
        {
            context.ThrowIfCancelled();
            long hole = source.HoleLength(at, end - at);
            if (hole > 0)
            {
                at += hole;
                coverage.Read(Math.Max(0, at - counted));
                counted = Math.Max(counted, at);
                continue;
            }

            // A window ends before the first long stretch of zeros: behind it another begins, without an overlap that would hold zeros alone.
            long length = StoredLength(source, at, Math.Min(windowBytes, end - at), out bool meetsHole);
            long fresh = Math.Max(0, at + length - counted);
            counted = Math.Max(counted, at + length);
            yield return new MemoryWindow(new SliceSource(source, at, length), at, area, fresh) { Coverage = MemoryWindow.Uncounted, SizeBytes = length };
            at = meetsHole || at + length == end ? at + length : at + length - overlap;
        }
    }

    private static long StoredLength(IBlockSource source, long start, long most, out bool meetsHole)
    {
        meetsHole = false;
        for (long at = 0; at < most;)
        {
            StoredExtent extent = source.Locate(start + at, most - at);
            if (!extent.IsStored && extent.Length >= LeastHoleBytes)
            {
                meetsHole = true;
                return at;
            }

            at += extent.Length;
        }

        return most;
    }
}

/// <summary>A window of memory.</summary>
/// <param name="start">Physical address, or offset in its area.</param>
/// <param name="area">Where it lies when it has no physical address.</param>
/// <param name="freshBytes">Bytes at its end that no window before had.</param>
internal sealed class MemoryWindow(IBlockSource source, long start, string? area, long freshBytes) : ContentItem
{
    /// <summary>Windows overlap, so the consumer counts.</summary>
    public static readonly Coverage Uncounted = new(MemoryScan.Id);

    public long Start => start;

    public string? Area => area;

    public long FreshBytes => freshBytes;

    public override string Path => PathOf(area, start);

    public override bool HasWhole => false;

    public override IBlockSource Open() => source;

    /// <summary><c>memory/0x7f000</c>, or <c>memory/vga.vram@0x1000</c>.</summary>
    public static string PathOf(string? area, long at) => string.Create(
        CultureInfo.InvariantCulture,
        $"{MemoryScan.Id}/{(area is null ? "" : area.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("/", "\\x2f", StringComparison.Ordinal).Replace("\t", "\\t", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal) + "@")}0x{at:x}");
}
