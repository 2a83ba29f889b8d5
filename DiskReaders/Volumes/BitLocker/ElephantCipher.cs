using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Blocks.Crypto;

namespace Vmsweep.DiskReaders.Volumes.BitLocker;

/// <summary>
/// AES-CBC and the Elephant diffuser (Ferguson, "AES-CBC + Elephant diffuser", 2006, sections 4.3 to 4.6): after AES-CBC the
/// words of a sector run through diffusers B and A, and then the sector key is taken off. A word depends on its neighbours, so
/// that there is nothing to do at once within a sector: a vector holds the same word of several sectors.
/// </summary>
internal sealed class ElephantCipher : ISectorCipher
{
    private const int WordBytes = sizeof(uint);
    private const int SectorKeyBytes = 2 * AesPool.BlockBytes;
    private const int BlockWords = AesPool.BlockBytes / WordBytes;
    private const int CyclesA = 5;
    private const int CyclesB = 3;

    private readonly AesCbcCipher _cbc;
    private readonly AesPool _tweak;
    private readonly ScanBudget _budget;

    /// <param name="cbc">Owned.</param>
    /// <param name="tweakKey">Makes sector keys.</param>
    /// <param name="budget">Memory.</param>
    public ElephantCipher(AesCbcCipher cbc, ReadOnlySpan<byte> tweakKey, ScanBudget budget)
    {
        _cbc = cbc;
        _tweak = new AesPool(tweakKey);
        _budget = budget;
    }

    public int SectorBytes => _cbc.SectorBytes;

    private static int Lanes => Vector<uint>.Count;

    public void Decrypt(long sector, Span<byte> data)
    {
        _cbc.Decrypt(sector, data);
        using RentedBuffer words = _budget.Rent(Lanes * SectorBytes);
        using RentedBuffer keys = _budget.Rent(Lanes * SectorKeyBytes);
        while (!data.IsEmpty)
        {
            int sectors = Math.Min(Lanes, data.Length / SectorBytes);
            Span<byte> some = data[..(sectors * SectorBytes)];
            Span<byte> sectorKeys = keys.Span[..(sectors * SectorKeyBytes)];
            FillSectorKeys(sector, sectorKeys);
            Span<byte> lanes = words.Span;
            Gather(some, lanes);
            DiffuseB(lanes);
            DiffuseA(lanes);
            Scatter(lanes, sectorKeys, some);
            sector += sectors;
            data = data[some.Length..];
        }
    }

    public void Dispose()
    {
        _cbc.Dispose();
        _tweak.Dispose();
    }

    /// <summary>Section 4.3: the sector's byte offset encrypted, and again with the highest bit of its 16 bytes set.</summary>
    private void FillSectorKeys(long sector, Span<byte> keys)
    {
        keys.Clear();
        for (int at = 0; at < keys.Length; at += SectorKeyBytes, sector++)
        {
            ulong offset = unchecked((ulong)sector * (ulong)SectorBytes);
            BinaryPrimitives.WriteUInt64LittleEndian(keys[at..], offset);
            BinaryPrimitives.WriteUInt64LittleEndian(keys[(at + AesPool.BlockBytes)..], offset);
            keys[at + SectorKeyBytes - 1] = 0x80;
        }

        _tweak.Encrypt(keys, keys);
    }

