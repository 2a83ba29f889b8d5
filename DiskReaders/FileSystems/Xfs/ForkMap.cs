using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Xfs;

/// <summary>
/// The data fork of an inode as a map. Specification: "XFS Algorithms &amp; Data Structures", "Data Extents": a list of extents, or the root of
/// a B+tree of which the leaf last used is kept. Unwritten extents read as zeros.
/// </summary>
internal sealed class ForkMap : IExtentMap, IDisposable
{
    private const int RootHeaderBytes = 4;
    private const int KeyBytes = 8;
    private const int PairBytes = 16;
    private const int MostLevels = 12;             // XFS_BTREE_MAXLEVELS is 9

    private readonly XfsVolume _volume;
    private readonly byte[] _fork;
    private readonly ulong _inode;
    private readonly int _level;
    private readonly Lock _lock = new();
    private RentedBuffer? _leaf;
    private int _leafRecords;
    private long _leafOffset = -1;
    private long _leafFirst, _leafEnd;

    private ForkMap(XfsVolume volume, byte[] fork, int level, ulong inode, long length)
    {
        _volume = volume;
        _fork = fork;
        _level = level;
        _inode = inode;
        Length = length;
    }

    public long Length { get; }

    private int Shift => _volume.Super.BlockShift;

    /// <param name="volume">Where the blocks are.</param>
    /// <param name="records">Extents, all there are.</param>
    /// <param name="inode">Whose they are.</param>
    /// <param name="length">Bytes of content.</param>
    public static ForkMap OfList(XfsVolume volume, byte[] records, ulong inode, long length) => new(volume, records, 0, inode, length);

    /// <param name="volume">Where the blocks are.</param>
    /// <param name="fork">The whole fork: its length tells where the pointers lie.</param>
    /// <param name="inode">Whose it is.</param>
    /// <param name="length">Bytes of content.</param>
    /// <exception cref="DiskFormatException">The root is damaged.</exception>
    public static ForkMap OfTree(XfsVolume volume, byte[] fork, ulong inode, long length)
    {
        var v = new BeView(fork, "xfs_bmdr_block", volume.InodeOffset(inode));
        int level = v.U16(0);
        v.Require(level is > 0 and < MostLevels, 0, "bb_level");
        v.Require(v.U16(2) > 0 && v.U16(2) <= RootMost(fork), 2, "bb_numrecs");
        return new ForkMap(volume, fork, level, inode, length);
    }

    public Extent Map(long offset, long count)
    {
        long block = offset >> Shift;
        long within = offset & (_volume.Super.BlockBytes - 1);
        (ExtentKind kind, long blocks, long start) = _level == 0
            ? Find(_fork, _fork.Length / BmbtRecord.Size, block, (long.MaxValue >> Shift) + 1)
            : FindDeep(block);
        long length = Math.Min(count, (Math.Min(blocks, long.MaxValue >> Shift) << Shift) - within);
        return kind == ExtentKind.Data ? new Extent(kind, length, start + within) : new Extent(kind, length);
    }

    public void Dispose()
    {
        lock (_lock)
        {
            _leaf?.Dispose();
            _leaf = null;
            _leafOffset = -1;
        }
    }

    private static int RootMost(ReadOnlySpan<byte> fork) => (fork.Length - RootHeaderBytes) / PairBytes;

    private (ExtentKind Kind, long Blocks, long Start) FindDeep(long block)
    {
        lock (_lock)
        {
            if (_leafOffset < 0 || block < _leafFirst || block >= _leafEnd)
            {
                Descend(block);
            }

            return block < _leafFirst
                ? (ExtentKind.Hole, _leafFirst - block, 0)
                : Find(_leaf!.Span[HeaderBytes..], _leafRecords, block, _leafEnd);
        }
    }

    private int HeaderBytes => _volume.Super.IsV5 ? LongBtreeBlock.HeaderV5 : LongBtreeBlock.HeaderV4;

