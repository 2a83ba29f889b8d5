using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs.Compression;

/// <summary>
/// LZX with a window of 32 KiB, each chunk on its own, as WIM files and the Windows Overlay Filter use it. Spec: [MS-PATCH] 2
/// (LZXD) for the code, with these differences of the WIM form: no chunk size and no translation header, a block header whose size
/// is one bit (32,768) or 16 bits, and calls translated in every chunk for a file of 12,000,000 bytes.
/// </summary>
internal sealed class Lzx
{
    public const int WindowBytes = 32 << 10;
    private const int PositionSlots = 30;
    private const int MainSymbols = 256 + (8 * PositionSlots);
    private const int LengthSymbols = 249;
    private const int PreSymbols = 20;
    private const int AlignedSymbols = 8;
    private const int MinMatch = 2;

    [ThreadStatic]
    private static Lzx? _ofThread;

    private readonly HuffmanCode _main = new(MainSymbols, 11);
    private readonly HuffmanCode _length = new(LengthSymbols, 10);
    private readonly HuffmanCode _pre = new(PreSymbols, 6);
    private readonly HuffmanCode _aligned = new(AlignedSymbols, 7);
    private readonly byte[] _mainLengths = new byte[MainSymbols];
    private readonly byte[] _lengthLengths = new byte[LengthSymbols];
    private uint _r0;
    private uint _r1;
    private uint _r2;

    private enum BlockType
    {
        Verbatim = 1,
        AlignedOffset = 2,
        Uncompressed = 3,
    }

    /// <summary>Unpacks exactly <paramref name="unit"/>, at most 32 KiB.</summary>
    public static void Unpack(ReadOnlySpan<byte> packed, Span<byte> unit, long location)
    {
        (_ofThread ??= new Lzx()).UnpackChunk(packed, unit, location);
        LzxCalls.Undo(unit);
    }

    private static DiskFormatException Corrupt(long location, string detail) => new(Fault.Corrupt, "LZX", location, detail);

    private void UnpackChunk(ReadOnlySpan<byte> packed, Span<byte> unit, long location)
    {
        _mainLengths.AsSpan().Clear();
        _lengthLengths.AsSpan().Clear();
        _r0 = _r1 = _r2 = 1;
        var bits = new WordBits(packed);
        int to = 0;
        while (to < unit.Length)
        {
            bits.Fill();
            var type = (BlockType)bits.Take(3);
            int size = bits.Take(1) != 0 ? WindowBytes : (int)bits.Take(16);
            if (size == 0 || size > unit.Length - to)
            {
                throw Corrupt(location, $"block of {size} bytes at {to}");
            }

            switch (type)
            {
                case BlockType.Verbatim:
                case BlockType.AlignedOffset:
                    ReadCodes(ref bits, type, location);
                    UnpackBlock(ref bits, unit, to, to + size, type == BlockType.AlignedOffset, location);
                    break;
                case BlockType.Uncompressed:
                    CopyBlock(ref bits, packed, unit.Slice(to, size), location);
                    break;
                default:
                    throw Corrupt(location, $"block type {(int)type}");
            }

            to += size;
            if (bits.IsOverrun)
            {
                throw Corrupt(location, "the packed bytes end before the chunk");
            }
        }
    }

    /// <summary>The three last offsets and the bytes themselves, from the next word on. [MS-PATCH] 2.4.2.</summary>
    private void CopyBlock(ref WordBits bits, ReadOnlySpan<byte> packed, Span<byte> block, long location)
    {
        int at = bits.AlignedPosition();
        if (at > packed.Length - 12 || block.Length > packed.Length - at - 12)
        {
            throw Corrupt(location, "the packed bytes end before the chunk");
        }

        _r0 = BinaryPrimitives.ReadUInt32LittleEndian(packed[at..]);
        _r1 = BinaryPrimitives.ReadUInt32LittleEndian(packed[(at + 4)..]);
        _r2 = BinaryPrimitives.ReadUInt32LittleEndian(packed[(at + 8)..]);
        packed.Slice(at + 12, block.Length).CopyTo(block);

        // The byte that makes the length even may be missing behind the last block.
        bits.MoveTo(Math.Min(packed.Length, at + 12 + block.Length + (block.Length & 1)));
    }