    /// <summary>Section 4.6, decryption: each word plus the word two on, exclusive-or the word five on, rotated by 0, 10, 0, 25.</summary>
    private static void DiffuseB(Span<byte> lanes)
    {
        unchecked
        {
            int stride = Vector<byte>.Count;
            int words = lanes.Length / stride;
            for (int cycle = 0; cycle < CyclesB; cycle++)
            {
                int i = 0;
                for (; i + 8 < words; i += 4)
                {
                    Span<byte> nine = lanes.Slice(i * stride, 9 * stride);
                    Store(nine, Load(nine) + (Load(nine[(2 * stride)..]) ^ Load(nine[(5 * stride)..])));
                    Store(nine[stride..], Load(nine[stride..]) + (Load(nine[(3 * stride)..]) ^ Rotate(Load(nine[(6 * stride)..]), 10)));
                    Store(nine[(2 * stride)..], Load(nine[(2 * stride)..]) + (Load(nine[(4 * stride)..]) ^ Load(nine[(7 * stride)..])));
                    Store(nine[(3 * stride)..], Load(nine[(3 * stride)..]) + (Load(nine[(5 * stride)..]) ^ Rotate(Load(nine[(8 * stride)..]), 25)));
                }

                for (; i < words; i++)
                {
                    Vector<uint> five = Rotate(Load(lanes[((i + 5) % words * stride)..]), (i & 3) switch { 1 => 10, 3 => 25, _ => 0 });
                    Store(lanes[(i * stride)..], Load(lanes[(i * stride)..]) + (Load(lanes[((i + 2) % words * stride)..]) ^ five));
                }
            }
        }
    }

