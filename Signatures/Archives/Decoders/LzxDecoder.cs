using System.Buffers.Binary;

namespace Vmsweep.Signatures.Archives.Decoders;

/// <summary>
/// LZX as cabinets have it. Spec: [MS-PATCH] 2 (LZX), less its delta extensions, and the Microsoft LZX Data Compression Format. Bits come in
/// little-endian words, highest bit first; each data block of the cabinet is one frame, and begins at a word.
/// </summary>
internal sealed class LzxDecoder
{
    private const int MinMatch = 2;
    private const int LengthSymbols = 249;
    private const int MostTranslated = 0x4000_0000;

    private static readonly int[] SlotCounts = [30, 32, 34, 36, 38, 42, 50];
    private static readonly int[] ExtraBits = [.. Enumerable.Range(0, 51).Select(s => s < 4 ? 0 : s < 36 ? (s / 2) - 1 : 17)];
    private static readonly int[] Bases = MakeBases();

    private readonly byte[] _window;
    private readonly int _mask;
    private readonly byte[] _mainLengths;
    private readonly byte[] _lengthLengths = new byte[LengthSymbols];
    private readonly LzxCode _main = new(256 + (50 * 8));
    private readonly LzxCode _length = new(LengthSymbols);
    private readonly LzxCode _aligned = new(8);
    private readonly LzxCode _pre = new(20);
    private int _position;
    private int _filled;
    private int _r0 = 1;
    private int _r1 = 1;
    private int _r2 = 1;
    private int _kind;
    private int _blockLeft;
    private bool _isOdd;
    private bool _isBegun;
    private int _translated;
    private long _made;

    public LzxDecoder(int windowBits)
    {
        _window = new byte[1 << windowBits];
        _mask = _window.Length - 1;
        _mainLengths = new byte[256 + (8 * SlotCounts[windowBits - 15])];
    }

    /// <summary>Unpacks one frame.</summary>
    public void Decode(ReadOnlySpan<byte> input, Span<byte> output)
    {
        var bits = new Bits(input);
        if (!_isBegun)
        {
            _isBegun = true;
            _translated = bits.Take(1) != 0 ? (bits.Take(16) << 16) | bits.Take(16) : 0;
        }

        int start = _position;
        for (int left = output.Length; left > 0;)
        {
            if (_blockLeft == 0)
            {
                BeginBlock(ref bits);
            }

            int run = Math.Min(left, _blockLeft);
            int made = _kind == 3 ? CopyPlain(ref bits, run) : DecodeRun(ref bits, run);
            left -= made;
            _blockLeft -= made;
        }

        for (int i = 0; i < output.Length; i++)
        {
            output[i] = _window[(start + i) & _mask];
        }

        if (_translated != 0 && _made < MostTranslated)
        {
            Translate(output);
        }

        _made += output.Length;
    }

    private void BeginBlock(ref Bits bits)
    {
        if (_kind == 3 && _isOdd)
        {
            bits.SkipByte();
        }

        _isOdd = false;
        _kind = bits.Take(3);
        _blockLeft = (bits.Take(16) << 8) | bits.Take(8);
        if (_kind is < 1 or > 3 || _blockLeft == 0)
        {
            throw bits.Bad("a block of an unknown kind or of no size");
        }

        if (_kind == 3)
        {
            bits.Align();
            _r0 = bits.PlainInt();
            _r1 = bits.PlainInt();
            _r2 = bits.PlainInt();
            _isOdd = (_blockLeft & 1) != 0;
            return;
        }

        if (_kind == 2)
        {
            Span<byte> lengths = stackalloc byte[8];
            foreach (ref byte length in lengths)
            {
                length = (byte)bits.Take(3);
            }

            if (!_aligned.TryBuild(lengths))
            {
                throw bits.Bad("no code of aligned offsets");
            }
        }

        ReadLengths(ref bits, _mainLengths.AsSpan(0, 256));
        ReadLengths(ref bits, _mainLengths.AsSpan(256));
        ReadLengths(ref bits, _lengthLengths);
        if (!_main.TryBuild(_mainLengths) || !_length.TryBuild(_lengthLengths))
        {
            throw bits.Bad("no code of literals or lengths");
        }
    }

