namespace Vmsweep.DiskReaders.Volumes.Lvm2;

/// <summary>What a group may ask for. LVM2 itself has no limits but the size of a metadata area.</summary>
internal static class Lvm2Limits
{
    /// <summary>A metadata area is 1 MiB unless somebody chose otherwise; ten thousand volumes take about 8 MiB.</summary>
    public const int MostTextBytes = 16 << 20;

    /// <summary>Assignments and sections of one text: all that <see cref="MostTextBytes"/> of usual text hold.</summary>
    public const int MostTextNodes = 1 << 20;

    /// <summary>Sections within sections; LVM2 writes four.</summary>
    public const int MostTextDepth = 16;

    /// <summary>Metadata areas of one physical volume; LVM2 makes two.</summary>
    public const int MostAreas = 16;

    /// <summary>Volumes below a volume: a cached RAID volume that is a thin pool's data has six.</summary>
    public const int MostDepth = 32;

    /// <summary>Segments of all volumes that are opened in one group.</summary>
    public const int MostSegments = 1 << 18;

    /// <summary>Stripes, mirrors or RAID members of a segment.</summary>
    public const int MostAreasOfSegment = 4096;

    /// <summary>Bytes of one volume.</summary>
    public const long MostVolumeBytes = 1L << 60;

    /// <summary>Levels of a tree of the kernel's persistent-data library: of 126 children and more for each node.</summary>
    public const int MostTreeDepth = 12;

    /// <summary>Chunk of a snapshot or block of a cache: LVM2 allows 512 KiB and 1 GiB.</summary>
    public const long MostBlockBytes = 1L << 30;

    /// <summary>Blocks of a cache, or chunks of a snapshot, that are looked through: 256 GiB of the smallest that LVM2 makes.</summary>
    public const long MostBlocks = 1 << 26;
}
