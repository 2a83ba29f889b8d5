using System.Buffers.Binary;
using System.Numerics;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs.Compression;

/// <summary>
/// LZNT1. Spec: [MS-XCA] 2.5. A row of chunks, each of a 16-bit header (length less 3 in 12 bits, signature 3 in three bits, packed
/// in one bit) and up to 4096 unpacked bytes; a header of zero ends the row.
/// </summary>
internal static class Lznt1
{
    private const int ChunkBytes = 4096;
    private const int Signature = 3;

    /// <summary>Unpacks exactly <paramref name="unit"/>: chunks that unpack to less than it, or that pass their own end, are a fault.</summary>
    /// <param name="packed">The stored clusters; bytes behind the chunks are ignored.</param>
    /// <param name="unit">The unit's bytes that are valid.</param>
    /// <param name="location">For messages.</param>
    public static void Unpack(ReadOnlySpan<byte> packed, Span<byte> unit, long location)
    {
        int from = 0;
        int to = 0;
        while (to < unit.Length)
        {
            if (from > packed.Length - 2)
            {
                throw Corrupt(location, "the chunks end before the unit");
            }

            int header = BinaryPrimitives.ReadUInt16LittleEndian(packed[from..]);
            if (header == 0)
            {
                throw Corrupt(location, "the chunks end before the unit");
            }

            int length = (header & 0xFFF) + 1;
            from += 2;
            if (((header >> 12) & 7) != Signature || length > packed.Length - from)
            {
                throw Corrupt(location, "bad chunk header");
            }

            ReadOnlySpan<byte> data = packed.Slice(from, length);
            from += length;
            Span<byte> chunk = unit.Slice(to, Math.Min(ChunkBytes, unit.Length - to));
            int got;
            if ((header & 0x8000) == 0)
            {
                got = Math.Min(data.Length, chunk.Length);
                data[..got].CopyTo(chunk);
            }
            else
            {
                got = UnpackChunk(data, chunk, location);
            }

            // A chunk in the middle may be short: its rest is zeros, as each chunk stands for 4096 bytes.
            chunk[got..].Clear();
            to += chunk.Length;
        }
    }

    /// <summary>
    /// Flag bytes, each for eight elements: a literal, or a 16-bit tuple whose split between displacement and length moves with the
    /// number of bytes unpacked. [MS-XCA] 2.5.1.4.
    /// </summary>
    private static int UnpackChunk(ReadOnlySpan<byte> data, Span<byte> chunk, long location)
    {
        int from = 0;
        int to = 0;
        while (from < data.Length && to < chunk.Length)
        {
            int flags = data[from++];
            if (flags == 0 && data.Length - from >= 8 && chunk.Length - to >= 8)
            {
                data.Slice(from, 8).CopyTo(chunk[to..]);
                from += 8;
                to += 8;
                continue;
            }

            for (int bit = 0; bit < 8 && from < data.Length && to < chunk.Length; bit++, flags >>= 1)
            {
                if ((flags & 1) == 0)
                {
                    chunk[to++] = data[from++];
                    continue;
                }

                if (from > data.Length - 2)
                {
                    throw Corrupt(location, "half a tuple");
                }

                int tuple = BinaryPrimitives.ReadUInt16LittleEndian(data[from..]);
                from += 2;

                // The displacement has as many bits as the unpacked bytes so far need, at least 4 and at most 12.
                int displacementBits = Math.Max(4, 32 - BitOperations.LeadingZeroCount((uint)Math.Max(to - 1, 0)));
                int lengthBits = 16 - displacementBits;
                int displacement = (tuple >> lengthBits) + 1;
                int length = (tuple & ((1 << lengthBits) - 1)) + 3;
                if (displacement > to)
                {
                    throw Corrupt(location, $"displacement {displacement} at {to}");
                }

                if (length > chunk.Length - to)
                {
                    // The valid bytes may end inside a match: what lies behind them is not asked for. A whole chunk may not.
                    length = chunk.Length < ChunkBytes ? chunk.Length - to : throw Corrupt(location, "match past the chunk's end");
                }

                Match.Copy(chunk, to, displacement, length);
                to += length;
            }
        }

        return to;
    }

    private static DiskFormatException Corrupt(long location, string detail) => new(Fault.Corrupt, "LZNT1", location, detail);
}
