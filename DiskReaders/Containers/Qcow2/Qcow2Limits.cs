namespace Vmsweep.DiskReaders.Containers.Qcow2;

/// <summary>The bounds of what is read from a qcow2 header.</summary>
internal static class Qcow2Limits
{
    /// <summary>"cluster_bits: must not be less than 9".</summary>
    public const int LeastClusterBits = 9;

    /// <summary>QEMU's limit, which the specification names: clusters of 2 MiB.</summary>
    public const int MostClusterBits = 21;

    /// <summary>"If the image has Extended L2 Entries then cluster_bits must be at least 14".</summary>
    public const int LeastExtendedClusterBits = 14;

    /// <summary>QEMU's limit, which the specification names: 32 MiB of L1 table.</summary>
    public const long MostL1Bytes = 32 << 20;

    /// <summary>"Must not be longer than 1023 bytes"; also the bound for the data file's name.</summary>
    public const int MostNameBytes = 1023;

    /// <summary>QEMU's limit of internal snapshots.</summary>
    public const uint MostSnapshots = 65_536;

    /// <summary>A snapshot table entry without its variable part.</summary>
    public const int SnapshotEntryBytes = 40;

    /// <summary>QEMU's limit of a snapshot's extra data.</summary>
    public const uint MostSnapshotExtraBytes = 1024;

    /// <summary>Ids and names of all snapshots together: 64 bytes for each of the most.</summary>
    public const int MostSnapshotTextBytes = 4 << 20;

    /// <summary>QEMU's format names are short; it keeps 16 bytes for one.</summary>
    public const int MostFormatNameBytes = 15;
}
