using System.Buffers.Binary;
using System.Numerics;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Vhd;

/// <summary>
/// Where a dynamic or differencing VHD keeps its virtual disk. Spec: "Block Allocation Table and Data Blocks". An entry of the table is
/// the sector of a block, which begins with its sector bitmap: a set bit (most significant first) is a sector of this file, a clear
/// one was never written and is the parent's, or zeros where there is none.
/// </summary>
internal sealed class VhdMap : IExtentMap, IDisposable
{
    private const uint Unused = 0xFFFF_FFFF;
    private const int SectorShift = 9;
    private const int TablePages = 8;
    private const int BitmapPages = 64;
    private const int BitmapPageBytes = 4096;

    /// <summary>One answer covers at most so many blocks, so that it comes soon.</summary>
    private const int MostBlocks = 8192;

    private readonly Lock _lock = new();
    private readonly UnwrittenSectors? _unwritten;
    private readonly MetadataPages _table;
    private readonly MetadataPages _bitmaps;
    private readonly DynamicDiskHeader _header;
    private readonly int _blockShift;
    private readonly long _bitmapBytes, _dataEnd;

    /// <param name="file">The image.</param>
    /// <param name="header">Its dynamic disk header.</param>
    /// <param name="diskBytes">What the guest sees.</param>
    /// <param name="dataEnd">Where the footer at the end begins.</param>
    /// <param name="context">Memory for pages of table and bitmaps, and where to report.</param>
    public VhdMap(ImageFile file, DynamicDiskHeader header, long diskBytes, long dataEnd, ReadContext context)
    {
        _unwritten = header.Parent is null ? new UnwrittenSectors(file, dataEnd, context) : null;
        _header = header;
        _dataEnd = dataEnd;
        _blockShift = BitOperations.Log2(header.BlockBytes);
        _bitmapBytes = ((header.BlockBytes >> SectorShift >> 3) + VhdFooter.SectorBytes - 1) & ~(VhdFooter.SectorBytes - 1L);
        _table = new MetadataPages(file.Bytes, context.Budget, TablePages);
        _bitmaps = new MetadataPages(file.Bytes, context.Budget, BitmapPages, BitmapPageBytes);
        Length = diskBytes;
    }

    public long Length { get; }

    private long BlockBytes => 1L << _blockShift;

    public Extent Map(long offset, long count)
    {
        lock (_lock)
        {
            long block = offset >> _blockShift;
            long within = offset & (BlockBytes - 1);
            long part = Math.Min(count, BlockBytes - within);
            uint entry = Entry(block);
            if (entry != Unused)
            {
                return InBlock(entry, block, within, part);
            }

            for (int i = 1; i < MostBlocks && part < count && Entry(++block) == Unused; i++)
            {
                part = Math.Min(count, part + BlockBytes);
            }

            return new Extent(ExtentKind.Hole, part);
        }
    }

    public void Dispose()
    {
        lock (_lock)
        {
            _table.Dispose();
            _bitmaps.Dispose();
        }
    }

    private Extent InBlock(uint entry, long block, long within, long count)
    {
        long at = (long)entry << SectorShift;
        long data = at + _bitmapBytes;
        if (Overlaps(at, 0, VhdFooter.Size) || Overlaps(at, _header.At, DynamicDiskHeader.Size) || Overlaps(at, _header.TableOffset, _header.Blocks * sizeof(uint)))
        {
            throw new DiskFormatException(Fault.Corrupt, "VHD Block Allocation Table", EntryOffset(block), $"block {block} lies over the footer's copy, the header or the table");
        }

        if (data > _dataEnd)
        {
            throw Beyond(block, at);
        }

        // A bit's run never goes further than its page; the next answer goes on.
        long sector = within >> SectorShift;
        long inSector = within & (VhdFooter.SectorBytes - 1);
        ReadOnlySpan<byte> bits = _bitmaps.From(at + (sector >> 3));
        int bit = (int)(sector & 7);
        bool present = ((bits[0] << bit) & 0x80) != 0;
        long sectors = (inSector + count + VhdFooter.SectorBytes - 1) >> SectorShift;
        count = Math.Min(count, (Run(bits, bit, present, sectors) << SectorShift) - inSector);
        long location = data + within;
        if (!present)
        {
            _unwritten?.Check(location, count);
            return new Extent(ExtentKind.Hole, count);
        }

        return location < _dataEnd ? new Extent(ExtentKind.Data, Math.Min(count, _dataEnd - location), location) : throw Beyond(block, at);
    }

    /// <summary>How many of <paramref name="most"/> bits from <paramref name="bit"/> on, highest first, equal <paramref name="value"/>; at least 1.</summary>
    private static long Run(ReadOnlySpan<byte> bits, int bit, bool value, long most)
    {
        ulong flip = value ? ulong.MaxValue : 0;
        long run = 0;
        while (run < most && !bits.IsEmpty)
        {
            int available;
            ulong word;
            if (bits.Length >= sizeof(ulong))
            {
                word = BinaryPrimitives.ReadUInt64BigEndian(bits) ^ flip;
                available = 64 - bit;
                bits = bits[sizeof(ulong)..];
            }
            else
            {
                word = ((ulong)bits[0] << 56) ^ (flip << 56);
                available = 8 - bit;
                bits = bits[1..];
            }

            int equal = Math.Min(available, BitOperations.LeadingZeroCount(word << bit));
            run += equal;
            if (equal < available)
            {
                break;
            }

            bit = 0;
        }

        return Math.Min(run, most);
    }

    private static DiskFormatException Beyond(long block, long at) =>
        new(Fault.Truncated, "VHD Block Allocation Table", at, $"block {block} reaches beyond the end of the file's data");

    private bool Overlaps(long block, long start, long length) => block < start + length && start < block + _bitmapBytes + BlockBytes;

    private long EntryOffset(long block) => _header.TableOffset + (block * sizeof(uint));

    private uint Entry(long block) => BinaryPrimitives.ReadUInt32BigEndian(_table.From(EntryOffset(block)));
}
