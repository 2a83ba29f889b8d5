using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.SquashFs;

/// <summary>
/// A table of metadata blocks: each has a 16-bit header with its stored size, bit 15 set when it is not packed, and unpacks to 8 KiB, the
/// last to fewer. "SquashFS Binary Format", 1.3 "Packing Metadata". Where the blocks lie is found once from their headers, so that a
/// reference into the middle of one is known to be wrong.
/// </summary>
internal sealed class MetadataTable : IDisposable, IBlockLoader
{
    public const int BlockBytes = 8192;
    private const int Unpacked = 0x8000;
    private const int HeaderBytes = 2;
    private const int CachedBlocks = 64;
    private const int BytesOfEntry = 16;

    private readonly IBlockSource _volume;
    private readonly BlockUnpacker _unpacker;
    private readonly ScanBudget _budget;
    private readonly string _structure;
    private readonly long _start;
    private readonly List<long> _blocks = [];
    private readonly UnpackedCache _cache;
    private readonly BudgetReservation _reserved;

    /// <param name="volume">Metadata pages of the volume.</param>
    /// <param name="start">First block.</param>
    /// <param name="end">Byte behind the last block.</param>
    /// <param name="structure">The table's name.</param>
    public MetadataTable(IBlockSource volume, long start, long end, string structure, BlockUnpacker unpacker, ReadContext context)
    {
        (_volume, _start, _structure, _unpacker, _budget) = (volume, start, structure, unpacker, context.Budget);
        Span<byte> header = stackalloc byte[HeaderBytes];
        long most = context.Budget.CeilingBytes / 4 / BytesOfEntry;
        for (long at = start; at < end;)
        {
            context.ThrowIfCancelled();
            if (end - at < HeaderBytes || end > volume.Length || _blocks.Count >= most)
            {
                context.Gaps.Add(new CoverageGap(_blocks.Count >= most ? Fault.Limit : Fault.Truncated, "", structure, at, end - at, "the table is cut off"));
                break;
            }

            volume.Read(at, header);
            int stored = BinaryPrimitives.ReadUInt16LittleEndian(header) & ~Unpacked;
            if (stored is 0 or > BlockBytes || stored > end - at - HeaderBytes)
            {
                context.Gaps.Add(new CoverageGap(Fault.Corrupt, "", structure, at, end - at, $"a metadata block of {stored} bytes"));
                break;
            }

            _blocks.Add(at);
            at += HeaderBytes + stored;
        }

        _reserved = context.Budget.Reserve((long)_blocks.Capacity * sizeof(long));
        _cache = new UnpackedCache(context.Budget, BlockBytes, CachedBlocks, this);
    }

    /// <summary>The most bytes there can be.</summary>
    public long MostBytes => (long)_blocks.Count * BlockBytes;

    public string Structure => _structure;

    /// <summary>The address of a byte among all unpacked ones.</summary>
    /// <param name="block">Where its block's header lies, from the start of the table.</param>
    /// <param name="offset">Where it lies in the unpacked block.</param>
    /// <exception cref="DiskFormatException">No block begins there.</exception>
    public long AddressOf(long block, int offset)
    {
        int number = _blocks.BinarySearch(_start + block);
        return number >= 0 && offset < BlockBytes
            ? ((long)number * BlockBytes) + offset
            : throw new DiskFormatException(Fault.Corrupt, _structure, _start + block, "no metadata block begins where a reference points");
    }

    /// <summary>Where the block of an address is stored.</summary>
    public long PositionOf(long address) => _blocks[(int)(address / BlockBytes)];

    /// <summary>Reads unpacked bytes.</summary>
    /// <exception cref="DiskFormatException">The table ends before, or a block is damaged.</exception>
    public void Read(long address, Span<byte> destination)
    {
        while (!destination.IsEmpty)
        {
            long number = address / BlockBytes;
            int within = (int)(address % BlockBytes);
            int wanted = Math.Min(destination.Length, BlockBytes - within);
            int got = number < _blocks.Count ? _cache.Read(number, within, destination[..wanted]) : 0;
            if (got < wanted)
            {
                throw new DiskFormatException(Fault.Truncated, _structure, number < _blocks.Count ? _blocks[(int)number] : -1, "the table ends within an entry");
            }

            address += got;
            destination = destination[got..];
        }
    }

    public int Load(long key, Span<byte> block) => ReadBlock(_volume, _blocks[(int)key], block, _structure, _unpacker, _budget);

    /// <summary>Reads one metadata block of any table.</summary>
    public static int ReadBlock(IBlockSource volume, long at, Span<byte> block, string structure, BlockUnpacker unpacker, ScanBudget budget)
    {
        using RentedBuffer packed = budget.Rent(HeaderBytes + BlockBytes);
        Bounds.Check(at, HeaderBytes, volume.Length, structure);
        volume.Read(at, packed.Span[..HeaderBytes]);
        int header = BinaryPrimitives.ReadUInt16LittleEndian(packed.Span);
        int stored = header & ~Unpacked;
        if (stored is 0 or > BlockBytes)
        {
            throw new DiskFormatException(Fault.Corrupt, structure, at, $"a metadata block of {stored} bytes");
        }

        Memory<byte> bytes = packed.Memory.Slice(HeaderBytes, stored);
        Bounds.Check(at + HeaderBytes, stored, volume.Length, structure);
        volume.Read(at + HeaderBytes, bytes.Span);
        if ((header & Unpacked) != 0)
        {
            bytes.Span.CopyTo(block);
            return stored;
        }

        return unpacker.Unpack(bytes, block, structure, at);
    }

    public void Dispose()
    {
        _cache.Dispose();
        _reserved.Dispose();
    }
}
