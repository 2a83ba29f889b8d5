using System.Buffers;
using System.Buffers.Binary;

namespace Vmsweep.Signatures.Archives.Decoders;

/// <summary>
/// DEFLATE (RFC 1951), and Deflate64 of PKWARE's APPNOTE 4.4.5 method 9: a window of 64 KiB, distance codes 30 and 31, and length code 285 with 16
/// more bits. Own, because the runtime's tells neither where a stream ends nor that it was cut off, takes no history, and has no Deflate64.
/// </summary>
internal sealed class InflateStream : UnpackStream
{
    private const int WindowBytes = 64 << 10;
    private const int MostMatch = (64 << 10) + 2;
    private const int BatchBytes = 64 << 10;
    private const int BufferBytes = (2 * WindowBytes) + BatchBytes + MostMatch;

    private static readonly byte[] LengthCodeOrder = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
    private static readonly ushort[] LengthBase = [3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258];
    private static readonly byte[] LengthBits = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
    private static readonly ushort[] DistanceBase =
        [1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577, 32769, 49153];

    private readonly ReadOnlyMemory<byte> _input;
    private readonly bool _is64;
    private readonly bool _mayLackComplement;
    private readonly HuffmanCode _literals = new(288);
    private readonly HuffmanCode _distances = new(32);
    private int _at;
    private ulong _bits;
    private int _count;
    private int _position;
    private int _stored;
    private bool _isCoded;
    private bool _isLast;
    private bool _isBetween = true;

    /// <param name="input">Begins with the stream; may go on behind it.</param>
    /// <param name="is64">Deflate64.</param>
    /// <param name="history">What matches may reach back to, before the first byte.</param>
    /// <param name="mayLackComplement">The complement behind a stored block's length may be missing, as older of Nullsoft's installers have it.</param>
    public InflateStream(ReadOnlyMemory<byte> input, bool is64 = false, ReadOnlySpan<byte> history = default, bool mayLackComplement = false)
    {
        _input = input;
        _is64 = is64;
        _mayLackComplement = mayLackComplement;
        Buffer = ArrayPool<byte>.Shared.Rent(BufferBytes);
        history.CopyTo(Buffer);
        _position = Start = End = history.Length;
    }

    /// <summary>Bytes of the input that belong to the stream, when it was read to its end.</summary>
    public int Consumed => _at - (_count / 8);

    protected override bool Fill()
    {
        if (_position >= 2 * WindowBytes)
        {
            Buffer.AsSpan(_position - WindowBytes, WindowBytes).CopyTo(Buffer);
            _position = WindowBytes;
        }

        Start = _position;
        int stop = _position + BatchBytes;
        try
        {
            while (_position < stop)
            {
                if (_isBetween)
                {
                    if (_isLast)
                    {
                        return false;
                    }

                    BeginBlock();
                }
                else if (_isCoded)
                {
                    DecodeBlock(stop);
                }
                else
                {
                    CopyStored(stop);
                }
            }
        }
        finally
        {
            End = _position;
        }

        return true;
    }

    protected override void Dispose(bool disposing)
    {
        if (Buffer.Length > 0)
        {
            ArrayPool<byte>.Shared.Return(Buffer);
            Buffer = [];
            Start = End = 0;
        }

        base.Dispose(disposing);
    }

    private void BeginBlock()
    {
        _isLast = Take(1) != 0;
        _isBetween = false;
        switch (Take(2))
        {
            case 0:
                Drop(_count & 7);
                int length = Take(16);
                Need(16);
                if (_count >= 16 && (ushort)_bits == (ushort)~length)
                {
                    Drop(16);
                }
                else if (!_mayLackComplement)
                {
                    throw _count < 16 ? ArchiveException.Truncated("deflate", _at) : Bad("a stored block's length and its complement differ");
                }

                _stored = length;
                _isCoded = false;
                break;
            case 1:
                Span<byte> lengths = stackalloc byte[288];
                lengths[..144].Fill(8);
                lengths[144..256].Fill(9);
                lengths[256..280].Fill(7);
                lengths[280..].Fill(8);
                _literals.TryBuild(lengths);
                lengths[..32].Fill(5);
                _distances.TryBuild(lengths[..32]);
                _isCoded = true;
                break;
            case 2:
                ReadCodes();
                _isCoded = true;
                break;
            default:
                throw Bad("a block of an unknown kind");
        }
    }

    private void ReadCodes()
    {
        int literals = Take(5) + 257;
        int distances = Take(5) + 1;
        int codes = Take(4) + 4;
        if (literals > 286 && !_is64)
        {
            throw Bad("too many literal codes");
        }

        Span<byte> lengths = stackalloc byte[288 + 32];
        lengths.Clear();
        for (int i = 0; i < codes; i++)
        {
            lengths[LengthCodeOrder[i]] = (byte)Take(3);
        }

        if (!_literals.TryBuild(lengths[..19]))
        {
            throw Bad("no code of code lengths");
        }

        lengths.Clear();
        for (int i = 0; i < literals + distances;)
        {
            int symbol = Symbol(_literals);
            if (symbol < 16)
            {
                lengths[i++] = (byte)symbol;
                continue;
            }

            (int value, int repeat) = symbol switch
            {
                16 when i > 0 => (lengths[i - 1], 3 + Take(2)),
                17 => (0, 3 + Take(3)),
                18 => (0, 11 + Take(7)),
                _ => throw Bad("a repeat of nothing"),
            };
            if (repeat > literals + distances - i)
            {
                throw Bad("too many code lengths");
            }

            lengths.Slice(i, repeat).Fill((byte)value);
            i += repeat;
        }

        if (lengths[256] == 0 || !_literals.TryBuild(lengths[..literals]) || !_distances.TryBuild(lengths.Slice(literals, distances)))
        {
            throw Bad("no code of literals or distances");
        }
    }

