using System.Numerics;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Xfs;

/// <summary>Sixty-four inodes in a row, of which some are in use.</summary>
/// <param name="First">The number of the first.</param>
/// <param name="InUse">A bit for each, the lowest for the first.</param>
/// <param name="Guessed">Nothing but a name said that there may be inodes: whether there are, their own bytes tell.</param>
internal readonly record struct InodeChunk(ulong First, ulong InUse, bool Guessed = false)
{
    public const int Inodes = 64;

    public bool Holds(ulong inode) => inode >= First && inode - First < Inodes;
}

/// <summary>
/// All inodes in use, from the inode B+tree of each allocation group. Specification: "XFS Algorithms &amp; Data Structures", "AG Inode
/// Management", "Inode B+trees", "Sparse Inodes".
/// </summary>
internal sealed class InodeChunks
{
    private const int BytesPerKept = 64;           // a chunk, a group or a visited block
    private const int MostLevels = 12;
    private const int HeaderBytes = 344;
    private const int ChecksumField = 312;
    private const uint Magic = 0x5841_4749;        // XAGI
    private const int SparseRun = 4;               // inodes for each bit of ir_holemask

    private readonly XfsVolume _volume;
    private readonly XfsSuperblock _sb;
    private readonly List<InodeChunk> _chunks = [];
    private readonly HashSet<ulong> _guessed = [];
    private readonly HashSet<uint> _damaged = [];
    private readonly long _most;
    private bool _allDamaged;
    private int _known;
    private int _last;

    private InodeChunks(XfsVolume volume)
    {
        _volume = volume;
        _sb = volume.Super;
        _most = volume.Context.Budget.CeilingBytes / BytesPerKept;
    }

    /// <summary>By number, then those that were guessed.</summary>
    public IReadOnlyList<InodeChunk> All => _chunks;

    public static InodeChunks Load(XfsVolume volume)
    {
        var chunks = new InodeChunks(volume);
        chunks.Load();
        return chunks;
    }

    /// <summary>True when an inode is in use, as far as the trees say.</summary>
    public bool IsInUse(ulong inode)
    {
        int low = 0, high = _known - 1;
        int last = _last;
        if (last < _known && _chunks[last].Holds(inode))
        {
            low = high = last;
        }

        while (low < high)
        {
            int middle = low + ((high - low + 1) / 2);
            if (_chunks[middle].First <= inode)
            {
                low = middle;
            }
            else
            {
                high = middle - 1;
            }
        }

        if (low <= high && _chunks[low].Holds(inode))
        {
            _last = low;
            return ((_chunks[low].InUse >> (int)(inode - _chunks[low].First)) & 1) != 0;
        }

        return _guessed.Contains(inode / InodeChunk.Inodes);
    }

    /// <summary>Where a group's tree is damaged, takes the inodes around one that a name leads to for what may be in use.</summary>
    /// <returns>False when the group is sound, so that the name is wrong.</returns>
    public bool Guess(ulong inode)
    {
        uint group = (uint)Math.Min(inode >> _sb.GroupInodesLog, uint.MaxValue);
        if ((!_allDamaged && !_damaged.Contains(group)) || _volume.InodeOffset(inode) < 0 || _chunks.Count >= _most)
        {
            return false;
        }

        ulong window = inode / InodeChunk.Inodes;
        if (_guessed.Add(window))
        {
            ulong first = window * InodeChunk.Inodes;
            ulong inUse = 0;
            for (int i = 0; i < InodeChunk.Inodes; i++)
            {
                inUse |= _volume.InodeOffset(first + (ulong)i) >= 0 && !IsKnown(first + (ulong)i) ? 1UL << i : 0;
            }

            if (inUse != 0)
            {
                _chunks.Add(new InodeChunk(first, inUse, Guessed: true));
            }
        }

        return true;
    }

    private bool IsKnown(ulong inode)
    {
        int at = _chunks.BinarySearch(0, _known, new InodeChunk(inode, 0), Comparer<InodeChunk>.Create((a, b) => a.First.CompareTo(b.First)));
        at = at < 0 ? ~at - 1 : at;
        return at >= 0 && _chunks[at].Holds(inode);
    }

    private void Load()
    {
        uint count = (uint)Math.Min(_sb.GroupCount, _most);
        using RentedBuffer sector = _volume.Context.Budget.Rent(_sb.SectorBytes);
        using RentedBuffer block = _volume.Context.Budget.Rent(_sb.BlockBytes);
        for (uint group = 0; group < count; group++)
        {
            _volume.Context.ThrowIfCancelled();
            if (_volume.ByteOf(group, 0) >= _volume.Source.Length)
            {
                // That the volume is too short is reported already.
                _allDamaged = true;
                break;
            }

            int before = _chunks.Count;
            try
            {
                LoadGroup(group, sector.Span, block.Span);
            }
            catch (DiskFormatException e)
            {
                Damaged(group, e);
            }

            Order(group, before);
            if (_chunks.Count >= _most)
            {
                _volume.Context.Gaps.Add(new CoverageGap(Fault.Limit, "", "xfs_inobt_rec", -1, 0, $"more than {_most} chunks of inodes"));
                break;
            }
        }

        if (count < _sb.GroupCount)
        {
            _allDamaged = true;
            _volume.Context.Gaps.Add(new CoverageGap(Fault.Limit, "", "xfs_agi", -1, 0, $"more than {count} allocation groups"));
        }

        _known = _chunks.Count;
    }

