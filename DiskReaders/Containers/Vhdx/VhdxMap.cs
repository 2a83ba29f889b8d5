using System.Buffers.Binary;
using System.Numerics;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Vhdx;

/// <summary>
/// Where a VHDX keeps its virtual disk: the BAT (Block Allocation Table), [MS-VHDX] 2.5, and in a differencing disk the sector
/// bitmaps, 2.4. Both are read when they are needed: a disk of 64 TB has up to 512 MiB of BAT.
/// </summary>
internal sealed class VhdxMap : IExtentMap, IDisposable
{
    private const int EntryBytes = 8;
    private const int BatPages = 16;
    private const int BitmapPages = 32;
    private const int SectorBitmapShift = 20;
    private const int SectorsInBitmapShift = 23;
    private const ulong StateMask = 7;

    // The 17 bits between are reserved and not looked at, as other readers do.
    private const ulong FileOffsetMask = ~0xF_FFFFUL;

    /// <summary>One answer covers at most so many blocks, so that it comes soon.</summary>
    private const int MostBlocks = 8192;

    private readonly Lock _lock = new();
    private readonly IBlockSource _image;
    private readonly RegionTable _regions;
    private readonly MetadataPages _bat;
    private readonly MetadataPages _bitmaps;
    private readonly int _blockShift, _chunkShift, _sectorShift;
    private readonly bool _differencing;

    public VhdxMap(IBlockSource image, RegionTable regions, MetadataTable metadata, ScanBudget budget)
    {
        _image = image;
        _regions = regions;
        _bat = new MetadataPages(image, budget, BatPages);
        _bitmaps = new MetadataPages(image, budget, BitmapPages);
        _blockShift = BitOperations.Log2(metadata.BlockBytes);
        _sectorShift = BitOperations.Log2((uint)metadata.SectorBytes);
        _chunkShift = SectorsInBitmapShift + _sectorShift - _blockShift;
        _differencing = metadata.Parent is not null;
        Length = metadata.DiskBytes;

        long last = (Length - 1) >> _blockShift;
        long entries = 1 + (_differencing ? BitmapEntry(last) : PayloadEntry(last));
        if (entries > regions.Bat.Length / EntryBytes)
        {
            throw new DiskFormatException(Fault.Corrupt, "VHDX BAT", regions.Bat.Offset, $"{entries} entries are needed, the region has {regions.Bat.Length} bytes");
        }
    }

    private enum PayloadState
    {
        NotPresent = 0,
        Undefined = 1,
        Zero = 2,
        Unmapped = 3,
        FullyPresent = 6,
        PartiallyPresent = 7,
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
            Extent extent = MapInBlock(Entry(PayloadEntry(block)), block, within, part);
            for (int i = 1; i < MostBlocks && extent.Length == part && part < count; i++)
            {
                block++;
                if (!Continues(extent, Entry(PayloadEntry(block))))
                {
                    break;
                }

                part = Math.Min(count, part + BlockBytes);
                extent = extent with { Length = part };
            }

