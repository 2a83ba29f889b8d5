using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs.Compression;

/// <summary>
/// XPRESS with Huffman codes, "LZ77+Huffman". Spec: [MS-XCA] 2.2. 256 bytes of code lengths, four bits each for 512 symbols, then
/// words of bits: literals 0 to 255, matches above. A block ends with the first symbol that reaches 64 KiB; the next has lengths of its own.
/// </summary>
internal sealed class XpressHuffman
{
    private const int Symbols = 512;
    private const int LengthTableBytes = Symbols / 2;
    private const int MinMatch = 3;
    private const int BlockBytes = 64 << 10;

    [ThreadStatic]
    private static XpressHuffman? _ofThread;

    private readonly HuffmanCode _code = new(Symbols, 11);
    private readonly byte[] _lengths = new byte[Symbols];

    /// <summary>Unpacks exactly <paramref name="unit"/>.</summary>
    public static void Unpack(ReadOnlySpan<byte> packed, Span<byte> unit, long location)
    {
        XpressHuffman code = _ofThread ??= new XpressHuffman();
        int from = 0;
        int to = 0;
        do
        {
            (int read, to) = code.UnpackBlock(packed[from..], unit, to, location);
            from = Math.Min(from + read, packed.Length);
        }
        while (to < unit.Length);
    }

    private static DiskFormatException Corrupt(long location, string detail) => new(Fault.Corrupt, "XPRESS Huffman", location, detail);

    /// <returns>Bytes of the block, and where it ends in the unit.</returns>
    private (int Read, int End) UnpackBlock(ReadOnlySpan<byte> packed, Span<byte> unit, int to, long location)
    {
        if (packed.Length < LengthTableBytes)
        {
            throw Corrupt(location, "no room for the code lengths");
        }

        for (int i = 0; i < LengthTableBytes; i++)
        {
            _lengths[2 * i] = (byte)(packed[i] & 15);
            _lengths[(2 * i) + 1] = (byte)(packed[i] >> 4);
        }

        if (!_code.TryBuild(_lengths, mayBeEmpty: false))
        {
            throw Corrupt(location, "the code is not complete");
        }

        var bits = new WordBits(packed[LengthTableBytes..]);
        int end = Math.Min(unit.Length, to + BlockBytes);
        while (to < end)
        {
            bits.Fill();
            int symbol = _code.Read(ref bits);
            if (symbol < 256)
            {
                unit[to++] = (byte)symbol;
                continue;
            }

            long length = ReadLength(ref bits, symbol & 15);
            int distanceBits = (symbol >> 4) & 15;
            bits.Fill();
            int distance = (1 << distanceBits) + (int)bits.Take(distanceBits);
            if (distance > to || length > unit.Length - to)
            {
                throw Corrupt(location, $"match of {length} bytes from {distance} before {to}");
            }

            Match.Copy(unit, to, distance, (int)length);
            to += (int)length;
        }

        if (bits.IsOverrun)
        {
            throw Corrupt(location, "the packed bytes end before the unit");
        }

        return (LengthTableBytes + bits.BytePosition(), to);
    }

    /// <summary>Lengths from 15 on continue in bytes between the words. [MS-XCA] 2.2.4.</summary>
    private static long ReadLength(ref WordBits bits, int length)
    {
        if (length == 15)
        {
            length = bits.TakeByteBetween();
            if (length == 255)
            {
                uint more = bits.TakeByteBetween();
                more |= (uint)bits.TakeByteBetween() << 8;
                if (more == 0)
                {
                    more = bits.TakeByteBetween();
                    more |= (uint)bits.TakeByteBetween() << 8;
                    more |= (uint)bits.TakeByteBetween() << 16;
                    more |= (uint)bits.TakeByteBetween() << 24;
                }

                return (long)more + MinMatch;
            }

            length += 15;
        }

        return length + MinMatch;
    }
}
