using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
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
    private const int SectorKeyBlocks = 2;
    private const int SectorKeyBytes = SectorKeyBlocks * AesPool.BlockBytes;
    private const int BlockWords = AesPool.BlockBytes / WordBytes;
    private const int SectorsAtOnce = 256;
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
        using RentedBuffer words = _budget.Rent((Lanes + 1) * SectorBytes);
        using RentedBuffer keys = _budget.Rent(Math.Min(SectorsAtOnce, data.Length / SectorBytes) * SectorKeyBytes);
        Span<byte> lanes = words.Span[..(Lanes * SectorBytes)];
        Span<byte> waste = words.Span.Slice(lanes.Length, SectorBytes);
        Span<Vector<uint>> rows = Rows(lanes);
        Span<Vector128<uint>> quarters = Quarters(lanes);
        while (!data.IsEmpty)
        {
            // What one call of the platform's AES costs is shared by many sectors, and they are still in the cache for the diffusers.
            int sectors = Math.Min(SectorsAtOnce, data.Length / SectorBytes);
            Span<byte> some = data[..(sectors * SectorBytes)];
            Span<byte> sectorKeys = keys.Span[..(sectors * SectorKeyBytes)];
            _cbc.Decrypt(sector, some);
            FillSectorKeys(sector, sectorKeys);
            for (int first = 0; first < sectors; first += Lanes)
            {
                int count = Math.Min(Lanes, sectors - first);
                Span<byte> together = some.Slice(first * SectorBytes, count * SectorBytes);
                Gather(together, quarters);
                DiffuseB(rows);
                DiffuseA(rows);
                Scatter(quarters, Quarters(sectorKeys.Slice(first * SectorKeyBytes, count * SectorKeyBytes)), together, waste);
            }

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

    /// <summary>
    /// Section 4.6, decryption: each word plus the word two on, exclusive-or the word five on, rotated by 0, 10, 0, 25. What is read again stays in
    /// registers.
    /// </summary>
    private static void DiffuseB(Span<Vector<uint>> words)
    {
        unchecked
        {
            for (int cycle = 0; cycle < CyclesB; cycle++)
            {
                (Vector<uint> word0, Vector<uint> word1, Vector<uint> word2, Vector<uint> word3, Vector<uint> word4) = (words[0], words[1], words[2], words[3], words[4]);
                int i = 0;
                for (; i + 8 < words.Length; i += 4)
                {
                    Span<Vector<uint>> nine = words.Slice(i, 9);
                    (Vector<uint> word5, Vector<uint> word6, Vector<uint> word7, Vector<uint> word8) = (nine[5], nine[6], nine[7], nine[8]);
                    nine[0] = word0 + (word2 ^ word5);
                    nine[1] = word1 + (word3 ^ Rotate(word6, 10));
                    nine[2] = word2 + (word4 ^ word7);
                    nine[3] = word3 + (word5 ^ Rotate(word8, 25));
                    (word0, word1, word2, word3, word4) = (word4, word5, word6, word7, word8);
                }

                for (; i < words.Length; i++)
                {
                    Vector<uint> five = Rotate(words[(i + 5) % words.Length], (i & 3) switch { 1 => 10, 3 => 25, _ => 0 });
                    words[i] += words[(i + 2) % words.Length] ^ five;
                }
            }
        }
    }

    /// <summary>
    /// Section 4.5, decryption: each word plus the word two back, exclusive-or the word five back, rotated by 9, 0, 13, 0. The five
    /// words before stay in registers.
    /// </summary>
    private static void DiffuseA(Span<Vector<uint>> words)
    {
        unchecked
        {
            Span<Vector<uint>> end = words[^5..];
            (Vector<uint> back5, Vector<uint> back4, Vector<uint> back3, Vector<uint> back2, Vector<uint> back1) = (end[0], end[1], end[2], end[3], end[4]);
            for (int cycle = 0; cycle < CyclesA; cycle++)
            {
                for (int at = 0; at + 4 <= words.Length; at += 4)
                {
                    Span<Vector<uint>> four = words.Slice(at, 4);
                    Vector<uint> word0 = four[0] + (back2 ^ Rotate(back5, 9));
                    Vector<uint> word1 = four[1] + (back1 ^ back4);
                    Vector<uint> word2 = four[2] + (word0 ^ Rotate(back3, 13));
                    Vector<uint> word3 = four[3] + (word1 ^ back2);
                    (four[0], four[1], four[2], four[3]) = (word0, word1, word2, word3);
                    (back5, back4, back3, back2, back1) = (back1, word0, word1, word2, word3);
                }
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector<uint> Rotate(Vector<uint> value, int bits) => bits == 0 ? value : (value << bits) | (value >>> (32 - bits));

    /// <summary>Puts word after word of a row of sectors beside each other: row w has word w of each.</summary>
    private void Gather(ReadOnlySpan<byte> data, Span<Vector128<uint>> rows)
    {
        int stride = Lanes / BlockWords;
        for (int lane = 0; lane * SectorBytes < data.Length; lane += BlockWords)
        {
            // A last group of fewer than four sectors fills up with its own last one: what comes of that is not taken back.
            int last = Math.Min(BlockWords, (data.Length / SectorBytes) - lane) - 1;
            ReadOnlySpan<Vector128<uint>> sector0 = Sector(data, lane);
            ReadOnlySpan<Vector128<uint>> sector1 = Sector(data, lane + Math.Min(1, last));
            ReadOnlySpan<Vector128<uint>> sector2 = Sector(data, lane + Math.Min(2, last));
            ReadOnlySpan<Vector128<uint>> sector3 = Sector(data, lane + Math.Min(3, last));
            int to = lane / BlockWords;
            for (int block = 0; block < sector0.Length; block++, to += BlockWords * stride)
            {
                Transpose(
                    sector0[block],
                    sector1[block],
                    sector2[block],
                    sector3[block],
                    out rows[to],
                    out rows[to + stride],
                    out rows[to + (2 * stride)],
                    out rows[to + (3 * stride)]);
            }
        }
    }

    /// <summary>The way back, and takes the sector key off: 32 bytes, over and over.</summary>
    /// <param name="waste">Of a sector: takes what stands in for sectors that a last group does not have.</param>
    private void Scatter(ReadOnlySpan<Vector128<uint>> rows, ReadOnlySpan<Vector128<uint>> keys, Span<byte> data, Span<byte> waste)
    {
        int stride = Lanes / BlockWords;
        for (int lane = 0; lane * SectorBytes < data.Length; lane += BlockWords)
        {
            int last = Math.Min(BlockWords, (data.Length / SectorBytes) - lane) - 1;
            Span<Vector128<uint>> sector0 = Sector(data, lane);
            Span<Vector128<uint>> sector1 = last < 1 ? Sector(waste, 0) : Sector(data, lane + 1);
            Span<Vector128<uint>> sector2 = last < 2 ? Sector(waste, 0) : Sector(data, lane + 2);
            Span<Vector128<uint>> sector3 = last < 3 ? Sector(waste, 0) : Sector(data, lane + 3);
            int from = lane / BlockWords;
            for (int half = 0; half < SectorKeyBlocks; half++)
            {
                Vector128<uint> key0 = keys[(lane * SectorKeyBlocks) + half];
                Vector128<uint> key1 = keys[((lane + Math.Min(1, last)) * SectorKeyBlocks) + half];
                Vector128<uint> key2 = keys[((lane + Math.Min(2, last)) * SectorKeyBlocks) + half];
                Vector128<uint> key3 = keys[((lane + Math.Min(3, last)) * SectorKeyBlocks) + half];
                for (int block = half; block < sector0.Length; block += SectorKeyBlocks)
                {
                    int at = from + (block * BlockWords * stride);
                    Transpose(
                        rows[at],
                        rows[at + stride],
                        rows[at + (2 * stride)],
                        rows[at + (3 * stride)],
                        out Vector128<uint> words0,
                        out Vector128<uint> words1,
                        out Vector128<uint> words2,
                        out Vector128<uint> words3);
                    sector0[block] = words0 ^ key0;
                    sector1[block] = words1 ^ key1;
                    sector2[block] = words2 ^ key2;
                    sector3[block] = words3 ^ key3;
                }
            }
        }
    }

    private ReadOnlySpan<Vector128<uint>> Sector(ReadOnlySpan<byte> data, int sector) => Quarters(data.Slice(sector * SectorBytes, SectorBytes));

    private Span<Vector128<uint>> Sector(Span<byte> data, int sector) => Quarters(data.Slice(sector * SectorBytes, SectorBytes));

    // Banned for what a format lays out, whose fields are read by views. Here is no layout: a cipher's bytes are looked at as vectors, at twice the speed.
#pragma warning disable RS0030
    private static Span<Vector<uint>> Rows(Span<byte> bytes) => MemoryMarshal.Cast<byte, Vector<uint>>(bytes);

    private static Span<Vector128<uint>> Quarters(Span<byte> bytes) => MemoryMarshal.Cast<byte, Vector128<uint>>(bytes);

    private static ReadOnlySpan<Vector128<uint>> Quarters(ReadOnlySpan<byte> bytes) => MemoryMarshal.Cast<byte, Vector128<uint>>(bytes);
#pragma warning restore RS0030

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
