using System.Buffers.Binary;
using System.Numerics;
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

    private void Gather(ReadOnlySpan<byte> data, Span<byte> lanes)
    {
        int stride = Lanes * WordBytes;
        for (int lane = 0; lane * SectorBytes < data.Length; lane++)
        {
            ReadOnlySpan<byte> sector = data.Slice(lane * SectorBytes, SectorBytes);
            for (int from = 0, to = lane * WordBytes; from < sector.Length; from += WordBytes, to += stride)
            {
                sector.Slice(from, WordBytes).CopyTo(lanes[to..]);
            }
        }
    }

    private void Scatter(ReadOnlySpan<byte> lanes, ReadOnlySpan<byte> keys, Span<byte> data)
    {
        int stride = Lanes * WordBytes;
        for (int lane = 0; lane * SectorBytes < data.Length; lane++)
        {
            Span<byte> sector = data.Slice(lane * SectorBytes, SectorBytes);
            ReadOnlySpan<byte> key = keys.Slice(lane * SectorKeyBytes, SectorKeyBytes);
            for (int to = 0, from = lane * WordBytes; to < sector.Length; to += WordBytes, from += stride)
            {
                uint word = BinaryPrimitives.ReadUInt32LittleEndian(lanes[from..]) ^ BinaryPrimitives.ReadUInt32LittleEndian(key[(to % SectorKeyBytes)..]);
                BinaryPrimitives.WriteUInt32LittleEndian(sector[to..], word);
            }
        }
    }

    /// <summary>Section 4.6, decryption: each word plus the word two on, exclusive-or the word five on, rotated by 0, 10, 0, 25.</summary>
    private void DiffuseB(Span<byte> lanes)
    {
        unchecked
        {
            int stride = Lanes * WordBytes;
            int words = SectorBytes / WordBytes;
            for (int cycle = 0; cycle < CyclesB; cycle++)
            {
                for (int i = 0; i < words; i++)
                {
                    Vector<uint> two = Load(lanes, (i + 2) % words, stride);
                    Vector<uint> five = Rotate(Load(lanes, (i + 5) % words, stride), (i & 3) switch { 1 => 10, 3 => 25, _ => 0 });
                    Store(lanes, i, stride, Load(lanes, i, stride) + (two ^ five));
                }
            }
        }
    }

    /// <summary>Section 4.5, decryption: each word plus the word two back, exclusive-or the word five back, rotated by 9, 0, 13, 0.</summary>
    private void DiffuseA(Span<byte> lanes)
    {
        unchecked
        {
            int stride = Lanes * WordBytes;
            int words = SectorBytes / WordBytes;
            for (int cycle = 0; cycle < CyclesA; cycle++)
            {
                for (int i = 0; i < words; i++)
                {
                    Vector<uint> two = Load(lanes, (i + words - 2) % words, stride);
                    Vector<uint> five = Rotate(Load(lanes, (i + words - 5) % words, stride), (i & 3) switch { 0 => 9, 2 => 13, _ => 0 });
                    Store(lanes, i, stride, Load(lanes, i, stride) + (two ^ five));
                }
            }
        }
    }

    private static Vector<uint> Rotate(Vector<uint> value, int bits) => bits == 0 ? value : (value << bits) | (value >>> (32 - bits));

    private static Vector<uint> Load(ReadOnlySpan<byte> lanes, int word, int stride) => Vector.AsVectorUInt32(new Vector<byte>(lanes[(word * stride)..]));

    private static void Store(Span<byte> lanes, int word, int stride, Vector<uint> value) => Vector.AsVectorByte(value).CopyTo(lanes[(word * stride)..]);
}
