using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems.Btrfs.Space;

namespace Vmsweep.DiskReaders.FileSystems.Btrfs.Trees;

/// <summary>
/// Reads nodes: the first copy that is sound. Those last used one by one are kept. Safe for many threads.
/// </summary>
internal sealed class NodeReader(BtrfsSuperblock super, LogicalSpace space, ReadContext context) : IDisposable
{
    private const string Structure = "btrfs_header";
    private const int CacheBytes = 2 << 20;

    private readonly Lock _lock = new();
    private readonly Dictionary<long, LinkedListNode<(NodeCheck Check, RentedBuffer Bytes)>> _kept = [];
    private readonly LinkedList<(NodeCheck Check, RentedBuffer Bytes)> _byUse = new();
    private readonly int _most = Math.Max(4, CacheBytes / super.NodeBytes);
    private readonly List<byte[]> _fsids = [super.MetadataUuid];
    private long _mended;
    private bool _disposed;

    public int NodeBytes => super.NodeBytes;

    /// <summary>Nodes of which the first copy was bad and another good.</summary>
    public long Mended => Interlocked.Read(ref _mended);

    /// <summary>Nodes of a seed device keep the id of the file system that wrote them.</summary>
    public void Accept(byte[] fsid)
    {
        if (!_fsids.Any(f => f.AsSpan().SequenceEqual(fsid)))
        {
            _fsids.Add(fsid);
        }
    }

    /// <summary>Reads a node that is likely to be asked for again.</summary>
    /// <exception cref="DiskFormatException">No copy is sound.</exception>
    public void ReadKept(NodeCheck check, Span<byte> node)
    {
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            if (_kept.TryGetValue(check.Logical, out var there) && there.Value.Check == check)
            {
                _byUse.Remove(there);
                _byUse.AddLast(there);
                there.Value.Bytes.Span.CopyTo(node);
                return;
            }
        }

        Read(check, node);
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            if (_kept.Remove(check.Logical, out var old))
            {
                _byUse.Remove(old);
                old.Value.Bytes.Dispose();
            }

            if (_kept.Count >= _most)
            {
                LinkedListNode<(NodeCheck Check, RentedBuffer Bytes)> oldest = _byUse.First!;
                _byUse.RemoveFirst();
                _kept.Remove(oldest.Value.Check.Logical);
                oldest.Value.Bytes.Dispose();
            }

            RentedBuffer bytes = context.Budget.Rent(node.Length);
            node.CopyTo(bytes.Span);
            _kept[check.Logical] = _byUse.AddLast((check, bytes));
        }
    }

    /// <summary>Reads a node.</summary>
    /// <exception cref="DiskFormatException">No copy is sound.</exception>
    public void Read(NodeCheck check, Span<byte> node)
    {
        DiskFormatException? fault = null;
        int attempts = space.Attempts(check.Logical);
        for (int attempt = 0; attempt < attempts; attempt++)
        {
            try
            {
                space.Read(check.Logical, node, attempt);
            }
            catch (DiskFormatException e)
            {
                fault ??= e;
                continue;
            }

            if (Fault(check, node) is not { } wrong)
            {
                if (attempt > 0)
                {
                    Interlocked.Increment(ref _mended);
                }

                return;
            }

            fault ??= new DiskFormatException(Blocks.Fault.Corrupt, Structure, check.Logical, wrong);
        }

        throw fault ?? new DiskFormatException(Blocks.Fault.Corrupt, Structure, check.Logical, "no copy");
    }

    /// <summary>Reads several nodes that follow each other by their first copies, unchecked; false when that fails.</summary>
    public bool TryReadRun(long logical, Span<byte> nodes)
    {
        try
        {
            space.Read(logical, nodes, 0);
            return true;
        }
        catch (DiskFormatException)
        {
            return false;
        }
    }

    /// <summary>What is wrong with a node; null when it is sound.</summary>
    public string? Fault(NodeCheck check, ReadOnlySpan<byte> bytes)
    {
        if (!BtrfsChecksum.IsGood(super.CsumType, bytes[BtrfsChecksum.MostBytes..], bytes))
        {
            return "bad csum";
        }

        var node = new Node(bytes);
        foreach (byte[] fsid in _fsids)
        {
            if (node.Fsid.SequenceEqual(fsid))
            {
                return check.Fault(node);
            }
        }

        return "bad fsid";
    }

    public void Dispose()
    {
        lock (_lock)
        {
            _disposed = true;
            foreach ((_, RentedBuffer bytes) in _byUse)
            {
                bytes.Dispose();
            }

            _byUse.Clear();
            _kept.Clear();
        }
    }
}
