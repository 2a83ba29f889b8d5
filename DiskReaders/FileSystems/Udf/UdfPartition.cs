using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Udf;

/// <summary>A partition map: says which block of the volume a block of it is.</summary>
internal abstract class UdfPartition
{
    public const string Structure = "UDF partition";

    /// <summary>The block of the volume, and how many follow it in a row.</summary>
    /// <exception cref="DiskFormatException">There is no such block.</exception>
    public abstract (long Block, long Run) Map(uint block);

    protected static DiskFormatException NoBlock(uint block, long of) => new(Fault.Corrupt, Structure, block, $"block {block} of a partition of {of} blocks");
}

/// <summary>Type 1 (ECMA-167, 3/10.7.2): blocks in a row.</summary>
internal sealed class UdfPlainPartition(uint start, uint blocks) : UdfPartition
{
    public override (long Block, long Run) Map(uint block) =>
        block < blocks ? (start + (long)block, blocks - (long)block) : throw NoBlock(block, blocks);
}

/// <summary>Sparable Partition (UDF 2.60, 2.2.9): packets that went bad are replaced by others.</summary>
internal sealed class UdfSparablePartition(UdfPartition inner, uint packetBlocks, Dictionary<uint, uint> spared) : UdfPartition
{
    public override (long Block, long Run) Map(uint block)
    {
        uint within = block % packetBlocks;
        (long plain, long run) = inner.Map(block);
        run = Math.Min(run, packetBlocks - within);
        return spared.TryGetValue(block - within, out uint packet) ? (packet + (long)within, run) : (plain, run);
    }
}

/// <summary>Virtual Partition (UDF 2.60, 2.2.8): the Virtual Allocation Table says where each block was last written.</summary>
internal sealed class UdfVirtualPartition(UdfPartition inner, uint[] table) : UdfPartition
{
    private const uint Unused = 0xFFFF_FFFF;

    public override (long Block, long Run) Map(uint block) =>
        block < table.Length && table[block] != Unused ? (inner.Map(table[block]).Block, 1) : throw NoBlock(block, table.Length);
}

/// <summary>Metadata Partition (UDF 2.60, 2.2.10): its blocks are the content of a file.</summary>
internal sealed class UdfMetadataPartition(FilePiece[] file, int blockBytes) : UdfPartition
{
    public override (long Block, long Run) Map(uint block)
    {
        long at = block * (long)blockBytes;
        int low = 0;
        int high = file.Length - 1;
        while (low < high)
        {
            int middle = (low + high + 1) / 2;
            (low, high) = file[middle].Start <= at ? (middle, high) : (low, middle - 1);
        }

        FilePiece extent = file.Length > 0 ? file[low] : default;
        long within = at - extent.Start;
        return within < extent.Length && extent.Location != FilePiece.Zeros
            ? ((extent.Location + within) / blockBytes, Math.Max(1, (extent.Length - within) / blockBytes))
            : throw NoBlock(block, file.Length > 0 ? (file[^1].Start + file[^1].Length) / blockBytes : 0);
    }
}

/// <summary>Reads the tables that partition maps of type 2 need.</summary>
internal static class UdfSparing
{
    private const int HeaderBytes = 56;
    private const int MostTableBytes = 1 << 20;

    /// <summary>Replaced packets, from the first sound table; null when there is none.</summary>
    public static Dictionary<uint, uint>? Read(IBlockSource volume, int blockBytes, LeView map)
    {
        int tables = Math.Min((int)map.U8(42), 4);
        uint bytes = map.U32(44);
        map.Require(bytes >= HeaderBytes, 44, "Size of Each Sparing Table");
        if (bytes > MostTableBytes)
        {
            throw map.TooLarge(44, "Size of Each Sparing Table");
        }

        for (int i = 0; i < tables; i++)
        {
            byte[] table = new byte[bytes];
            if (!volume.TryRead(map.U32(48 + (4 * i)) * (long)blockBytes, table)
                || UdfTag.Identify(new LeView(table, "UDF Sparing Table", 0), map.U32(48 + (4 * i))) < 0
                || !table.AsSpan(17).StartsWith("*UDF Sparing Table"u8))
            {
                continue;
            }

            Dictionary<uint, uint> spared = [];
            int count = BinaryPrimitives.ReadUInt16LittleEndian(table.AsSpan(48));
            if (count > (table.Length - HeaderBytes) / 8)
            {
                // A packet whose replacement is not known would be read where it no longer lies.
                continue;
            }

            for (int at = HeaderBytes; at < HeaderBytes + (8 * count); at += 8)
            {
                uint original = BinaryPrimitives.ReadUInt32LittleEndian(table.AsSpan(at));

                // From 0xFFFFFFF0 on: available or defective.
                if (original < 0xFFFF_FFF0)
                {
                    spared[original] = BinaryPrimitives.ReadUInt32LittleEndian(table.AsSpan(at + 4));
                }
            }

            return spared;
        }

        return null;
    }
}
