using System.Numerics;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Vdi;

/// <summary>u32Type of a VDI's header.</summary>
internal enum VdiType
{
    Normal = 1,
    Fixed = 2,
    Undo = 3,
    Differencing = 4,
}

/// <summary>
/// VDIPREHEADER and VDIHEADER1. Spec: VirtualBox, "All about VDIs" (forums.virtualbox.org, topic 8046) and the structures of VDICore.h.
/// Little-endian; 456 bytes from the start of the file. It carries no checksum.
/// </summary>
internal readonly struct VdiHeader
{
    public const string Name = "VDI Header";
    public const int Size = 456;

    /// <summary>Where u32Signature lies, and its bytes.</summary>
    public const int SignatureAt = 64;

    /// <summary>QEMU's bound: 512 TiB.</summary>
    private const long MostDiskBytes = 1L << 49;

    // Writers use 1 MiB.
    private const uint LeastBlockBytes = 4096;
    private const uint MostBlockBytes = 256 << 20;
    private const uint LeastHeaderBytes = 384;
    private const int SectorBytes = 512;

    public readonly VdiType Type;
    public readonly long BlocksOffset, DataOffset, DiskBytes, Blocks;
    public readonly uint BlockBytes, BlockExtraBytes;
    public readonly Guid Create, Modify, Linkage, ParentModify;

    private VdiHeader(LeView v, IBlockSource file)
    {
        v.Require(v.Field(SignatureAt, Signature.Length).SequenceEqual(Signature), SignatureAt, "u32Signature");
        if (v.U16(70) != 1)
        {
            throw v.Unsupported(68, $"u32Version {v.U16(70)}.{v.U16(68)}");
        }

        v.Require(v.U32(72) >= LeastHeaderBytes, 72, "cbHeader");
        uint type = v.U32(76);
        if (type is < (uint)VdiType.Normal or > (uint)VdiType.Differencing)
        {
            throw v.Unsupported(76, $"u32Type {type}");
        }

        Type = (VdiType)type;
        BlocksOffset = v.U32(340);
        DataOffset = v.U32(344);
        long diskBytes = v.NonNegative64(368, "cbDisk");
        BlockBytes = v.U32(376);
        BlockExtraBytes = v.U32(380);
        v.Require(BlockBytes is >= LeastBlockBytes and <= MostBlockBytes && BitOperations.IsPow2(BlockBytes), 376, "cbBlock");
        v.Require(BlockExtraBytes <= BlockBytes, 380, "cbBlockExtra");
        v.Require(diskBytes is > 0 and <= MostDiskBytes, 368, "cbDisk");

        // A disk that ends within a sector has the whole of it, as with QEMU.
        DiskBytes = (diskBytes + SectorBytes - 1) / SectorBytes * SectorBytes;
        Blocks = (DiskBytes + BlockBytes - 1) / BlockBytes;
        v.Require(v.U32(384) >= Blocks, 384, "cBlocks");
        v.Require(BlocksOffset >= Size && BlocksOffset % sizeof(uint) == 0, 340, "offBlocks");
        Bounds.Check(BlocksOffset, Blocks * sizeof(uint), file.Length, "VDI block map");
        v.Require(DataOffset >= BlocksOffset + (Blocks * sizeof(uint)), 344, "offData");
        Create = v.MixedGuid(392);
        Modify = v.MixedGuid(408);
        Linkage = v.MixedGuid(424);
        ParentModify = v.MixedGuid(440);
    }

    public static ReadOnlySpan<byte> Signature => [0x7F, 0x10, 0xDA, 0xBE];

    public bool HasParent => Type is VdiType.Undo or VdiType.Differencing;

    public static VdiHeader Read(IBlockSource file)
    {
        Bounds.Check(0, Size, file.Length, Name);
        Span<byte> bytes = stackalloc byte[Size];
        file.Read(0, bytes);
        return new VdiHeader(new LeView(bytes, Name, 0), file);
    }
}
