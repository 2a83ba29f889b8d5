using System.Buffers.Binary;
using System.Numerics;
using System.Text;

namespace Vmsweep.Signatures.Tests.Archives;

/// <summary>
/// A gzip file that unpacks to itself. All is cut into units of five bytes, and deflate into two instructions of one unit each: <c>L(n)</c>, a stored
/// block, prints the n units behind it; <c>R</c>, a block of two copies, prints the last four units again. With the head and the tail of three
/// units each,
/// <code>head L4[head L4] R L1[R] L1[L1] L4[R L1 L1 L4] R L4[R L4 R L4] R L4[R tail] R tail</code>
/// prints itself. The tail holds the CRC-32 of all, itself included, twice: CRCs are affine, so that it is the solution of 32 equations.
/// </summary>
internal static class GzipQuine
{
    private static readonly byte[] R = Repeat();

    public static byte[] Make()
    {
        byte[] Build(uint crc)
        {
            byte[] head = [0x1F, 0x8B, 8, 8, 0, 0, 0, 0, 0, 3, .. "self"u8, 0];
            byte[] tail = Tail(crc);
            return
            [
                .. head, .. L(4), .. head, .. L(4), .. R, .. L(1), .. R, .. L(1), .. L(1), .. L(4), .. R, .. L(1), .. L(1), .. L(4), .. R,
                .. L(4), .. R, .. L(4), .. R, .. L(4), .. R, .. L(4), .. R, .. tail, .. R, .. tail,
            ];
        }

        uint zero = Crc(Build(0));

        // crc = zero + A crc, so that (A + 1) crc = zero, each row a bit of it.
        ulong[] rows = new ulong[32];
        for (int bit = 0; bit < 32; bit++)
        {
            uint column = Crc(Build(1u << bit)) ^ zero ^ (1u << bit);
            for (int row = 0; row < 32; row++)
            {
                rows[row] |= (ulong)((column >> row) & 1) << bit;
            }
        }

        for (int row = 0; row < 32; row++)
        {
            rows[row] |= (ulong)((zero >> row) & 1) << 32;
        }

        return Build(Solve(rows));
    }

    private static uint Crc(byte[] bytes)
    {
        uint crc = uint.MaxValue;
        foreach (byte b in bytes)
        {
            crc ^= b;
            for (int bit = 0; bit < 8; bit++)
            {
                crc = (crc >> 1) ^ (0xEDB8_8320 & (0 - (crc & 1)));
            }
        }

        return ~crc;
    }

    private static byte[] L(int units)
    {
        byte[] header = new byte[5];
        BinaryPrimitives.WriteUInt16LittleEndian(header.AsSpan(1), (ushort)(5 * units));
        BinaryPrimitives.WriteUInt16LittleEndian(header.AsSpan(3), (ushort)~(5 * units));
        return header;
    }

    /// <summary>A block of fixed codes in exactly 40 bits: twice ten bytes from twenty bytes ago.</summary>
    private static byte[] Repeat()
    {
        var bits = new StringBuilder("010");
        for (int copy = 0; copy < 2; copy++)
        {
            // Length 10 is symbol 264; distance 20 is symbol 8, from 17, with three more bits, lowest first.
            bits.Append("0001000").Append("01000").Append("110");
        }

        return Bytes(bits.Append("0000000").ToString());
    }

    /// <summary>Two empty blocks to fill seven bytes, an empty last one, CRC-32 and size.</summary>
    private static byte[] Tail(uint crc)
    {
        byte[] tail = [.. Bytes("0100000000" + "0100000000" + "100" + "0"), 0, 0, 0xFF, 0xFF, 0, 0, 0, 0, 170, 0, 0, 0];
        BinaryPrimitives.WriteUInt32LittleEndian(tail.AsSpan(7), crc);
        return tail;
    }

    /// <summary>Bits in the order in which a decoder takes them.</summary>
    private static byte[] Bytes(string bits)
    {
        byte[] bytes = new byte[bits.Length / 8];
        for (int i = 0; i < bits.Length; i++)
        {
            bytes[i / 8] |= (byte)((bits[i] - '0') << (i % 8));
        }

        return bytes;
    }

    /// <summary>Gauss over two elements; bit 32 is the right side.</summary>
    private static uint Solve(ulong[] rows)
    {
        uint solution = 0;
        int rank = 0;
        int[] pivots = new int[32];
        for (int bit = 0; bit < 32; bit++)
        {
            int pivot = Array.FindIndex(rows, rank, r => ((r >> bit) & 1) != 0);
            if (pivot < 0)
            {
                continue;
            }

            (rows[rank], rows[pivot]) = (rows[pivot], rows[rank]);
            for (int row = 0; row < 32; row++)
            {
                rows[row] ^= row != rank && ((rows[row] >> bit) & 1) != 0 ? rows[rank] : 0;
            }

            pivots[rank++] = bit;
        }

        for (int row = 0; row < 32; row++)
        {
            if (row < rank)
            {
                solution |= (uint)((rows[row] >> 32) & 1) << pivots[row];
            }
            else if (BitOperations.PopCount(rows[row]) > 0)
            {
                throw new InvalidOperationException("the equations have no solution");
            }
        }

        return solution;
    }
}
