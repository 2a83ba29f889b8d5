using System.Buffers.Binary;
using System.Numerics;
using Vmsweep.Signatures.Yara.Language;

namespace Vmsweep.Signatures.Yara.Routing;

/// <summary>Literals of one class of lengths, looked for by windows of the same width at the same stride.</summary>
/// <param name="Least">The shortest literal of the class: a window for each offset within a stride fits in.</param>
internal readonly record struct SieveClass(int Least, int WindowBytes, int Stride)
{
    /// <summary>Longest first: wide windows are found seldom, and wide strides cost little.</summary>
    public static readonly SieveClass[] All = [new(11, 8, 4), new(5, 4, 2), new(3, 3, 1)];
}

/// <summary>
/// Finds literals of one class. Of every literal as many neighbouring windows as the stride is wide are in a bit table; content is probed
/// at every stride, so that one of them falls on a probe wherever the literal lies. ASCII case is folded by setting bit 5. What passes the
/// table is compared in full. Immutable.
/// </summary>
internal sealed unsafe class Sieve
{
    private const ulong Fold = 0x2020_2020_2020_2020;
    private const ulong Spread = 0x9E37_79B9_7F4A_7C15;
    private const int LeastTableBits = 12;
    private const int MostTableBits = 21;

    /// <summary>Bits of the table to one list of windows.</summary>
    private const int HeadShift = 4;

    /// <summary>More windows alike than this are worth a worse place.</summary>
    private const int MostCrowd = 12;

    private const int MostOnStack = 256;

    private readonly SieveClass _class;
    private readonly Literal[] _literals;
    private readonly ulong[] _table;
    private readonly ulong _mask;
    private readonly int _shift;
    private readonly int[] _heads;
    private readonly Window[] _windows;

    /// <param name="literals">All of the prefilter.</param>
    /// <param name="numbers">Those of this class.</param>
    public Sieve(SieveClass kind, Literal[] literals, List<int> numbers)
    {
        _class = kind;
        _literals = literals;
        _mask = ulong.MaxValue >> (64 - (8 * kind.WindowBytes));
        int bits = Math.Clamp(BitOperations.Log2((uint)(numbers.Count * kind.Stride)) + 6, LeastTableBits, MostTableBits);
        _shift = 64 - bits;
        _table = new ulong[1 << (bits - 6)];
        _heads = new int[1 << (bits - HeadShift)];
        Array.Fill(_heads, -1);
        List<Window> windows = new(numbers.Count * kind.Stride);
        foreach (int number in numbers)
        {
            byte[] bytes = literals[number].Bytes;
            int best = BestPlace(literals[number], windows);
            for (int at = best; at < best + kind.Stride; at++)
            {
                ulong gram = Gram(bytes, at);
                ulong hash = gram * Spread >> _shift;
                _table[hash >> 6] |= 1UL << (int)(hash & 63);
                ref int head = ref _heads[hash >> HeadShift];
                windows.Add(new Window(gram, number, at, head));
                head = windows.Count - 1;
            }
        }

        _windows = [.. windows];
    }

    /// <summary>Marks the literals with a probed window in <c>[from, to)</c>; <paramref name="from"/> is a multiple of every stride.</summary>
    public void Scan(byte* start, int from, int to, ReadOnlySpan<byte> content, PrefilterMarks marks)
    {
        int last = Math.Min(to, content.Length - sizeof(ulong) + 1);
        int shift = _shift;
        int stride = _class.Stride;
        ulong mask = _mask;
        int at = from;
        fixed (ulong* table = _table)
        {
            byte* p = start + from;
            for (byte* end = start + last - (3 * stride); p < end; p += 4 * stride)
            {
                ulong h0 = ((*(ulong*)p | Fold) & mask) * Spread >> shift;
                ulong h1 = ((*(ulong*)(p + stride) | Fold) & mask) * Spread >> shift;
                ulong h2 = ((*(ulong*)(p + (2 * stride)) | Fold) & mask) * Spread >> shift;
                ulong h3 = ((*(ulong*)(p + (3 * stride)) | Fold) & mask) * Spread >> shift;
                ulong hit = (table[h0 >> 6] >> (int)(h0 & 63)) | (table[h1 >> 6] >> (int)(h1 & 63))
                    | (table[h2 >> 6] >> (int)(h2 & 63)) | (table[h3 >> 6] >> (int)(h3 & 63));
                if ((hit & 1) != 0)
                {
                    at = (int)(p - start);
                    Look(at, content, marks);
                    Look(at + stride, content, marks);
                    Look(at + (2 * stride), content, marks);
                    Look(at + (3 * stride), content, marks);
                }
            }

            at = (int)(p - start);
        }

        for (int end = Math.Min(to, content.Length - _class.WindowBytes + 1); at < end; at += stride)
        {
            Look(at, content, marks);
        }
    }

    private void Look(int at, ReadOnlySpan<byte> content, PrefilterMarks marks)
    {
        ulong gram = Gram(content, at);
        ulong hash = gram * Spread >> _shift;
        if ((_table[hash >> 6] >> (int)(hash & 63) & 1) == 0)
        {
            return;
        }

        for (int i = _heads[hash >> HeadShift]; i >= 0; i = _windows[i].Next)
        {
            ref readonly Window window = ref _windows[i];
            if (window.Gram == gram && !marks.Has(window.Literal) && _literals[window.Literal].LiesAt(content, at - window.At))
            {
                marks.Mark(window.Literal);
            }
        }
    }

    private ulong Gram(ReadOnlySpan<byte> bytes, int at)
    {
        ReadOnlySpan<byte> rest = bytes[at..];
        if (rest.Length >= sizeof(ulong))
        {
            return (BinaryPrimitives.ReadUInt64LittleEndian(rest) | Fold) & _mask;
        }

        Span<byte> padded = stackalloc byte[sizeof(ulong)];
        padded.Clear();
        rest.CopyTo(padded);
        return (BinaryPrimitives.ReadUInt64LittleEndian(padded) | Fold) & _mask;
    }

    /// <summary>Where the most telling windows are, crowded ones avoided.</summary>
    private int BestPlace(Literal literal, List<Window> windows)
    {
        byte[] bytes = literal.Bytes;
        int places = literal.CoreLength - _class.WindowBytes + 1;
        Span<int> qualities = places <= MostOnStack ? stackalloc int[places] : new int[places];
        for (int w = 0; w < places; w++)
        {
            ulong gram = Gram(bytes, literal.CoreStart + w);
            int crowd = 0;
            for (int i = _heads[gram * Spread >> _shift >> HeadShift]; i >= 0 && crowd < MostCrowd; i = windows[i].Next)
            {
                crowd += windows[i].Gram == gram ? 1 : 0;
            }

            qualities[w] = LiteralQuality.OfWindow(bytes.AsSpan(literal.CoreStart + w, _class.WindowBytes)) - crowd;
        }

        int best = 0;
        int bestQuality = int.MinValue;
        for (int at = 0; at + _class.Stride <= places; at++)
        {
            int quality = int.MaxValue;
            foreach (int window in qualities.Slice(at, _class.Stride))
            {
                quality = Math.Min(quality, window);
            }

            if (quality > bestQuality)
            {
                (best, bestQuality) = (at, quality);
            }
        }

        return literal.CoreStart + best;
    }

    private readonly record struct Window(ulong Gram, int Literal, int At, int Next);
}
