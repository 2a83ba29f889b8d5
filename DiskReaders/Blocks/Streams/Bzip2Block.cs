using System.Buffers;

namespace Vmsweep.DiskReaders.Blocks.Streams;

/// <summary>
/// One block of bzip2: Huffman codes, move-to-front, the Burrows-Wheeler transform and run lengths undone. Specification: "BZIP2: Format
/// Specification" (J. Tsai), whose names the parts have. Bits come the most significant first.
/// </summary>
internal sealed class Bzip2Block : IDisposable
{
    private const int MostSymbols = 258;
    private const int MostTables = 6;
    private const int MostCodeBits = 20;
    private const int GroupSymbols = 50;
    private const int MostSelectors = 32_768;
    private const int RunA = 0;
    private const int RunB = 1;

    private readonly RentedBuffer _memory;
    private uint[] _entries;
    private readonly BudgetReservation _reserved;
    private readonly int _mostBytes;
    private readonly byte[] _selectors = new byte[MostSelectors];
    private readonly Code[] _codes = [new(), new(), new(), new(), new(), new()];
    private readonly int[] _counts = new int[256];

    private int _length;
    private int _left;
    private uint _position;
    private int _repeated;
    private int _last;
    private int _pendingRun;

    /// <param name="mostBytes">Of one block: the level of the file times 100,000.</param>
    public Bzip2Block(int mostBytes, ScanBudget budget)
    {
        _mostBytes = mostBytes;
        _reserved = budget.Reserve((mostBytes * 4L) + MostSelectors);
        _memory = budget.Rent(256);
        _entries = ArrayPool<uint>.Shared.Rent(mostBytes);
    }

    private Span<uint> Vector => _entries.AsSpan(0, _mostBytes);

    /// <summary>What the block's bytes must sum to.</summary>
    public uint ExpectedCrc { get; private set; }

    /// <summary>The sum of the bytes given until now.</summary>
    public uint Crc { get; private set; }

    /// <summary>All of the block was given.</summary>
    public bool IsDone => _left == 0 && _pendingRun == 0;

    /// <summary>Reads a block behind its magic, up to the last of its packed bits.</summary>
    public void Read(PackedBytes bits)
    {
        ExpectedCrc = bits.Bits(32);
        if (bits.Bits(1) != 0)
        {
            throw bits.Corrupt("a randomised block, as only versions before 0.9.5 wrote");
        }

        uint origin = bits.Bits(24);
        Span<byte> front = _memory.Span[..256];
        int used = SymbolMap(bits, front);
        int tables = (int)bits.Bits(3);
        int selectors = (int)bits.Bits(15);
        if (used == 0 || tables is < 2 or > MostTables || selectors == 0)
        {
            throw bits.Corrupt("a malformed block header");
        }

        Selectors(bits, tables, selectors);
        for (int table = 0; table < tables; table++)
        {
            _codes[table].Read(bits, used + 2);
        }

        _length = Symbols(bits, front, used + 1, selectors);
        if (origin >= _length)
        {
            throw bits.Corrupt("the transform begins outside the block");
        }

        Invert();
        _position = Vector[(int)origin] >> 8;
        _left = _length;
        _repeated = 0;
        _last = -1;
        _pendingRun = 0;
        Crc = uint.MaxValue;
    }

    /// <summary>Gives the next plain bytes; fewer than asked for only at the block's end.</summary>
    public int Give(Span<byte> to)
    {
        int made = 0;
        uint crc = Crc;
        Span<uint> vector = Vector;
        unchecked
        {
            while (made < to.Length)
            {
                if (_pendingRun > 0)
                {
                    int count = Math.Min(_pendingRun, to.Length - made);
                    to.Slice(made, count).Fill((byte)_last);
                    _pendingRun -= count;
                    for (; count > 0; count--, made++)
                    {
                        crc = (crc << 8) ^ Bzip2Crc.Table[(int)((crc >> 24) ^ (uint)_last)];
                    }

                    continue;
                }

                if (_left == 0)
                {
                    break;
                }

                uint entry = vector[(int)_position];
                byte value = (byte)entry;
                _position = entry >> 8;
                _left--;
                if (_repeated == 4)
                {
                    // Four equal bytes are followed by how often the byte comes again.
                    _pendingRun = value;
                    _repeated = 0;
                    continue;
                }

                _repeated = value == _last ? _repeated + 1 : 1;
                _last = value;
                to[made++] = value;
                crc = (crc << 8) ^ Bzip2Crc.Table[(int)((crc >> 24) ^ value)];
            }
        }

        Crc = crc;
        return made;
    }

    public void Dispose()
    {
        _memory.Dispose();
        if (_entries.Length > 0)
        {
            ArrayPool<uint>.Shared.Return(_entries);
            _entries = [];
        }

        _reserved.Dispose();
    }

    private static int SymbolMap(PackedBytes bits, Span<byte> front)
    {
        uint groups = bits.Bits(16);
        int used = 0;
        for (int group = 0; group < 16; group++)
        {
            if ((groups & (0x8000u >> group)) == 0)
            {
                continue;
            }

            uint members = bits.Bits(16);
            for (int member = 0; member < 16; member++)
            {
                if ((members & (0x8000u >> member)) != 0)
                {
                    front[used++] = (byte)((group * 16) + member);
                }
            }
        }

        return used;
    }

