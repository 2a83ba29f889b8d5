using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ext;

/// <summary>
/// A file's blocks by pointers: twelve direct ones, then an indirect, a double and a triple indirect block. Specification: "ext4 Data
/// Structures and Algorithms", "Direct/Indirect Block Addressing". The last block of pointers is kept.
/// </summary>
internal sealed class BlockPointerMap : IExtentMap, IDisposable
{
    private const int Direct = 12;
    private const int Levels = 3;
    private const int PointerBytes = 4;

    private readonly ExtVolume _volume;
    private readonly byte[] _root;
    private readonly int _pointerShift;
    private readonly Lock _lock = new();
    private RentedBuffer? _pointers;
    private long _pointersFirst = -1;    // the file block that the kept pointers begin with

    public BlockPointerMap(ExtVolume volume, byte[] root, long length)
    {
        _volume = volume;
        _root = root;
        Length = length;
        _pointerShift = volume.Super.BlockShift - 2;
    }

    public long Length { get; }

    public Extent Map(long offset, long count)
    {
        int shift = _volume.Super.BlockShift;
        long block = offset >> shift;
        long within = offset & (_volume.Super.BlockBytes - 1);
        long wanted = ((within + count - 1) >> shift) + 1;
        (long start, long blocks) = block < Direct
            ? Run(_root.AsSpan(0, Direct * PointerBytes), (int)block, wanted)
            : FindIndirect(block, wanted);
        long length = Math.Min(count, (Math.Min(blocks, long.MaxValue >> shift) << shift) - within);
        return start == 0 ? new Extent(ExtentKind.Hole, length) : new Extent(ExtentKind.Data, length, (start << shift) + within);
    }

    public void Dispose()
    {
        lock (_lock)
        {
            _pointers?.Dispose();
            _pointers = null;
            _pointersFirst = -1;
        }
    }

    private (long Start, long Blocks) FindIndirect(long block, long wanted)
    {
        lock (_lock)
        {
            long perBlock = 1L << _pointerShift;
            if (_pointersFirst < 0 || block < _pointersFirst || block >= _pointersFirst + perBlock)
            {
                (long hole, bool beyond) = Descend(block);
                if (beyond || hole > 0)
                {
                    return (0, beyond ? wanted : hole);
                }
            }

            return Run(_pointers!.Span, (int)(block - _pointersFirst), wanted);
        }
    }

    // Loads the pointers that cover the block, or tells how many blocks the missing pointer above them leaves out.
    private (long Hole, bool Beyond) Descend(long block)
    {
        _pointersFirst = -1;
        long first = Direct;
        for (int level = 1; level <= Levels; level++)
        {
            long span = 1L << (_pointerShift * level);
            if (block >= first + span)
            {
                first += span;
                continue;
            }

            _pointers ??= _volume.Context.Budget.Rent(_volume.Super.BlockBytes);
            uint pointer = Pointer(_root, Direct + level - 1);
            for (int below = level; ; below--)
            {
                long covers = 1L << (_pointerShift * below);
                if (pointer == 0)
                {
                    return (first + covers - block, false);
                }

                _volume.ReadBlock(pointer, _pointers.Span, "indirect block");
                if (below == 1)
                {
                    _pointersFirst = first;
                    return (0, false);
                }

                long each = covers >> _pointerShift;
                long index = (block - first) / each;
                first += index * each;
                pointer = Pointer(_pointers.Span, (int)index);
            }
        }

        return (0, true);
    }

    private (long Start, long Blocks) Run(ReadOnlySpan<byte> pointers, int index, long wanted)
    {
        uint start = Pointer(pointers, index);
        int most = (int)Math.Min(wanted, (pointers.Length / PointerBytes) - index);
        int blocks = 1;
        while (blocks < most && Pointer(pointers, index + blocks) == (start == 0 ? 0 : (long)start + blocks))
        {
            blocks++;
        }

        if (start != 0 && (start < _volume.Super.FirstDataBlock || start > _volume.Super.BlocksCount - blocks))
        {
            throw new DiskFormatException(Fault.Corrupt, "i_block", -1, $"a pointer to block {start} leads outside the file system");
        }

        return (start, blocks);
    }

    private static uint Pointer(ReadOnlySpan<byte> pointers, int index) => BinaryPrimitives.ReadUInt32LittleEndian(pointers[(index * PointerBytes)..]);
}
