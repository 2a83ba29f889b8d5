using System.Buffers.Binary;

namespace Vmsweep.DiskReaders.Blocks.Compression;

/// <summary>
/// One .xz stream in memory. Specification: "The .xz File Format", version 1.2 (section numbers below), and LZMA2 as section 5.3.1 and the
/// LZMA SDK describe it. Filters for executables are undone; CRC32 is verified. The index behind the blocks is not needed.
/// </summary>
internal static class Xz
{
    private const int StreamHeaderBytes = 12;
    private const int MostFilters = 4;
    private const byte CheckCrc32 = 1;
    private const ulong Lzma2Id = 0x21;

    // 2.1.1.2: size of the check by its type.
    private static ReadOnlySpan<byte> CheckBytes => [0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64];

    /// <summary>Unpacks all blocks of the stream.</summary>
    /// <param name="made">Bytes made.</param>
    /// <returns>What is wrong; null when nothing is.</returns>
    public static string? Unpack(LzmaDecoder lzma, ReadOnlySpan<byte> from, Span<byte> to, out int made)
    {
        made = 0;
        if (from.Length < StreamHeaderBytes || !from.StartsWith<byte>([0xFD, (byte)'7', (byte)'z', (byte)'X', (byte)'Z', 0]) || from[6] != 0 || from[7] > 15)
        {
            return "no xz stream header";
        }

        if (Crc32.Of(from.Slice(6, 2)) != BinaryPrimitives.ReadUInt32LittleEndian(from[8..]))
        {
            return "bad CRC32 of the xz stream header";
        }

        byte check = from[7];
        int read = StreamHeaderBytes;
        while (read < from.Length && from[read] != 0)
        {
            if (Block(lzma, from, ref read, to, ref made, check) is { } wrong)
            {
                return wrong;
            }
        }

        return read < from.Length ? null : "the xz stream has no index";
    }

    private static string? Block(LzmaDecoder lzma, ReadOnlySpan<byte> from, ref int read, Span<byte> to, ref int made, byte check)
    {
        // 3.1: the size, then all but the CRC32 at its end.
        int headerBytes = (from[read] + 1) * 4;
        if (headerBytes > from.Length - read)
        {
            return "an xz block header is cut off";
        }

        ReadOnlySpan<byte> header = from.Slice(read, headerBytes - 4);
        if (Crc32.Of(header) != BinaryPrimitives.ReadUInt32LittleEndian(from[(read + headerBytes - 4)..]))
        {
            return "bad CRC32 of an xz block header";
        }

        read += headerBytes;
        byte flags = header[1];
        int at = 2;
        ulong packedBytes = 0, plainBytes = 0;
        if ((flags & 0x3C) != 0
            || ((flags & 0x40) != 0 && !Number(header, ref at, out packedBytes))
            || ((flags & 0x80) != 0 && !Number(header, ref at, out plainBytes)))
        {
            return "a malformed xz block header";
        }

        int filters = (flags & 3) + 1;
        Span<ulong> ids = stackalloc ulong[MostFilters];
        Span<uint> starts = stackalloc uint[MostFilters];
        for (int i = 0; i < filters; i++)
        {
            if (!Number(header, ref at, out ids[i]) || !Number(header, ref at, out ulong size) || size > (ulong)(header.Length - at))
            {
                return "a malformed xz filter";
            }

            bool isLast = i == filters - 1;
            if (isLast ? ids[i] != Lzma2Id || size != 1 : !Bcj.IsKnown(ids[i]) || size is not (0 or 4))
            {
                return $"an unknown xz filter {ids[i]}";
            }

            starts[i] = !isLast && size == 4 ? BinaryPrimitives.ReadUInt32LittleEndian(header[at..]) : 0;
            at += (int)size;
        }

        int start = made, first = read;
        if (Lzma2(lzma, from, ref read, to, ref made) is { } wrong)
        {
            return wrong;
        }

        if (((flags & 0x40) != 0 && packedBytes != (ulong)(read - first)) || ((flags & 0x80) != 0 && plainBytes != (ulong)(made - start)))
        {
            return "an xz block of another size than its header says";
        }

        Span<byte> plain = to[start..made];
        for (int i = filters - 2; i >= 0; i--)
        {
            Bcj.Decode(ids[i], plain, starts[i]);
        }

        read += (4 - ((read - first) & 3)) & 3;
        int checkBytes = CheckBytes[check];
        if (checkBytes > from.Length - read)
        {
            return "an xz block is cut off";
        }

        if (check == CheckCrc32 && Crc32.Of(plain) != BinaryPrimitives.ReadUInt32LittleEndian(from[read..]))
        {
            return "bad CRC32 of an xz block";
        }

        read += checkBytes;
        return null;
    }

    // Chunks: 0 ends, 1 and 2 are stored (1 resets the dictionary), 0x80 and more are LZMA with what is reset in bits 5 and 6.
    private static string? Lzma2(LzmaDecoder lzma, ReadOnlySpan<byte> from, ref int read, Span<byte> to, ref int made)
    {
        const string Malformed = "a malformed LZMA2 chunk";
        int dictionary = made;
        bool needsDictionary = true, needsProperties = true, needsState = true;
        while (true)
        {
            if (read >= from.Length)
            {
                return "LZMA2 data is cut off";
            }

            byte control = from[read++];
            if (control == 0)
            {
                return null;
            }

            if (control is 1 or >= 0xE0)
            {
                dictionary = made;
                needsDictionary = false;
            }
            else if (needsDictionary || control is > 2 and < 0x80)
            {
                return Malformed;
            }

            int headerBytes = control < 0x80 ? 2 : control >= 0xC0 ? 5 : 4;
            if (headerBytes > from.Length - read)
            {
                return Malformed;
            }

            int bytes = BinaryPrimitives.ReadUInt16BigEndian(from[read..]) + 1 + (control >= 0x80 ? (control & 0x1F) << 16 : 0);
            int packed = control < 0x80 ? bytes : BinaryPrimitives.ReadUInt16BigEndian(from[(read + 2)..]) + 1;
            if (headerBytes == 5)
            {
                if (!lzma.SetProperties(from[read + 4]))
                {
                    return Malformed;
                }

                needsProperties = needsState = false;
            }

            read += headerBytes;
            if (packed > from.Length - read || bytes > to.Length - made)
            {
                return bytes > to.Length - made ? "LZMA2 data unpacks to more than fits" : "LZMA2 data is cut off";
            }

            ReadOnlySpan<byte> chunk = from.Slice(read, packed);
            read += packed;
            if (control < 0x80)
            {
                chunk.CopyTo(to[made..]);
                made += bytes;
                needsState = true;
                continue;
            }

            if (control is >= 0xA0 and < 0xC0)
            {
                lzma.Reset();
                needsState = false;
            }

            var coder = new RangeDecoder(chunk);
            int end = made + bytes;
            if (needsProperties || needsState || !lzma.Unpack(ref coder, to, dictionary, ref made, end, isPart: false) || made != end || coder.Consumed != packed)
            {
                return Malformed;
            }
        }
    }

    // 1.2: "Multibyte integers", nine bytes at most.
    private static bool Number(ReadOnlySpan<byte> from, ref int at, out ulong value)
    {
        value = 0;
        for (int i = 0; i < 9 && at < from.Length; i++)
        {
            byte b = from[at++];
            value |= (ulong)(b & 0x7F) << (7 * i);
            if (b < 0x80)
            {
                return b != 0 || i == 0;
            }
        }

        return false;
    }
}
