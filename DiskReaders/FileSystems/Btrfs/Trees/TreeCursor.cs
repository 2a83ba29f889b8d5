using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Btrfs.Trees;

/// <summary>
/// Goes through the leaves of a tree in the order of keys. For one thread. With <paramref name="bulk"/> leaves that follow each other on the
/// disk are read at once.
/// </summary>
internal sealed class TreeCursor(NodeReader reader, TreeRoot root, ReadContext context, bool bulk = false) : IDisposable
{
    private const int WindowBytes = 256 << 10;

    private readonly RentedBuffer?[] _nodes = new RentedBuffer?[root.Level + 1];
    private readonly NodeCheck?[] _held = new NodeCheck?[root.Level + 1];
    private readonly int[] _at = new int[root.Level + 1];
    private readonly BtrfsKey[] _below = new BtrfsKey[root.Level + 1];
    private RentedBuffer? _window;
    private long _windowAt;
    private int _windowBytes;
    private int _leafAt = -1;

    public TreeRoot Root => root;

    /// <summary>Told of nodes that cannot be read, with the keys that may be lost: from the first, below the second. Without it they throw.</summary>
    public Action<BtrfsKey, BtrfsKey, DiskFormatException>? Lost { get; set; }

    /// <summary>The leaf, once <see cref="Seek"/> or <see cref="NextLeaf"/> said there is one.</summary>
    public Node Leaf => _leafAt >= 0 ? new Node(_window!.Span.Slice(_leafAt, reader.NodeBytes)) : new Node(_nodes[0]!.Span);

    /// <summary>All keys of the leaf are smaller, and the next leaf's are not.</summary>
    public BtrfsKey LeafBelow => _below[0];

    /// <summary>
    /// Finds the leaf that holds the last key not greater than <paramref name="key"/>, and its index there; -1 when all keys are greater. False
    /// when the tree is empty or the leaf is lost.
    /// </summary>
    public bool Seek(BtrfsKey key, out int index)
    {
        index = -1;
        if (!Load(root.Level, new NodeCheck(root.Logical, root.Level, root.Generation, null, BtrfsKey.Greatest), 0))
        {
            return false;
        }

        for (int level = root.Level; level > 0; level--)
        {
            Node node = NodeAt(level);
            int at = Math.Max(0, node.Floor(key));
            _at[level] = at;
            if (!Load(level - 1, CheckOf(level, at), at))
            {
                // The rest of the walk goes on behind the lost node.
                return NextFrom(level);
            }
        }

        index = Leaf.Floor(key);
        return Leaf.Count > 0;
    }

    /// <summary>Goes to the next leaf.</summary>
    public bool NextLeaf() => NextFrom(1);

    public void Dispose()
    {
        foreach (RentedBuffer? node in _nodes)
        {
            node?.Dispose();
        }

        Array.Clear(_nodes);
        _window?.Dispose();
        _window = null;
    }

    private Node NodeAt(int level) => level == 0 ? Leaf : new Node(_nodes[level]!.Span);

    private NodeCheck CheckOf(int level, int at)
    {
        Node node = NodeAt(level);
        BtrfsKey below = at + 1 < node.Count ? node.Key(at + 1) : _below[level];
        ulong logical = node.Pointer(at);
        return new NodeCheck(logical <= (ulong)BtrfsSuperblock.MostAddress ? (long)logical : -1, level - 1, node.PointerGeneration(at), node.Key(at), below);
    }

    // From the given level up, the next pointer; from there down the first ones.
    private bool NextFrom(int level)
    {
        while (level <= root.Level)
        {
            context.ThrowIfCancelled();
            if (_at[level] + 1 >= NodeAt(level).Count)
            {
                level++;
                continue;
            }

            int at = ++_at[level];
            if (!Load(level - 1, CheckOf(level, at), at))
            {
                continue;
            }

            level--;
            if (level == 0)
            {
                return true;
            }

            _at[level] = -1;
        }

        return false;
    }

    private bool Load(int level, NodeCheck check, int pointer)
    {
        try
        {
            if (check.Logical < 0)
            {
                throw new DiskFormatException(Fault.Corrupt, "btrfs_key_ptr", -1, "a node beyond any address");
            }

            if (level == 0)
            {
                LoadLeaf(check, pointer);
            }
            else
            {
                LoadKept(level, check);
            }

            _below[level] = check.Below;
            return true;
        }
        catch (DiskFormatException e) when (Lost is not null && e.Structure != "memory")
        {
            Lost(check.First ?? BtrfsKey.Least, check.Below, e);
            return false;
        }
    }

    // Who seeks again finds most of the way as it was.
    private void LoadKept(int level, NodeCheck check)
    {
        if (_held[level] == check)
        {
            return;
        }

        _held[level] = null;
        _nodes[level] ??= context.Budget.Rent(reader.NodeBytes);
        reader.ReadKept(check, _nodes[level]!.Span);
        _held[level] = check;
    }

    private void LoadLeaf(NodeCheck check, int pointer)
    {
        _leafAt = -1;
        if (!bulk || root.Level == 0)
        {
            if (bulk)
            {
                _nodes[0] ??= context.Budget.Rent(reader.NodeBytes);
                reader.Read(check, _nodes[0]!.Span);
            }
            else
            {
                LoadKept(0, check);
            }

            return;
        }

        long within = check.Logical - _windowAt;
        if (within < 0 || within > _windowBytes - reader.NodeBytes)
        {
            within = 0;
            _window ??= context.Budget.Rent(Math.Max(WindowBytes, reader.NodeBytes));
            int count = RunLength(pointer, _window.Length / reader.NodeBytes);
            _windowAt = check.Logical;
            _windowBytes = count * reader.NodeBytes;
            if (!reader.TryReadRun(_windowAt, _window.Span[.._windowBytes]))
            {
                _windowBytes = 0;
            }
        }

        Span<byte> leaf = _window!.Span.Slice((int)within, reader.NodeBytes);
        if (_windowBytes == 0 || reader.Fault(check, leaf) is not null)
        {
            reader.Read(check, leaf);
        }

        _leafAt = (int)within;
    }

    // How many of the parent's next leaves follow this one on the disk, in any small distance: a hole of one node costs less than another read.
    private int RunLength(int pointer, int most)
    {
        Node parent = NodeAt(1);
        ulong first = parent.Pointer(pointer);
        ulong size = (ulong)reader.NodeBytes;
        ulong end = first + size;
        for (int i = pointer + 1; i < parent.Count; i++)
        {
            ulong next = parent.Pointer(i);
            if (next < end || next - end > 2 * size || next - first > (ulong)(most - 1) * size || (next - first) % size != 0)
            {
                break;
            }

            end = next + size;
        }

        return (int)((end - first) / size);
    }
}
