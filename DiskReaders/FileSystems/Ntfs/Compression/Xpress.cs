using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs.Compression;

/// <summary>
/// XPRESS without Huffman codes, "Plain LZ77". Spec: [MS-XCA] 2.4. Words of 32 flags, highest first: a literal byte, or a match whose 16
/// bits are a distance less 1 (13) and a length less 3 (3); longer lengths go on in half a byte, a byte, two and four.
/// </summary>
internal static class Xpress
{
    private const int MinMatch = 3;

    /// <summary>Unpacks exactly <paramref name="unit"/>.</summary>
    public static void Unpack(ReadOnlySpan<byte> packed, Span<byte> unit, long location)
    {
        uint flags = 0;
        int flagsLeft = 0;
        int from = 0;
        int to = 0;

        // Two lengths share a byte: where the first took the low half.
        int halfByte = 0;
        while (to < unit.Length)
        {
            if (flagsLeft == 0)
            {
                flags = BinaryPrimitives.ReadUInt32LittleEndian(Take(packed, ref from, 4, location));
                flagsLeft = 32;
            }

            flagsLeft--;
            if ((flags >> flagsLeft & 1) == 0)
            {
                unit[to++] = Take(packed, ref from, 1, location)[0];
                continue;
            }

            int match = BinaryPrimitives.ReadUInt16LittleEndian(Take(packed, ref from, 2, location));
            int distance = (match >> 3) + 1;
            long length = match & 7;
            if (length == 7)
            {
                length += ReadLength(packed, ref from, ref halfByte, location);
            }

            length += MinMatch;
            if (distance > to || length > unit.Length - to)
            {
                throw Corrupt(location, $"match of {length} bytes from {distance} before {to}");
            }

            Match.Copy(unit, to, distance, (int)length);
            to += (int)length;
        }
    }

    private static long ReadLength(ReadOnlySpan<byte> packed, ref int from, ref int halfByte, long location)
    {
        int half;
        if (halfByte == 0)
        {
            halfByte = from;
            half = Take(packed, ref from, 1, location)[0] & 15;
        }
        else
        {
            half = packed[halfByte] >> 4;
            halfByte = 0;
        }

        if (half < 15)
        {
            return half;
        }

        long length = Take(packed, ref from, 1, location)[0];
        if (length < 255)
        {
            return length + 15;
        }

        length = BinaryPrimitives.ReadUInt16LittleEndian(Take(packed, ref from, 2, location));
        if (length == 0)
        {
            length = BinaryPrimitives.ReadUInt32LittleEndian(Take(packed, ref from, 4, location));
        }

        // These count all of the length but the 3 of the shortest match.
        return length >= 15 + 7 ? length - 7 : throw Corrupt(location, $"length {length}");
    }

    private static ReadOnlySpan<byte> Take(ReadOnlySpan<byte> packed, ref int from, int count, long location)
    {
        if (count > packed.Length - from)
        {
            throw Corrupt(location, "the packed bytes end before the unit");
        }

        from += count;
        return packed.Slice(from - count, count);
    }

    private static DiskFormatException Corrupt(long location, string detail) => new(Fault.Corrupt, "XPRESS", location, detail);
}
