using System.Buffers.Binary;
using System.IO.Compression;
using System.Runtime.InteropServices;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Iso9660;

/// <summary>
/// A file packed by zisofs. Spec: H. P. Anvin, zftools and Linux fs/isofs/compress.c: behind the header a pointer to each block and
/// to the end of the last, then the blocks, each a zlib stream, or nothing for one of zeros.
/// </summary>
internal sealed class ZisofsMap : IExtentMap, IUnpacker, IDisposable
{
    public const int LeastShift = 12;
    public const int MostShift = 20;

    private const string Structure = "zisofs block";
    private const int PointerBytes = 4;

    private readonly IBlockSource _packed;
    private readonly Zisofs _form;
    private readonly ReadContext _context;
    private readonly PageCache _pointers;

    /// <param name="packed">The file as it is stored; owned.</param>
    /// <param name="form">What ZF says of it.</param>
    /// <param name="context">Memory.</param>
    public ZisofsMap(IBlockSource packed, Zisofs form, ReadContext context)
    {
        _packed = packed;
        _form = form;
        _context = context;
        _pointers = new PageCache(packed, context, pageBytes: 4096, pages: 2);
    }

    public long Length => _form.Bytes;

    public int UnitBytes => 1 << _form.BlockShift;

    public Extent Map(long offset, long count)
    {
        long unit = offset >> _form.BlockShift;
        count = Math.Min(count, ((unit + 1) << _form.BlockShift) - offset);
        (uint start, uint end) = Pointers(unit);
        return start == end ? new Extent(ExtentKind.Zero, count) : new Extent(ExtentKind.Packed, count, unit);
    }

    public void Unpack(long unitOffset, long location, Span<byte> unit)
    {
        (uint start, uint end) = Pointers(location);
        int length = (int)(end - start);
        using RentedBuffer packed = _context.Budget.Rent(length);
        _packed.Read(start, packed.Span);
        if (!MemoryMarshal.TryGetArray(packed.Memory, out ArraySegment<byte> array))
        {
            throw new InvalidOperationException("rented bytes without an array");
        }

        using var source = new MemoryStream(array.Array!, array.Offset, array.Count, writable: false);
        using var inflate = new ZLibStream(source, CompressionMode.Decompress);
        string? fault = null;
        try
        {
            int made = inflate.ReadAtLeast(unit, unit.Length, throwOnEndOfStream: false);
            fault = made < unit.Length ? $"{made} of {unit.Length} bytes are there" : inflate.ReadByte() >= 0 ? $"it holds more than {unit.Length} bytes" : null;
        }
        catch (Exception e) when (e is InvalidDataException or IOException)
        {
            fault = e.Message;
        }

        if (fault is not null)
        {
            throw new DiskFormatException(Fault.Corrupt, Structure, start, fault);
        }
    }

    public void Dispose()
    {
        _pointers.Dispose();
        _packed.Dispose();
    }

    private (uint Start, uint End) Pointers(long unit)
    {
        Span<byte> pair = stackalloc byte[2 * PointerBytes];
        long at = _form.HeaderBytes + (unit * PointerBytes);
        _pointers.Read(at, pair);
        uint start = BinaryPrimitives.ReadUInt32LittleEndian(pair);
        uint end = BinaryPrimitives.ReadUInt32LittleEndian(pair[PointerBytes..]);

        // No block that zlib cannot pack gets twice as long by it.
        return start <= end && end <= _packed.Length && end - start <= 2 * UnitBytes
            ? (start, end)
            : throw new DiskFormatException(Fault.Corrupt, Structure, at, $"the block pointers {start} and {end} of {_packed.Length} bytes");
    }
}
