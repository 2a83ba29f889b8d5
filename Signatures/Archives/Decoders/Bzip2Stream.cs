using System.Buffers.Binary;

namespace Vmsweep.Signatures.Archives.Decoders;

/// <summary>
/// bzip2: blocks of up to 900,000 bytes, sorted by Burrows and Wheeler, then move-to-front, run lengths and Huffman codes. Streams may follow each
/// other. Own, because the library's decoder, measured, does 5 MB/s. Format: as its author's program writes it; bits come highest first.
/// </summary>
internal sealed class Bzip2Stream : UnpackStream
{
    private const int BlockUnit = 100_000;
    private const int GroupSize = 50;
    private const int MostSelectors = 18002;
    private const int MostCodeBits = 20;
    private const int RunA = 0;
    private const int RunB = 1;
    private const ulong BlockMagic = 0x3141_5926_5359;
    private const ulong EndMagic = 0x1772_4538_5090;

    private static readonly uint[] CrcTable = MakeCrcTable();

    private readonly ReadOnlyMemory<byte> _input;
    private readonly bool _isBare;
    private readonly Group[] _groups = [.. Enumerable.Range(0, 6).Select(_ => new Group())];
    private readonly byte[] _selectors = new byte[MostSelectors];
    private int _at;
    private ulong _bits;
    private int _count;
    private uint[] _block = [];
    private int _blockBytes;
    private uint _streamCrc;

    // Where the undoing of the last block stands.
    private uint _next;
    private int _left;
    private int _run;
    private int _last = -1;
    private int _repeats;
    private uint _crc;
    private uint _wantedCrc;

    /// <param name="input">Begins with the stream; may go on behind it.</param>
    /// <param name="isBare">As Nullsoft's installers have it: no header and checksums, and of the marks of block and end their first byte alone.</param>
    public Bzip2Stream(ReadOnlyMemory<byte> input, bool isBare = false)
    {
        _input = input;
        _isBare = isBare;
        Buffer = new byte[64 << 10];
    }

    /// <summary>A stream's header and a block's, or that of an empty stream: ten bytes of proof.</summary>
    public static bool Fits(ReadOnlySpan<byte> content) =>
        content.Length >= 14 && content.StartsWith("BZh"u8) && content[3] is >= (byte)'1' and <= (byte)'9'
        && ((BinaryPrimitives.ReadUInt64BigEndian(content[4..]) >> 16) is BlockMagic or EndMagic);

    protected override bool Fill()
    {
        Start = End = 0;
        while (_left == 0 && _run == 0)
        {
            if (_last >= 0)
            {
                EndBlock();
            }

            if (!BeginBlock())
            {
                return false;
            }
        }

        Unsort();
        return true;
    }

    private bool BeginBlock() => _isBare ? BeginBareBlock() : BeginWholeBlock();

    private bool BeginBareBlock()
    {
        if (_blockBytes == 0)
        {
            _blockBytes = 9 * BlockUnit;
            _block = new uint[_blockBytes];
        }

        switch (Take(8))
        {
            case (byte)(EndMagic >> 40):
                return false;
            case (byte)(BlockMagic >> 40):
                BeginSymbols();
                return true;
            default:
                throw Bad("no block where one must begin");
        }
    }

    private bool BeginWholeBlock()
    {
        if (_blockBytes == 0)
        {
            // Before the first stream, or behind one.
            Drop(_count & 7);
            int left = _input.Length - _at + (_count / 8);
            if (left < 4 || Peek32() >> 8 != 0x42_5A68 || (Peek32() & 0xFF) is < '1' or > '9')
            {
                // What follows a stream is no fault: bzip2 itself only warns of it.
                return false;
            }

            Take(24);
            _blockBytes = ((int)Take(8) - '0') * BlockUnit;
            if (_block.Length < _blockBytes)
            {
                _block = new uint[_blockBytes];
            }

            _streamCrc = 0;
        }

        ulong magic = ((ulong)Take(24) << 24) | Take(24);
        if (magic == EndMagic)
        {
            uint wanted = Take32();
            _blockBytes = 0;
            return wanted == _streamCrc ? BeginBlock() : throw Bad("the stream's checksum is wrong");
        }

        if (magic != BlockMagic)
        {
            throw Bad("no block where one must begin");
        }

        _wantedCrc = Take32();
        if (Take(1) != 0)
        {
            throw ArchiveException.Unsupported("bzip2", _at, "a randomised block, as versions before 0.9.5 wrote them");
        }

        BeginSymbols();
        return true;
    }

    private void BeginSymbols()
    {
        int origin = (int)Take(24);
        int size = ReadSymbols();
        if (origin >= size)
        {
            throw Bad("the sorted block's origin lies outside of it");
        }

        Sort(size);
        _next = _block[origin] >> 8;
        _left = size;
        _run = 0;
        _last = 256;
        _crc = uint.MaxValue;
        _repeats = 0;
    }

