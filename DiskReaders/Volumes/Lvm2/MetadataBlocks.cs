using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Lvm2;

/// <summary>
/// The blocks of 4 KiB that the kernel's persistent-data library keeps thin pools' and caches' metadata in, each with a checksum and
/// its own number. Linux drivers/md/persistent-data: dm-btree-internal.h <c>struct node_header</c>, dm-array.c <c>struct array_block</c>.
/// Little-endian. Its caller holds <see cref="Lock"/> while it uses an answer.
/// </summary>
internal sealed class MetadataBlocks(IBlockSource metadata, ReadContext context) : IDisposable
{
    public const int BlockBytes = 4096;

    private const int Slots = 256;

    /// <summary>What each kind of block mixes into its checksum.</summary>
    private const uint NodeSalt = 121107;
    private const uint ArraySalt = 595846735;

    // struct node_header: csum 0, flags 4, blocknr 8, nr_entries 16, max_entries 20, value_size 24; 32 bytes.
    private const int NodeHeaderBytes = 32;
    private const uint InternalNode = 1;
    private const uint LeafNode = 2;

    // struct array_block: csum 0, max_entries 4, nr_entries 8, value_size 12, blocknr 16; 24 bytes.
    private const int ArrayHeaderBytes = 24;

    private readonly RentedBuffer _pages = context.Budget.Rent(Slots * BlockBytes);
    private readonly long[] _numbers = [.. Enumerable.Repeat(-1L, Slots)];

    public Lock Lock { get; } = new();

    /// <summary>CRC-32C without its last inversion, mixed with the block's kind; the checksum itself is left out.</summary>
    public static uint Checksum(ReadOnlySpan<byte> block, uint salt) => Crc32C.Update(uint.MaxValue, block[4..]) ^ salt;

    public Node ReadNode(long number)
    {
        LeView block = Read(number, NodeSalt, 8, "dm-btree node");
        uint flags = block.U32(4);
        block.Require(flags is InternalNode or LeafNode, 4, "flags");
        uint count = block.U32(16);
        uint most = block.U32(20);
        uint valueBytes = block.U32(24);
        block.Require(valueBytes is > 0 and <= BlockBytes && most <= (BlockBytes - NodeHeaderBytes) / (8 + valueBytes), 20, "max_entries");
        block.Require(count <= most, 16, "nr_entries");
        block.Require(flags == LeafNode || (valueBytes == 8 && count > 0), 24, "value_size");
        return new Node(block, flags == LeafNode, (int)count, (int)most, (int)valueBytes);
    }

    /// <summary>The entries of an array block.</summary>
    public ReadOnlySpan<byte> ReadArray(long number, int valueBytes)
    {
        LeView block = Read(number, ArraySalt, 16, "dm-array block");
        uint count = block.U32(8);
        block.Require(block.U32(12) == valueBytes, 12, "value_size");
        block.Require(count <= (BlockBytes - ArrayHeaderBytes) / valueBytes, 8, "nr_entries");
        return block.Field(ArrayHeaderBytes, (int)count * valueBytes);
    }

    /// <summary>Looks a key up: its value, or where the next key after it is.</summary>
    /// <param name="root">The tree's root.</param>
    /// <param name="key">The key.</param>
    /// <param name="valueBytes">What the leaves' values must have.</param>
    /// <param name="next">When not found: no key from <paramref name="key"/> to below this is in the tree.</param>
    /// <param name="leaf">The leaf that holds it.</param>
    /// <param name="index">The entry.</param>
    public bool TryFind(long root, ulong key, int valueBytes, out ulong next, out Node leaf, out int index)
    {
        next = ulong.MaxValue;
        long number = root;
        for (int depth = 0; depth < Lvm2Limits.MostTreeDepth; depth++)
        {
            Node node = ReadNode(number);
            index = node.LastUpTo(key);
            next = index + 1 < node.Count ? node.Key(index + 1) : next;
            if (node.IsLeaf)
            {
                leaf = node;
                node.Block.Require(node.ValueBytes == valueBytes, 24, "value_size");
                return index >= 0 && node.Key(index) == key;
            }

            if (index < 0)
            {
                leaf = node;
                return false;
            }

            number = BlockNumber(node.Block, node.ValueAt(index), "child");
        }

        throw new DiskFormatException(Fault.Limit, "dm-btree node", root, $"a tree of more than {Lvm2Limits.MostTreeDepth} levels");
    }

    /// <summary>A field that counts blocks of this metadata.</summary>
    public long BlockNumber(LeView view, int at, string field)
    {
        ulong number = view.U64(at);
        view.Require(number < (ulong)(metadata.Length / BlockBytes), at, field);
        return (long)number;
    }

    public void Dispose() => _pages.Dispose();

    private LeView Read(long number, uint salt, int numberAt, string structure)
    {
        int slot = (int)(number % Slots);
        Span<byte> page = _pages.Span.Slice(slot * BlockBytes, BlockBytes);
        var view = new LeView(page, structure, number * BlockBytes);
        if (_numbers[slot] != number)
        {
            context.ThrowIfCancelled();
            _numbers[slot] = -1;
            metadata.Read(number * BlockBytes, page);
            view.Require(view.U32(0) == Checksum(page, salt), 0, "checksum");
            view.Require(view.U64(numberAt) == (ulong)number, numberAt, "blocknr");
            _numbers[slot] = number;
        }

        return view;
    }

    /// <summary>A node of a tree: keys in order, then as many values.</summary>
    internal readonly ref struct Node(LeView block, bool isLeaf, int count, int most, int valueBytes)
    {
        public LeView Block { get; } = block;

        public bool IsLeaf { get; } = isLeaf;

        public int Count { get; } = count;

        public int ValueBytes { get; } = valueBytes;

        public ulong Key(int index) => BinaryPrimitives.ReadUInt64LittleEndian(Block.Bytes[(NodeHeaderBytes + (8 * index))..]);

        public int ValueAt(int index) => NodeHeaderBytes + (8 * most) + (ValueBytes * index);

        /// <summary>The last entry with a key up to this one; -1 when all are greater.</summary>
        public int LastUpTo(ulong key)
        {
            int low = -1;
            int high = Count - 1;
            while (low < high)
            {
                int middle = (low + high + 1) >> 1;
                if (Key(middle) <= key)
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
    }
}
