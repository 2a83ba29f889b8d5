using System.Runtime.ExceptionServices;
using System.Security.Cryptography;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>
/// SHA-256 of contents. Each thread reads what it hashes, in parts that are still in its processor's cache when they are hashed; together the
/// threads go over the disk in its order.
/// </summary>
/// <param name="mostZeros">Not stored and hashed in all; a content beyond has no hash.</param>
/// <param name="onStep">Called as work is done.</param>
internal sealed class ContentHasher(int threads, IGapSink gaps, long mostZeros, Action onStep, CancellationToken cancellation)
{
    /// <summary>Hashed at once. Half as much costs a twentieth of the time more, twice as much gains nothing.</summary>
    public const int PartBytes = 512 << 10;

    private static readonly byte[] Zeros = new byte[PartBytes];

    private readonly Lock _lock = new();
    private long _zeros;

    /// <summary>Hashes what can be read whole; what cannot is a gap.</summary>
    /// <param name="items">In reading order.</param>
    /// <param name="onHash">Called on several threads at once.</param>
    public void Run(IReadOnlyList<ContentItem> items, Action<ContentItem, byte[]> onHash)
    {
        int next = -1;
        try
        {
            Parallel.For(0, threads, new ParallelOptions { MaxDegreeOfParallelism = threads, CancellationToken = cancellation }, _ => HashAll());
        }
        catch (AggregateException e)
        {
            ExceptionDispatchInfo.Throw(e.InnerExceptions[0]);
        }

        void HashAll()
        {
            using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
            byte[] part = new byte[PartBytes];
            for (int i; (i = Interlocked.Increment(ref next)) < items.Count;)
            {
                cancellation.ThrowIfCancellationRequested();
                onStep();
                bool isWhole = Hash(items[i], hash, part);
                // Also where it broke off: what was appended until then is no part of the next.
                byte[] value = hash.GetHashAndReset();
                if (isWhole)
                {
                    onHash(items[i], value);
                }
            }
        }
    }

    private bool Hash(ContentItem item, IncrementalHash hash, byte[] part)
    {
        if (item.Fault is { } known)
        {
            gaps.Add(new CoverageGap(known, item.Path, item.SizeBytes));
            return false;
        }

        long at = 0;
        try
        {
            using IBlockSource source = Open(item);
            while (at < source.Length)
            {
                long hole = source.HoleLength(at, source.Length - at);
                if (hole > 0)
                {
                    if (!AppendZeros(item, at, hole, hash))
                    {
                        return false;
                    }

                    at += hole;
                    continue;
                }

                int length = (int)Math.Min(PartBytes, source.Length - at);
                source.Read(at, part.AsSpan(0, length));
                hash.AppendData(part, 0, length);
                item.Coverage.Read(length);
                at += length;
                onStep();
            }

            return true;
        }
        catch (DiskFormatException e)
        {
            gaps.Add(new CoverageGap(e, item.Path, item.SizeBytes - at));
        }
        catch (IOException e)
        {
            gaps.Add(new CoverageGap(Fault.Transport, item.Path, "storage", -1, item.SizeBytes - at, e.Message));
        }

        return false;
    }

    // File systems are asked one question at a time, as they are wherever they are walked; reading what was opened is safe for many threads.
    private IBlockSource Open(ContentItem item)
    {
        lock (_lock)
        {
            return item.Open();
        }
    }

    /// <summary>Not by adding first and taking back: a sum of two claims may be beyond all numbers, and a claim that is refused must not cost another.</summary>
    private bool TakeZeros(long count)
    {
        lock (_lock)
        {
            if (count > mostZeros - _zeros)
            {
                return false;
            }

            _zeros += count;
            return true;
        }
    }

    private bool AppendZeros(ContentItem item, long at, long count, IncrementalHash hash)
    {
        if (!TakeZeros(count))
        {
            gaps.Add(new CoverageGap(Fault.Limit, item.Path, "sparse content", at, 0, $"{count} bytes that are not stored are over what is hashed of such ({mostZeros} on one disk): no SHA-256 of it"));
            return false;
        }

        item.Coverage.Read(count);
        for (; count > 0; count -= Zeros.Length)
        {
            cancellation.ThrowIfCancellationRequested();
            onStep();
            hash.AppendData(Zeros, 0, (int)Math.Min(count, Zeros.Length));
        }

        return true;
    }
}