    private void ReadCodes(ref WordBits bits, BlockType type, long location)
    {
        if (type == BlockType.AlignedOffset)
        {
            Span<byte> lengths = stackalloc byte[AlignedSymbols];
            for (int i = 0; i < AlignedSymbols; i++)
            {
                bits.Fill();
                lengths[i] = (byte)bits.Take(3);
            }

            Require(_aligned.TryBuild(lengths, mayBeEmpty: false), location, "aligned offset code");
        }

        ReadLengths(ref bits, _mainLengths.AsSpan(0, 256), location);
        ReadLengths(ref bits, _mainLengths.AsSpan(256), location);
        Require(_main.TryBuild(_mainLengths, mayBeEmpty: false), location, "main code");
        ReadLengths(ref bits, _lengthLengths, location);
        Require(_length.TryBuild(_lengthLengths, mayBeEmpty: true), location, "length code");
    }

    /// <summary>Lengths as differences from those of the block before, in a code of their own. [MS-PATCH] 2.5.</summary>
    private void ReadLengths(ref WordBits bits, Span<byte> lengths, long location)
    {
        Span<byte> pre = stackalloc byte[PreSymbols];
        for (int i = 0; i < PreSymbols; i++)
        {
            bits.Fill();
            pre[i] = (byte)bits.Take(4);
        }

        Require(_pre.TryBuild(pre, mayBeEmpty: false), location, "pre-code");
        int at = 0;
        while (at < lengths.Length)
        {
            bits.Fill();
            int symbol = _pre.Read(ref bits);
            int run = 1;
            byte length = 0;
            switch (symbol)
            {
                case 17:
                    run = 4 + (int)bits.Take(4);
                    break;
                case 18:
                    run = 20 + (int)bits.Take(5);
                    break;
                case 19:
                    run = 4 + (int)bits.Take(1);
                    bits.Fill();
                    symbol = _pre.Read(ref bits);
                    Require(symbol <= 16, location, "run of code lengths");
                    length = Difference(lengths[at], symbol);
                    break;
                default:
                    length = Difference(lengths[at], symbol);
                    break;
            }

            Require(run <= lengths.Length - at, location, "run of code lengths");
            lengths.Slice(at, run).Fill(length);
            at += run;
        }
    }

    private static byte Difference(int before, int symbol) => (byte)((before - symbol + 17) % 17);

    private void UnpackBlock(ref WordBits bits, Span<byte> unit, int to, int end, bool aligned, long location)
    {
        while (to < end)
        {
            bits.Fill();
            int symbol = _main.Read(ref bits);
            if (symbol < 256)
            {
                unit[to++] = (byte)symbol;
                continue;
            }

            int slot = (symbol - 256) >> 3;
            int length = symbol & 7;
            if (length == 7)
            {
                bits.Fill();
                int more = _length.Read(ref bits);
                Require(more >= 0, location, "length without a length code");
                length += more;
            }

            length += MinMatch;
            bits.Fill();
            uint distance = Distance(ref bits, slot, aligned);
            if (distance == 0 || distance > to || length > end - to)
            {
                throw Corrupt(location, $"match of {length} bytes from {distance} before {to}");
            }

            Match.Copy(unit, to, (int)distance, length);
            to += length;
        }
    }

    /// <summary>The first three slots are the last offsets; others give the offset less 2. [MS-PATCH] 2.6.</summary>
    private uint Distance(ref WordBits bits, int slot, bool aligned)
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

        uint formatted = 3;
        if (slot > 3)
        {
            int extra = (slot >> 1) - 1;
            formatted = (uint)(2 + (slot & 1)) << extra;
            if (aligned && extra >= 3)
            {
                formatted += bits.Take(extra - 3) << 3;
                formatted += (uint)_aligned.Read(ref bits);
            }
            else
            {
                formatted += bits.Take(extra);
            }
        }

        _r2 = _r1;
        _r1 = _r0;
        return _r0 = formatted - 2;
    }

    private static void Require(bool condition, long location, string what)
    {
        if (!condition)
        {
            throw Corrupt(location, "bad " + what);
        }
    }
}
