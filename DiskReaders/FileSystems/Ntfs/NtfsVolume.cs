using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs;

/// <summary>A volume's bytes with the geometry its boot sector gives: what every other part reads through.</summary>
internal sealed class NtfsVolume(IBlockSource bytes, BootSector boot, ReadContext context)
{
    public IBlockSource Bytes { get; } = bytes;

    public IBlockSource[] Sources { get; } = [bytes];

    public BootSector Boot { get; } = boot;

    public ReadContext Context { get; } = context;

    public long ClusterBytes { get; } = boot.ClusterBytes;

    public int RecordBytes { get; } = boot.RecordBytes;

    /// <summary>Where <c>$MFTMirr</c> begins; -1 when the boot sector's word for it lies outside the volume.</summary>
    public long MirrorOffset { get; } = boot.MftMirrLcn < boot.TotalClusters ? boot.MftMirrLcn * boot.ClusterBytes : -1;

    /// <summary>No byte offset of content overflows.</summary>
    public long MaxVcn { get; } = long.MaxValue / boot.ClusterBytes - 1;

    public MappingPairs Runs(ReadOnlySpan<byte> pairs, long lowestVcn) => new(pairs, lowestVcn, Boot.TotalClusters, MaxVcn);

    public long ClustersFor(long size) => (size / ClusterBytes) + (size % ClusterBytes == 0 ? 0 : 1);

    public MappedSource Open(RunMap map) => new(map, Sources);
}