    // From the root to the leaf that covers the block. Each node's level must be one less than its parent's, so no cycle can last.
    private void Descend(long block)
    {
        _leafOffset = -1;
        _leafFirst = 0;
        _leafEnd = (long.MaxValue >> Shift) + 1;
        _leaf ??= _volume.Context.Budget.Rent(_volume.Super.BlockBytes);
        ReadOnlySpan<byte> keys = _fork.AsSpan(RootHeaderBytes);
        int records = BinaryPrimitives.ReadUInt16BigEndian(_fork.AsSpan(2));
        int most = RootMost(_fork);
        long at = _volume.InodeOffset(_inode);
        for (int level = _level; level > 0; level--)
        {
            int index = IndexOf(keys, records, block, KeyBytes);
            _leafFirst = KeyAt(keys, index);
            if (index + 1 < records)
            {
                _leafEnd = Math.Min(_leafEnd, KeyAt(keys, index + 1));
            }

            ulong child = BinaryPrimitives.ReadUInt64BigEndian(keys[((most + index) * KeyBytes)..]);
            at = _volume.ByteOf(child, 1, "xfs_bmbt_block", at);
            records = LongBtreeBlock.Read(_volume, at, _leaf.Span, level - 1, _inode);
            keys = _leaf.Span[HeaderBytes..];
            most = keys.Length / PairBytes;
        }

        if (_leafEnd <= _leafFirst)
        {
            throw new DiskFormatException(Fault.Corrupt, "xfs_bmbt_block", at, "keys are not in order");
        }

        _leafRecords = records;
        _leafOffset = at;
    }

    private static long KeyAt(ReadOnlySpan<byte> keys, int index) => (long)Math.Min(BinaryPrimitives.ReadUInt64BigEndian(keys[(index * KeyBytes)..]), 1UL << 54);

    // The last entry that begins at or before the block; the first when none does.
    private static int IndexOf(ReadOnlySpan<byte> entries, int count, long block, int entryBytes)
    {
        int low = 0, high = count - 1;
        while (low < high)
        {
            int middle = low + ((high - low + 1) / 2);
            ReadOnlySpan<byte> entry = entries[(middle * entryBytes)..];
            long first = entryBytes == KeyBytes ? KeyAt(entry, 0) : new BmbtRecord(entry).FileBlock;
            if (first <= block)
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

    private (ExtentKind Kind, long Blocks, long Start) Find(ReadOnlySpan<byte> records, int count, long block, long end)
    {
        if (count == 0)
        {
            return (ExtentKind.Hole, end - block, 0);
        }

        int index = IndexOf(records, count, block, BmbtRecord.Size);
        var record = new BmbtRecord(records[(index * BmbtRecord.Size)..]);
        if (block < record.FileBlock)
        {
            return (ExtentKind.Hole, record.FileBlock - block, 0);
        }

        long next = index + 1 < count ? new BmbtRecord(records[((index + 1) * BmbtRecord.Size)..]).FileBlock : end;
        if (block >= record.End)
        {
            return next > block ? (ExtentKind.Hole, next - block, 0) : throw Bad(block, "extents are not in order");
        }

        if ((index + 1 < count && next < record.End) || (index > 0 && new BmbtRecord(records[((index - 1) * BmbtRecord.Size)..]).End > record.FileBlock))
        {
            throw Bad(block, "extents overlap");
        }

        return record.Unwritten
            ? (ExtentKind.Zero, record.End - block, 0)
            : (ExtentKind.Data, record.End - block, _volume.ByteOf(record.FsBlock, record.Count, "xfs_bmbt_rec", Place) + ((block - record.FileBlock) << Shift));
    }

    private long Place => _leafOffset >= 0 ? _leafOffset : _volume.InodeOffset(_inode);

    private DiskFormatException Bad(long block, string detail) => new(Fault.Corrupt, "xfs_bmbt_rec", Place, $"file block {block}: {detail}");
}
