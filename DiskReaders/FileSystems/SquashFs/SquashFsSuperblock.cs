using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.SquashFs;

/// <summary>How blocks are packed. "SquashFS Binary Format", 2 "The Superblock", <c>compressor</c>.</summary>
internal enum Compressor : ushort
{
    Gzip = 1,
    Lzma = 2,
    Lzo = 3,
    Xz = 4,
    Lz4 = 5,
    Zstd = 6,
}

/// <summary>The superblock. Specification: "SquashFS Binary Format" (dr-emann.github.io/squashfs), 2. Little-endian, 96 bytes.</summary>
internal sealed class SquashFsSuperblock
{
    public const int Size = 96;
    public const ulong NoTable = ulong.MaxValue;

    public readonly uint InodeCount;
    public readonly int BlockBytes;
    public readonly uint FragmentCount;
    public readonly Compressor Compressor;
    public readonly ushort IdCount;
    public readonly ulong RootInode;
    public readonly long BytesUsed;
    public readonly long IdTable, InodeTable, DirectoryTable, FragmentTable, ExportTable, XattrTable;

    /// <exception cref="DiskFormatException">It is none, or of a version that is not read.</exception>
    public SquashFsSuperblock(LeView v)
    {
        v.Require(v.U32(0) == 0x7371_7368, 0, "magic");
        if (v.U16(28) != 4 || v.U16(30) != 0)
        {
            throw v.Unsupported(28, $"version {v.U16(28)}.{v.U16(30)}");
        }

        InodeCount = v.U32(4);
        uint blockSize = v.U32(12);
        ushort blockLog = v.U16(22);
        v.Require(blockLog is >= 12 and <= 20, 22, "block_log");
        v.Require(blockSize == 1u << blockLog, 12, "block_size");
        BlockBytes = (int)blockSize;
        FragmentCount = v.U32(16);
        Compressor = (Compressor)v.U16(20);
        if (Compressor is < Compressor.Gzip or > Compressor.Zstd)
        {
            throw v.Unsupported(20, $"compressor {(ushort)Compressor}");
        }

        IdCount = v.U16(26);
        RootInode = v.U64(32);
        BytesUsed = v.NonNegative64(40, "bytes_used");
        v.Require(BytesUsed > Size, 40, "bytes_used");
        IdTable = Table(v, 48, "id_table_start", isOptional: false);
        XattrTable = Table(v, 56, "xattr_id_table_start", isOptional: true);
        InodeTable = Table(v, 64, "inode_table_start", isOptional: false);
        DirectoryTable = Table(v, 72, "directory_table_start", isOptional: false);
        FragmentTable = Table(v, 80, "fragment_table_start", isOptional: true);
        ExportTable = Table(v, 88, "export_table_start", isOptional: true);
        v.Require(InodeTable < DirectoryTable, 64, "inode_table_start");
    }

    private long Table(LeView v, int at, string field, bool isOptional)
    {
        ulong value = v.U64(at);
        if (isOptional && value == NoTable)
        {
            return -1;
        }

        v.Require(value >= Size && value < (ulong)BytesUsed, at, field);
        return (long)value;
    }
}
