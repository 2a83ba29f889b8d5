namespace Vmsweep.Signatures.Archives.Decoders;

/// <summary>Bits of a content, highest first. Behind its end come zeros, which may be looked at and not be taken.</summary>
internal sealed class HighBits(ReadOnlyMemory<byte> input, string structure)
{
    private ulong _bits;
    private int _count;
    private int _at;

    /// <summary>The next bits, up to 16, at the low end.</summary>
    public int Peek(int bits)
    {
        ReadOnlySpan<byte> bytes = input.Span;
        for (; _count < 32; _count += 8, _at++)
        {
            _bits |= (_at < bytes.Length ? (ulong)bytes[_at] : 0) << (56 - _count);
        }

        return bits == 0 ? 0 : (int)(_bits >> (64 - bits));
    }

    /// <exception cref="ArchiveException">There are not so many.</exception>
    public void Take(int bits)
    {
        _bits <<= bits;
        _count -= bits;
        if ((8L * _at) - _count > 8L * input.Length)
        {
            throw ArchiveException.Truncated(structure, input.Length);
        }
    }

    public int Next(int bits)
    {
        int value = Peek(bits);
        Take(bits);
        return value;
    }
}

/// <summary>A canonical Huffman code whose bits come highest first, up to 16, or one symbol that takes none.</summary>
internal sealed class HighCode(int mostSymbols)
{
    public const int MostBits = 16;

    // By the next 16 bits would be 64 Ki entries to fill for each block: the first code and place of each length are enough.
    private readonly int[] _first = new int[MostBits + 2];
    private readonly int[] _place = new int[MostBits + 2];
    private readonly int[] _counts = new int[MostBits + 2];
    private readonly ushort[] _symbols = new ushort[mostSymbols];
    private int _only = -1;

    public void BuildOnly(int symbol) => _only = symbol;

    /// <summary>False where the lengths make no code in which every sequence of bits means something.</summary>
    public bool TryBuild(ReadOnlySpan<byte> lengths)
    {
        _only = -1;
        Array.Clear(_counts);
        foreach (byte length in lengths)
        {
            _counts[length]++;
        }

        _counts[0] = 0;
        int code = 0, place = 0;
        for (int bits = 1; bits <= MostBits; bits++)
        {
            code <<= 1;
            (_first[bits], _place[bits]) = (code, place);
            code += _counts[bits];
            place += _counts[bits];
        }

        Span<int> next = stackalloc int[MostBits + 2];
        _place.CopyTo(next);
        for (int symbol = 0; symbol < lengths.Length; symbol++)
        {
            if (lengths[symbol] > 0)
            {
                _symbols[next[lengths[symbol]]++] = (ushort)symbol;
            }
        }

        return code == 1 << MostBits;
    }

    public int Decode(HighBits input)
    {
        if (_only >= 0)
        {
            return _only;
        }

        int bits = input.Peek(MostBits);
        for (int length = 1; ; length++)
        {
            int at = (bits >> (MostBits - length)) - _first[length];
            if (at < _counts[length])
            {
                input.Take(length);
                return _symbols[_place[length] + at];
            }
        }
    }
}

/// <summary>
/// LHA's methods -lh4- to -lh7- and ARJ's 1 to 3: LZ77 under Huffman codes that each block brings. Spec: LHa for UNIX, header.doc.md; ARJ Technical
/// Information.
/// </summary>
/// <param name="input">The packed member.</param>
/// <param name="size">What it unpacks to; there is no mark at its end.</param>
/// <param name="windowBits">How far back copies reach.</param>
/// <param name="placeBits">Of the number of codes for distances.</param>
internal sealed class LhaStream(ReadOnlyMemory<byte> input, long size, int windowBits, int placeBits) : LhaWindow(size, windowBits)
{
    private const int Lengths = 19;
    private const int LengthBits = 5;
    private const int Symbols = 510;
    private const int SymbolBits = 9;
    private const int ShortestCopy = 3;
    private const int FewestPlaces = 14;

    private readonly HighBits _bits = new(input, "lha");
    private readonly HighCode _lengthCode = new(32);
    private readonly HighCode _symbolCode = new(Symbols);
    private readonly HighCode _placeCode = new(32);
    private readonly int _places = Math.Max(FewestPlaces, windowBits + 1);
    private int _left;

