using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ext;

/// <summary>
/// A file's extents. Specification: "ext4 Data Structures and Algorithms", "Extent Tree". The root is the inode's <c>i_block</c>; of a deeper
/// tree the leaf last used is kept. Uninitialized extents read as zeros.
/// </summary>
internal sealed class ExtentTreeMap : IExtentMap, IDisposable
{
    public const int HeaderBytes = 12;
    public const int EntryBytes = 12;
    private const ushort Magic = 0xF30A;
    private const int MostDepth = 5;
    private const int MostInitialized = 0x8000;
    private const uint NoBlock = uint.MaxValue;

    private readonly ExtVolume _volume;
    private readonly byte[] _root;
    private readonly uint _nodeSeed;
    private readonly int _depth;
    private readonly int _rootEntries;
    private readonly Lock _lock = new();
    private RentedBuffer? _leaf;
    private long _leafBlock = -1;
    private int _leafEntries;
    private long _leafFirst, _leafEnd;

    /// <param name="volume">Where the blocks are.</param>
    /// <param name="root">The 60 bytes of <c>i_block</c>.</param>
    /// <param name="length">Length of the content in bytes.</param>
    /// <param name="nodeSeed">Where checksums of the inode's blocks begin.</param>
    /// <param name="inodeOffset">Where the inode lies, for messages.</param>
    public ExtentTreeMap(ExtVolume volume, byte[] root, long length, uint nodeSeed, long inodeOffset)
    {
        _volume = volume;
        _root = root;
        _nodeSeed = nodeSeed;
        Length = length;
        (_rootEntries, _depth) = Header(new LeView(root, "ext4_extent_header", inodeOffset + ExtInode.BlockFieldOffset), -1);
    }

    public long Length { get; }

    public Extent Map(long offset, long count)
    {
        int shift = _volume.Super.BlockShift;
        long block = offset >> shift;
        long within = offset & (_volume.Super.BlockBytes - 1);
        if (block >= NoBlock)
        {
            // Extents number blocks in 32 bits: beyond them nothing can be stored.
            return new Extent(ExtentKind.Hole, count);
        }

        (ExtentKind kind, long blocks, long start) = _depth == 0
            ? Find(_root, _rootEntries, block, long.MaxValue >> shift)
            : FindDeep(block);
        long length = Math.Min(count, (Math.Min(blocks, long.MaxValue >> shift) << shift) - within);
        return kind == ExtentKind.Data ? new Extent(kind, length, (start << shift) + within) : new Extent(kind, length);
    }

    public void Dispose()
    {
        lock (_lock)
        {
            _leaf?.Dispose();
            _leaf = null;
            _leafBlock = -1;
        }
    }

    private (ExtentKind Kind, long Blocks, long Start) FindDeep(long block)
    {
        lock (_lock)
        {
            if (_leafBlock < 0 || block < _leafFirst || block >= _leafEnd)
            {
                Descend(block);
            }

            return block < _leafFirst
                ? (ExtentKind.Hole, _leafFirst - block, 0)
                : Find(_leaf!.Span, _leafEntries, block, _leafEnd);
        }
    }

    // Walks from the root to the leaf that covers the block; each node's depth must be one less than its parent's, so no cycle can last.
    private void Descend(long block)
    {
        _leafBlock = -1;
        _leafEnd = NoBlock;
        _leaf ??= _volume.Context.Budget.Rent(_volume.Super.BlockBytes);
        ReadOnlySpan<byte> node = _root;
        int entries = _rootEntries;
        long at = 0;
        for (int depth = _depth; depth > 0; depth--)
        {
            if (entries == 0)
            {
                throw new DiskFormatException(Fault.Corrupt, "ext4_extent_idx", at << _volume.Super.BlockShift, "an index node without entries");
            }

            int index = IndexOf(node, entries, block);
            ReadOnlySpan<byte> entry = node.Slice(HeaderBytes + (index * EntryBytes), EntryBytes);
            _leafFirst = BinaryPrimitives.ReadUInt32LittleEndian(entry);
            if (index + 1 < entries)
            {
                _leafEnd = Math.Min(_leafEnd, BinaryPrimitives.ReadUInt32LittleEndian(node[(HeaderBytes + ((index + 1) * EntryBytes))..]));
            }

            at = BinaryPrimitives.ReadUInt32LittleEndian(entry[4..]) | ((long)BinaryPrimitives.ReadUInt16LittleEndian(entry[8..]) << 32);
            _volume.ReadBlock(at, _leaf.Span, "ext4_extent_idx");
            var v = new LeView(_leaf.Span, "ext4_extent_header", at << _volume.Super.BlockShift);
            (entries, _) = Header(v, depth - 1);
            CheckSum(v);
            node = _leaf.Span;
        }

        if (_leafEnd <= _leafFirst)
        {
            throw new DiskFormatException(Fault.Corrupt, "ext4_extent_idx", at << _volume.Super.BlockShift, "index entries are not in order");
        }

        _leafEntries = entries;
        _leafBlock = at;
    }

