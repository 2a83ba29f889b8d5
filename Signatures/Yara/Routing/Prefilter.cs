using System.Numerics;
using Vmsweep.Signatures.Yara.Language;

namespace Vmsweep.Signatures.Yara.Routing;

/// <summary>
/// Says which rules a content may match, from literals that lie in it and from its head and length. Two windows of four bytes of every
/// literal are in a bit table; content is probed at every second offset, so that one of the two falls on a probe wherever the literal
/// lies. ASCII case is folded by setting bit 5. What passes the table is compared in full.
/// </summary>
/// <remarks>Immutable; a thread's marks are in its <see cref="PrefilterMarks"/>.</remarks>
internal sealed unsafe class Prefilter
{
    public const int Stride = 2;
    private const int WindowBytes = 4;
    private const uint Fold = 0x2020_2020;
    private const uint Spread = 0x9E37_79B1;
    private const int LeastTableBits = 15;
    private const int MostTableBits = 21;

    /// <summary>Bits of the table to one list of windows.</summary>
    private const int HeadShift = 4;

    private readonly Literal[] _literals;
    private readonly int[][] _owners;
    private readonly NeedCode[] _needs;
    private readonly int[] _always;
    private readonly ulong[] _table;
    private readonly int _shift;
    private readonly int[] _heads;
    private readonly Window[] _windows;

    /// <param name="literals">Each once.</param>
    /// <param name="owners">By literal: which rules to look at when it is found.</param>
    /// <param name="needs">By rule.</param>
    public Prefilter(Literal[] literals, int[][] owners, NeedCode[] needs)
    {
        _literals = literals;
        _owners = owners;
        _needs = needs;
        _always = [.. Enumerable.Range(0, needs.Length).Where(r => needs[r].HoldsWithoutLiterals)];
        int bits = Math.Clamp(BitOperations.Log2((uint)Math.Max(1, literals.Length * Stride)) + 6, LeastTableBits, MostTableBits);
        _shift = 32 - bits;
        _table = new ulong[1 << (bits - 6)];
        _heads = new int[1 << (bits - HeadShift)];
        Array.Fill(_heads, -1);
        List<Window> windows = new(literals.Length * Stride);
        for (int i = 0; i < literals.Length; i++)
        {
            int at = BestWindows(literals[i].Bytes, windows);
            for (int w = at; w < at + Stride; w++)
            {
                uint gram = Gram(literals[i].Bytes, w);
                uint hash = gram * Spread >> _shift;
                _table[hash >> 6] |= 1UL << (int)(hash & 63);
                ref int head = ref _heads[hash >> HeadShift];
                windows.Add(new Window(gram, i, w, head));
                head = windows.Count - 1;
            }
        }

        _windows = [.. windows];
    }

    public IReadOnlyList<Literal> Literals => _literals;

    public IReadOnlyList<int[]> Owners => _owners;

    public IReadOnlyList<NeedCode> Needs => _needs;

    public long Bytes => (_table.Length * 8L) + (_heads.Length * 4L) + (_windows.Length * 16L);

    /// <summary>Adds to <paramref name="rules"/> every rule that the content may match.</summary>
    /// <returns>False when the time was over first.</returns>
    public bool Find(ReadOnlySpan<byte> content, PrefilterMarks marks, List<int> rules, Func<bool> timeIsOver)
    {
        marks.Clear();
        const int Chunk = 1 << 20;
        fixed (byte* start = content)
        {
            for (int at = 0; at + WindowBytes <= content.Length; at += Chunk)
            {
                if (at > 0 && timeIsOver())
                {
                    return false;
                }

                Scan(start, at, (int)Math.Min((long)at + Chunk, content.Length - WindowBytes + 1), content, marks);
            }
        }

        foreach (int rule in _always)
        {
            if (_needs[rule].Holds(content, marks))
            {
                rules.Add(rule);
            }
        }

        foreach (int rule in marks.Touched)
        {
            if (_needs[rule].Holds(content, marks))
            {
                rules.Add(rule);
            }
        }

        return true;
    }

