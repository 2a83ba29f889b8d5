using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Erofs.Compressed;

/// <summary>The packed extents of one file, unpacked, each at an address of its own. A read of a whole extent unpacks straight into place; parts are kept.</summary>
internal sealed class PclusterSource : IBlockSource, IBlockLoader
{
    private readonly ErofsVolume _volume;
    private readonly ExtentTable _table;
    private readonly UnpackedCache _cache;

    /// <param name="table">Disposed with this.</param>
    public PclusterSource(ErofsVolume volume, ExtentTable table, int cachedUnits)
    {
        _volume = volume;
        _table = table;
        _cache = new UnpackedCache(volume.Context.Budget, table.LargestPacked, cachedUnits, this);
    }

    public long Length => long.MaxValue;

    public void Read(long offset, Span<byte> destination)
    {
        while (!destination.IsEmpty)
        {
            int index = ExtentTable.IndexOf(offset);
            int within = ExtentTable.WithinOf(offset);
            int bytes = (int)_table.LengthOf(index);
            int count = Math.Min(destination.Length, bytes - within);
            if (count == bytes)
            {
                Unpack(index, destination[..count]);
            }
            else
            {
                _ = _cache.Read(index, within, destination[..count]);
            }

            destination = destination[count..];
            offset += count;
        }
    }

    public StoredExtent Locate(long offset, long count)
    {
        StoredExtent stored = _volume.Source.Locate(_table[ExtentTable.IndexOf(offset)].Location, 1);
        return new StoredExtent(ExtentKind.Packed, count, stored.File, stored.Position);
    }

    public int Load(long key, Span<byte> block)
    {
        int bytes = (int)_table.LengthOf((int)key);
        Unpack((int)key, block[..bytes]);
        return bytes;
    }

    public void Dispose()
    {
        _cache.Dispose();
        _table.Dispose();
    }

    private void Unpack(int index, Span<byte> to)
    {
        PclusterExtent extent = _table[index];
        using RentedBuffer packed = _volume.Context.Budget.Rent(extent.StoredBytes);
        Bounds.Check(extent.Location, extent.StoredBytes, _volume.Source.Length, "erofs pcluster");
        _volume.Source.Read(extent.Location, packed.Span);

        // ZERO_PADDING: what is packed ends with the cluster, zeros come before it. Without, it begins with the cluster and anything may follow.
        bool isPadded = _volume.Super.Incompat.HasFlag(ErofsIncompat.ZeroPadding);
        int zeros = 0;
        if (isPadded)
        {
            zeros = packed.Span[..Math.Min(packed.Length, _volume.Super.BlockBytes)].IndexOfAnyExcept((byte)0);
            if (zeros < 0)
            {
                throw new DiskFormatException(Fault.Corrupt, "erofs pcluster", extent.Location, "a packed cluster of zeros");
            }
        }

        _volume.Unpacker.Unpack(extent.Algorithm, packed.Memory[zeros..], to, extent.IsPart || !isPadded, extent.Location);
    }
}
