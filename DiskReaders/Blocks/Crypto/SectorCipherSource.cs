namespace Vmsweep.DiskReaders.Blocks.Crypto;

/// <summary>
/// The plaintext of a source whose sectors are all encrypted, at the same offsets. Whole sectors are read into the caller's
/// buffer, however many, and decrypted there. What is not encrypted, or lies elsewhere, a map over this one tells.
/// </summary>
internal sealed class SectorCipherSource : IBlockSource, IUnpacker
{
    /// <summary>Sectors kept for reads of a part of one.</summary>
    private const int CachedSectors = 8;

    private readonly IBlockSource _inner;
    private readonly ISectorCipher _cipher;
    private readonly UnitCache _edges;
    private readonly IDisposable? _owned;

    /// <param name="inner">The encrypted bytes, sector 0 first; not disposed with this. A last part of a sector is not shown.</param>
    /// <param name="cipher">Disposed with this.</param>
    /// <param name="budget">Memory for partly read sectors.</param>
    /// <param name="owned">Disposed with this: <paramref name="inner"/> where nobody else does.</param>
    public SectorCipherSource(IBlockSource inner, ISectorCipher cipher, ScanBudget budget, IDisposable? owned = null)
    {
        _inner = inner;
        _cipher = cipher;
        _owned = owned;
        _edges = new UnitCache(budget, cipher.SectorBytes, CachedSectors);
        Length = inner.Length - (inner.Length % cipher.SectorBytes);
    }

    public long Length { get; }

    int IUnpacker.UnitBytes => _cipher.SectorBytes;

    public void Read(long offset, Span<byte> destination)
    {
        Bounds.Check(offset, destination.Length, Length, "encrypted sectors");
        int sectorBytes = _cipher.SectorBytes;
        while (!destination.IsEmpty)
        {
            int within = (int)(offset % sectorBytes);
            int count;
            if (within == 0 && destination.Length >= sectorBytes)
            {
                count = destination.Length - (destination.Length % sectorBytes);
                ((IUnpacker)this).Unpack(offset, 0, destination[..count]);
            }
            else
            {
                count = Math.Min(destination.Length, sectorBytes - within);
                _edges.Read(this, offset - within, 0, sectorBytes, within, destination[..count]);
            }

            offset += count;
            destination = destination[count..];
        }
    }

    /// <summary>Where the ciphertext lies. A hole in it is noise when decrypted, never zeros, so that it counts as stored.</summary>
    public StoredExtent Locate(long offset, long count)
    {
        Bounds.Check(offset, count, Length, "encrypted sectors");
        StoredExtent stored = _inner.Locate(offset, count);
        return stored.IsStored ? stored with { Kind = ExtentKind.Packed } : new StoredExtent(ExtentKind.Packed, stored.Length, -1, offset);
    }

    public void Dispose()
    {
        _edges.Dispose();
        _cipher.Dispose();
        _owned?.Dispose();
    }

    void IUnpacker.Unpack(long unitOffset, long location, Span<byte> unit)
    {
        _inner.Read(unitOffset, unit);
        _cipher.Decrypt(unitOffset / _cipher.SectorBytes, unit);
    }
}
