using System.IO.Compression;
using System.Runtime.InteropServices;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Qcow2;

/// <summary>
/// The compressed clusters of an image, as a source in guest offsets. Only ranges of compressed clusters are read through it.
/// "Decompression stops when it has produced a cluster of data": what follows in the last sector may belong to another cluster.
/// </summary>
internal sealed class PackedClusters : IBlockSource, IExtentMap, IUnpacker
{
    private const string Structure = "qcow2 compressed cluster";
    private const int CacheBytes = 1 << 20;
    private const int MostCachedClusters = 16;

    private readonly Qcow2Map _map;
    private readonly ReadContext _context;
    private readonly MappedSource _units;
    private readonly ZstdClusters? _zstd;

    public PackedClusters(Qcow2Map map, ClusterCompression compression, ReadContext context)
    {
        _map = map;
        _context = context;
        _zstd = compression == ClusterCompression.Zstd ? new ZstdClusters() : null;
        _units = new MappedSource(this, [], context, unpacker: this, cachedUnits: Math.Clamp(CacheBytes / UnitBytes, 1, MostCachedClusters));
    }

    public long Length => _map.Length;

    public int UnitBytes => 1 << _map.ClusterBits;

    public void Read(long offset, Span<byte> destination) => _units.Read(offset, destination);

    public StoredExtent Locate(long offset, long count)
    {
        Bounds.Check(offset, count, Length, Structure);
        Extent extent = _map.MapRaw(offset, count);
        return new StoredExtent(extent.Kind, extent.Length, _map.File.Id, PackedCluster.Of(extent.Location, _map.ClusterBits).Location);
    }

    public Extent Map(long offset, long count) => _map.MapRaw(offset, count);

    public void Unpack(long unitOffset, long location, Span<byte> unit)
    {
        IBlockSource file = _map.File.Bytes;
        PackedCluster packed = PackedCluster.Of(location, _map.ClusterBits);
        Bounds.Check(packed.Location, 1, file.Length, Structure);

        // The length counts whole sectors; the last one of a file may be cut.
        int bytes = (int)Math.Min(packed.Bytes, file.Length - packed.Location);
        using RentedBuffer data = _context.Budget.Rent(bytes);
        file.Read(packed.Location, data.Span);
        if (_zstd is null)
        {
            Inflate(data.Memory, unit, packed.Location);
        }
        else if (unit.Length == UnitBytes)
        {
            _zstd.Unpack(data.Span, unit, packed.Location);
        }
        else
        {
            // The last cluster of a disk that ends within one is stored whole.
            using RentedBuffer whole = _context.Budget.Rent(UnitBytes);
            _zstd.Unpack(data.Span, whole.Span, packed.Location);
            whole.Span[..unit.Length].CopyTo(unit);
        }
    }

    public void Dispose()
    {
        _units.Dispose();
        _zstd?.Dispose();
    }

    /// <summary>RFC 1951, without zlib's header.</summary>
    private static void Inflate(ReadOnlyMemory<byte> data, Span<byte> destination, long location)
    {
        if (!MemoryMarshal.TryGetArray(data, out ArraySegment<byte> array))
        {
            throw new InvalidOperationException("a rented buffer without an array");
        }

        using var source = new MemoryStream(array.Array!, array.Offset, array.Count, writable: false);
        using var deflate = new DeflateStream(source, CompressionMode.Decompress);
        int got;
        try
        {
            got = deflate.ReadAtLeast(destination, destination.Length, throwOnEndOfStream: false);
        }
        catch (Exception e) when (e is InvalidDataException or IOException)
        {
            // The source is memory, so an IOException is zlib's own.
            throw new DiskFormatException(Fault.Corrupt, Structure, location, e.Message);
        }

        if (got != destination.Length)
        {
            throw new DiskFormatException(Fault.Corrupt, Structure, location, $"it holds {got} bytes, {destination.Length} are needed");
        }
    }
}