    private void Selectors(PackedBytes bits, int tables, int selectors)
    {
        Span<byte> order = stackalloc byte[MostTables];
        for (int i = 0; i < tables; i++)
        {
            order[i] = (byte)i;
        }

        for (int i = 0; i < selectors; i++)
        {
            int at = 0;
            while (bits.Bits(1) != 0)
            {
                if (++at >= tables)
                {
                    throw bits.Corrupt("a selector of no table");
                }
            }

            byte table = order[at];
            order[..at].CopyTo(order[1..]);
            order[0] = table;
            _selectors[i] = table;
        }
    }

    private int Symbols(PackedBytes bits, Span<byte> front, int endOfBlock, int selectors)
    {
        int made = 0, group = 0, leftOfGroup = 0, run = 0, weight = 1;
        Code code = _codes[0];
        Span<uint> vector = Vector;
        while (true)
        {
            if (leftOfGroup == 0)
            {
                if (group >= selectors)
                {
                    throw bits.Corrupt("more symbols than its selectors are for");
                }

                code = _codes[_selectors[group++]];
                leftOfGroup = GroupSymbols;
            }

            leftOfGroup--;
            int symbol = code.Next(bits);
            if (symbol is RunA or RunB)
            {
                // Bijective base 2: RUNA counts its weight once, RUNB twice.
                run += weight << symbol;
                weight <<= 1;
                if (run > vector.Length)
                {
                    throw bits.Corrupt("a run longer than the block");
                }

                continue;
            }

            if (run > 0)
            {
                if (run > vector.Length - made)
                {
                    throw bits.Corrupt("more bytes than a block holds");
                }

                vector.Slice(made, run).Fill(front[0]);
                made += run;
                run = 0;
            }

            weight = 1;
            if (symbol == endOfBlock)
            {
                return made;
            }

            if (made >= vector.Length)
            {
                throw bits.Corrupt("more bytes than a block holds");
            }

            byte value = front[symbol - 1];
            front[..(symbol - 1)].CopyTo(front[1..]);
            front[0] = value;
            vector[made++] = value;
        }
    }

    /// <summary>Puts into the upper bits of each entry where the byte after it stands.</summary>
    private void Invert()
    {
        Array.Clear(_counts);
        Span<uint> vector = Vector;
        for (int i = 0; i < _length; i++)
        {
            _counts[vector[i] & 0xFF]++;
        }

        int sum = 0;
        for (int i = 0; i < 256; i++)
        {
            (sum, _counts[i]) = (sum + _counts[i], sum);
        }

        unchecked
        {
            for (int i = 0; i < _length; i++)
            {
                vector[_counts[vector[i] & 0xFF]++] |= (uint)i << 8;
            }
        }
    }

    /// <summary>A canonical code of 1 to 20 bits.</summary>
    private sealed class Code
    {
        private readonly int[] _limits = new int[MostCodeBits + 2];
        private readonly int[] _bases = new int[MostCodeBits + 2];
        private readonly ushort[] _symbols = new ushort[MostSymbols];
        private readonly byte[] _lengths = new byte[MostSymbols];
        private int _count;
        private int _shortest;

        public void Read(PackedBytes bits, int symbols)
        {
            int length = (int)bits.Bits(5);
            for (int i = 0; i < symbols; i++)
            {
                while (true)
                {
                    if (length is < 1 or > MostCodeBits)
                    {
                        throw bits.Corrupt("a code of a forbidden length");
                    }

                    if (bits.Bits(1) == 0)
                    {
                        break;
                    }

                    length += bits.Bits(1) == 0 ? 1 : -1;
                }

                _lengths[i] = (byte)length;
            }

            int code = 0;
            _count = 0;
            _shortest = MostCodeBits;
            for (int width = 1; width <= MostCodeBits; width++)
            {
                _bases[width] = _count - code;
                for (int i = 0; i < symbols; i++)
                {
                    if (_lengths[i] == width)
                    {
                        _symbols[_count++] = (ushort)i;
                        code++;
                        _shortest = Math.Min(_shortest, width);
                    }
                }

                _limits[width] = code;
                code <<= 1;
            }
        }

        public int Next(PackedBytes bits)
        {
            int width = _shortest;
            int code = (int)bits.Bits(width);
            while (code >= _limits[width] || code + _bases[width] < 0)
            {
                if (++width > MostCodeBits)
                {
                    throw bits.Corrupt("a code of no symbol");
                }

                code = (code << 1) | (int)bits.Bits(1);
            }

            int at = code + _bases[width];
            return at < _count ? _symbols[at] : throw bits.Corrupt("a code of no symbol");
        }
    }
}

/// <summary>bzip2's CRC-32: the usual polynomial, the most significant bit first.</summary>
internal static class Bzip2Crc
{
    public static readonly uint[] Table = Make();

    private static uint[] Make()
    {
        var table = new uint[256];
        for (uint i = 0; i < 256; i++)
        {
            uint value = i << 24;
            for (int bit = 0; bit < 8; bit++)
            {
                value = unchecked((value & 0x8000_0000) != 0 ? (value << 1) ^ 0x04C1_1DB7 : value << 1);
            }

            table[i] = value;
        }

        return table;
    }
}
