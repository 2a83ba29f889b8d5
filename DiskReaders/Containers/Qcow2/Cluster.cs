using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Qcow2;

/// <summary>Why an L2 entry cannot be believed.</summary>
internal enum ClusterFault
{
    None,
    Unaligned,
    ZeroInVersion2,
    PackedInDataFile,
    NotAtGuestOffset,
    AllocatedAndZero,
    AllocatedNowhere,
    BeyondFile,
}

/// <summary>What an L2 entry says about a cluster or subcluster.</summary>
/// <param name="Fault">Anything but none: the rest means nothing.</param>
/// <param name="Kind">Data, zero, hole or packed.</param>
/// <param name="Location">Data: offset of the cluster. Packed: the compressed cluster descriptor.</param>
internal readonly record struct Cluster(ClusterFault Fault, ExtentKind Kind, long Location = 0)
{
    public static Cluster Bad(ClusterFault fault) => new(fault, ExtentKind.Hole);

    public static string Describe(ClusterFault fault) => fault switch
    {
        ClusterFault.Unaligned => "is not aligned to a cluster",
        ClusterFault.ZeroInVersion2 => "has the zero flag, which version 2 does not know",
        ClusterFault.PackedInDataFile => "is compressed although there is an external data file",
        ClusterFault.NotAtGuestOffset => "does not lie at its guest offset in the external data file",
        ClusterFault.AllocatedAndZero => "has subclusters that are both allocated and zero",
        ClusterFault.AllocatedNowhere => "has allocated subclusters and no offset",
        _ => "lies beyond the end of the file",
    };
}

/// <summary>qcow2 "Compressed Clusters Descriptor": where in the file compressed bytes lie.</summary>
internal readonly record struct PackedCluster(long Location, int Bytes)
{
    private const int SectorBytes = 512;

    public static PackedCluster Of(long descriptor, int clusterBits)
    {
        int x = 62 - (clusterBits - 8);
        long location = descriptor & ((1L << x) - 1);
        long sectors = (descriptor >> x) & ((1L << (clusterBits - 8)) - 1);
        return new PackedCluster(location, (int)(((sectors + 1) * SectorBytes) - (location & (SectorBytes - 1))));
    }
}
