using System.Runtime.CompilerServices;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs.Compression;

/// <summary>
/// A canonical prefix code, read through a table of its first bits; the few longer codes are found by their length. One object
/// serves many codes, without allocation.
/// </summary>
internal sealed class HuffmanCode(int symbols, int tableBits)
{
    private const int MaxLength = 16;
    private const int LengthBits = 5;
    private readonly ushort[] _table = new ushort[1 << tableBits];
    private readonly ushort[] _sorted = new ushort[symbols];
    private readonly int[] _firstIndex = new int[MaxLength + 1];
    private readonly int[] _firstCode = new int[MaxLength + 1];
    private readonly int[] _endCode = new int[MaxLength + 1];
    private bool _isEmpty;

    /// <summary>Takes the code with these lengths; false unless it is complete or, where that is allowed, has no symbol at all.</summary>
    public bool TryBuild(ReadOnlySpan<byte> lengths, bool mayBeEmpty)
    {
        Span<int> count = stackalloc int[MaxLength + 1];
        count.Clear();
        foreach (byte length in lengths)
        {
            count[length]++;
        }

        _isEmpty = count[0] == lengths.Length;
        if (_isEmpty)
        {
            _table.AsSpan().Clear();
            return mayBeEmpty;
        }

        // Codes as if all were 16 bits long: a complete code ends at 2^16.
        int code = 0;
        int index = 0;
        Span<int> next = stackalloc int[MaxLength + 1];
        for (int length = 1; length <= MaxLength; length++)
        {
            _firstIndex[length] = next[length] = index;
            _firstCode[length] = code;
            index += count[length];
            code += count[length] << (MaxLength - length);
            _endCode[length] = code;
        }

        if (code != 1 << MaxLength)
        {
            return false;
        }

        for (int symbol = 0; symbol < lengths.Length; symbol++)
        {
            if (lengths[symbol] != 0)
            {
                _sorted[next[lengths[symbol]]++] = (ushort)symbol;
            }
        }

        FillTable(count);
        return true;
    }

    /// <summary>Reads one symbol, or -1 when the code has none. <see cref="WordBits.Fill"/> first.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int Read(ref WordBits bits)
    {
        int entry = _table[bits.Peek(tableBits)];
        if (entry != 0)
        {
            bits.Skip(entry & ((1 << LengthBits) - 1));
            return entry >> LengthBits;
        }

        return ReadLong(ref bits);
    }

    private int ReadLong(ref WordBits bits)
    {
        if (_isEmpty)
        {
            return -1;
        }

        int code = (int)bits.Peek(MaxLength);
        int length = tableBits + 1;
        while (code >= _endCode[length])
        {
            length++;
        }

        bits.Skip(length);
        return _sorted[_firstIndex[length] + ((code - _firstCode[length]) >> (MaxLength - length))];
    }

    private void FillTable(ReadOnlySpan<int> count)
    {
        int at = 0;
        int index = 0;
        for (int length = 1; length <= tableBits; length++)
        {
            int step = 1 << (tableBits - length);
            for (int i = 0; i < count[length]; i++)
            {
                _table.AsSpan(at, step).Fill((ushort)((_sorted[index++] << LengthBits) | length));
                at += step;
            }
        }

        // Zero: the code is longer.
        _table.AsSpan(at).Clear();
    }
}
