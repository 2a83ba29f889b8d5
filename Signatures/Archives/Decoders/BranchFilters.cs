using System.Buffers.Binary;

namespace Vmsweep.Signatures.Archives.Decoders;

/// <summary>A filter over a stream that changes bytes in place, with a few bytes of look-ahead.</summary>
internal abstract class FilterStream : UnpackStream
{
    private readonly Stream _inner;
    private int _ready;
    private int _filled;
    private bool _isAtEnd;

    protected FilterStream(Stream inner)
    {
        _inner = inner;
        Buffer = new byte[64 << 10];
    }

    /// <summary>Changes what it can.</summary>
    /// <returns>Bytes at the start that are done; fewer than all where the rest needs what follows.</returns>
    protected abstract int Convert(Span<byte> bytes);

    protected override bool Fill()
    {
        Buffer.AsSpan(_ready, _filled - _ready).CopyTo(Buffer);
        _filled -= _ready;
        _ready = 0;
        Start = End = 0;
        while (_ready == 0)
        {
            if (_isAtEnd)
            {
                _ready = End = _filled;
                return _filled > 0;
            }

            int read = _inner.Read(Buffer.AsSpan(_filled));
            _isAtEnd = read == 0;
            _filled += read;
            if (read > 0)
            {
                _ready = Convert(Buffer.AsSpan(0, _filled));
            }
        }

        End = _ready;
        return true;
    }

    protected override void Dispose(bool disposing)
    {
        _inner.Dispose();
        base.Dispose(disposing);
    }
}

/// <summary>Undoes a filter that made branches of executables absolute. Spec: "The .xz File Format" 5.3.2; LZMA SDK, Bra.txt (public domain).</summary>
internal sealed class BranchFilter(Stream inner, BranchKind kind, uint start = 0) : FilterStream(inner)
{
    private uint _here = start;
    private uint _mask;
    private uint _last = start - 5;

    protected override int Convert(Span<byte> bytes)
    {
        int done = kind switch
        {
            BranchKind.X86 => X86(bytes),
            BranchKind.ArmThumb => ArmThumb(bytes),
            _ => Words(bytes),
        };
        _here += (uint)done;
        return done;
    }

    // Call and jump (E8, E9) with a near displacement; the mask remembers opcodes that were seen inside the last bytes.
    private int X86(Span<byte> bytes)
    {
        int at = 0;
        while (at <= bytes.Length - 5)
        {
            if ((bytes[at] & 0xFE) != 0xE8)
            {
                int next = bytes[at..^4].IndexOfAny((byte)0xE8, (byte)0xE9);
                if (next < 0)
                {
                    return Math.Max(0, bytes.Length - 4);
                }

                at += next;
            }

            uint here = _here + (uint)at;
            uint since = here - _last;
            _last = here;
            _mask = since > 5 ? 0 : Shifted(_mask, since);
            byte high = bytes[at + 4];
            if (high is not (0 or 0xFF) || _mask >> 1 is > 4 or 3)
            {
                at++;
                _mask |= high is 0 or 0xFF ? 0x11u : 1u;
                continue;
            }

            uint from = BinaryPrimitives.ReadUInt32LittleEndian(bytes[(at + 1)..]);
            uint to = from - (here + 5);
            if (_mask != 0)
            {
                int bits = (_mask >> 1) switch { 0 => 0, 1 => 8, 2 or 3 => 16, _ => 24 };
                if ((byte)(to >> (24 - bits)) is 0 or 0xFF)
                {
                    from = to ^ (uint)((1UL << (32 - bits)) - 1);
                    to = from - (here + 5);
                }
            }

            BinaryPrimitives.WriteUInt32LittleEndian(bytes[(at + 1)..], (to & 0x00FF_FFFF) | ((to >> 24 & 1) != 0 ? 0xFF00_0000 : 0));
            at += 5;
            _mask = 0;
        }

        return at;

        static uint Shifted(uint mask, uint count)
        {
            for (; count > 0; count--)
            {
                mask = (mask & 0x77) << 1;
            }

            return mask;
        }
    }

    private int Words(Span<byte> bytes)
    {
        int at = 0;
        for (; at <= bytes.Length - 4; at += 4)
        {
            Span<byte> word = bytes.Slice(at, 4);
            uint here = _here + (uint)at;
            uint little = BinaryPrimitives.ReadUInt32LittleEndian(word);
            uint big = BinaryPrimitives.ReverseEndianness(little);
            switch (kind)
            {
                case BranchKind.PowerPc when (big & 0xFC00_0003) == 0x4800_0001:
                    BinaryPrimitives.WriteUInt32BigEndian(word, 0x4800_0001 | ((big - here) & 0x03FF_FFFC));
                    break;
                case BranchKind.Sparc when big >> 22 is 0x100 or 0x1FF:
                    uint to = (big << 2) - here >> 2;
                    BinaryPrimitives.WriteUInt32BigEndian(word, (((0u - ((to >> 22) & 1)) << 22) & 0x3FFF_FFFF) | (to & 0x3F_FFFF) | 0x4000_0000);
                    break;
                case BranchKind.Arm when little >> 24 == 0xEB:
                    BinaryPrimitives.WriteUInt32LittleEndian(word, 0xEB00_0000 | ((((little << 2) - (here + 8)) >> 2) & 0xFF_FFFF));
                    break;
                case BranchKind.Arm64 when little >> 26 == 0x25:
                    BinaryPrimitives.WriteUInt32LittleEndian(word, 0x9400_0000 | ((little - (here >> 2)) & 0x03FF_FFFF));
                    break;
                case BranchKind.Arm64 when (little & 0x9F00_0000) == 0x9000_0000:
                    uint from = ((little >> 29) & 3) | ((little >> 3) & 0x1F_FFFC);
                    if (((from + 0x2_0000) & 0x1C_0000) == 0)
                    {
                        uint page = from - (here >> 12);
                        BinaryPrimitives.WriteUInt32LittleEndian(word, (little & 0x9000_001F) | ((page & 3) << 29) | ((page & 0x3_FFFC) << 3) | ((0u - (page & 0x2_0000)) & 0xE0_0000));
                    }

                    break;
            }
        }

        return at;
    }

