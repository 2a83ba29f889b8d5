using System.Buffers.Binary;

namespace Vmsweep.DiskReaders.Blocks.Compression;

/// <summary>LZ4 blocks. Specification: "LZ4 Block Format Description" (lz4_Block_format.md).</summary>
internal static class Lz4
{
    private const int MinMatch = 4;

    /// <summary>Unpacks one block.</summary>
    /// <param name="from">The packed bytes.</param>
    /// <param name="to">What is unpacked.</param>
    /// <param name="isPart">Stop when <paramref name="to"/> is full, whatever follows.</param>
    /// <returns>Bytes made; -1 when the block is malformed or makes more than fits.</returns>
    public static int Unpack(ReadOnlySpan<byte> from, Span<byte> to, bool isPart = false)
    {
        int read = 0, made = 0;
        while (read < from.Length)
        {
            int token = from[read++];
            int literals = Length(from, ref read, token >> 4);
            if (literals < 0)
            {
                return -1;
            }

            if (literals > to.Length - made)
            {
                if (!isPart || to.Length - made > from.Length - read)
                {
                    return -1;
                }

                literals = to.Length - made;
            }

            if (literals > from.Length - read)
            {
                return -1;
            }

            from.Slice(read, literals).CopyTo(to[made..]);
            read += literals;
            made += literals;
            if (read == from.Length || (isPart && made == to.Length))
            {
                // "The last sequence contains only literals."
                return made;
            }

            if (from.Length - read < 2)
            {
                return -1;
            }

            int distance = BinaryPrimitives.ReadUInt16LittleEndian(from[read..]);
            read += 2;
            int length = Length(from, ref read, token & 15);
            if (length < 0 || distance == 0 || distance > made)
            {
                return -1;
            }

            length += MinMatch;
            if (length > to.Length - made)
            {
                if (!isPart)
                {
                    return -1;
                }

                length = to.Length - made;
            }

            Lz.Repeat(to, made, distance, length);
            made += length;
            if (isPart && made == to.Length)
            {
                return made;
            }
        }

        return -1;
    }

    // 15 is followed by bytes that are added, up to and with the first that is not 255.
    private static int Length(ReadOnlySpan<byte> from, ref int read, int start)
    {
        if (start < 15)
        {
            return start;
        }

        int full = from[read..].IndexOfAnyExcept((byte)255);
        if (full is < 0 or > 1 << 22)
        {
            return -1;
        }

        int length = start + (255 * full) + from[read + full];
        read += full + 1;
        return length;
    }
}
