namespace Vmsweep.DiskReaders.FileSystems;

/// <summary>Says which cluster follows another; FAT and exFAT have one each.</summary>
internal interface IClusterTable
{
    /// <summary>The chain ends properly.</summary>
    const uint End = 0;

    /// <summary>The chain runs into a free, bad, reserved or impossible entry.</summary>
    const uint Broken = 1;

    /// <summary>The next cluster, <see cref="End"/> or <see cref="Broken"/>.</summary>
    /// <param name="cluster">A valid cluster number.</param>
    uint Next(uint cluster);
}

/// <summary>Where the clusters of a volume lie; the first has number 2.</summary>
/// <param name="Offset">Where cluster 2 begins.</param>
/// <param name="ClusterBytes">Bytes of each.</param>
/// <param name="LastCluster">The highest number.</param>
/// <param name="TableOffset">Where the table begins, to name it in faults.</param>
internal readonly record struct ClusterHeap(long Offset, int ClusterBytes, uint LastCluster, long TableOffset)
{
    public bool IsCluster(uint cluster) => cluster >= 2 && cluster <= LastCluster;

    public long ClusterOffset(uint cluster) => Offset + ((cluster - 2L) * ClusterBytes);
}
