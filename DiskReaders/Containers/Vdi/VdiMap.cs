using System.Buffers.Binary;
using System.Numerics;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Vdi;

/// <summary>
/// Where a VDI keeps its virtual disk: the block map gives each block the number of its place behind offData; each place begins with
/// cbBlockExtra bytes that are not the guest's. The map is read when it is needed.
/// </summary>
internal sealed class VdiMap : IExtentMap, IDisposable
{
    /// <summary>VDI_IMAGE_BLOCK_FREE: not here; the parent's, or zeros where there is none.</summary>
    private const uint Free = 0xFFFF_FFFF;

    /// <summary>VDI_IMAGE_BLOCK_ZERO: zeros whatever the parent has.</summary>
    private const uint Zero = 0xFFFF_FFFE;

    private const int Pages = 8;

    /// <summary>One answer covers at most so many blocks, so that it comes soon.</summary>
    private const int MostBlocks = 8192;

    private readonly Lock _lock = new();
    private readonly IBlockSource _image;
    private readonly MetadataPages _pages;
    private readonly VdiHeader _header;
    private readonly int _blockShift;

    public VdiMap(IBlockSource image, VdiHeader header, ScanBudget budget)
    {
        _image = image;
        _header = header;
        _blockShift = BitOperations.Log2(header.BlockBytes);
        _pages = new MetadataPages(image, budget, Pages);
    }

    public long Length => _header.DiskBytes;

    private long BlockBytes => 1L << _blockShift;

    public Extent Map(long offset, long count)
    {
        lock (_lock)
        {
            long block = offset >> _blockShift;
            long within = offset & (BlockBytes - 1);
            long part = Math.Min(count, BlockBytes - within);
            uint entry = Entry(block);
            ExtentKind? absent = Absent(entry);
            long location = Location(entry) + within;
            if (absent is null && location >= _image.Length)
            {
                throw new DiskFormatException(Fault.Truncated, "VDI block map", _header.BlocksOffset + (block * sizeof(uint)), $"block {block} lies beyond the end of the file");
            }

            // Stored blocks follow each other in the file only where nothing extra lies between them.
            if (entry == Free)
            {
                // Most of a large disk's map says so, and its entries are not looked at one by one.
                ReadOnlySpan<byte> rest = _pages.From(_header.BlocksOffset + (block * sizeof(uint)));
                int others = rest.IndexOfAnyExcept((byte)0xFF);
                long free = Math.Min((others < 0 ? rest.Length : others) / sizeof(uint), _header.Blocks - block);
                return new Extent(ExtentKind.Hole, Math.Min(count, (free << _blockShift) - within));
            }

            uint step = absent is null ? 1u : 0;
            bool canJoin = absent is not null || _header.BlockExtraBytes == 0;
            for (int i = 1; canJoin && i < MostBlocks && part < count; i++)
            {
                uint next = Entry(++block);
                if (next != entry + step || Absent(next) != absent)
                {
                    break;
                }

                entry = next;
                part = Math.Min(count, part + BlockBytes);
            }

            return absent is { } kind ? new Extent(kind, part) : new Extent(ExtentKind.Data, Math.Min(part, _image.Length - location), location);
        }
    }

    public void Dispose()
    {
        lock (_lock)
        {
            _pages.Dispose();
        }
    }

    private static ExtentKind? Absent(uint entry) => entry switch
    {
        Free => ExtentKind.Hole,
        Zero => ExtentKind.Zero,
        _ => null,
    };

    private long Location(uint entry) => _header.DataOffset + (entry * ((long)_header.BlockBytes + _header.BlockExtraBytes)) + _header.BlockExtraBytes;

    private uint Entry(long block) => BinaryPrimitives.ReadUInt32LittleEndian(_pages.From(_header.BlocksOffset + (block * sizeof(uint))));
}