    /// <summary>Lengths are told as differences from those of the block before, modulo 17.</summary>
    private void ReadLengths(ref Bits bits, Span<byte> lengths)
    {
        Span<byte> pre = stackalloc byte[20];
        foreach (ref byte length in pre)
        {
            length = (byte)bits.Take(4);
        }

        if (!_pre.TryBuild(pre))
        {
            throw bits.Bad("no code of code lengths");
        }

        for (int i = 0; i < lengths.Length;)
        {
            int symbol = bits.Symbol(_pre);
            if (symbol < 17)
            {
                lengths[i] = (byte)((lengths[i] - symbol + 17) % 17);
                i++;
                continue;
            }

            int run;
            byte value = 0;
            switch (symbol)
            {
                case 17:
                    run = 4 + bits.Take(4);
                    break;
                case 18:
                    run = 20 + bits.Take(5);
                    break;
                default:
                    run = 4 + bits.Take(1);
                    int difference = bits.Symbol(_pre);
                    if (difference >= 17)
                    {
                        throw bits.Bad("a run of a run");
                    }

                    value = (byte)((lengths[i] - difference + 17) % 17);
                    break;
            }

            run = Math.Min(run, lengths.Length - i);
            lengths.Slice(i, run).Fill(value);
            i += run;
        }
    }

    private int CopyPlain(ref Bits bits, int run)
    {
        ReadOnlySpan<byte> plain = bits.Plain(run);
        foreach (byte b in plain)
        {
            Put(b);
        }

        return run;
    }

    private int DecodeRun(ref Bits bits, int run)
    {
        int made = 0;
        while (made < run)
        {
            int symbol = bits.Symbol(_main);
            if (symbol < 256)
            {
                Put((byte)symbol);
                made++;
                continue;
            }

            symbol -= 256;
            int length = (symbol & 7) + MinMatch;
            if ((symbol & 7) == 7)
            {
                length += bits.Symbol(_length);
            }

            int distance = Distance(ref bits, symbol >> 3);
            if (distance <= 0 || distance > _filled)
            {
                throw bits.Bad("a match before the start");
            }

            if (length > run - made)
            {
                throw bits.Bad("a match over the end of a frame or block");
            }

            for (int i = 0; i < length; i++)
            {
                Put(_window[(_position - distance) & _mask]);
            }

            made += length;
        }

        return made;
    }

    private int Distance(ref Bits bits, int slot)
    {
        switch (slot)
        {
            case 0:
                return _r0;
            case 1:
                (_r0, _r1) = (_r1, _r0);
                return _r0;
            case 2:
                (_r0, _r2) = (_r2, _r0);
                return _r0;
        }

        int extra = ExtraBits[slot];
        int offset = Bases[slot] - 2;
        if (_kind == 2 && extra >= 3)
        {
            offset += bits.Take(extra - 3) << 3;
            offset += bits.Symbol(_aligned);
        }
        else
        {
            offset += bits.Take(extra);
        }

        (_r2, _r1, _r0) = (_r1, _r0, offset);
        return offset;
    }

    private void Put(byte value)
    {
        _window[_position] = value;
        _position = (_position + 1) & _mask;
        _filled = Math.Min(_window.Length, _filled + 1);
    }

    /// <summary>Calls of x86 code had their targets made absolute.</summary>
    private void Translate(Span<byte> frame)
    {
        for (int i = 0; i < frame.Length - 10; i++)
        {
            if (frame[i] != 0xE8)
            {
                continue;
            }

            int here = (int)_made + i;
            int absolute = BinaryPrimitives.ReadInt32LittleEndian(frame[(i + 1)..]);
            if (absolute >= -here && absolute < _translated)
            {
                BinaryPrimitives.WriteInt32LittleEndian(frame[(i + 1)..], absolute >= 0 ? absolute - here : absolute + _translated);
            }

            i += 4;
        }
    }

    private static int[] MakeBases()
    {
        int[] bases = new int[51];
        for (int slot = 1; slot < bases.Length; slot++)
        {
            bases[slot] = bases[slot - 1] + (1 << ExtraBits[slot - 1]);
        }

        return bases;
    }

