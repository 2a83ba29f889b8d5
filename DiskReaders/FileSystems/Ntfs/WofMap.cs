using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems.Ntfs.Compression;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs;

/// <summary>
/// Content that the Windows Overlay Filter packed ("compact /exe"): the <c>WofCompressedData</c> stream begins with the offsets of all
/// chunks but the first, counted from the table's end, 4 bytes each (8 for content of 4 GiB and more); then the chunks. A chunk as
/// long as what it stands for is stored plain. The table is the one of WIM resources: Microsoft, "Windows Imaging File Format",
/// chunk table.
/// </summary>
internal sealed class WofMap : IPackedMap
{
    private readonly IBlockSource _stream;
    private readonly ReadContext _context;
    private readonly PageCache _pages;
    private readonly WofAlgorithm _algorithm;
    private readonly int _entryBytes;
    private readonly long _chunks;
    private readonly long _tableBytes;

    private WofMap(IBlockSource stream, ReadContext context, PageCache pages, WofAlgorithm algorithm, long length)
    {
        _stream = stream;
        _context = context;
        _pages = pages;
        _algorithm = algorithm;
        Length = length;
        UnitBytes = algorithm switch
        {
            WofAlgorithm.Xpress4K => 4 << 10,
            WofAlgorithm.Xpress8K => 8 << 10,
            WofAlgorithm.Xpress16K => 16 << 10,
            _ => Lzx.WindowBytes,
        };
        _entryBytes = length > uint.MaxValue ? 8 : 4;
        _chunks = (length / UnitBytes) + (length % UnitBytes == 0 ? 0 : 1);
        _tableBytes = Math.Max(0, _chunks - 1) * _entryBytes;
        if (_tableBytes > stream.Length)
        {
            throw new DiskFormatException(Fault.Corrupt, "WofCompressedData", -1, $"{_chunks} chunks in {stream.Length} bytes");
        }
    }

    public long Length { get; }

    public int UnitBytes { get; }

    /// <param name="volume">The volume.</param>
    /// <param name="stream">The packed stream; owned by what is returned.</param>
    /// <param name="algorithm">How it is packed.</param>
    /// <param name="length">Length of the content.</param>
    public static IBlockSource Open(NtfsVolume volume, IBlockSource stream, WofAlgorithm algorithm, long length)
    {
        var pages = new PageCache(stream, volume.Context, pages: 2);
        try
        {
            var map = new WofMap(stream, volume.Context, pages, algorithm, length);
            return new PackedSource(new MappedSource(map, [], volume.Context, unpacker: map), map, pages, stream);
        }
        catch
        {
            pages.Dispose();
            stream.Dispose();
            throw;
        }
    }

    public Extent Map(long offset, long count) => new(ExtentKind.Packed, count, offset / UnitBytes);

    public void Unpack(long unitOffset, long location, Span<byte> unit)
    {
        (long from, long end) = PackedRange(unitOffset / UnitBytes);
        int bytes = (int)(end - from);
        if (bytes == unit.Length)
        {
            _pages.Read(from, unit);
            return;
        }

        using RentedBuffer packed = _context.Budget.Rent(bytes);
        _pages.Read(from, packed.Span);
        if (_algorithm == WofAlgorithm.Lzx)
        {
            Lzx.Unpack(packed.Span, unit, from);
        }
        else
        {
            XpressHuffman.Unpack(packed.Span, unit, from);
        }
    }

    public StoredExtent LocateUnit(long unitOffset)
    {
        (long from, long end) = PackedRange(unitOffset / UnitBytes);
        return PackedSource.Locate(_stream, from, end - from, null);
    }

    /// <summary>Where a chunk lies in the stream.</summary>
    private (long From, long End) PackedRange(long chunk)
    {
        long from = chunk == 0 ? 0 : Entry(chunk - 1);
        long end = chunk == _chunks - 1 ? _stream.Length - _tableBytes : Entry(chunk);
        long unpacked = Math.Min(UnitBytes, Length - (chunk * UnitBytes));
        if (from < 0 || end <= from || end - from > unpacked || end > _stream.Length - _tableBytes)
        {
            throw new DiskFormatException(Fault.Corrupt, "WofCompressedData", chunk * _entryBytes, $"chunk {chunk} from {from} to {end} of {_stream.Length - _tableBytes} bytes");
        }

        return (_tableBytes + from, _tableBytes + end);
    }

    private long Entry(long index)
    {
        Span<byte> entry = stackalloc byte[8];
        entry.Clear();
        _pages.Read(index * _entryBytes, entry[.._entryBytes]);
        return BinaryPrimitives.ReadInt64LittleEndian(entry);
    }
}