    private void LoadGroup(uint group, Span<byte> sector, Span<byte> block)
    {
        long offset = _volume.ByteOf(group, 0) + (2L * _sb.SectorBytes);
        _volume.Read(offset, sector);
        var v = new BeView(sector[..HeaderBytes], "xfs_agi", offset);
        v.Require(v.U32(0) == Magic, 0, "agi_magicnum");
        v.Require(v.U32(8) == group, 8, "agi_seqno");
        if (_sb.IsV5)
        {
            v.Require(v.Uuid(296) == _sb.MetaUuid, 296, "agi_uuid");
            if (!_volume.IsPatched(offset, sector.Length) && !XfsChecksum.Good(sector, ChecksumField))
            {
                _volume.Context.Gaps.Add(new CoverageGap(v.Corrupt(ChecksumField, "agi_crc"), "", 0));
            }
        }

        uint root = v.U32(20);
        uint levels = v.U32(24);
        v.Require(levels is > 0 and <= MostLevels, 24, "agi_level");
        LoadTree(group, root, (int)levels - 1, block, offset);
    }

    private void LoadTree(uint group, uint root, int level, Span<byte> block, long agi)
    {
        int header = _sb.IsV5 ? ShortBtreeBlock.HeaderV5 : ShortBtreeBlock.HeaderV4;
        int most = (block.Length - header) / (2 * ShortBtreeBlock.KeyBytes);
        var visited = new HashSet<uint>();
        var waiting = new Stack<(uint Block, int Level)>();
        waiting.Push((root, level));
        while (waiting.TryPop(out (uint Block, int Level) node) && _chunks.Count < _most)
        {
            _volume.Context.ThrowIfCancelled();
            try
            {
                if (node.Block == 0 || node.Block >= _sb.BlocksOf(group))
                {
                    throw new DiskFormatException(Fault.Corrupt, "xfs_inobt_block", agi, $"block {node.Block} lies outside group {group}");
                }

                if (!visited.Add(node.Block))
                {
                    throw new DiskFormatException(Fault.Corrupt, "xfs_inobt_block", _volume.ByteOf(group, node.Block), "a block of the tree is reached twice");
                }

                int records = ShortBtreeBlock.Read(_volume, group, node.Block, block, node.Level);
                var v = new BeView(block, "xfs_inobt_block", _volume.ByteOf(group, node.Block));
                for (int i = 0; i < records; i++)
                {
                    if (node.Level == 0)
                    {
                        AddRecord(group, v, header + (i * ShortBtreeBlock.RecordBytes));
                    }
                    else if (waiting.Count < _most)
                    {
                        waiting.Push((v.U32(header + ((most + i) * ShortBtreeBlock.KeyBytes)), node.Level - 1));
                    }
                }
            }
            catch (DiskFormatException e)
            {
                Damaged(group, e);
            }
        }
    }

    private void AddRecord(uint group, BeView v, int at)
    {
        uint start = v.U32(at);
        ulong inUse = ~v.U64(at + 8);
        if (_sb.HasSparseInodes)
        {
            int holes = v.U16(at + 4);
            while (holes != 0)
            {
                int bit = BitOperations.TrailingZeroCount(holes);
                inUse &= ~(((1UL << SparseRun) - 1) << (bit * SparseRun));
                holes &= holes - 1;
            }
        }

        if (inUse == 0)
        {
            return;
        }

        ulong first = ((ulong)group << _sb.GroupInodesLog) | start;
        int last = InodeChunk.Inodes - 1 - BitOperations.LeadingZeroCount(inUse);
        v.Require(start < 1L << _sb.GroupInodesLog && start + (long)last < 1L << _sb.GroupInodesLog && _volume.InodeOffset(first + (ulong)last) >= 0, at, "ir_startino");
        _chunks.Add(new InodeChunk(first, inUse));
    }

    // In order, and none over another: an inode that two records hold would be listed twice, or millions of times.
    private void Order(uint group, int from)
    {
        _chunks.Sort(from, _chunks.Count - from, Comparer<InodeChunk>.Create((a, b) => a.First.CompareTo(b.First)));
        int kept = from;
        for (int i = from; i < _chunks.Count; i++)
        {
            if (kept > from && _chunks[i].First - _chunks[kept - 1].First < InodeChunk.Inodes)
            {
                Damaged(group, new DiskFormatException(Fault.Corrupt, "xfs_inobt_rec", _volume.ByteOf(group, 0), $"two records hold inode {_chunks[i].First}"));
                continue;
            }

            _chunks[kept++] = _chunks[i];
        }

        _chunks.RemoveRange(kept, _chunks.Count - kept);
    }

    private void Damaged(uint group, DiskFormatException e)
    {
        _damaged.Add(group);
        _volume.Context.Gaps.Add(new CoverageGap(e, "", 0) { Detail = $"{e.Detail}; inodes of allocation group {group} that no name leads to are not listed" });
    }
}