    private ref struct Bits(ReadOnlySpan<byte> input)
    {
        private readonly ReadOnlySpan<byte> _input = input;
        private int _at;
        private ulong _bits;
        private int _count;

        public readonly ArchiveException Bad(string detail) => ArchiveException.Corrupt("lzx", _at, detail);

        public int Take(int bits)
        {
            if (bits == 0)
            {
                return 0;
            }

            Need(bits);
            if (_count < bits)
            {
                throw ArchiveException.Truncated("lzx", _at);
            }

            _count -= bits;
            return (int)(_bits >> _count) & ((1 << bits) - 1);
        }

        public int Symbol(LzxCode code)
        {
            Need(LzxCode.MostBits);
            int window = (int)(_count >= LzxCode.MostBits ? _bits >> (_count - LzxCode.MostBits) : _bits << (LzxCode.MostBits - _count)) & ((1 << LzxCode.MostBits) - 1);
            int symbol = code.Decode(window, out int length);
            if (symbol < 0 || length > _count)
            {
                throw symbol < 0 ? Bad("a code that is none") : ArchiveException.Truncated("lzx", _at);
            }

            _count -= length;
            return symbol;
        }

        /// <summary>To the next word; a whole one where it stands at a word.</summary>
        public void Align()
        {
            int partial = _count & 15;
            if (partial == 0)
            {
                Take(16);
            }
            else
            {
                _count -= partial;
            }

            _at -= _count / 8;
            _count = 0;
        }

        public int PlainInt() => BinaryPrimitives.ReadInt32LittleEndian(Plain(4));

        public ReadOnlySpan<byte> Plain(int count)
        {
            if (count > _input.Length - _at)
            {
                throw ArchiveException.Truncated("lzx", _at);
            }

            _at += count;
            return _input.Slice(_at - count, count);
        }

        public void SkipByte() => _at += _at < _input.Length ? 1 : 0;

        private void Need(int bits)
        {
            while (_count < bits && _at < _input.Length)
            {
                int word = _at + 1 < _input.Length ? BinaryPrimitives.ReadUInt16LittleEndian(_input[_at..]) : _input[_at];
                _bits = (_bits << 16) | (uint)word;
                _at += Math.Min(2, _input.Length - _at);
                _count += 16;
            }
        }
    }

    /// <summary>A canonical code of up to 16 bits, highest bit first. None at all where all lengths are zero.</summary>
    private sealed class LzxCode(int mostSymbols)
    {
        public const int MostBits = 16;
        private const int FastBits = 10;

        private readonly ushort[] _fast = new ushort[1 << FastBits];
        private readonly int[] _limit = new int[MostBits + 1];
        private readonly int[] _base = new int[MostBits + 1];
        private readonly ushort[] _symbols = new ushort[mostSymbols];

        public bool TryBuild(ReadOnlySpan<byte> lengths)
        {
            Array.Clear(_fast);
            int at = 0;
            int code = 0;
            for (int bits = 1; bits <= MostBits; bits++)
            {
                _base[bits] = at - code;
                for (int symbol = 0; symbol < lengths.Length; symbol++)
                {
                    if (lengths[symbol] != bits)
                    {
                        continue;
                    }

                    if (code >= 1 << bits)
                    {
                        return false;
                    }

                    if (bits <= FastBits)
                    {
                        _fast.AsSpan(code << (FastBits - bits), 1 << (FastBits - bits)).Fill((ushort)((symbol << 5) | bits));
                    }

                    _symbols[at++] = (ushort)symbol;
                    code++;
                }

                _limit[bits] = code << (MostBits - bits);
                code <<= 1;
            }

            return true;
        }

        public int Decode(int window, out int length)
        {
            int entry = _fast[window >> (MostBits - FastBits)];
            if (entry != 0)
            {
                length = entry & 31;
                return entry >> 5;
            }

            for (length = 1; length <= MostBits; length++)
            {
                if (window < _limit[length])
                {
                    return _symbols[_base[length] + (window >> (MostBits - length))];
                }
            }

            return -1;
        }
    }
}
