using System.Buffers.Binary;

namespace Vmsweep.DiskReaders.Blocks.Compression;

/// <summary>
/// LZO1X. Specification: Linux kernel documentation, "LZO stream format as understood by Linux's LZO decompressor". Btrfs and SquashFS write the
/// original stream without version header or run-length instructions.
/// </summary>
internal static class Lzo
{
    /// <summary>Unpacks one stream.</summary>
    /// <returns>Bytes made; -1 when the stream is malformed or makes more than <paramref name="to"/> holds.</returns>
    public static int Unpack(ReadOnlySpan<byte> from, Span<byte> to)
    {
        int read = 0, made = 0, state = 0;
        if (from.IsEmpty)
        {
            return -1;
        }

        // "First byte encoding": 18 to 21 are short literals, more is a long one.
        if (from[0] >= 18)
        {
            int literals = from[read++] - 17;
            if (!Literals(from, ref read, to, ref made, literals))
            {
                return -1;
            }

            state = Math.Min(literals, 4);
        }

        while (read < from.Length)
        {
            int code = from[read++];
            int length, distance, tail;
            if (code >= 64)
            {
                if (read >= from.Length)
                {
                    return -1;
                }

                length = code >= 128 ? 5 + ((code >> 5) & 3) : 3 + ((code >> 5) & 1);
                distance = (from[read++] << 3) + ((code >> 2) & 7) + 1;
                tail = code & 3;
            }
            else if (code >= 16)
            {
                bool isFar = code < 32;
                int most = isFar ? 7 : 31;
                length = code & most;
                if ((length == 0 && (length = Longer(from, ref read, most)) < 0) || from.Length - read < 2)
                {
                    return -1;
                }

                length += 2;
                int word = BinaryPrimitives.ReadUInt16LittleEndian(from[read..]);
                read += 2;
                tail = word & 3;
                distance = isFar ? 16384 + ((code & 8) << 11) + (word >> 2) : (word >> 2) + 1;
                if (isFar && distance == 16384)
                {
                    // The end: an instruction of its own, and the last.
                    return length == 3 && read == from.Length ? made : -1;
                }
            }
            else if (state == 0)
            {
                length = code != 0 ? code : Longer(from, ref read, 15);
                if (length < 0 || !Literals(from, ref read, to, ref made, length + 3))
                {
                    return -1;
                }

                state = 4;
                continue;
            }
            else
            {
                if (read >= from.Length)
                {
                    return -1;
                }

                length = state == 4 ? 3 : 2;
                distance = (from[read++] << 2) + (code >> 2) + (state == 4 ? 2049 : 1);
                tail = code & 3;
            }

            if (distance > made || length > to.Length - made)
            {
                return -1;
            }

            Lz.Repeat(to, made, distance, length);
            made += length;
            if (!Literals(from, ref read, to, ref made, tail))
            {
                return -1;
            }

            state = tail;
        }

        return -1;
    }

    // Zero bytes stand for 255 each, the first other one ends the number.
    private static int Longer(ReadOnlySpan<byte> from, ref int read, int start)
    {
        int zeros = from[read..].IndexOfAnyExcept((byte)0);
        if (zeros < 0 || zeros > 1 << 20)
        {
            return -1;
        }

        int length = start + (255 * zeros) + from[read + zeros];
        read += zeros + 1;
        return length;
    }

    private static bool Literals(ReadOnlySpan<byte> from, ref int read, Span<byte> to, ref int made, int count)
    {
        if (count > from.Length - read || count > to.Length - made)
        {
            return false;
        }

        from.Slice(read, count).CopyTo(to[made..]);
        read += count;
        made += count;
        return true;
    }
}
