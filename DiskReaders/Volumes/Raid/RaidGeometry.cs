namespace Vmsweep.DiskReaders.Volumes.Raid;

/// <summary>How members carry an array, by the numbers of Linux MD (md(4), "RAID levels"), which other volume managers map to.</summary>
internal enum RaidLevel
{
    Linear = -1,
    Raid0 = 0,
    Raid1 = 1,
    Raid4 = 4,
    Raid5 = 5,
    Raid6 = 6,
    Raid10 = 10,
}

/// <summary>What the data area of each member holds.</summary>
/// <param name="Level">The level.</param>
/// <param name="Layout">
/// The level's layout number as MD stores it. RAID0: <see cref="Raid0Original"/>, <see cref="Raid0Alternate"/> or 0 for unknown, of
/// weight only where members have unequal sizes. RAID5 and 6: <see cref="ParityLayout"/>. RAID10: near copies in bits 0 to 7, far
/// copies in 8 to 15, bit 16 for offset, 17 and 18 for far sets. Otherwise 0.
/// </param>
/// <param name="ChunkBytes">Bytes in a row on one member; 0 where the level has none.</param>
/// <param name="Disks">Members of a complete array.</param>
/// <param name="DeviceBytes">What the array uses of each member; for RAID0 and linear each member's whole area counts instead.</param>
internal sealed record RaidGeometry(RaidLevel Level, int Layout, long ChunkBytes, int Disks, long DeviceBytes)
{
    /// <summary>RAID0 over unequal members as Linux had it before 3.14 (md(4), "RAID0"): members take turns by the array's chunk number.</summary>
    public const int Raid0Original = 1;

    /// <summary>RAID0 over unequal members as Linux has it since 3.14: by the chunk number within the zone.</summary>
    public const int Raid0Alternate = 2;
}

/// <summary>Bytes of a member that do not hold what they should: bad blocks, or what a rebuild has not reached.</summary>
internal readonly record struct DistrustedRange(long Offset, long Length);