    private void CopyStored(int stop)
    {
        while (_stored > 0 && _position < stop && _count >= 8)
        {
            Buffer[_position++] = (byte)Take(8);
            _stored--;
        }

        int count = Math.Min(Math.Min(_stored, stop - _position), _input.Length - _at);
        if (count > 0)
        {
            _input.Span.Slice(_at, count).CopyTo(Buffer.AsSpan(_position));
            _at += count;
            _position += count;
            _stored -= count;
        }

        if (_stored == 0)
        {
            _isBetween = true;
        }
        else if (_position < stop)
        {
            throw ArchiveException.Truncated("deflate", _at);
        }
    }

    private void DecodeBlock(int stop)
    {
        ReadOnlySpan<byte> input = _input.Span;
        Span<byte> output = Buffer;
        int position = _position;
        int at = _at;
        ulong bits = _bits;
        int count = _count;
        try
        {
            while (position < stop)
            {
                // A length with a distance takes at most 15 + 16 + 15 + 14 bits.
                if (count < 48)
                {
                    if (at + 8 <= input.Length)
                    {
                        bits |= BinaryPrimitives.ReadUInt64LittleEndian(input[at..]) << count;
                        at += (63 - count) >> 3;
                        count |= 56;
                    }
                    else
                    {
                        while (count <= 56 && at < input.Length)
                        {
                            bits |= (ulong)input[at++] << count;
                            count += 8;
                        }
                    }
                }

                int symbol = _literals.Decode(bits, out int length);
                if (length > count)
                {
                    throw ArchiveException.Truncated("deflate", at);
                }

                if (symbol < 0)
                {
                    throw Bad("a code that is none");
                }

                bits >>= length;
                count -= length;
                if (symbol < 256)
                {
                    output[position++] = (byte)symbol;
                    continue;
                }

                if (symbol == 256)
                {
                    _isBetween = true;
                    break;
                }

                symbol -= 257;
                if (symbol > 28)
                {
                    throw Bad("a length code that is none");
                }

                (int extra, int match) = _is64 && symbol == 28 ? (16, 3) : (LengthBits[symbol], LengthBase[symbol]);
                match += (int)(bits & ((1UL << extra) - 1));
                bits >>= extra;
                count -= extra;

                // Only 32 bits are sure to be left, and what follows takes 29.
                if (count < 32)
                {
                    while (count <= 56 && at < input.Length)
                    {
                        bits |= (ulong)input[at++] << count;
                        count += 8;
                    }
                }

                symbol = _distances.Decode(bits, out length);
                if (symbol < 0 || symbol > (_is64 ? 31 : 29))
                {
                    throw count < length ? ArchiveException.Truncated("deflate", at) : Bad("a distance code that is none");
                }

                extra = symbol < 2 ? 0 : (symbol >> 1) - 1;
                bits >>= length;
                int distance = DistanceBase[symbol] + (int)(bits & ((1UL << extra) - 1));
                bits >>= extra;
                count -= length + extra;
                if (count < 0)
                {
                    throw ArchiveException.Truncated("deflate", at);
                }

                if (distance > position)
                {
                    throw Bad("a match before the start");
                }

                Lz.Copy(output, position, distance, match);
                position += match;
            }
        }
        finally
        {
            _position = position;
            _at = at;
            _bits = count > 0 ? bits & (ulong.MaxValue >> (64 - count)) : 0;
            _count = Math.Max(0, count);
        }
    }

    private int Symbol(HuffmanCode code)
    {
        Need(HuffmanCode.MostBits);
        int symbol = code.Decode(_bits, out int length);
        if (symbol < 0 || length > _count)
        {
            throw symbol < 0 && _count >= HuffmanCode.MostBits ? Bad("a code that is none") : ArchiveException.Truncated("deflate", _at);
        }

        Drop(length);
        return symbol;
    }

    private int Take(int bits)
    {
        Need(bits);
        if (_count < bits)
        {
            throw ArchiveException.Truncated("deflate", _at);
        }

        int value = (int)(_bits & ((1UL << bits) - 1));
        Drop(bits);
        return value;
    }

    private void Need(int bits)
    {
        ReadOnlySpan<byte> input = _input.Span;
        while (_count < bits && _at < input.Length)
        {
            _bits |= (ulong)input[_at++] << _count;
            _count += 8;
        }
    }

    private void Drop(int bits)
    {
        _bits >>= bits;
        _count -= bits;
    }

    private ArchiveException Bad(string detail) => ArchiveException.Corrupt("deflate", _at, detail);
}

/// <summary>Matches of the Lempel-Ziv family.</summary>
internal static class Lz
{
    /// <summary>Copies what lies <paramref name="distance"/> before; it may overlap with what is made.</summary>
    public static void Copy(Span<byte> buffer, int at, int distance, int count)
    {
        if (distance >= count)
        {
            buffer.Slice(at - distance, count).CopyTo(buffer[at..]);
        }
        else if (distance == 1)
        {
            buffer.Slice(at, count).Fill(buffer[at - 1]);
        }
        else
        {
            // The copied part doubles with each step.
            for (int done = 0; done < count;)
            {
                int step = Math.Min(distance + done, count - done);
                buffer.Slice(at - distance, step).CopyTo(buffer[(at + done)..]);
                done += step;
            }
        }
    }
}