    private int ArmThumb(Span<byte> bytes)
    {
        int at = 0;
        for (; at <= bytes.Length - 4; at += 2)
        {
            Span<byte> pair = bytes.Slice(at, 4);
            uint first = BinaryPrimitives.ReadUInt16LittleEndian(pair);
            uint second = BinaryPrimitives.ReadUInt16LittleEndian(pair[2..]);
            if ((first & 0xF800) != 0xF000 || (second & 0xF800) != 0xF800)
            {
                continue;
            }

            uint to = (((((first & 0x7FF) << 11) | (second & 0x7FF)) << 1) - (_here + (uint)at + 4)) >> 1;
            BinaryPrimitives.WriteUInt16LittleEndian(pair, (ushort)(0xF000 | ((to >> 11) & 0x7FF)));
            BinaryPrimitives.WriteUInt16LittleEndian(pair[2..], (ushort)(0xF800 | (to & 0x7FF)));
            at += 2;
        }

        return at;
    }
}

/// <summary>Whose branches a filter changed.</summary>
internal enum BranchKind
{
    X86,
    PowerPc,
    Arm,
    ArmThumb,
    Sparc,
    Arm64,
}

/// <summary>Undoes differences between bytes that lie a fixed distance apart.</summary>
internal sealed class DeltaFilter(Stream inner, int distance) : FilterStream(inner)
{
    private readonly byte[] _state = new byte[distance];
    private int _at;

    protected override int Convert(Span<byte> bytes)
    {
        foreach (ref byte b in bytes)
        {
            b = _state[_at] += b;
            _at = _at + 1 == distance ? 0 : _at + 1;
        }

        return bytes.Length;
    }
}

/// <summary>
/// 7-Zip's BCJ2: what is called and jumped to lies in streams of its own, and a range coder tells which branches were converted. Spec: LZMA SDK
/// (public domain).
/// </summary>
internal sealed class Bcj2Stream : UnpackStream
{
    private const uint Top = 1u << 24;

    private readonly Stream[] _inputs;
    private readonly ushort[] _probs = new ushort[256 + 2];
    private readonly byte[] _main = new byte[32 << 10];
    private int _mainAt;
    private int _mainEnd;
    private uint _range = uint.MaxValue;
    private uint _code;
    private uint _made;
    private byte _before;
    private bool _isBegun;

    /// <param name="inputs">Main, calls, jumps, range coder.</param>
    public Bcj2Stream(Stream[] inputs)
    {
        _inputs = inputs;
        Buffer = new byte[64 << 10];
        Array.Fill(_probs, (ushort)1024);
    }

    protected override bool Fill()
    {
        Start = End = 0;
        if (!_isBegun)
        {
            _isBegun = true;
            for (int i = 0; i < 5; i++)
            {
                _code = (_code << 8) | Next(3);
            }
        }

        while (End <= Buffer.Length - 5)
        {
            if (_mainAt == _mainEnd)
            {
                _mainAt = 0;
                _mainEnd = _inputs[0].Read(_main);
                if (_mainEnd == 0)
                {
                    return false;
                }
            }

            byte b = _main[_mainAt++];
            Buffer[End++] = b;
            _made++;
            bool isBranch = (b & 0xFE) == 0xE8 || (_before == 0x0F && (b & 0xF0) == 0x80);
            if (!isBranch || !Bit(ref _probs[b == 0xE8 ? _before : b == 0xE9 ? 256 : 257]))
            {
                _before = b;
                continue;
            }

            int source = b == 0xE8 ? 1 : 2;
            uint address = ((uint)Next(source) << 24) | ((uint)Next(source) << 16) | ((uint)Next(source) << 8) | Next(source);
            uint relative = address - (_made + 4);
            BinaryPrimitives.WriteUInt32LittleEndian(Buffer.AsSpan(End), relative);
            End += 4;
            _made += 4;
            _before = (byte)(relative >> 24);
        }

        return true;
    }

    protected override void Dispose(bool disposing)
    {
        Array.ForEach(_inputs, i => i.Dispose());
        base.Dispose(disposing);
    }

    private bool Bit(ref ushort prob)
    {
        if (_range < Top)
        {
            _range <<= 8;
            _code = (_code << 8) | Next(3);
        }

        uint bound = (_range >> 11) * prob;
        if (_code < bound)
        {
            _range = bound;
            prob += (ushort)((2048 - prob) >> 5);
            return false;
        }

        _range -= bound;
        _code -= bound;
        prob -= (ushort)(prob >> 5);
        return true;
    }

    private byte Next(int input)
    {
        int b = _inputs[input].ReadByte();
        return b >= 0 ? (byte)b : throw ArchiveException.Truncated("bcj2", _made);
    }
}
