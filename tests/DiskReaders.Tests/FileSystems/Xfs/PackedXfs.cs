using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Xfs;

/// <summary>
/// The smallest XFS takes 32 MiB, nearly all of them zeros. Packed, an image is a count, the numbers of its blocks that hold something, its
/// length, and those blocks, so that thousands of damaged copies are cheap.
/// </summary>
public static class PackedXfs
{
    public const int BlockBytes = 1024;
    private const int MostLength = 1 << 28;

    public static byte[] Pack(byte[] image)
    {
        int[] stored = [.. Enumerable.Range(0, image.Length / BlockBytes).Where(b => image.AsSpan(b * BlockBytes, BlockBytes).ContainsAnyExcept((byte)0))];
        byte[] packed = new byte[HeaderBytes(stored.Length) + (stored.Length * BlockBytes)];
        BinaryPrimitives.WriteInt32LittleEndian(packed, stored.Length);
        BinaryPrimitives.WriteInt32LittleEndian(packed.AsSpan(4), image.Length);
        for (int i = 0; i < stored.Length; i++)
        {
            BinaryPrimitives.WriteInt32LittleEndian(packed.AsSpan(8 + (i * 4)), stored[i]);
            image.AsSpan(stored[i] * BlockBytes, BlockBytes).CopyTo(packed.AsSpan(HeaderBytes(stored.Length) + (i * BlockBytes)));
        }

        return packed;
    }

    /// <summary>The image; of a damaged one whatever its header still says.</summary>
    public static IBlockSource Open(byte[] packed)
    {
        (int count, int length) = packed.Length >= 8
            ? (BinaryPrimitives.ReadInt32LittleEndian(packed), BinaryPrimitives.ReadInt32LittleEndian(packed.AsSpan(4)))
            : (0, 0);
        count = (int)Math.Clamp((long)count, 0, Math.Max(0, packed.Length - 8) / (BlockBytes + 4));
        var blocks = new (long Number, long Place)[count];
        bool inOrder = true;
        for (int i = 0; i < count; i++)
        {
            blocks[i] = (BinaryPrimitives.ReadUInt32LittleEndian(packed.AsSpan(8 + (i * 4))), HeaderBytes(count) + ((long)i * BlockBytes));
            inOrder &= i == 0 || blocks[i].Number > blocks[i - 1].Number;
        }

        if (!inOrder)
        {
            blocks = [.. blocks.GroupBy(b => b.Number).Select(g => g.Last()).OrderBy(b => b.Number)];
        }

        return new MappedSource(new Map(blocks, Math.Clamp(length, 0, MostLength)), [new MemorySource(packed)]);
    }

    /// <summary>Where a byte of the image lies in the packed form; -1 when it is one of the zeros.</summary>
    public static long PlaceOf(byte[] packed, long offset)
    {
        int count = BinaryPrimitives.ReadInt32LittleEndian(packed);
        for (int i = 0; i < count; i++)
        {
            if (BinaryPrimitives.ReadUInt32LittleEndian(packed.AsSpan(8 + (i * 4))) == offset / BlockBytes)
            {
                return HeaderBytes(count) + ((long)i * BlockBytes) + (offset % BlockBytes);
            }
        }

        return -1;
    }

    /// <summary>The number of the block of the image that begins at a place of the packed form.</summary>
    public static long BlockAt(byte[] packed, int index) => BinaryPrimitives.ReadUInt32LittleEndian(packed.AsSpan(8 + (index * 4)));

    public static int CountOf(byte[] packed) => Math.Max(0, Math.Min(BinaryPrimitives.ReadInt32LittleEndian(packed), (packed.Length - 8) / (BlockBytes + 4)));

    public static int HeaderBytes(int count) => 8 + (count * 4);

    /// <summary>In runs: the log alone is read in windows of two mebibytes.</summary>
    private sealed class Map : IExtentMap
    {
        private readonly List<(long From, long To, long Place)> _runs = [];

        public Map((long Number, long Place)[] blocks, long length)
        {
            Length = length;
            foreach ((long number, long place) in blocks)
            {
                long from = number * BlockBytes;
                if (_runs.Count > 0 && _runs[^1] is var last && last.To == from && last.Place + (last.To - last.From) == place)
                {
                    _runs[^1] = last with { To = from + BlockBytes };
                }
                else
                {
                    _runs.Add((from, from + BlockBytes, place));
                }
            }
        }

        public long Length { get; }

        Extent IExtentMap.Map(long offset, long count)
        {
            int low = 0, high = _runs.Count;
            while (low < high)
            {
                int middle = (low + high) / 2;
                (low, high) = _runs[middle].To <= offset ? (middle + 1, high) : (low, middle);
            }

            if (low == _runs.Count)
            {
                return new Extent(ExtentKind.Hole, count);
            }

            (long from, long to, long place) = _runs[low];
            return offset < from
                ? new Extent(ExtentKind.Hole, Math.Min(count, from - offset))
                : new Extent(ExtentKind.Data, Math.Min(count, to - offset), place + (offset - from));
        }
    }
}
