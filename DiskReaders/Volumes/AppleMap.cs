using System.Buffers.Binary;
using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes;

/// <summary>
/// Apple's partition map: a driver descriptor in block 0, then an entry a block. Spec: Inside Macintosh: Devices, "The Partition Map".
/// Big-endian. Read only of discs, which have one for Macs beside what all others read.
/// </summary>
internal static class AppleMap
{
    /// <summary>Real ones have a handful.</summary>
    private const int MostEntries = 64;

    private const int EntryBytes = 80;
    private const int NameAt = 16;
    private const int TypeAt = 48;
    private const int TextBytes = 32;

    private static ReadOnlySpan<byte> EntrySignature => "PM"u8;

    /// <summary>What the map counts in; 0 where there is no map.</summary>
    public static int BlockBytes(IBlockSource disk)
    {
        Span<byte> start = stackalloc byte[4];
        if (!disk.TryRead(0, start) || !start.StartsWith("ER"u8))
        {
            return 0;
        }

        int block = BinaryPrimitives.ReadUInt16BigEndian(start[2..]);
        return block is 1024 or 2048 or 4096 && disk.HasAt(block, EntrySignature) ? block : disk.HasAt(512, EntrySignature) ? 512 : 0;
    }

    /// <summary>The partitions, in the map's own numbers; none where there is no map.</summary>
    public static IReadOnlyList<Partition> Read(IBlockSource disk)
    {
        int block = BlockBytes(disk);
        List<Partition> partitions = [];
        Span<byte> entry = stackalloc byte[EntryBytes];
        for (int i = 1; block > 0 && i <= MostEntries && disk.TryRead((long)i * block, entry) && entry.StartsWith(EntrySignature); i++)
        {
            long start = BinaryPrimitives.ReadUInt32BigEndian(entry[8..]);
            long count = BinaryPrimitives.ReadUInt32BigEndian(entry[12..]);
            partitions.Add(new Partition("apm", i, start * block, count * block, Text(entry.Slice(TypeAt, TextBytes)), Text(entry.Slice(NameAt, TextBytes))));
        }

        return partitions;
    }

    private static string Text(ReadOnlySpan<byte> field)
    {
        int end = field.IndexOf((byte)0);
        return Encoding.Latin1.GetString(end < 0 ? field : field[..end]);
    }
}
