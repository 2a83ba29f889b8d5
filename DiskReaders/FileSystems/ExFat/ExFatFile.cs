namespace Vmsweep.DiskReaders.FileSystems.ExFat;

/// <summary>Where the clusters of a file, a folder or the volume's own data lie.</summary>
/// <param name="FirstCluster">0 where nothing is stored.</param>
/// <param name="IsContiguous">NoFatChain: the table says nothing, the clusters follow each other.</param>
/// <param name="DataLength">Bytes of the content.</param>
/// <param name="ValidDataLength">Bytes of it that were written; the rest reads as zeros (section 7.6.5).</param>
internal readonly record struct ExFatAllocation(uint FirstCluster, bool IsContiguous, long DataLength, long ValidDataLength);

/// <summary>A file or folder with its allocation.</summary>
internal sealed class ExFatFile : GuestFile
{
    public required ExFatAllocation Allocation { get; init; }
}
