using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.SquashFs;

/// <summary>
/// Where a file's blocks are: stored one after the other, each packed or not, those of zeros not at all; the end of a file may lie in a
/// fragment. "SquashFS Binary Format", 3 "Data and Fragment Blocks" and 4.3 "File Inodes".
/// </summary>
internal sealed class SquashFsMap : IExtentMap, IUnpacker, IDisposable
{
    private const string Structure = "squashfs data block";
    private const int PerCheckpoint = 64;
    private const int ListBytes = 64 << 10;

    private readonly SquashFsVolume _volume;
    private readonly SquashFsFile _file;
    private readonly uint[]? _sizes;
    private readonly RentedBuffer? _list;
    private readonly long[] _checkpoints;
    private readonly long _blocks;
    private FragmentEntry? _fragment;

    public SquashFsMap(SquashFsVolume volume, SquashFsFile file)
    {
        (_volume, _file, _sizes) = (volume, file, file.BlockSizes);
        _blocks = CountBlocks(file.SizeBytes, file.Fragment, UnitBytes);
        _list = _sizes is null ? ReadList() : null;
        try
        {
            _checkpoints = Place();
        }
        catch
        {
            _list?.Dispose();
            throw;
        }
    }

    public long Length => _file.SizeBytes;

    public int UnitBytes => _volume.Super.BlockBytes;

    public static long CountBlocks(long size, uint fragment, int blockBytes) =>
        (size / blockBytes) + (fragment == SquashFsInode.NoFragment && size % blockBytes != 0 ? 1 : 0);

    public Extent Map(long offset, long count)
    {
        long block = Math.DivRem(offset, UnitBytes, out long within);
        long length = Math.Min(count, Math.Min(UnitBytes - within, Length - offset));
        if (block >= _blocks)
        {
            FragmentEntry fragment = _fragment ??= _volume.Fragment(_file.Fragment);
            if (fragment.IsPacked)
            {
                return new Extent(ExtentKind.Packed, length, fragment.Start);
            }

            return _file.FragmentOffset + within + length <= fragment.StoredBytes
                ? new Extent(ExtentKind.Data, length, fragment.Start + _file.FragmentOffset + within)
                : throw new DiskFormatException(Fault.Truncated, "squashfs fragment", fragment.Start, $"it ends before byte {_file.FragmentOffset + within + length}");
        }

        uint size = SizeOf(block);
        if (size == 0)
        {
            while (length < count && ++block < _blocks && SizeOf(block) == 0)
            {
                length = Math.Min(count, length + UnitBytes);
            }

            return new Extent(ExtentKind.Hole, Math.Min(length, Length - offset));
        }

        long position = PositionOf(block);
        if ((size & SquashFsVolume.UnpackedBit) == 0)
        {
            return new Extent(ExtentKind.Packed, length, position);
        }

        long whole = Math.Min(UnitBytes, Length - (block * UnitBytes));
        return (size & (SquashFsVolume.UnpackedBit - 1)) == whole
            ? new Extent(ExtentKind.Data, length, position + within)
            : throw new DiskFormatException(Fault.Corrupt, Structure, position, $"an unpacked block of {size & (SquashFsVolume.UnpackedBit - 1)} bytes for {whole}");
    }

    public void Unpack(long unitOffset, long location, Span<byte> unit)
    {
        long block = unitOffset / UnitBytes;
        if (block >= _blocks)
        {
            _volume.ReadFragment(_file.Fragment, _file.FragmentOffset, unit);
            return;
        }

        using RentedBuffer packed = _volume.Context.Budget.Rent((int)SizeOf(block));
        _volume.Source.Read(location, packed.Span);
        int made = _volume.Unpacker.Unpack(packed.Memory, unit, Structure, location);
        if (made != unit.Length)
        {
            throw new DiskFormatException(Fault.Corrupt, Structure, location, $"it unpacks to {made} bytes of {unit.Length}");
        }
    }

    public void Dispose() => _list?.Dispose();

    private uint SizeOf(long block) => _sizes is not null ? _sizes[block] : BinaryPrimitives.ReadUInt32LittleEndian(_list!.Span[((int)block * sizeof(uint))..]);

    private long PositionOf(long block)
    {
        long near = block / PerCheckpoint;
        long position = _checkpoints[near];
        for (long i = near * PerCheckpoint; i < block; i++)
        {
            position += SizeOf(i) & (SquashFsVolume.UnpackedBit - 1);
        }

        return position;
    }

    private RentedBuffer ReadList()
    {
        if (_blocks > (_volume.Inodes.MostBytes - _file.Tail) / sizeof(uint))
        {
            throw new DiskFormatException(Fault.Corrupt, "squashfs inode", -1, $"inode {_file.Id} has {_blocks} blocks, the table ends before");
        }

        if (_blocks > int.MaxValue / sizeof(uint))
        {
            throw new DiskFormatException(Fault.Limit, "squashfs inode", -1, $"inode {_file.Id} has {_blocks} blocks");
        }

        RentedBuffer list = _volume.Context.Budget.Rent((int)_blocks * sizeof(uint));
        try
        {
            for (int at = 0; at < list.Length; at += ListBytes)
            {
                _volume.Context.ThrowIfCancelled();
                _volume.Inodes.Read(_file.Tail + at, list.Span.Slice(at, Math.Min(ListBytes, list.Length - at)));
            }
        }
        catch
        {
            list.Dispose();
            throw;
        }

        return list;
    }

    // Where each 64th block is stored; all are checked to lie within the file system.
    private long[] Place()
    {
        long[] checkpoints = new long[(_blocks / PerCheckpoint) + 1];
        long position = _file.Start;
        for (long i = 0; i < _blocks; i++)
        {
            if (i % PerCheckpoint == 0)
            {
                checkpoints[i / PerCheckpoint] = position;
            }

            uint size = SizeOf(i);
            uint stored = size & (SquashFsVolume.UnpackedBit - 1);
            if (size >= SquashFsVolume.UnpackedBit << 1 || stored > (uint)UnitBytes || (stored == 0 && size != 0) || (stored > 0 && position > _volume.Super.BytesUsed - stored))
            {
                throw new DiskFormatException(Fault.Corrupt, Structure, position, $"block {i} of inode {_file.Id} is stored in {stored} bytes");
            }

            position += stored;
        }

        return checkpoints;
    }
}
