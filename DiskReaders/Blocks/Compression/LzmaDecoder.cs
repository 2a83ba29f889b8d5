namespace Vmsweep.DiskReaders.Blocks.Compression;

/// <summary>
/// LZMA, with what is unpacked as its own dictionary. Specification: "LZMA specification" (LZMA SDK, lzma-specification.txt). One for each
/// thread; its tables hold 28 KiB.
/// </summary>
internal sealed class LzmaDecoder
{
    private const int States = 12;
    private const int PositionStates = 16;
    private const int IsMatch = 0;
    private const int IsRep = IsMatch + (States * PositionStates);
    private const int IsRepG0 = IsRep + States;
    private const int IsRepG1 = IsRepG0 + States;
    private const int IsRepG2 = IsRepG1 + States;
    private const int IsRep0Long = IsRepG2 + States;
    private const int PosSlot = IsRep0Long + (States * PositionStates);
    private const int SpecPos = PosSlot + (4 * 64);
    private const int Align = SpecPos + 115;
    private const int MatchLength = Align + 16;
    private const int LengthSize = 2 + (PositionStates * 8 * 2) + 256;
    private const int RepLength = MatchLength + LengthSize;
    private const int Literal = RepLength + LengthSize;
    private const int LiteralSize = 0x300;

    // LZMA2 allows no more, and nobody writes more.
    private const int MostLcLp = 4;
    private const int MinMatch = 2;

    private readonly ushort[] _probabilities = new ushort[Literal + (LiteralSize << MostLcLp)];
    private uint _rep0, _rep1, _rep2, _rep3;
    private int _state;
    private int _lc, _lpMask, _pbMask;

    /// <summary>Sets <c>lc</c>, <c>lp</c> and <c>pb</c> and begins anew; false when they are not allowed.</summary>
    public bool SetProperties(byte properties)
    {
        if (properties >= 9 * 5 * 5)
        {
            return false;
        }

        _lc = properties % 9;
        int lp = properties / 9 % 5;
        if (_lc + lp > MostLcLp)
        {
            return false;
        }

        _lpMask = (1 << lp) - 1;
        _pbMask = (1 << (properties / 45)) - 1;
        Reset();
        return true;
    }

    public void Reset()
    {
        _probabilities.AsSpan().Fill(1 << 10);
        _rep0 = _rep1 = _rep2 = _rep3 = 0;
        _state = 0;
    }

    /// <summary>Takes over where another decoder stands.</summary>
    public void CopyFrom(LzmaDecoder other)
    {
        other._probabilities.CopyTo(_probabilities, 0);
        (_rep0, _rep1, _rep2, _rep3, _state) = (other._rep0, other._rep1, other._rep2, other._rep3, other._state);
        (_lc, _lpMask, _pbMask) = (other._lc, other._lpMask, other._pbMask);
    }

