namespace Vmsweep.Signatures.Archives.Decoders;

/// <summary>
/// The decoder of LZMA and, chunk by chunk, LZMA2: range coder, states and distances. Spec: "LZMA specification" of the LZMA SDK (public domain) and
/// "The .xz File Format". Own, because the library's takes its dictionary's size from the header unasked, and, measured, does 20 MB/s.
/// </summary>
internal sealed class LzmaDecoder(byte[] dictionary)
{
    private const int PositionStates = 16;
    private const int States = 12;
    private const int LengthStates = 4;
    private const int MinMatch = 2;
    private const uint Top = 1u << 24;
    private const int ModelBits = 11;
    private const ushort Half = 1 << (ModelBits - 1);
    private const int MoveBits = 5;
    private const int FirstModelDistance = 4;
    private const int EndModelDistance = 14;
    private const int AlignBits = 4;
    private const int LengthLow = 2;
    private const int LengthMiddle = LengthLow + (PositionStates * 8);
    private const int LengthHigh = LengthMiddle + (PositionStates * 8);
    private const int LengthProbs = LengthHigh + 256;

    private readonly ushort[] _isMatch = new ushort[States * PositionStates];
    private readonly ushort[] _isRep = new ushort[States];
    private readonly ushort[] _isRepG0 = new ushort[States];
    private readonly ushort[] _isRepG1 = new ushort[States];
    private readonly ushort[] _isRepG2 = new ushort[States];
    private readonly ushort[] _isRep0Long = new ushort[States * PositionStates];
    private readonly ushort[] _slots = new ushort[LengthStates * 64];
    private readonly ushort[] _special = new ushort[1 + (1 << (EndModelDistance / 2)) - EndModelDistance];
    private readonly ushort[] _align = new ushort[1 << AlignBits];
    private readonly ushort[] _length = new ushort[LengthProbs];
    private readonly ushort[] _repLength = new ushort[LengthProbs];
    private ushort[] _literals = [];
    private int _lc;
    private int _literalMask;
    private int _positionMask;
    private int _state;
    private uint _rep0;
    private uint _rep1;
    private uint _rep2;
    private uint _rep3;
    private uint _range;
    private uint _code;
    private int _pending;

    /// <summary>Where the next byte goes.</summary>
    public int Position { get; set; }

    /// <summary>How much of the dictionary matches may reach back to.</summary>
    public int Filled { get; set; }

    /// <summary>Bytes made since the last reset of the state's positions.</summary>
    public uint Made { get; set; }

    /// <summary>The end marker was met.</summary>
    public bool IsEnded { get; private set; }

    /// <summary>The range coder stands where a sound stream ends.</summary>
    public bool IsFinished => _code == 0;

    /// <summary>Something of the last match is still to be made.</summary>
    public bool HasPending => _pending > 0;

    public void SetProperties(byte properties)
    {
        if (properties >= 9 * 5 * 5)
        {
            throw ArchiveException.Corrupt("lzma", -1, "properties out of range");
        }

        _lc = properties % 9;
        int lp = properties / 9 % 5;
        int pb = properties / 45;
        _literalMask = (1 << lp) - 1;
        _positionMask = (1 << pb) - 1;
        int count = 0x300 << (_lc + lp);
        if (_literals.Length != count)
        {
            _literals = new ushort[count];
        }
    }

    public void ResetState()
    {
        foreach (ushort[] probs in (ushort[][])[_isMatch, _isRep, _isRepG0, _isRepG1, _isRepG2, _isRep0Long, _slots, _special, _align, _length, _repLength, _literals])
        {
            Array.Fill(probs, Half);
        }

        _state = 0;
        _rep0 = _rep1 = _rep2 = _rep3 = 0;
        _pending = 0;
        IsEnded = false;
    }

    public void BeginRange(ReadOnlySpan<byte> input, ref int at)
    {
        if (input.Length - at < 5)
        {
            throw ArchiveException.Truncated("lzma", at);
        }

        if (input[at] != 0)
        {
            throw ArchiveException.Corrupt("lzma", at, "the first byte is not zero");
        }

        _range = uint.MaxValue;
        _code = ((uint)input[at + 1] << 24) | ((uint)input[at + 2] << 16) | ((uint)input[at + 3] << 8) | input[at + 4];
        at += 5;
    }