            return extent;
        }
    }

    public void Dispose()
    {
        lock (_lock)
        {
            _bat.Dispose();
            _bitmaps.Dispose();
        }
    }

    /// <summary>The kind of a block that has nothing in the file (2.5.1.1). What is undefined or unmapped reads as zeros here.</summary>
    private static ExtentKind? Absent(PayloadState state) => state switch
    {
        PayloadState.NotPresent => ExtentKind.Hole,
        PayloadState.Undefined or PayloadState.Zero or PayloadState.Unmapped => ExtentKind.Zero,
        _ => null,
    };

    private Extent MapInBlock(ulong entry, long block, long within, long count)
    {
        var state = (PayloadState)(entry & StateMask);
        if (Absent(state) is { } kind)
        {
            return new Extent(kind, count);
        }

        if (state != PayloadState.FullyPresent && (state != PayloadState.PartiallyPresent || !_differencing))
        {
            throw new DiskFormatException(Fault.Corrupt, "VHDX BAT", EntryOffset(PayloadEntry(block)), $"payload block {block} has the state {(int)state}");
        }

        long location = Location(entry, BlockBytes, within, $"payload block {block}");
        if (state == PayloadState.PartiallyPresent)
        {
            (bool present, count) = SectorRun(block, within, count);
            if (!present)
            {
                return new Extent(ExtentKind.Hole, count);
            }
        }

        return new Extent(ExtentKind.Data, Math.Min(count, _image.Length - location - within), location + within);
    }

    /// <summary>Whether the block of <paramref name="entry"/> goes on as <paramref name="extent"/> ended. Anything faulty does not.</summary>
    private bool Continues(Extent extent, ulong entry)
    {
        var state = (PayloadState)(entry & StateMask);
        if (extent.Kind != ExtentKind.Data)
        {
            return Absent(state) == extent.Kind;
        }

        long next = extent.Location + extent.Length;
        return state == PayloadState.FullyPresent
            && (entry & FileOffsetMask) == (ulong)next
            && next <= _image.Length - BlockBytes
            && !_regions.Overlaps(new Region(next, BlockBytes));
    }

    /// <summary>The run of equal bits in the sector bitmap of a partially present block.</summary>
    private (bool Present, long Count) SectorRun(long block, long within, long count)
    {
        long index = BitmapEntry(block);
        ulong entry = Entry(index);
        if ((PayloadState)(entry & StateMask) != PayloadState.FullyPresent)
        {
            throw new DiskFormatException(Fault.Corrupt, "VHDX BAT", EntryOffset(index), $"payload block {block} is partially present and its sector bitmap is not");
        }

        const long BitmapBytes = 1L << SectorBitmapShift;
        long location = Location(entry, BitmapBytes, BitmapBytes - 1, $"sector bitmap of payload block {block}");
        long sector = ((block << _blockShift) + within) >> _sectorShift;
        long firstBit = sector & ((1L << SectorsInBitmapShift) - 1);
        long inSector = within & ((1L << _sectorShift) - 1);
        long sectors = (inSector + count + (1L << _sectorShift) - 1) >> _sectorShift;

        // The bits of one block never cross a page: blocks and pages are powers of two.
        ReadOnlySpan<byte> bits = _bitmaps.From(location + (firstBit >> 3));
        int bit = (int)(firstBit & 7);
        bool present = ((bits[0] >> bit) & 1) != 0;
        long run = Run(bits, bit, present, sectors);
        return (present, Math.Min(count, (run << _sectorShift) - inSector));
    }

    /// <summary>How many of <paramref name="most"/> bits from <paramref name="bit"/> on, lowest first, equal <paramref name="value"/>.</summary>
    private static long Run(ReadOnlySpan<byte> bits, int bit, bool value, long most)
    {
        ulong flip = value ? ulong.MaxValue : 0;
        long run = 0;
        while (run < most)
        {
            int available;
            ulong word;
            if (bits.Length >= 8)
            {
                word = BinaryPrimitives.ReadUInt64LittleEndian(bits) ^ flip;
                available = 64 - bit;
                bits = bits[8..];
            }
            else
            {
                word = (bits[0] ^ flip) & 0xFF;
                available = 8 - bit;
                bits = bits[1..];
            }

            int equal = Math.Min(available, BitOperations.TrailingZeroCount(word >> bit));
            run += equal;
            if (equal < available)
            {
                break;
            }

            bit = 0;
        }

        return Math.Min(run, most);
    }

    /// <summary>A block's place in the file, verified; the byte <paramref name="needed"/> of it lies inside the file.</summary>
    private long Location(ulong entry, long bytes, long needed, string what)
    {
        ulong location = entry & FileOffsetMask;
        if (location >= (ulong)_image.Length || (long)location + needed >= _image.Length)
        {
            throw new DiskFormatException(Fault.Truncated, "VHDX BAT", (long)Math.Min(location, long.MaxValue), $"{what} lies beyond the end of the file at {_image.Length}");
        }

        if (_regions.Overlaps(new Region((long)location, bytes)))
        {
            throw new DiskFormatException(Fault.Corrupt, "VHDX BAT", (long)location, $"{what} lies over the header section, the log or a region");
        }

        return (long)location;
    }

    /// <summary>2.5: after the payload entries of each chunk comes the entry of its sector bitmap.</summary>
    private long PayloadEntry(long block) => block + (block >> _chunkShift);

    private long BitmapEntry(long block) => (((block >> _chunkShift) + 1) * ((1L << _chunkShift) + 1)) - 1;

    private long EntryOffset(long index) => _regions.Bat.Offset + (index * EntryBytes);

    private ulong Entry(long index) => BinaryPrimitives.ReadUInt64LittleEndian(_bat.From(EntryOffset(index)));
}
