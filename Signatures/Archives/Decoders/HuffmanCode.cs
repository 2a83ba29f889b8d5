namespace Vmsweep.Signatures.Archives.Decoders;

/// <summary>A canonical Huffman code whose bits come lowest first, as in DEFLATE (RFC 1951, section 3.2.2).</summary>
internal sealed class HuffmanCode(int mostSymbols)
{
    public const int MostBits = 15;
    private const int FastBits = 10;

    // By the next bits of the input: symbol and length of the code that begins there; 0 for a longer one or none.
    private readonly ushort[] _fast = new ushort[1 << FastBits];
    private readonly ushort[] _symbols = new ushort[mostSymbols];
    private readonly ushort[] _counts = new ushort[MostBits + 2];

    /// <summary>False where the lengths make no code: too many, or too few for more than one symbol.</summary>
    public bool TryBuild(ReadOnlySpan<byte> lengths)
    {
        Array.Clear(_counts);
        Array.Clear(_fast);
        foreach (byte length in lengths)
        {
            _counts[length]++;
        }

        int used = lengths.Length - _counts[0];
        _counts[0] = 0;
        Span<int> next = stackalloc int[MostBits + 2];
        Span<int> code = stackalloc int[MostBits + 2];
        next.Clear();
        code.Clear();
        int left = 1;
        for (int bits = 1; bits <= MostBits; bits++)
        {
            left = (left << 1) - _counts[bits];
            if (left < 0)
            {
                return false;
            }

            next[bits + 1] = next[bits] + _counts[bits];
            code[bits + 1] = (code[bits] + _counts[bits]) << 1;
        }

        if (left > 0 && used > 1)
        {
            return false;
        }

        for (int symbol = 0; symbol < lengths.Length; symbol++)
        {
            int bits = lengths[symbol];
            if (bits == 0)
            {
                continue;
            }

            _symbols[next[bits]++] = (ushort)symbol;
            int reversed = 0;
            for (int i = 0, c = code[bits]++; i < bits; i++, c >>= 1)
            {
                reversed = (reversed << 1) | (c & 1);
            }

            for (int at = reversed; bits <= FastBits && at < _fast.Length; at += 1 << bits)
            {
                _fast[at] = (ushort)((symbol << 4) | bits);
            }
        }

        return true;
    }

    /// <summary>The symbol whose code the bits begin with, and its length; -1 where no code fits.</summary>
    public int Decode(ulong bits, out int length)
    {
        int entry = _fast[(int)(bits & ((1 << FastBits) - 1))];
        if (entry != 0)
        {
            length = entry & 15;
            return entry >> 4;
        }

        int code = 0;
        int first = 0;
        int index = 0;
        for (length = 1; length <= MostBits; length++)
        {
            code |= (int)(bits & 1);
            bits >>= 1;
            int count = _counts[length];
            if (code - count < first)
            {
                return _symbols[index + (code - first)];
            }

            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }

        return -1;
    }
}