    /// <summary>Makes bytes until <see cref="Position"/> is <paramref name="stop"/>, or the end marker.</summary>
    /// <param name="input">Packed bytes, to their end.</param>
    /// <param name="at">Where it stands in them.</param>
    /// <param name="stop">Not beyond the dictionary's end.</param>
    public void Decode(ReadOnlySpan<byte> input, ref int at, int stop)
    {
        if (_pending > 0)
        {
            CopyMatch(stop);
        }

        var range = new RangeReader(input, at, _range, _code);
        try
        {
            while (Position < stop && !IsEnded)
            {
                DecodeOne(ref range, stop);
            }

            // The encoder flushes what a decoder needs to be sure of the last byte; an end marker stands behind it.
            range.Normalize();
        }
        finally
        {
            at = range.At;
            _range = range.Range;
            _code = range.Code;
        }
    }

    private void DecodeOne(ref RangeReader range, int stop)
    {
        int positionState = (int)Made & _positionMask;
        if (range.Bit(ref _isMatch[(_state * PositionStates) + positionState]) == 0)
        {
            DecodeLiteral(ref range);
            return;
        }

        int length;
        if (range.Bit(ref _isRep[_state]) != 0)
        {
            if (Filled == 0)
            {
                throw ArchiveException.Corrupt("lzma", range.At, "a match before the start");
            }

            if (range.Bit(ref _isRepG0[_state]) == 0)
            {
                if (range.Bit(ref _isRep0Long[(_state * PositionStates) + positionState]) == 0)
                {
                    _state = _state < 7 ? 9 : 11;
                    Check(range.At);
                    Put(Byte(_rep0));
                    return;
                }
            }
            else
            {
                uint distance;
                if (range.Bit(ref _isRepG1[_state]) == 0)
                {
                    distance = _rep1;
                }
                else
                {
                    if (range.Bit(ref _isRepG2[_state]) == 0)
                    {
                        distance = _rep2;
                    }
                    else
                    {
                        distance = _rep3;
                        _rep3 = _rep2;
                    }

                    _rep2 = _rep1;
                }

                _rep1 = _rep0;
                _rep0 = distance;
            }

            length = DecodeLength(ref range, _repLength, positionState);
            _state = _state < 7 ? 8 : 11;
        }
        else
        {
            _rep3 = _rep2;
            _rep2 = _rep1;
            _rep1 = _rep0;
            length = DecodeLength(ref range, _length, positionState);
            _state = _state < 7 ? 7 : 10;
            _rep0 = DecodeDistance(ref range, length);
            if (_rep0 == uint.MaxValue)
            {
                IsEnded = true;
                return;
            }
        }

        Check(range.At);
        _pending = length + MinMatch;
        CopyMatch(stop);
    }

    private void Check(int at)
    {
        if (_rep0 >= (uint)Filled)
        {
            throw ArchiveException.Corrupt("lzma", at, "a match before the start");
        }
    }

    private void CopyMatch(int stop)
    {
        int count = Math.Min(_pending, stop - Position);
        int distance = (int)_rep0 + 1;
        int from = Position - distance;
        if (from >= 0)
        {
            Lz.Copy(dictionary, Position, distance, count);
        }
        else
        {
            from += dictionary.Length;
            for (int i = 0, to = Position; i < count; i++)
            {
                dictionary[to++] = dictionary[from++];
                if (from == dictionary.Length)
                {
                    from = 0;
                }
            }
        }

        Advance(count);
        _pending -= count;
    }

    private void Put(byte value)
    {
        dictionary[Position] = value;
        Advance(1);
    }

    private void Advance(int count)
    {
        Position += count;
        Filled = Math.Min(dictionary.Length, Filled + count);
        Made += (uint)count;
    }

    private byte Byte(uint distance)
    {
        int from = Position - (int)distance - 1;
        return dictionary[from >= 0 ? from : from + dictionary.Length];
    }