    protected override void Step()
    {
        if (_left == 0)
        {
            ReadBlock();
        }

        _left--;
        int symbol = _symbolCode.Decode(_bits);
        if (symbol < 256)
        {
            Put((byte)symbol);
            return;
        }

        int place = _placeCode.Decode(_bits);
        Copy(place < 2 ? place + 1 : (1 << (place - 1)) + _bits.Next(place - 1) + 1, symbol - 256 + ShortestCopy);
    }

    private void ReadBlock()
    {
        _left = _bits.Next(16);
        if (_left == 0)
        {
            throw ArchiveException.Corrupt("lha block", -1, "a block of nothing");
        }

        ReadLengths(_lengthCode, Lengths, LengthBits, special: 3);
        ReadSymbols();
        ReadLengths(_placeCode, _places, placeBits, special: -1);
    }

    private void ReadLengths(HighCode code, int most, int countBits, int special)
    {
        int count = _bits.Next(countBits);
        if (count == 0)
        {
            int only = _bits.Next(countBits);
            code.BuildOnly(only < most ? only : throw Wrong());
            return;
        }

        Span<byte> lengths = stackalloc byte[32];
        lengths.Clear();
        if (count > most)
        {
            throw Wrong();
        }

        for (int i = 0; i < count;)
        {
            int length = _bits.Next(3);
            if (length == 7)
            {
                for (; _bits.Next(1) == 1; length++)
                {
                    if (length == HighCode.MostBits)
                    {
                        throw Wrong();
                    }
                }
            }

            lengths[i++] = (byte)length;
            if (i == special)
            {
                i += _bits.Next(2);
            }
        }

        if (!code.TryBuild(lengths[..most]))
        {
            throw Wrong();
        }
    }

    private void ReadSymbols()
    {
        int count = _bits.Next(SymbolBits);
        if (count == 0)
        {
            int only = _bits.Next(SymbolBits);
            _symbolCode.BuildOnly(only < Symbols ? only : throw Wrong());
            return;
        }

        Span<byte> lengths = stackalloc byte[Symbols];
        lengths.Clear();
        for (int i = 0; i < Math.Min(count, Symbols);)
        {
            int length = _lengthCode.Decode(_bits);
            if (length > 2)
            {
                lengths[i++] = (byte)(length - 2);
                continue;
            }

            i += length switch { 0 => 1, 1 => _bits.Next(4) + 3, _ => _bits.Next(9) + 20 };
        }

        if (count > Symbols || !_symbolCode.TryBuild(lengths))
        {
            throw Wrong();
        }
    }

    private static ArchiveException Wrong() => ArchiveException.Corrupt("lha block", -1, "its codes are none");
}

/// <summary>ARJ's method 4: LZ77 with lengths and distances in groups of growing width. Spec: ARJ Technical Information.</summary>
internal sealed class ArjFastestStream(ReadOnlyMemory<byte> input, long size) : LhaWindow(size, 15)
{
    private readonly HighBits _bits = new(input, "arj");

    protected override void Step()
    {
        int length = Grouped(0, 7);
        if (length == 0)
        {
            Put((byte)_bits.Next(8));
            return;
        }

        Copy(Grouped(9, 13) + 1, length + 2);
    }

    private int Grouped(int width, int most)
    {
        int below = 0;
        for (; width < most && _bits.Next(1) == 1; width++)
        {
            below += 1 << width;
        }

        return below + _bits.Next(width);
    }
}

/// <summary>A window into the past, of spaces before there was any.</summary>
internal abstract class LhaWindow : UnpackStream
{
    private const int BatchBytes = 16 << 10;
    private const int LongestCopy = 512;

    private readonly byte[] _window;
    private readonly long _size;
    private long _position;

    protected LhaWindow(long size, int windowBits)
    {
        _window = new byte[1 << windowBits];
        Array.Fill(_window, (byte)' ');
        _size = size;
        Buffer = new byte[BatchBytes + LongestCopy];
    }

    protected sealed override bool Fill()
    {
        Start = End = 0;
        while (End < BatchBytes && _position < _size)
        {
            Step();
        }

        // A copy may reach further than the member.
        End -= (int)Math.Max(0, _position - _size);
        return _position < _size;
    }

    /// <summary>Makes at least one byte.</summary>
    protected abstract void Step();

    protected void Put(byte value)
    {
        Buffer[End++] = value;
        _window[_position++ & (_window.Length - 1)] = value;
    }

    protected void Copy(int distance, int length)
    {
        if (distance > _window.Length)
        {
            throw ArchiveException.Corrupt("lha", _position, "a copy from before the window");
        }

        for (; length > 0; length--)
        {
            Put(_window[(_position - distance) & (_window.Length - 1)]);
        }
    }
}
