using System.IO.Compression;
using System.Runtime.InteropServices;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Vmdk;

/// <summary>
/// The compressed grains of a stream-optimized extent. Spec: VMware Virtual Disk Format 5.0, "Stream-Optimized Compressed Sparse Extents":
/// a grain marker (sector number in the disk, 64 bits; length of the data, 32 bits), then a zlib stream. Grains are aligned to the extent,
/// so each extent unpacks its own. Only packed ranges are read through it.
/// </summary>
internal sealed class PackedExtent : IBlockSource, IExtentMap, IUnpacker
{
    private const string Structure = "grain marker";
    private const int MarkerBytes = 12;
    private const int CacheBytes = 1 << 20;
    private const int MostCachedGrains = 16;

    private readonly GrainMap _grains;
    private readonly ReadContext _context;
    private readonly MappedSource _units;

    public PackedExtent(GrainMap grains, ReadContext context)
    {
        _grains = grains;
        _context = context;
        _units = new MappedSource(this, [], context, unpacker: this, cachedUnits: Math.Clamp(CacheBytes / grains.GrainBytes, 1, MostCachedGrains));
    }

    public long Length => _grains.Length;

    public int UnitBytes => _grains.GrainBytes;

    public void Read(long offset, Span<byte> destination) => _units.Read(offset, destination);

    public StoredExtent Locate(long offset, long count)
    {
        Bounds.Check(offset, count, Length, "sparse extent");
        Extent extent = _grains.Map(offset, count);
        return new StoredExtent(extent.Kind, extent.Length, _grains.File.Id, extent.Location);
    }

    public Extent Map(long offset, long count) => _grains.Map(offset, count);

    public void Unpack(long unitOffset, long location, Span<byte> unit)
    {
        IBlockSource file = _grains.File.Bytes;
        Bounds.Check(location, MarkerBytes, file.Length, Structure);

        // One read fetches most grains whole; compressed data is rarely longer than half a grain.
        int guess = (int)Math.Min(MarkerBytes + (UnitBytes / 2), file.Length - location);
        using RentedBuffer packed = _context.Budget.Rent(Math.Max(guess, MarkerBytes + (2 * UnitBytes)));
        file.Read(location, packed.Span[..guess]);
        var marker = new LeView(packed.Span[..MarkerBytes], Structure, location);
        ulong lba = marker.U64(0);
        if (lba != (ulong)(unitOffset / VmdkLimits.SectorBytes))
        {
            throw new DiskFormatException(Fault.Corrupt, Structure, location, $"the grain of sector {unitOffset / VmdkLimits.SectorBytes} says that it is of sector {lba}");
        }

        // QEMU's bound: incompressible data grows by far less than its own size.
        uint size = marker.U32(8);
        marker.Require(size > 0 && size <= 2L * UnitBytes, 8, "size");
        int end = MarkerBytes + (int)size;
        Bounds.Check(location, end, file.Length, "compressed grain");
        if (end > guess)
        {
            file.Read(location + guess, packed.Span[guess..end]);
        }

        ReadOnlyMemory<byte> data = packed.Memory[MarkerBytes..end];
        if (unit.Length == UnitBytes)
        {
            if (Inflate(data, unit, location) != unit.Length)
            {
                throw Wrong(location, "fewer bytes than a grain");
            }

            return;
        }

        // The last grain of a disk that ends within one: some writers store the rest, some a whole grain.
        using RentedBuffer whole = _context.Budget.Rent(UnitBytes);
        int got = Inflate(data, whole.Span, location);
        if (got != unit.Length && got != UnitBytes)
        {
            throw Wrong(location, "neither the rest of the disk nor a whole grain");
        }

        whole.Span[..unit.Length].CopyTo(unit);
    }

    public void Dispose() => _units.Dispose();

    /// <summary>Inflates all of a zlib stream; more than fits is a fault.</summary>
    private static int Inflate(ReadOnlyMemory<byte> data, Span<byte> destination, long location)
    {
        if (!MemoryMarshal.TryGetArray(data, out ArraySegment<byte> array))
        {
            throw new InvalidOperationException("a rented buffer without an array");
        }

        using var source = new MemoryStream(array.Array!, array.Offset, array.Count, writable: false);
        using var zlib = new ZLibStream(source, CompressionMode.Decompress);
        try
        {
            int got = zlib.ReadAtLeast(destination, destination.Length, throwOnEndOfStream: false);
            return got == destination.Length && zlib.ReadByte() >= 0 ? throw Wrong(location, "more bytes than a grain") : got;
        }
        catch (Exception e) when (e is InvalidDataException or IOException)
        {
            // A stream that asks for a preset dictionary ends in ZLibException, an IOException; the source is memory, so none is transport.
            throw Wrong(location, e.Message);
        }
    }

    private static DiskFormatException Wrong(long location, string detail) => new(Fault.Corrupt, "compressed grain", location, detail);
}
