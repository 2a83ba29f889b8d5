using System.Runtime.CompilerServices;

namespace Vmsweep.DiskReaders.Blocks.Compression;

/// <summary>
/// The range decoder of LZMA. Specification: "LZMA specification" (LZMA SDK, lzma-specification.txt), "The main loop of decoder" and
/// "Range Decoder". Bytes beyond the end read as zeros and are remembered, so that the caller looks once for each symbol.
/// </summary>
internal ref struct RangeDecoder
{
    private const int ModelBits = 11;
    private const int MoveBits = 5;
    private const uint Top = 1u << 24;
    private const int InitBytes = 5;

    private readonly ReadOnlySpan<byte> _from;
    private uint _range;
    private uint _code;

    /// <param name="from">The packed bytes.</param>
    /// <param name="firstIsProperties">MicroLZMA keeps the properties in the first byte, which is 0 otherwise.</param>
    public RangeDecoder(ReadOnlySpan<byte> from, bool firstIsProperties = false)
    {
        _from = from;
        _range = uint.MaxValue;
        if (from.Length < InitBytes || (!firstIsProperties && from[0] != 0))
        {
            RanDry = true;
            return;
        }

        _code = System.Buffers.Binary.BinaryPrimitives.ReadUInt32BigEndian(from[1..]);
        Consumed = InitBytes;
    }

    /// <summary>Bytes read.</summary>
    public int Consumed { get; private set; }

    /// <summary>More bytes were wanted than there are.</summary>
    public bool RanDry { get; private set; }


    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int Bit(ref ushort probability)
    {
        unchecked
        {
            uint bound = (_range >> ModelBits) * probability;
            int bit;
            if (_code < bound)
            {
                _range = bound;
                probability += (ushort)(((1 << ModelBits) - probability) >> MoveBits);
                bit = 0;
            }
            else
            {
                _range -= bound;
                _code -= bound;
                probability -= (ushort)(probability >> MoveBits);
                bit = 1;
            }

            if (_range < Top)
            {
                Normalize();
            }

            return bit;
        }
    }

    public uint Direct(int bits)
    {
        unchecked
        {
            uint value = 0;
            for (; bits > 0; bits--)
            {
                _range >>= 1;
                uint isLow = (_code - _range) >> 31;
                _code -= _range & (isLow - 1);
                value = (value << 1) + (1 - isLow);
                if (_range < Top)
                {
                    Normalize();
                }
            }

            return value;
        }
    }

    public int Tree(Span<ushort> probabilities, int bits)
    {
        int symbol = 1;
        for (int i = 0; i < bits; i++)
        {
            symbol = (symbol << 1) + Bit(ref probabilities[symbol]);
        }

        return symbol - (1 << bits);
    }

    public int ReverseTree(Span<ushort> probabilities, int bits)
    {
        int symbol = 1, value = 0;
        for (int i = 0; i < bits; i++)
        {
            int bit = Bit(ref probabilities[symbol]);
            symbol = (symbol << 1) + bit;
            value |= bit << i;
        }

        return value;
    }

    private void Normalize()
    {
        unchecked
        {
            _range <<= 8;
            _code <<= 8;
            if (Consumed < _from.Length)
            {
                _code |= _from[Consumed++];
            }
            else
            {
                RanDry = true;
            }
        }
    }
}
