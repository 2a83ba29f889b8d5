namespace Vmsweep.DiskReaders.Blocks.Crypto;

/// <summary>
/// AES-CBC, NIST SP 800-38A section 6.2, with an initialization vector for each sector. Decrypting has no chain through the
/// cipher: one run over all blocks of many sectors, then the exclusive-or with the blocks before them.
/// </summary>
internal sealed class AesCbcCipher : ISectorCipher
{
    private const int BatchBytes = 16 << 10;
    private const int BlockBytes = AesPool.BlockBytes;

    private readonly AesPool _aes;
    private readonly SectorIv _iv;
    private readonly ScanBudget _budget;

    /// <param name="key">16, 24 or 32 bytes.</param>
    /// <param name="sectorBytes">A multiple of 16.</param>
    /// <param name="budget">Memory for the ciphertext of a batch.</param>
    /// <param name="iv">Owned.</param>
    public AesCbcCipher(ReadOnlySpan<byte> key, int sectorBytes, ScanBudget budget, SectorIv iv)
    {
        if (sectorBytes < BlockBytes || sectorBytes % BlockBytes != 0)
        {
            throw new ArgumentException("sectors of whole blocks are needed", nameof(sectorBytes));
        }

        SectorBytes = sectorBytes;
        _aes = new AesPool(key);
        _iv = iv;
        _budget = budget;
    }

    public int SectorBytes { get; }

    public void Decrypt(long sector, Span<byte> data)
    {
        int batchSectors = Math.Max(1, BatchBytes / SectorBytes);
        int first = Math.Min(batchSectors, data.Length / SectorBytes);
        using RentedBuffer chainBuffer = _budget.Rent(first * SectorBytes);
        using RentedBuffer ivBuffer = _budget.Rent(first * BlockBytes);
        while (!data.IsEmpty)
        {
            Span<byte> batch = data[..Math.Min(data.Length, batchSectors * SectorBytes)];
            int sectors = batch.Length / SectorBytes;
            Span<byte> ivs = ivBuffer.Span[..(sectors * BlockBytes)];
            _iv.Fill(sector, ivs);

            // What each block is combined with: the ciphertext one block on, and at each sector's start its vector.
            Span<byte> chain = chainBuffer.Span[..batch.Length];
            batch[..^BlockBytes].CopyTo(chain[BlockBytes..]);
            for (int i = 0; i < sectors; i++)
            {
                ivs.Slice(i * BlockBytes, BlockBytes).CopyTo(chain[(i * SectorBytes)..]);
            }

            _aes.Decrypt(batch, batch);
            BulkXor.Into(batch, chain);
            sector += sectors;
            data = data[batch.Length..];
        }
    }

    public void Dispose()
    {
        _aes.Dispose();
        _iv.Dispose();
    }
}