    private void EndBlock()
    {
        _last = -1;
        if (_isBare)
        {
            return;
        }

        uint crc = ~_crc;
        _streamCrc = ((_streamCrc << 1) | (_streamCrc >> 31)) ^ crc;
        if (crc != _wantedCrc)
        {
            throw Bad("a block's checksum is wrong");
        }
    }

    /// <summary>Reads a block's codes and symbols into the low bytes of <see cref="_block"/>; answers how many bytes there are.</summary>
    private int ReadSymbols()
    {
        Span<byte> used = stackalloc byte[256];
        int symbols = 0;
        uint map = Take(16);
        for (int i = 0; i < 16; i++)
        {
            if ((map & (0x8000 >> i)) == 0)
            {
                continue;
            }

            uint part = Take(16);
            for (int j = 0; j < 16; j++)
            {
                if ((part & (0x8000 >> j)) != 0)
                {
                    used[symbols++] = (byte)((i * 16) + j);
                }
            }
        }

        int groups = (int)Take(3);
        int selectors = (int)Take(15);
        if (symbols == 0 || groups is < 2 or > 6 || selectors == 0)
        {
            throw Bad("a block without symbols or codes");
        }

        ReadSelectors(groups, selectors);
        int alphabet = symbols + 2;
        Span<byte> lengths = stackalloc byte[258];
        for (int g = 0; g < groups; g++)
        {
            int length = (int)Take(5);
            for (int i = 0; i < alphabet; i++)
            {
                while (true)
                {
                    if (length is < 1 or > MostCodeBits)
                    {
                        throw Bad("a code length that is none");
                    }

                    if (Take(1) == 0)
                    {
                        break;
                    }

                    length += Take(1) == 0 ? 1 : -1;
                }

                lengths[i] = (byte)length;
            }

            _groups[g].Build(lengths[..alphabet]);
        }

        return Expand(used[..symbols], Math.Min(selectors, MostSelectors));
    }

    private void ReadSelectors(int groups, int selectors)
    {
        Span<byte> order = [0, 1, 2, 3, 4, 5];
        for (int i = 0; i < selectors; i++)
        {
            int at = 0;
            while (Take(1) != 0)
            {
                if (++at >= groups)
                {
                    throw Bad("a selector of no code");
                }
            }

            byte group = order[at];
            order[..at].CopyTo(order[1..]);
            order[0] = group;

            // Some writers have more selectors than any block can use; the rest is passed over.
            if (i < MostSelectors)
            {
                _selectors[i] = group;
            }
        }
    }

    private int Expand(Span<byte> front, int selectors)
    {
        int end = front.Length + 1;
        int size = 0;
        int selector = 0;
        int inGroup = 0;
        Group group = _groups[_selectors[0]];
        long run = 0;
        int weight = 0;
        while (true)
        {
            if (inGroup == GroupSize)
            {
                if (++selector >= selectors)
                {
                    throw Bad("a block has more symbols than selectors");
                }

                group = _groups[_selectors[selector]];
                inGroup = 0;
            }

            inGroup++;
            int symbol = Symbol(group);
            if (symbol <= RunB)
            {
                if (weight > 20)
                {
                    throw Bad("a run longer than any block");
                }

                run += (symbol == RunA ? 1L : 2L) << weight++;
                continue;
            }

            if (run > 0)
            {
                if (run > _blockBytes - size)
                {
                    throw Bad("a block is larger than the stream allows");
                }

                _block.AsSpan(size, (int)run).Fill(front[0]);
                size += (int)run;
                run = 0;
                weight = 0;
            }

            if (symbol == end)
            {
                return size;
            }

            if (size >= _blockBytes || symbol - 1 >= front.Length)
            {
                throw Bad("a block is larger than the stream allows");
            }

            byte value = front[symbol - 1];
            front[..(symbol - 1)].CopyTo(front[1..]);
            front[0] = value;
            _block[size++] = value;
        }
    }

    /// <summary>Puts into the upper bits of each entry which entry follows it.</summary>
    private void Sort(int size)
    {
        Span<int> starts = stackalloc int[256];
        starts.Clear();
        Span<uint> block = _block.AsSpan(0, size);
        foreach (uint entry in block)
        {
            starts[(int)(entry & 0xFF)]++;
        }

        int sum = 0;
        for (int i = 0; i < 256; i++)
        {
            (starts[i], sum) = (sum, sum + starts[i]);
        }

        for (int i = 0; i < block.Length; i++)
        {
            block[starts[(int)(block[i] & 0xFF)]++] |= (uint)i << 8;
        }
    }

