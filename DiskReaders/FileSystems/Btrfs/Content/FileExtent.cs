using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems.Btrfs.Packing;

namespace Vmsweep.DiskReaders.FileSystems.Btrfs.Content;

/// <summary>
/// <c>btrfs_file_extent_item</c>: 21 bytes and inline data, or 53 bytes, little-endian. A range of a file and what it shows: a range of an
/// extent, unpacked where it is packed; or nothing (a hole, or space set aside).
/// </summary>
/// <param name="FileOffset">First byte in the file.</param>
/// <param name="Length">Bytes in the file.</param>
/// <param name="Logical">Of the extent, stored; 0 for a hole; of inline data where in its item it begins.</param>
/// <param name="StoredBytes">Of the extent or of inline data.</param>
/// <param name="RamBytes">Of the extent, unpacked.</param>
/// <param name="Skip">Where in the unpacked extent the range begins.</param>
internal readonly record struct FileExtent(long FileOffset, long Length, FileExtentKind Kind, Packing.Packing Packing, long Logical, int StoredBytes, int RamBytes, long Skip)
{
    public const int InlineHeaderBytes = 21;
    public const int Size = 53;

    /// <summary><c>BTRFS_MAX_UNCOMPRESSED</c>: no compressed extent unpacks to more.</summary>
    public const int MostRamBytes = 128 << 10;

    public long End => FileOffset + Length;

    /// <exception cref="DiskFormatException">The item contradicts itself.</exception>
    public static FileExtent Read(LeView v, ulong offset, int sectorBytes)
    {
        v.Require(offset <= (ulong)BtrfsSuperblock.MostAddress * 4, 0, "file offset");
        long at = (long)offset;
        ulong ram = v.U64(8);
        byte packing = v.U8(16);
        if (v.U8(17) != 0)
        {
            throw new DiskFormatException(Fault.Encrypted, v.Structure, v.Offset + 17, $"encryption {v.U8(17)}");
        }

        if (v.U16(18) != 0 || packing > (byte)Btrfs.Packing.Packing.Zstd)
        {
            throw v.Unsupported(16, $"compression {packing} or encoding {v.U16(18)}");
        }

        switch (v.U8(20))
        {
            case 0:
                int stored = v.Length - InlineHeaderBytes;
                v.Require(stored >= 0 && at == 0, 20, "inline extent");
                v.Require(packing == 0 ? ram <= (ulong)stored : ram <= MostRamBytes, 8, "ram_bytes");
                return new FileExtent(0, (long)ram, FileExtentKind.Inline, (Packing.Packing)packing, 0, stored, (int)ram, 0);
            case 1 or 2:
                break;
            default:
                throw v.Corrupt(20, "type");
        }

        long logical = v.NonNegative64(21, "disk_bytenr");
        long diskBytes = v.NonNegative64(29, "disk_num_bytes");
        long skip = v.NonNegative64(37, "offset");
        long length = v.NonNegative64(45, "num_bytes");
        v.Require(at % sectorBytes == 0, 0, "file offset");
        v.Require(length > 0 && length <= BtrfsSuperblock.MostAddress && length % sectorBytes == 0, 45, "num_bytes");
        if (logical == 0)
        {
            return new FileExtent(at, length, FileExtentKind.Hole, Btrfs.Packing.Packing.None, 0, 0, 0, 0);
        }

        v.Require(logical <= BtrfsSuperblock.MostAddress && logical % sectorBytes == 0, 21, "disk_bytenr");
        v.Require(skip <= BtrfsSuperblock.MostAddress && skip % sectorBytes == 0, 37, "offset");
        if (v.U8(20) == 2)
        {
            return new FileExtent(at, length, FileExtentKind.Prealloc, Btrfs.Packing.Packing.None, logical, 0, 0, 0);
        }

        if (packing == 0)
        {
            v.Require(diskBytes <= BtrfsSuperblock.MostAddress && skip <= diskBytes && length <= diskBytes - skip, 29, "disk_num_bytes");
            return new FileExtent(at, length, FileExtentKind.Data, Btrfs.Packing.Packing.None, logical, 0, 0, skip);
        }

        v.Require(ram is > 0 and <= MostRamBytes, 8, "ram_bytes");
        v.Require(diskBytes is > 0 and <= MostRamBytes && diskBytes % sectorBytes == 0, 29, "disk_num_bytes");
        v.Require(skip <= (long)ram && length <= (long)ram - skip, 37, "offset");
        return new FileExtent(at, length, FileExtentKind.Packed, (Packing.Packing)packing, logical, (int)diskBytes, (int)ram, skip);
    }

    /// <summary>The part of it from one file offset to another, which it holds.</summary>
    public FileExtent Part(long from, long to) => this with
    {
        FileOffset = from,
        Length = to - from,
        Skip = Kind is FileExtentKind.Data or FileExtentKind.Packed or FileExtentKind.Inline ? Skip + (from - FileOffset) : Skip,
    };
}

internal enum FileExtentKind : byte
{
    Hole,
    Prealloc,
    Data,
    Packed,
    Inline,
}
