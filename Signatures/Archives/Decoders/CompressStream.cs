namespace Vmsweep.Signatures.Archives.Decoders;

/// <summary>
/// compress (.Z): LZW with codes of 9 to 16 bits, lowest bit first, in groups of eight; a change of width or a clear ends a group, whose rest is
/// padding. Own, because the library's gives other bytes for programs than were packed.
/// </summary>
internal sealed class CompressStream : UnpackStream
{
    private const int HeaderBytes = 3;
    private const int FirstBits = 9;
    private const int Clear = 256;
    private const int BatchBytes = 32 << 10;

    private readonly ReadOnlyMemory<byte> _input;
    private readonly int _mostBits;
    private readonly bool _hasClear;
    private readonly ushort[] _prefix = new ushort[1 << 16];
    private readonly byte[] _suffix = new byte[1 << 16];
    private readonly byte[] _stack = new byte[1 << 16];
    private int _bits = FirstBits;
    private int _free;
    private int _old = -1;
    private byte _first;
    private long _group = HeaderBytes * 8;
    private long _at = HeaderBytes * 8;

    public CompressStream(ReadOnlyMemory<byte> input)
    {
        _input = input;
        _mostBits = input.Span[2] & 0x1F;
        _hasClear = (input.Span[2] & 0x80) != 0;
        _free = _hasClear ? Clear + 1 : Clear;
        Buffer = new byte[BatchBytes + (1 << 16)];
    }

    protected override bool Fill()
    {
        Start = End = 0;
        while (End < BatchBytes)
        {
            int most = _bits == _mostBits ? 1 << _mostBits : (1 << _bits) - 1;
            if (_free > most)
            {
                EndGroup();
                _bits++;
            }

            if (_at + _bits > _input.Length * 8L)
            {
                // No length and no checksum tell whether that is all.
                return false;
            }

            int code = Code();
            if (code == Clear && _hasClear)
            {
                EndGroup();
                _bits = FirstBits;
                _free = Clear + 1;
                _old = -1;
                continue;
            }

            Put(code);
        }

        return true;
    }

    private void Put(int code)
    {
        int next = code;
        int depth = 0;
        if (_old < 0 ? code > 255 : code > _free)
        {
            throw ArchiveException.Corrupt("compress", _at / 8, "a code that is none yet");
        }

        if (_old >= 0 && code >= _free)
        {
            _stack[depth++] = _first;
            code = _old;
        }

        while (code > 255)
        {
            _stack[depth++] = _suffix[code];
            code = _prefix[code];
        }

        _first = (byte)code;
        Buffer[End++] = _first;
        while (depth > 0)
        {
            Buffer[End++] = _stack[--depth];
        }

        if (_old >= 0 && _free < 1 << _mostBits)
        {
            _prefix[_free] = (ushort)_old;
            _suffix[_free++] = _first;
        }

        _old = next;
    }

    private int Code()
    {
        ReadOnlySpan<byte> input = _input.Span;
        int at = (int)(_at / 8);
        int value = input[at] | (at + 1 < input.Length ? input[at + 1] << 8 : 0) | (at + 2 < input.Length ? input[at + 2] << 16 : 0);
        value = (value >> (int)(_at % 8)) & ((1 << _bits) - 1);
        _at += _bits;
        return value;
    }

    private void EndGroup()
    {
        long group = _bits * 8;
        _at = _group + ((_at - _group + group - 1) / group * group);
        _group = _at;
    }
}