    private void Scan(byte* start, int from, int to, ReadOnlySpan<byte> content, PrefilterMarks marks)
    {
        int shift = _shift;
        fixed (ulong* table = _table)
        {
            byte* p = start + from;
            byte* end = start + to;
            for (byte* last = end - (4 * Stride); p <= last; p += 4 * Stride)
            {
                uint h0 = (*(uint*)p | Fold) * Spread >> shift;
                uint h1 = (*(uint*)(p + 2) | Fold) * Spread >> shift;
                uint h2 = (*(uint*)(p + 4) | Fold) * Spread >> shift;
                uint h3 = (*(uint*)(p + 6) | Fold) * Spread >> shift;
                ulong hit = (table[h0 >> 6] >> (int)(h0 & 63)) | (table[h1 >> 6] >> (int)(h1 & 63))
                    | (table[h2 >> 6] >> (int)(h2 & 63)) | (table[h3 >> 6] >> (int)(h3 & 63));
                if ((hit & 1) != 0)
                {
                    int at = (int)(p - start);
                    Look(h0, at, content, marks);
                    Look(h1, at + 2, content, marks);
                    Look(h2, at + 4, content, marks);
                    Look(h3, at + 6, content, marks);
                }
            }

            for (; p < end; p += Stride)
            {
                Look((*(uint*)p | Fold) * Spread >> shift, (int)(p - start), content, marks);
            }
        }
    }

    private void Look(uint hash, int at, ReadOnlySpan<byte> content, PrefilterMarks marks)
    {
        if ((_table[hash >> 6] >> (int)(hash & 63) & 1) == 0)
        {
            return;
        }

        uint gram = Gram(content, at);
        for (int i = _heads[hash >> HeadShift]; i >= 0; i = _windows[i].Next)
        {
            Window window = _windows[i];
            if (window.Gram == gram && !marks.Has(window.Literal) && Lies(_literals[window.Literal], content, at - window.At))
            {
                marks.Mark(window.Literal, _owners[window.Literal]);
            }
        }
    }

    private static bool Lies(Literal literal, ReadOnlySpan<byte> content, int at)
    {
        byte[] bytes = literal.Bytes;
        if (at < 0 || at > content.Length - bytes.Length)
        {
            return false;
        }

        ReadOnlySpan<byte> there = content.Slice(at, bytes.Length);
        if (!literal.IgnoresCase)
        {
            return there.SequenceEqual(bytes);
        }

        for (int i = 0; i < bytes.Length; i++)
        {
            if (Folded(there[i]) != Folded(bytes[i]))
            {
                return false;
            }
        }

        return true;
    }

    private static int Folded(byte c) => c is >= (byte)'A' and <= (byte)'Z' ? c | 0x20 : c;

    private static uint Gram(ReadOnlySpan<byte> bytes, int at) => System.Buffers.Binary.BinaryPrimitives.ReadUInt32LittleEndian(bytes[at..]) | Fold;

    /// <summary>Where the most telling pair of windows starts, crowded ones avoided.</summary>
    private int BestWindows(byte[] bytes, List<Window> windows)
    {
        int best = 0;
        int bestQuality = int.MinValue;
        for (int at = 0; at + LiteralQuality.LeastBytes <= bytes.Length; at++)
        {
            int quality = LiteralQuality.OfPair(bytes, at);
            if (quality == 0)
            {
                continue;
            }

            for (int w = at; w < at + Stride; w++)
            {
                uint gram = Gram(bytes, w);
                int crowd = 0;
                for (int i = _heads[gram * Spread >> _shift >> HeadShift]; i >= 0 && crowd < 12; i = windows[i].Next)
                {
                    crowd += windows[i].Gram == gram ? 1 : 0;
                }

                quality -= crowd;
            }

            if (quality > bestQuality)
            {
                (best, bestQuality) = (at, quality);
            }
        }

        return best;
    }

    private readonly record struct Window(uint Gram, int Literal, int At, int Next);
}

/// <summary>Which literals one content holds and which rules that concerns. For one thread.</summary>
internal sealed class PrefilterMarks(int literals, int rules)
{
    private readonly ulong[] _found = new ulong[(literals + 63) / 64];
    private readonly ulong[] _touched = new ulong[(rules + 63) / 64];
    private readonly List<int> _marked = [];

    public List<int> Touched { get; } = [];

    public bool Has(int literal) => (_found[literal >> 6] >> (literal & 63) & 1) != 0;

    public void Mark(int literal, int[] owners)
    {
        _found[literal >> 6] |= 1UL << (literal & 63);
        _marked.Add(literal);
        foreach (int rule in owners)
        {
            if ((_touched[rule >> 6] >> (rule & 63) & 1) == 0)
            {
                _touched[rule >> 6] |= 1UL << (rule & 63);
                Touched.Add(rule);
            }
        }
    }

    public void Clear()
    {
        foreach (int literal in _marked)
        {
            _found[literal >> 6] = 0;
        }

        foreach (int rule in Touched)
        {
            _touched[rule >> 6] = 0;
        }

        _marked.Clear();
        Touched.Clear();
    }
}