    private void CheckSum(LeView v)
    {
        int tail = HeaderBytes + (v.U16(4) * EntryBytes);
        if (_volume.Super.HasMetadataChecksum && tail + 4 <= v.Length && Crc32C.Update(_nodeSeed, v.Bytes[..tail]) != v.U32(tail))
        {
            _volume.Context.Gaps.Add(new CoverageGap(v.Corrupt(tail, "eb_checksum"), "", 0));
        }
    }

    private static (int Entries, int Depth) Header(LeView v, int depth)
    {
        v.Require(v.U16(0) == Magic, 0, "eh_magic");
        int entries = v.U16(2);
        int max = v.U16(4);
        int has = v.U16(6);
        v.Require(max <= (v.Length - HeaderBytes) / EntryBytes, 4, "eh_max");
        v.Require(entries <= max, 2, "eh_entries");
        v.Require(depth < 0 ? has <= MostDepth : has == depth, 6, "eh_depth");
        return (entries, has);
    }

    // The last entry that begins at or before the block; the first when none does.
    private static int IndexOf(ReadOnlySpan<byte> node, int entries, long block)
    {
        int low = 0, high = entries - 1;
        while (low < high)
        {
            int middle = low + ((high - low + 1) / 2);
            if (BinaryPrimitives.ReadUInt32LittleEndian(node[(HeaderBytes + (middle * EntryBytes))..]) <= block)
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

    private (ExtentKind Kind, long Blocks, long Start) Find(ReadOnlySpan<byte> node, int entries, long block, long end)
    {
        if (entries == 0)
        {
            return (ExtentKind.Hole, end - block, 0);
        }

        int index = IndexOf(node, entries, block);
        ReadOnlySpan<byte> entry = node.Slice(HeaderBytes + (index * EntryBytes), EntryBytes);
        long first = BinaryPrimitives.ReadUInt32LittleEndian(entry);
        if (block < first)
        {
            return (ExtentKind.Hole, first - block, 0);
        }

        int stored = BinaryPrimitives.ReadUInt16LittleEndian(entry[4..]);
        int blocks = stored > MostInitialized ? stored - MostInitialized : stored;
        long start = BinaryPrimitives.ReadUInt32LittleEndian(entry[8..]) | ((long)BinaryPrimitives.ReadUInt16LittleEndian(entry[6..]) << 32);
        long next = index + 1 < entries ? BinaryPrimitives.ReadUInt32LittleEndian(node[(HeaderBytes + ((index + 1) * EntryBytes))..]) : end;
        if (block >= first + blocks)
        {
            return next > block ? (ExtentKind.Hole, next - block, 0) : throw Bad(block, "extents are not in order");
        }

        if (next < first + blocks && index + 1 < entries)
        {
            throw Bad(block, "extents overlap");
        }

        if (start < _volume.Super.FirstDataBlock || start > _volume.Super.BlocksCount - blocks)
        {
            throw Bad(block, $"an extent of {blocks} blocks at {start} lies outside the file system");
        }

        return stored > MostInitialized
            ? (ExtentKind.Zero, first + blocks - block, 0)
            : (ExtentKind.Data, first + blocks - block, start + block - first);
    }

    private DiskFormatException Bad(long block, string detail) =>
        new(Fault.Corrupt, "ext4_extent", Math.Max(0, _leafBlock) << _volume.Super.BlockShift, $"file block {block}: {detail}");
}
