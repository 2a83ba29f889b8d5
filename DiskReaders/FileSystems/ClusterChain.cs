using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems;

/// <summary>The runs of clusters that hold a file's content, in file order. A chain that comes back to itself ends there.</summary>
internal sealed class ClusterChain : IExtentMap, IDisposable
{
    private const string Structure = "FAT cluster chain";
    private const int RunSize = 8;

    /// <summary>Up to this many runs lie in an array of their own, the rest are rented.</summary>
    private const int FewRuns = 128;

    /// <summary>128 MiB of runs.</summary>
    private const int MostRuns = 1 << 24;

    private readonly ClusterHeap _heap;
    private readonly long _volumeBytes;
    private readonly int _runs;
    private readonly byte[]? _few;
    private readonly RentedBuffer? _many;
    private readonly long _clusters;
    private readonly string _end;

    /// <param name="fat">The table.</param>
    /// <param name="heap">Where clusters lie.</param>
    /// <param name="volumeBytes">Where the volume's bytes really end.</param>
    /// <param name="first">The first cluster.</param>
    /// <param name="length">The content's length, at least 1.</param>
    /// <param name="context">Memory for the runs of a fragmented file.</param>
    public ClusterChain(IClusterTable fat, in ClusterHeap heap, long volumeBytes, uint first, long length, ReadContext context)
    {
        _heap = heap;
        _volumeBytes = volumeBytes;
        Length = length;
        long wanted = ((length - 1) / heap.ClusterBytes) + 1;
        (_clusters, _runs, _end) = Measure(fat, heap, first, wanted, context);
        if (_runs > MostRuns)
        {
            throw new DiskFormatException(Fault.Limit, Structure, heap.TableOffset, $"more than {MostRuns} runs");
        }

        if (_runs <= FewRuns)
        {
            _few = new byte[_runs * RunSize];
        }
        else
        {
            _many = context.Budget.Rent(_runs * RunSize);
        }

        Collect(fat, first, Runs);
    }

    public long Length { get; }

    /// <summary>The content lies in one piece on the volume.</summary>
    public bool IsContiguous => _runs == 1 && Length <= _clusters * _heap.ClusterBytes && Start(0) <= _volumeBytes - Length;

    /// <summary>Where the first byte lies on the volume.</summary>
    public long FirstByte => Start(0);

    private Span<byte> Runs => _many is not null ? _many.Span : _few;

    public Extent Map(long offset, long count)
    {
        long cluster = offset / _heap.ClusterBytes;
        if (cluster >= _clusters)
        {
            throw new DiskFormatException(
                Fault.Truncated, Structure, _heap.TableOffset, $"{_end} after {_clusters * _heap.ClusterBytes} of {Length} bytes");
        }

        int run = Find(cluster);
        long fromRun = offset - (FileCluster(run) * _heap.ClusterBytes);
        long next = run + 1 < _runs ? FileCluster(run + 1) : _clusters;
        long location = Start(run) + fromRun;
        if (location >= _volumeBytes)
        {
            throw new DiskFormatException(Fault.Truncated, Structure, location, $"the cluster lies beyond the volume's end at {_volumeBytes}");
        }

        long within = Math.Min((next * _heap.ClusterBytes) - offset, _volumeBytes - location);
        return new Extent(ExtentKind.Data, Math.Min(count, within), location);
    }

    public void Dispose() => _many?.Dispose();

    // One pass that counts clusters and runs and, by Brent's method, notices a loop without memory.
    private static (long Clusters, int Runs, string End) Measure(IClusterTable fat, in ClusterHeap heap, uint first, long wanted, ReadContext context)
    {
        if (!heap.IsCluster(first))
        {
            return (0, 0, $"the chain begins at the impossible cluster {first} and ends");
        }

        long clusters = 1;
        int runs = 1;
        uint at = first;
        uint tortoise = first;
        long power = 1;
        long sinceTurn = 0;
        while (clusters < wanted)
        {
            if ((clusters & 0xFFFF) == 0)
            {
                context.ThrowIfCancelled();
            }

            uint next = fat.Next(at);
            if (next is IClusterTable.End or IClusterTable.Broken)
            {
                return (clusters, runs, next == IClusterTable.End ? "the chain ends" : "the chain runs into an entry that is no cluster");
            }

            if (next == tortoise)
            {
                long unique = UniqueBeforeLoop(fat, first, sinceTurn + 1);
                (long looped, int loopedRuns, _) = Measure(fat, heap, first, unique, context);
                return (looped, loopedRuns, "the chain comes back to itself");
            }

            if (++sinceTurn == power)
            {
                tortoise = next;
                power *= 2;
                sinceTurn = 0;
            }

            runs += next == at + 1 ? 0 : 1;
            at = next;
            clusters++;
        }

        return (clusters, runs, "the chain was not followed");
    }

    private static long UniqueBeforeLoop(IClusterTable fat, uint first, long loop)
    {
        uint ahead = first;
        for (long i = 0; i < loop; i++)
        {
            ahead = fat.Next(ahead);
        }

        long before = 0;
        for (uint behind = first; behind != ahead; before++)
        {
            behind = fat.Next(behind);
            ahead = fat.Next(ahead);
        }

        return before + loop;
    }

    private void Collect(IClusterTable fat, uint first, Span<byte> runs)
    {
        uint at = first;
        int run = 0;
        for (long cluster = 0; cluster < _clusters; cluster++)
        {
            uint previous = at;
            at = cluster == 0 ? first : fat.Next(at);
            if (cluster == 0 || at != previous + 1)
            {
                BinaryPrimitives.WriteUInt32LittleEndian(runs[(run * RunSize)..], (uint)cluster);
                BinaryPrimitives.WriteUInt32LittleEndian(runs[((run * RunSize) + 4)..], at);
                run++;
            }
        }
    }

    private int Find(long cluster)
    {
        int low = 0;
        int high = _runs - 1;
        while (low < high)
        {
            int middle = (low + high + 1) / 2;
            if (FileCluster(middle) <= cluster)
            {
                low = middle;
            }
            else
            {
                high = middle - 1;
            }
        }

        return low;
    }

    private long FileCluster(int run) => BinaryPrimitives.ReadUInt32LittleEndian(Runs[(run * RunSize)..]);

    private long Start(int run) => _heap.ClusterOffset(BinaryPrimitives.ReadUInt32LittleEndian(Runs[((run * RunSize) + 4)..]));
}
