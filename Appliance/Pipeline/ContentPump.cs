using System.Runtime.ExceptionServices;
using Vmsweep.Appliance.Pipeline.Changes;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>Takes contents one after another; belongs to one thread.</summary>
internal interface IContentConsumer : IDisposable
{
    /// <summary>Takes the content over, and disposes it when it is done with it; it may keep some until <see cref="Flush"/>.</summary>
    void Consume(Content content);

    /// <summary>Nothing more waits at the moment: what was kept is to be done and disposed, for the reader may wait for its memory.</summary>
    void Flush();
}

/// <summary>
/// One reader in the order of the disk, many consumers. Contents are held whole up to the budget; larger ones pass in
/// overlapping windows, with a gap.
/// </summary>
/// <param name="mostBytes">Read in all; what is beyond is a gap.</param>
/// <param name="mostZeros">Not stored and hashed in all; a content beyond has no hash.</param>
/// <param name="onStep">Called as work is done.</param>
internal sealed class ContentPump(
    ContentBuffers buffers, int threads, HashNeeds hashes, IGapSink gaps, long mostBytes, long mostZeros, Action onStep, CancellationToken cancellation)
{
    /// <summary>Windows share this much, so that what lies across a border is seen whole by one of them.</summary>
    private const int OverlapBytes = 1 << 20;

    private const int MostWindowBytes = 64 << 20;

    /// <summary>A consumer that keeps contents to do some at once is not hurried by a reader that pauses for so long.</summary>
    private const int PatienceMilliseconds = 20;

    /// <summary>Hashing what is not stored is needed only for the hash of a finding: some ten seconds of it.</summary>
    public const long MostZerosOfScan = 16L << 30;

    /// <summary>When a content breaks off, what can be read before the fault is found in steps of this size.</summary>
    private const int SalvageBytes = 64 << 10;

    private long _bytes;
    private long _zeros;

    /// <summary>Says which contents need not be read; null when all are.</summary>
    public KnownContents? Known { get; init; }

    /// <param name="items">In reading order.</param>
    /// <param name="createConsumer">Called on each consuming thread.</param>
    /// <param name="windowsAreGaps">Whether a content in windows is reported as not fully matched (not so for memory, which is no file).</param>
    public void Run(IEnumerable<ContentItem> items, Func<IContentConsumer> createConsumer, bool windowsAreGaps)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        using var queue = new ContentQueue(threads);
        ExceptionDispatchInfo? failure = null;
        Thread[] consumers = [.. Enumerable.Range(0, threads).Select(i => new Thread(Consume) { Name = $"match {i + 1}", IsBackground = true })];
        Array.ForEach(consumers, t => t.Start());
        try
        {
            foreach (ContentItem item in items)
            {
                stop.Token.ThrowIfCancellationRequested();
                Load(item, queue, windowsAreGaps, stop.Token);
            }
        }
        catch (OperationCanceledException) when (failure is not null)
        {
            // The consumer's failure below says more.
        }
        finally
        {
            queue.CompleteAdding();
            Array.ForEach(consumers, t => t.Join());
        }

        failure?.Throw();

        void Consume()
        {
            try
            {
                using IContentConsumer consumer = createConsumer();
                while (true)
                {
                    if (!queue.TryTake(out Content? content, PatienceMilliseconds, stop.Token))
                    {
                        consumer.Flush();
                        if (!queue.TryTake(out content, Timeout.Infinite, stop.Token))
                        {
                            return;
                        }
                    }

                    consumer.Consume(content);
                }
            }
            catch (OperationCanceledException)
            {
            }
            catch (Exception e)
            {
                // Whatever it is, it must reach the reader's thread: a consumer that ends silently would leave contents unmatched.
                Interlocked.CompareExchange(ref failure, ExceptionDispatchInfo.Capture(e), null);
                stop.Cancel();
            }
        }
    }

    private void Load(ContentItem item, ContentQueue queue, bool windowsAreGaps, CancellationToken stop)
    {
        if (item.Fault is { } known)
        {
            gaps.Add(new CoverageGap(known, item.Path, item.SizeBytes));
            return;
        }

        try
        {
            using IBlockSource source = item.Open();
            if (Known?.IsKnown(item, source) == true)
            {
                onStep();
                return;
            }

            if (source.Length > buffers.MostContentBytes)
            {
                LoadWindows(item, source, queue, windowsAreGaps, stop);
                return;
            }

            int length = (int)source.Length;
            Spend(length, 0);
            ContentBuffer buffer = buffers.Rent(length, stop);
            try
            {
                source.Read(0, buffer.Span);
            }
            catch (Exception e) when (e is DiskFormatException or IOException)
            {
                // What can be read is matched all the same; the rest is the gap.
                int readable = Salvage(source, buffer.Span);
                ReportCut(item, e, length - readable);
                item.Coverage.Read(readable);
                buffer.Truncate(readable);
                queue.Add(new Content(item, buffer, 0, null) { IsPartial = true }, stop);
                return;
            }
            catch
            {
                buffer.Dispose();
                throw;
            }

            item.Coverage.Read(length);
            queue.Add(new Content(item, buffer, 0, null), stop);
        }
        catch (Exception e) when (e is DiskFormatException or IOException)
        {
            ReportCut(item, e, item.SizeBytes);
        }
    }

    private void LoadWindows(ContentItem item, IBlockSource source, ContentQueue queue, bool windowsAreGaps, CancellationToken stop)
    {
        int windowBytes = (int)Math.Clamp(buffers.MostContentBytes / 4, 1, MostWindowBytes);
        int overlap = Math.Min(OverlapBytes, windowBytes / 4);
        if (windowsAreGaps && item.HasWhole)
        {
            gaps.Add(new CoverageGap(Fault.Limit, item.Path, "content", 0, 0,
                $"{source.Length} bytes are over the memory for one content ({buffers.MostContentBytes}); matched in windows of {windowBytes} that overlap by {overlap}, so that rules on the whole file may miss it, and what is inside of it is not opened"));
        }

        var windows = new WindowedContent(hashes);
        long hashed = 0;
        try
        {
            for (long at = 0; at < source.Length;)
            {
                long hole = source.HoleLength(at, source.Length - at);
                if (hole >= windowBytes)
                {
                    // Holes are never read. What is stored before and after them still overlaps with zeros on both sides.
                    long skipped = hole - overlap;
                    if (!windows.IsBroken && skipped > mostZeros - _zeros)
                    {
                        windows.IsBroken = true;
                        gaps.Add(new CoverageGap(Fault.Limit, item.Path, "sparse content", at, 0, $"{hole} bytes that are not stored are over what is hashed of such ({mostZeros} on one disk): no SHA-256 of it; what is stored is matched"));
                    }

                    if (!windows.IsBroken)
                    {
                        _zeros += skipped;
                        windows.AppendZeros(at + skipped - hashed, onStep, stop);
                    }

                    onStep();
                    hashed = at + skipped;
                    item.Coverage.Read(skipped);
                    at += skipped;
                    continue;
                }

                int length = (int)Math.Min(windowBytes, source.Length - at);
                Spend(length, at);
                ContentBuffer buffer = buffers.Rent(length, stop);
                try
                {
                    source.Read(at, buffer.Span);
                }
                catch
                {
                    buffer.Dispose();
                    throw;
                }

                int fresh = (int)(at + length - hashed);
                if (!windows.IsBroken)
                {
                    windows.Append(buffer.Span[^fresh..]);
                }

                hashed += fresh;
                item.Coverage.Read(fresh);
                windows.Begin();
                queue.Add(new Content(item, buffer, at, windows), stop);
                at = at + length == source.Length ? source.Length : at + length - overlap;
            }
        }
        catch (Exception e) when (e is DiskFormatException or IOException)
        {
            windows.IsBroken = true;
            ReportCut(item, e, source.Length - hashed);
        }

        queue.Add(new Content(item, buffers.Rent(0, stop), hashed, windows) { IsPartial = windows.IsBroken }, stop);
    }

    private void Spend(int bytes, long at)
    {
        if (bytes > mostBytes - _bytes)
        {
            throw new DiskFormatException(Fault.Limit, "content", at, $"the files claim more than the {mostBytes} bytes that are read of an image of this size");
        }

        _bytes += bytes;
        onStep();
    }

    private static int Salvage(IBlockSource source, Span<byte> destination)
    {
        int at = 0;
        try
        {
            while (at < destination.Length)
            {
                int count = Math.Min(SalvageBytes, destination.Length - at);
                source.Read(at, destination.Slice(at, count));
                at += count;
            }
        }
        catch (Exception e) when (e is DiskFormatException or IOException)
        {
            // Reported by the caller from the first failure.
        }

        return at;
    }

    private void ReportCut(ContentItem item, Exception e, long bytes) =>
        gaps.Add(e is DiskFormatException fault
            ? new CoverageGap(fault, item.Path, bytes)
            : new CoverageGap(Fault.Transport, item.Path, "storage", -1, bytes, e.Message));
}
