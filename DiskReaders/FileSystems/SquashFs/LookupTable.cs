using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.SquashFs;

/// <summary>
/// A table of equal entries, found by number: 64-bit pointers to metadata blocks that are full but for the last. "SquashFS Binary Format",
/// 1.4 "Storing Lookup Tables".
/// </summary>
internal sealed class LookupTable : IDisposable, IBlockLoader
{
    private const int PointerBytes = 8;
    private const int CachedBlocks = 16;

    private readonly IBlockSource _volume;
    private readonly long _start;
    private readonly long _count;
    private readonly int _entryBytes;
    private readonly string _structure;
    private readonly BlockUnpacker _unpacker;
    private readonly ScanBudget _budget;
    private readonly UnpackedCache _cache;

    public LookupTable(IBlockSource volume, long start, long count, int entryBytes, string structure, BlockUnpacker unpacker, ReadContext context)
    {
        (_volume, _start, _count, _entryBytes, _structure, _unpacker, _budget) = (volume, start, count, entryBytes, structure, unpacker, context.Budget);
        _cache = new UnpackedCache(context.Budget, MetadataTable.BlockBytes, CachedBlocks, this);
    }

    /// <summary>Where the blocks of a table begin, which is before its pointers; -1 when there are none or they cannot be read.</summary>
    public static long FirstBlock(IBlockSource volume, long start, long count)
    {
        if (start < 0 || count == 0)
        {
            return -1;
        }

        Span<byte> pointer = stackalloc byte[PointerBytes];
        return volume.TryRead(start, pointer) ? BinaryPrimitives.ReadInt64LittleEndian(pointer) : -1;
    }

    /// <exception cref="DiskFormatException">There is no such entry, or it cannot be read.</exception>
    public void Read(long number, Span<byte> entry)
    {
        if (_start < 0 || number >= _count)
        {
            throw new DiskFormatException(Fault.Corrupt, _structure, _start, $"entry {number} of {_count}");
        }

        long at = number * _entryBytes;
        if (_cache.Read(at / MetadataTable.BlockBytes, (int)(at % MetadataTable.BlockBytes), entry) != entry.Length)
        {
            throw new DiskFormatException(Fault.Truncated, _structure, _start, $"entry {number} of {_count} is not there");
        }
    }

    public int Load(long key, Span<byte> block)
    {
        Span<byte> pointer = stackalloc byte[PointerBytes];
        _volume.Read(_start + (key * PointerBytes), pointer);
        return MetadataTable.ReadBlock(_volume, BinaryPrimitives.ReadInt64LittleEndian(pointer), block, _structure, _unpacker, _budget);
    }

    public void Dispose() => _cache.Dispose();
}
