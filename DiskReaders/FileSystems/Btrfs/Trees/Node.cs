using System.Buffers.Binary;

namespace Vmsweep.DiskReaders.FileSystems.Btrfs.Trees;

/// <summary>
/// <c>btrfs_header</c>, 101 bytes, little-endian, and behind it the pointers of an inner node (33 bytes each) or the items of a leaf (25
/// bytes each, their data packed from the end). Only of nodes that <see cref="NodeCheck"/> found sound.
/// </summary>
internal readonly ref struct Node(ReadOnlySpan<byte> bytes)
{
    public const int HeaderBytes = 0x65;
    public const int PointerBytes = 33;
    public const int ItemBytes = 25;

    public ReadOnlySpan<byte> Bytes { get; } = bytes;

    public ReadOnlySpan<byte> Fsid => Bytes.Slice(0x20, BtrfsSuperblock.UuidBytes);

    public ulong Logical => BinaryPrimitives.ReadUInt64LittleEndian(Bytes[0x30..]);

    public ulong Generation => BinaryPrimitives.ReadUInt64LittleEndian(Bytes[0x50..]);

    public uint RawCount => BinaryPrimitives.ReadUInt32LittleEndian(Bytes[0x60..]);

    public int Count => (int)RawCount;

    public int Level => Bytes[0x64];

    public BtrfsKey Key(int index) => BtrfsKey.Read(Bytes[(HeaderBytes + (index * (Level == 0 ? ItemBytes : PointerBytes)))..]);

    public ulong Pointer(int index) => BinaryPrimitives.ReadUInt64LittleEndian(Bytes[(HeaderBytes + (index * PointerBytes) + BtrfsKey.Size)..]);

    public ulong PointerGeneration(int index) => BinaryPrimitives.ReadUInt64LittleEndian(Bytes[(HeaderBytes + (index * PointerBytes) + BtrfsKey.Size + 8)..]);

    /// <summary>Offset of an item's data from the node's first byte.</summary>
    public long RawDataAt(int index) => HeaderBytes + (long)BinaryPrimitives.ReadUInt32LittleEndian(Bytes[(HeaderBytes + (index * ItemBytes) + BtrfsKey.Size)..]);

    public uint RawDataBytes(int index) => BinaryPrimitives.ReadUInt32LittleEndian(Bytes[(HeaderBytes + (index * ItemBytes) + BtrfsKey.Size + 4)..]);

    public int DataAt(int index) => (int)RawDataAt(index);

    public ReadOnlySpan<byte> Data(int index) => Bytes.Slice(DataAt(index), (int)RawDataBytes(index));

    /// <summary>The last entry whose key is not greater than <paramref name="key"/>; -1 when all are.</summary>
    public int Floor(BtrfsKey key)
    {
        int low = 0, high = Count;
        while (low < high)
        {
            int middle = (low + high) / 2;
            if (Key(middle) <= key)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        return low - 1;
    }
}

/// <summary>What a node must be, as its parent says.</summary>
/// <param name="First">The key its first entry must have; null for a root.</param>
/// <param name="Below">All keys are smaller.</param>
internal readonly record struct NodeCheck(long Logical, int Level, ulong Generation, BtrfsKey? First, BtrfsKey Below)
{
    /// <summary>
    /// What is wrong with a node whose checksum is good; null when it is sound. Keys ascend strictly and lie within the parent's: so no node
    /// can appear twice in a tree, and as levels descend no walk can go in a circle.
    /// </summary>
    public string? Fault(Node node)
    {
        if (node.Logical != (ulong)Logical)
        {
            return "bad bytenr";
        }

        if (node.Level != Level)
        {
            return $"level {node.Level} where {Level} is expected";
        }

        if (Generation != 0 && node.Generation != Generation)
        {
            return $"generation {node.Generation} where its parent says {Generation}";
        }

        int entryBytes = Level == 0 ? Node.ItemBytes : Node.PointerBytes;
        if (node.RawCount > (node.Bytes.Length - Node.HeaderBytes) / entryBytes || (node.RawCount == 0 && (Level > 0 || First is not null)))
        {
            return $"nritems {node.RawCount}";
        }

        return Keys(node) ?? (Level == 0 ? Items(node) : null);
    }

    private string? Keys(Node node)
    {
        if (node.Count == 0)
        {
            return null;
        }

        BtrfsKey last = node.Key(0);
        if (First is { } first && last != first)
        {
            return $"its first key is {last}, its parent says {first}";
        }

        for (int i = 1; i < node.Count; i++)
        {
            BtrfsKey key = node.Key(i);
            if (key <= last)
            {
                return $"keys out of order at {i}";
            }

            last = key;
        }

        return last < Below ? null : "keys beyond its range";
    }

    // Items' data follow each other from the end of the node towards the start, without gaps.
    private static string? Items(Node node)
    {
        long end = node.Bytes.Length;
        long least = Node.HeaderBytes + ((long)node.Count * Node.ItemBytes);
        for (int i = 0; i < node.Count; i++)
        {
            long at = node.RawDataAt(i);
            if (at < least || at + node.RawDataBytes(i) != end)
            {
                return $"item {i} lies at {at} with {node.RawDataBytes(i)} bytes";
            }

            end = at;
        }

        return null;
    }
}