    /// <summary>Unpacks until <paramref name="to"/> is full up to <paramref name="end"/>, or to the end marker.</summary>
    /// <param name="coder">The packed bytes.</param>
    /// <param name="to">What is unpacked, from <paramref name="start"/> on the dictionary too.</param>
    /// <param name="start">Where the dictionary begins.</param>
    /// <param name="made">Where to go on; afterwards where it ended.</param>
    /// <param name="end">Where to stop.</param>
    /// <param name="isPart">More may follow, so that a match may be cut off at the end.</param>
    /// <returns>False when the stream is malformed or its bytes end early.</returns>
    public bool Unpack(ref RangeDecoder coder, Span<byte> to, int start, ref int made, int end, bool isPart)
    {
        unchecked
        {
            Span<ushort> p = _probabilities;
            while (made < end)
            {
                if (coder.RanDry)
                {
                    return false;
                }

                int position = made - start;
                int posState = position & _pbMask;
                if (coder.Bit(ref p[IsMatch + (_state << 4) + posState]) == 0)
                {
                    int previous = position > 0 ? to[made - 1] : 0;
                    int context = ((position & _lpMask) << _lc) + (previous >> (8 - _lc));
                    Span<ushort> literal = p.Slice(Literal + (LiteralSize * context), LiteralSize);
                    int symbol = 1;
                    if (_state >= 7)
                    {
                        if (_rep0 >= (uint)position)
                        {
                            return false;
                        }

                        int match = to[made - (int)_rep0 - 1];
                        do
                        {
                            int matchBit = (match >> 7) & 1;
                            match <<= 1;
                            int bit = coder.Bit(ref literal[((1 + matchBit) << 8) + symbol]);
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
                        symbol = (symbol << 1) | coder.Bit(ref literal[symbol]);
                    }

                    to[made++] = (byte)symbol;
                    _state = _state < 4 ? 0 : _state < 10 ? _state - 3 : _state - 6;
                    continue;
                }

                int length;
                if (coder.Bit(ref p[IsRep + _state]) != 0)
                {
                    if (position == 0)
                    {
                        return false;
                    }

                    if (coder.Bit(ref p[IsRepG0 + _state]) == 0)
                    {
                        if (coder.Bit(ref p[IsRep0Long + (_state << 4) + posState]) == 0)
                        {
                            if (_rep0 >= (uint)position)
                            {
                                return false;
                            }

                            _state = _state < 7 ? 9 : 11;
                            to[made] = to[made - (int)_rep0 - 1];
                            made++;
                            continue;
                        }
                    }
                    else
                    {
                        uint distance = _rep1;
                        if (coder.Bit(ref p[IsRepG1 + _state]) != 0)
                        {
                            distance = _rep2;
                            if (coder.Bit(ref p[IsRepG2 + _state]) != 0)
                            {
                                distance = _rep3;
                                _rep3 = _rep2;
                            }

                            _rep2 = _rep1;
                        }

                        _rep1 = _rep0;
                        _rep0 = distance;
                    }

                    length = Length(ref coder, p.Slice(RepLength, LengthSize), posState);
                    _state = _state < 7 ? 8 : 11;
                }
                else
                {
                    _rep3 = _rep2;
                    _rep2 = _rep1;
                    _rep1 = _rep0;
                    length = Length(ref coder, p.Slice(MatchLength, LengthSize), posState);
                    _state = _state < 7 ? 7 : 10;
                    _rep0 = Distance(ref coder, p, length);
                    if (_rep0 == uint.MaxValue)
                    {
                        return !coder.RanDry;
                    }
                }

                length += MinMatch;
                if (_rep0 >= (uint)position || (length > end - made && !isPart))
                {
                    return false;
                }

                length = Math.Min(length, end - made);
                Lz.Repeat(to, made, (int)_rep0 + 1, length);
                made += length;
            }

            return !coder.RanDry;
        }
    }

    private static int Length(ref RangeDecoder coder, Span<ushort> p, int posState)
    {
        const int Low = 2, Mid = Low + (PositionStates * 8), High = Mid + (PositionStates * 8);
        return coder.Bit(ref p[0]) == 0 ? coder.Tree(p.Slice(Low + (posState * 8), 8), 3)
            : coder.Bit(ref p[1]) == 0 ? 8 + coder.Tree(p.Slice(Mid + (posState * 8), 8), 3)
            : 16 + coder.Tree(p.Slice(High, 256), 8);
    }

    private static uint Distance(ref RangeDecoder coder, Span<ushort> p, int length)
    {
        unchecked
        {
            int slot = coder.Tree(p.Slice(PosSlot + (Math.Min(length, 3) * 64), 64), 6);
            if (slot < 4)
            {
                return (uint)slot;
            }

            int bits = (slot >> 1) - 1;
            uint distance = (uint)(2 | (slot & 1)) << bits;
            return slot < 14
                ? distance + (uint)coder.ReverseTree(p[(SpecPos + (int)distance - slot)..Align], bits)
                : distance + (coder.Direct(bits - 4) << 4) + (uint)coder.ReverseTree(p.Slice(Align, 16), 4);
        }
    }
}
