namespace Vmsweep.DiskReaders.Containers.Vmdk;

/// <summary>Named bounds of what an image may declare, each with its reason.</summary>
internal static class VmdkLimits
{
    /// <summary>Every VMDK counts in sectors of this size.</summary>
    public const int SectorBytes = 512;

    /// <summary>VMware's own disks end at 62 TB; this leaves room and keeps all arithmetic far from overflow.</summary>
    public const long MostCapacityBytes = 1L << 50;

    /// <summary>As <see cref="MostCapacityBytes"/>, in sectors.</summary>
    public const long MostCapacitySectors = MostCapacityBytes / SectorBytes;

    /// <summary>QEMU and oslo.utils read no more of a descriptor either.</summary>
    public const int MostDescriptorBytes = 1 << 20;

    /// <summary>A split disk has 2 GB extents and hosted products end at 8 TB: 4,096 files. Each is an open file.</summary>
    public const int MostExtents = 8192;

    /// <summary>A grain of 1 GiB is beyond any writer; QEMU's bound.</summary>
    public const long MostGrainSectors = 1 << 21;

    /// <summary>A compressed grain is unpacked as a whole; writers use 64 KiB.</summary>
    public const long MostPackedGrainSectors = 16 << 11;

    /// <summary>The specification says 512.</summary>
    public const uint MostGtesPerGt = 4096;

    /// <summary>Positions in a file are kept in sectors below this.</summary>
    public const long MostFileBytes = 1L << 58;
}
