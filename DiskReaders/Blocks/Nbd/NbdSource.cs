namespace Vmsweep.DiskReaders.Blocks.Nbd;

/// <summary>
/// An export of an NBD server. Reads ahead for whoever reads on, keeps several requests in flight over several connections, and never reads what the
/// server says is zeros. Every failure of the server is an <see cref="IOException"/>.
/// </summary>
public sealed class NbdSource : IBlockSource
{
    /// <summary>Held at once: what is read ahead for one reader, and what others look at again.</summary>
    private const long CacheBytes = 16 << 20;

    private const int MostConnections = 4;

    /// <summary>Storage that is busy answers within seconds; a server that is silent for so long is gone.</summary>
    public static readonly TimeSpan DefaultTimeout = TimeSpan.FromSeconds(30);

    private readonly NbdConnections _connections;
    private readonly NbdCache _cache;
    private readonly NbdStates? _allocation;
    private readonly IReadOnlyDictionary<uint, string> _contexts;

    private NbdSource(NbdConnections connections, ScanBudget budget, int fileId)
    {
        _connections = connections;
        _contexts = connections.Agreement.Contexts;
        FileId = fileId;
        Length = connections.Agreement.SizeBytes;
        _cache = new NbdCache(connections, budget, Length, Math.Clamp(budget.CeilingBytes / 4, 1 << 20, CacheBytes));
        _allocation = States(NbdProtocol.BaseAllocation);
    }

    public int FileId { get; }

    public long Length { get; }

    /// <param name="transport">Where the server is.</param>
    /// <param name="export">Which of its exports.</param>
    /// <param name="budget">Memory for what is read ahead.</param>
    /// <param name="fileId">How <see cref="StoredExtent.File"/> names it.</param>
    /// <param name="context">Another metadata context than that of allocation, for <see cref="Ranges"/>.</param>
    /// <param name="timeout">For one answer.</param>
    /// <param name="gate">What each request for bytes passes, those that read ahead too.</param>
    /// <exception cref="IOException">The server cannot be reached, or refuses.</exception>
    public static NbdSource Open(NbdTransport transport, string export, ScanBudget budget, int fileId = 0, string? context = null, TimeSpan? timeout = null, IReadGate? gate = null)
    {
        string[] contexts = context is null ? [NbdProtocol.BaseAllocation] : [NbdProtocol.BaseAllocation, context];
        var connections = new NbdConnections(transport, export, contexts, timeout ?? DefaultTimeout, Math.Clamp(Environment.ProcessorCount, 1, MostConnections))
        {
            Gate = gate is null ? null : (gate, fileId),
        };
        return new NbdSource(connections, budget, fileId);
    }

    public void Read(long offset, Span<byte> destination)
    {
        Bounds.Check(offset, destination.Length, Length, "NBD export");
        _cache.Read(offset, destination);
    }

    public StoredExtent Locate(long offset, long count)
    {
        Bounds.Check(offset, count, Length, "NBD export");
        if (_allocation is not null)
        {
            try
            {
                NbdStates.Run run = _allocation.At(offset);
                long length = Math.Min(count, run.End - offset);
                return run.State is { } state && (state & NbdProtocol.StateZero) != 0 ? new StoredExtent(ExtentKind.Hole, length) : new StoredExtent(ExtentKind.Data, length, FileId, offset);
            }
            catch (IOException)
            {
                // Reading the range meets the fault and reports it.
            }
        }

        return new StoredExtent(ExtentKind.Data, count, FileId, offset);
    }

    /// <summary>The ranges whose state in a context has a flag, in order; what the server does not say counts as having it.</summary>
    /// <param name="context">As it was given to <see cref="Open"/>.</param>
    /// <param name="most">Ranges near each other are joined until there are no more than so many.</param>
    /// <exception cref="IOException">The server failed, or knows no such context.</exception>
    public IReadOnlyList<(long Offset, long Length)> Ranges(string context, uint flag, int most = 1 << 16)
    {
        NbdStates states = States(context) ?? throw new IOException($"the server knows no context {context}");
        List<(long Start, long End)> ranges = [];
        long join = 0;
        for (long at = 0; at < Length;)
        {
            NbdStates.Run run = states.At(at);
            if (((run.State ?? flag) & flag) != 0)
            {
                if (ranges.Count > 0 && run.Start - ranges[^1].End <= join)
                {
                    ranges[^1] = (ranges[^1].Start, run.End);
                }
                else
                {
                    ranges.Add((run.Start, run.End));
                }
            }

            at = run.End;
            while (ranges.Count > most)
            {
                join = Math.Max(64 << 10, join * 2);
                ranges = Joined(ranges, join);
            }
        }

        return [.. ranges.Select(r => (r.Start, r.End - r.Start))];
    }

    public void Dispose()
    {
        // First the connections: their threads write into the cache's buffers.
        _connections.Dispose();
        _cache.Dispose();
    }

    private static List<(long Start, long End)> Joined(List<(long Start, long End)> ranges, long gap)
    {
        List<(long Start, long End)> joined = [];
        foreach ((long start, long end) in ranges)
        {
            if (joined.Count > 0 && start - joined[^1].End <= gap)
            {
                joined[^1] = (joined[^1].Start, end);
            }
            else
            {
                joined.Add((start, end));
            }
        }

        return joined;
    }

    private NbdStates? States(string context) =>
        _contexts.FirstOrDefault(c => c.Value == context) is { Value: not null } known ? new NbdStates(_connections, known.Key, Length) : null;
}
