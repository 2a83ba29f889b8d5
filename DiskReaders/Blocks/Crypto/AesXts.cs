using System.Buffers.Binary;

namespace Vmsweep.DiskReaders.Blocks.Crypto;

/// <summary>
/// AES-XTS, IEEE 1619-2007 section 5.4 without ciphertext stealing: sectors are whole blocks. Made of two runs of single blocks,
/// one over the tweaks of many sectors, one over their data, so that the processor's AES unit stays filled.
/// </summary>
internal sealed class AesXtsCipher : ISectorCipher
{
    /// <summary>Data and its tweaks stay in the first-level or second-level cache between the passes.</summary>
    private const int BatchBytes = 16 << 10;

    private const int BlockBytes = AesPool.BlockBytes;

    private readonly AesPool _data;
    private readonly AesPool _tweak;
    private readonly SectorIv _iv;
    private readonly ScanBudget _budget;

    /// <param name="key">The data key and after it the tweak key: 32 or 64 bytes.</param>
    /// <param name="sectorBytes">A multiple of 16.</param>
    /// <param name="budget">Memory for the tweaks of a batch.</param>
    /// <param name="iv">Owned; the plain sector number by default.</param>
    public AesXtsCipher(ReadOnlySpan<byte> key, int sectorBytes, ScanBudget budget, SectorIv? iv = null)
    {
        if (key.Length is not (32 or 64) || sectorBytes < BlockBytes || sectorBytes % BlockBytes != 0)
        {
            throw new ArgumentException("a key of two AES keys and sectors of whole blocks are needed", nameof(key));
        }

        SectorBytes = sectorBytes;
        _data = new AesPool(key[..(key.Length / 2)]);
        _tweak = new AesPool(key[(key.Length / 2)..]);
        _iv = iv ?? SectorIv.Plain64();
        _budget = budget;
    }

    public int SectorBytes { get; }

    public void Decrypt(long sector, Span<byte> data)
    {
        int batchSectors = Math.Max(1, BatchBytes / SectorBytes);
        int first = Math.Min(batchSectors, data.Length / SectorBytes);
        using RentedBuffer tweakBuffer = _budget.Rent(first * SectorBytes);
        using RentedBuffer ivBuffer = _budget.Rent(first * BlockBytes);
        while (!data.IsEmpty)
        {
            Span<byte> batch = data[..Math.Min(data.Length, batchSectors * SectorBytes)];
            int sectors = batch.Length / SectorBytes;
            Span<byte> ivs = ivBuffer.Span[..(sectors * BlockBytes)];
            _iv.Fill(sector, ivs);
            _tweak.Encrypt(ivs, ivs);
            Span<byte> tweaks = tweakBuffer.Span[..batch.Length];
            for (int i = 0; i < sectors; i++)
            {
                Multiply(ivs.Slice(i * BlockBytes, BlockBytes), tweaks.Slice(i * SectorBytes, SectorBytes));
            }

            BulkXor.Into(batch, tweaks);
            _data.Decrypt(batch, batch);
            BulkXor.Into(batch, tweaks);
            sector += sectors;
            data = data[batch.Length..];
        }
    }

    public void Dispose()
    {
        _data.Dispose();
        _tweak.Dispose();
        _iv.Dispose();
    }

    /// <summary>The tweak of each block of a sector: that of the block before times alpha, IEEE 1619-2007 section 5.2.</summary>
    private static void Multiply(ReadOnlySpan<byte> tweak, Span<byte> tweaks)
    {
        unchecked
        {
            ulong low = BinaryPrimitives.ReadUInt64LittleEndian(tweak);
            ulong high = BinaryPrimitives.ReadUInt64LittleEndian(tweak[8..]);
            for (int at = 0; at + BlockBytes <= tweaks.Length; at += BlockBytes)
            {
                BinaryPrimitives.WriteUInt64LittleEndian(tweaks[at..], low);
                BinaryPrimitives.WriteUInt64LittleEndian(tweaks[(at + 8)..], high);
                ulong carry = (ulong)((long)high >> 63) & 0x87;
                high = (high << 1) | (low >> 63);
                low = (low << 1) ^ carry;
            }
        }
    }
}
