using System.Numerics;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Vhd;

/// <summary>VHD "Dynamic Disk Header". Spec: "Dynamic Disk Header Format". Big-endian; 1024 bytes; dynamic and differencing disks have it.</summary>
internal sealed class DynamicDiskHeader
{
    public const string Name = "VHD Dynamic Disk Header";
    public const int Size = 1024;

    private const int ChecksumAt = 36;
    private const uint Version1 = 0x0001_0000;

    // Writers use 512 KiB and 2 MiB. A block holds at least one byte of sector bitmap; the largest has 32 KiB of it.
    private const uint LeastBlockBytes = 8 * VhdFooter.SectorBytes;
    private const uint MostBlockBytes = 128 << 20;

    private DynamicDiskHeader(BeView v, VhdFooter footer, IBlockSource file)
    {
        v.Require(v.Field(0, 8).SequenceEqual("cxsparse"u8), 0, "Cookie");
        if (v.U32(24) != Version1)
        {
            throw v.Unsupported(24, $"Header Version 0x{v.U32(24):x8}");
        }

        At = v.Offset;
        TableOffset = v.NonNegative64(16, "Table Offset");
        BlockBytes = v.U32(32);
        v.Require(BlockBytes is >= LeastBlockBytes and <= MostBlockBytes && BitOperations.IsPow2(BlockBytes), 32, "Block Size");
        Blocks = (footer.DiskBytes + BlockBytes - 1) / BlockBytes;
        v.Require(v.U32(28) >= Blocks, 28, "Max Table Entries");
        v.Require(TableOffset % VhdFooter.SectorBytes == 0, 16, "Table Offset");
        Bounds.Check(TableOffset, Blocks * sizeof(uint), file.Length, "VHD Block Allocation Table");
        if (footer.Type == VhdType.Differencing)
        {
            Parent = new VhdParent(v, footer, file);
        }
    }

    /// <summary>Where the header lies.</summary>
    public long At { get; }

    /// <summary>Where the Block Allocation Table lies.</summary>
    public long TableOffset { get; }

    public uint BlockBytes { get; }

    /// <summary>Blocks of the disk; the table may have more entries.</summary>
    public long Blocks { get; }

    /// <summary>What a differencing disk says of its parent.</summary>
    public VhdParent? Parent { get; }

    public static DynamicDiskHeader Read(ImageFile file, VhdFooter footer, IGapSink gaps)
    {
        Span<byte> bytes = stackalloc byte[Size];
        Bounds.Check(footer.DataOffset, Size, file.Bytes.Length, Name);
        file.Bytes.Read(footer.DataOffset, bytes);
        var header = new DynamicDiskHeader(new BeView(bytes, Name, footer.DataOffset), footer, file.Bytes);
        if (!VhdFooter.HasChecksum(bytes, ChecksumAt))
        {
            gaps.Add(new CoverageGap(Fault.Corrupt, file.Name, Name, footer.DataOffset, 0, "the header's checksum is wrong"));
        }

        return header;
    }
}