    /// <summary>Follows the block's entries and undoes the runs: four equal bytes, then how many more.</summary>
    private void Unsort()
    {
        Span<byte> output = Buffer;
        uint[] block = _block;
        uint crc = _crc;
        int at = 0;
        while (at < output.Length)
        {
            if (_run > 0)
            {
                int count = Math.Min(_run, output.Length - at);
                output.Slice(at, count).Fill((byte)_last);
                for (int i = 0; i < count; i++)
                {
                    crc = (crc << 8) ^ CrcTable[(crc >> 24) ^ (uint)_last];
                }

                at += count;
                _run -= count;
                continue;
            }

            if (_left == 0)
            {
                break;
            }

            uint entry = block[_next];
            byte value = (byte)entry;
            _next = entry >> 8;
            _left--;
            if (_repeats == 4)
            {
                _run = value;
                _repeats = 0;
                continue;
            }

            _repeats = value == _last ? _repeats + 1 : 1;
            _last = value;
            output[at++] = value;
            crc = (crc << 8) ^ CrcTable[(crc >> 24) ^ value];
        }

        _crc = crc;
        End = at;
    }

    private int Symbol(Group group)
    {
        Need(MostCodeBits);
        if (_count >= MostCodeBits)
        {
            int window = (int)(_bits >> (_count - MostCodeBits)) & ((1 << MostCodeBits) - 1);
            int symbol = group.Decode(window, out int length);
            if (symbol < 0)
            {
                throw Bad("a code that is none");
            }

            _count -= length;
            return symbol;
        }

        int rest = (int)(_bits << (MostCodeBits - _count)) & ((1 << MostCodeBits) - 1);
        int last = group.Decode(rest, out int bits);
        if (last < 0 || bits > _count)
        {
            throw ArchiveException.Truncated("bzip2", _at);
        }

        _count -= bits;
        return last;
    }

    private uint Peek32()
    {
        Need(32);
        return (uint)(_bits >> (_count - 32));
    }

    private uint Take32() => (Take(16) << 16) | Take(16);

    private uint Take(int bits)
    {
        Need(bits);
        if (_count < bits)
        {
            throw ArchiveException.Truncated("bzip2", _at);
        }

        _count -= bits;
        return (uint)(_bits >> _count) & (uint)((1UL << bits) - 1);
    }

    private void Drop(int bits) => _count -= bits;

    private void Need(int bits)
    {
        ReadOnlySpan<byte> input = _input.Span;
        if (_count < bits && _at + 4 <= input.Length)
        {
            _bits = (_bits << 32) | BinaryPrimitives.ReadUInt32BigEndian(input[_at..]);
            _at += 4;
            _count += 32;
        }

        while (_count < bits && _at < input.Length)
        {
            _bits = (_bits << 8) | input[_at++];
            _count += 8;
        }
    }

    private ArchiveException Bad(string detail) => ArchiveException.Corrupt("bzip2", _at, detail);

    private static uint[] MakeCrcTable()
    {
        uint[] table = new uint[256];
        for (uint i = 0; i < 256; i++)
        {
            uint crc = i << 24;
            for (int bit = 0; bit < 8; bit++)
            {
                crc = (crc & 0x8000_0000) != 0 ? (crc << 1) ^ 0x04C1_1DB7 : crc << 1;
            }

            table[i] = crc;
        }

        return table;
    }

    /// <summary>One of a block's Huffman codes: canonical, up to 20 bits, highest bit first.</summary>
    private sealed class Group
    {
        private const int FastBits = 10;

        private readonly ushort[] _fast = new ushort[1 << FastBits];
        private readonly int[] _limit = new int[MostCodeBits + 2];
        private readonly int[] _base = new int[MostCodeBits + 2];
        private readonly ushort[] _symbols = new ushort[258];

        public void Build(ReadOnlySpan<byte> lengths)
        {
            Array.Clear(_fast);
            int at = 0;
            int code = 0;
            for (int bits = 1; bits <= MostCodeBits; bits++)
            {
                _base[bits] = at - code;
                for (int symbol = 0; symbol < lengths.Length; symbol++)
                {
                    if (lengths[symbol] != bits)
                    {
                        continue;
                    }

                    if (bits <= FastBits && code < 1 << bits)
                    {
                        _fast.AsSpan(code << (FastBits - bits), 1 << (FastBits - bits)).Fill((ushort)((symbol << 5) | bits));
                    }

                    _symbols[at++] = (ushort)symbol;
                    code++;
                }

                // The first code of this length that is none, moved up to the width of the window.
                _limit[bits] = code << (MostCodeBits - bits);
                code <<= 1;
            }
        }

        /// <param name="window">The next 20 bits.</param>
        /// <param name="length">Of the code.</param>
        public int Decode(int window, out int length)
        {
            int entry = _fast[window >> (MostCodeBits - FastBits)];
            if (entry != 0)
            {
                length = entry & 31;
                return entry >> 5;
            }

            for (length = 1; length <= MostCodeBits; length++)
            {
                if (window < _limit[length])
                {
                    int index = _base[length] + (window >> (MostCodeBits - length));
                    return (uint)index < 258 ? _symbols[index] : -1;
                }
            }

            return -1;
        }
    }
}