    /// <summary>
    /// Section 4.5, decryption: each word plus the word two back, exclusive-or the word five back, rotated by 9, 0, 13, 0. The five
    /// words before stay in registers.
    /// </summary>
    private static void DiffuseA(Span<byte> lanes)
    {
        unchecked
        {
            int stride = Vector<byte>.Count;
            Span<byte> end = lanes[^(5 * stride)..];
            Vector<uint> back5 = Load(end);
            Vector<uint> back4 = Load(end[stride..]);
            Vector<uint> back3 = Load(end[(2 * stride)..]);
            Vector<uint> back2 = Load(end[(3 * stride)..]);
            Vector<uint> back1 = Load(end[(4 * stride)..]);
            for (int cycle = 0; cycle < CyclesA; cycle++)
            {
                for (int at = 0; at < lanes.Length; at += 4 * stride)
                {
                    Span<byte> four = lanes.Slice(at, 4 * stride);
                    Vector<uint> word0 = Load(four) + (back2 ^ Rotate(back5, 9));
                    Vector<uint> word1 = Load(four[stride..]) + (back1 ^ back4);
                    Vector<uint> word2 = Load(four[(2 * stride)..]) + (word0 ^ Rotate(back3, 13));
                    Vector<uint> word3 = Load(four[(3 * stride)..]) + (word1 ^ back2);
                    Store(four, word0);
                    Store(four[stride..], word1);
                    Store(four[(2 * stride)..], word2);
                    Store(four[(3 * stride)..], word3);
                    (back5, back4, back3, back2, back1) = (back1, word0, word1, word2, word3);
                }
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector<uint> Rotate(Vector<uint> value, int bits) => bits == 0 ? value : (value << bits) | (value >>> (32 - bits));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector<uint> Load(ReadOnlySpan<byte> lane) => Vector.AsVectorUInt32(new Vector<byte>(lane));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(Span<byte> lane, Vector<uint> value) => Vector.AsVectorByte(value).CopyTo(lane);

    /// <summary>Puts word after word of a row of sectors beside each other: row w has word w of each.</summary>
    private void Gather(ReadOnlySpan<byte> data, Span<byte> lanes)
    {
        int stride = Vector<byte>.Count;
        for (int lane = 0; lane * SectorBytes < data.Length; lane += BlockWords)
        {
            int sectors = Math.Min(BlockWords, (data.Length / SectorBytes) - lane);
            for (int at = 0; at < SectorBytes; at += AesPool.BlockBytes)
            {
                // A last group of fewer than four sectors fills up with its own last one: what comes of that is not taken back.
                Transpose(
                    Block(data, lane, at),
                    Block(data, lane + Math.Min(1, sectors - 1), at),
                    Block(data, lane + Math.Min(2, sectors - 1), at),
                    Block(data, lane + Math.Min(3, sectors - 1), at),
                    out Vector128<uint> word0,
                    out Vector128<uint> word1,
                    out Vector128<uint> word2,
                    out Vector128<uint> word3);
                Span<byte> rows = lanes[((at / WordBytes * stride) + (lane * WordBytes))..];
                word0.AsByte().CopyTo(rows);
                word1.AsByte().CopyTo(rows[stride..]);
                word2.AsByte().CopyTo(rows[(2 * stride)..]);
                word3.AsByte().CopyTo(rows[(3 * stride)..]);
            }
        }
    }

    /// <summary>The way back, and takes the sector key off: 32 bytes, over and over.</summary>
    private void Scatter(ReadOnlySpan<byte> lanes, ReadOnlySpan<byte> keys, Span<byte> data)
    {
        int stride = Vector<byte>.Count;
        for (int lane = 0; lane * SectorBytes < data.Length; lane += BlockWords)
        {
            int sectors = Math.Min(BlockWords, (data.Length / SectorBytes) - lane);
            for (int at = 0; at < SectorBytes; at += AesPool.BlockBytes)
            {
                ReadOnlySpan<byte> rows = lanes[((at / WordBytes * stride) + (lane * WordBytes))..];
                Transpose(
                    Words(rows),
                    Words(rows[stride..]),
                    Words(rows[(2 * stride)..]),
                    Words(rows[(3 * stride)..]),
                    out Vector128<uint> sector0,
                    out Vector128<uint> sector1,
                    out Vector128<uint> sector2,
                    out Vector128<uint> sector3);
                Put(data, keys, lane, at, sector0);
                if (sectors > 1)
                {
                    Put(data, keys, lane + 1, at, sector1);
                }

                if (sectors > 2)
                {
                    Put(data, keys, lane + 2, at, sector2);
                }

                if (sectors > 3)
                {
                    Put(data, keys, lane + 3, at, sector3);
                }
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private Vector128<uint> Block(ReadOnlySpan<byte> data, int sector, int at) => Words(data[((sector * SectorBytes) + at)..]);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Put(Span<byte> data, ReadOnlySpan<byte> keys, int sector, int at, Vector128<uint> words)
    {
        Vector128<uint> key = Words(keys[((sector * SectorKeyBytes) + (at % SectorKeyBytes))..]);
        (words ^ key).AsByte().CopyTo(data[((sector * SectorBytes) + at)..]);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<uint> Words(ReadOnlySpan<byte> bytes) => Vector128.Create(bytes).AsUInt32();

    /// <summary>Four rows of four words become four columns.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Transpose(
        Vector128<uint> a,
        Vector128<uint> b,
        Vector128<uint> c,
        Vector128<uint> d,
        out Vector128<uint> first,
        out Vector128<uint> second,
        out Vector128<uint> third,
        out Vector128<uint> fourth)
    {
        if (Sse2.IsSupported)
        {
            Vector128<ulong> abLow = Sse2.UnpackLow(a, b).AsUInt64();
            Vector128<ulong> cdLow = Sse2.UnpackLow(c, d).AsUInt64();
            Vector128<ulong> abHigh = Sse2.UnpackHigh(a, b).AsUInt64();
            Vector128<ulong> cdHigh = Sse2.UnpackHigh(c, d).AsUInt64();
            first = Sse2.UnpackLow(abLow, cdLow).AsUInt32();
            second = Sse2.UnpackHigh(abLow, cdLow).AsUInt32();
            third = Sse2.UnpackLow(abHigh, cdHigh).AsUInt32();
            fourth = Sse2.UnpackHigh(abHigh, cdHigh).AsUInt32();
            return;
        }

        first = Vector128.Create(a[0], b[0], c[0], d[0]);
        second = Vector128.Create(a[1], b[1], c[1], d[1]);
        third = Vector128.Create(a[2], b[2], c[2], d[2]);
        fourth = Vector128.Create(a[3], b[3], c[3], d[3]);
    }
}