    private void DecodeLiteral(ref RangeReader range)
    {
        byte before = Filled > 0 ? Byte(0) : (byte)0;
        int literalState = (((int)Made & _literalMask) << _lc) + (before >> (8 - _lc));
        Span<ushort> probs = _literals.AsSpan(0x300 * literalState, 0x300);
        int symbol = 1;
        if (_state >= 7)
        {
            Check(range.At);
            int match = Byte(_rep0);
            do
            {
                int matchBit = (match >> 7) & 1;
                match <<= 1;
                int bit = range.Bit(ref probs[((1 + matchBit) << 8) + symbol]);
                symbol = (symbol << 1) | bit;
                if (matchBit != bit)
                {
                    break;
                }
            }
            while (symbol < 0x100);
        }

        while (symbol < 0x100)
        {
            symbol = (symbol << 1) | range.Bit(ref probs[symbol]);
        }

        _state = _state < 4 ? 0 : _state < 10 ? _state - 3 : _state - 6;
        Put((byte)symbol);
    }

    private static int DecodeLength(ref RangeReader range, ushort[] probs, int positionState)
    {
        if (range.Bit(ref probs[0]) == 0)
        {
            return range.Tree(probs.AsSpan(LengthLow + (positionState * 8), 8), 3);
        }

        return range.Bit(ref probs[1]) == 0
            ? 8 + range.Tree(probs.AsSpan(LengthMiddle + (positionState * 8), 8), 3)
            : 16 + range.Tree(probs.AsSpan(LengthHigh, 256), 8);
    }

    private uint DecodeDistance(ref RangeReader range, int length)
    {
        int slot = range.Tree(_slots.AsSpan(Math.Min(length, LengthStates - 1) * 64, 64), 6);
        if (slot < FirstModelDistance)
        {
            return (uint)slot;
        }

        int direct = (slot >> 1) - 1;
        uint distance = (uint)(2 | (slot & 1)) << direct;
        return slot < EndModelDistance
            ? distance + (uint)range.ReverseTree(_special.AsSpan((int)distance - slot), direct)
            : distance + (range.Direct(direct - AlignBits) << AlignBits) + (uint)range.ReverseTree(_align, AlignBits);
    }

    private ref struct RangeReader(ReadOnlySpan<byte> input, int at, uint range, uint code)
    {
        private readonly ReadOnlySpan<byte> _input = input;

        public int At = at;
        public uint Range = range;
        public uint Code = code;

        public void Normalize()
        {
            if (Range < Top)
            {
                if (At >= _input.Length)
                {
                    throw ArchiveException.Truncated("lzma", At);
                }

                Range <<= 8;
                Code = (Code << 8) | _input[At++];
            }
        }

        public int Bit(ref ushort prob)
        {
            Normalize();
            uint bound = (Range >> ModelBits) * prob;
            if (Code < bound)
            {
                Range = bound;
                prob += (ushort)(((1 << ModelBits) - prob) >> MoveBits);
                return 0;
            }

            Range -= bound;
            Code -= bound;
            prob -= (ushort)(prob >> MoveBits);
            return 1;
        }

        public int Tree(Span<ushort> probs, int bits)
        {
            int symbol = 1;
            for (int i = 0; i < bits; i++)
            {
                symbol = (symbol << 1) | Bit(ref probs[symbol]);
            }

            return symbol - (1 << bits);
        }

        public int ReverseTree(Span<ushort> probs, int bits)
        {
            int node = 1;
            int symbol = 0;
            for (int i = 0; i < bits; i++)
            {
                int bit = Bit(ref probs[node]);
                node = (node << 1) | bit;
                symbol |= bit << i;
            }

            return symbol;
        }

        public uint Direct(int bits)
        {
            uint value = 0;
            for (; bits > 0; bits--)
            {
                Normalize();
                Range >>= 1;
                uint isLess = (Code - Range) >> 31;
                Code -= Range & (isLess - 1);
                value = (value << 1) | (1 - isLess);
            }

            return value;
        }
    }
}
