namespace Vmsweep.DiskReaders.Containers.Vmdk;

/// <summary>The extent types that are read. Spec: VMware Virtual Disk Format 5.0, "The Extent Descriptions".</summary>
internal enum ExtentType
{
    /// <summary>A file of plain sectors.</summary>
    Flat,

    /// <summary>Hosted sparse extent, magic <c>KDMV</c>.</summary>
    Sparse,

    /// <summary>Sectors that read as zeros; no file.</summary>
    Zero,

    /// <summary>A file of plain sectors on VMFS.</summary>
    Vmfs,

    /// <summary>ESXi host sparse extent, magic <c>COWD</c>.</summary>
    VmfsSparse,

    /// <summary>Space-efficient sparse extent.</summary>
    SeSparse,
}

/// <summary>One line of the descriptor's extent description: <c>RW 4192256 SPARSE "test-s001.vmdk"</c>.</summary>
/// <param name="Sectors">Length in sectors of 512 bytes.</param>
/// <param name="Type">What the file is.</param>
/// <param name="FileName">As the descriptor has it; empty for <see cref="ExtentType.Zero"/>. Guest-controlled text.</param>
/// <param name="OffsetSectors">Where a flat extent's data begins in its file.</param>
/// <param name="At">Byte offset of the line in the descriptor.</param>
internal sealed record DescriptorExtent(long Sectors, ExtentType Type, string FileName, long OffsetSectors, int At)
{
    public bool IsFlat => Type is ExtentType.Flat or ExtentType.Vmfs;
}
