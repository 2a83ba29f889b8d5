using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Qcow2;

/// <summary>The bits of <c>incompatible_features</c>. A reader must refuse an image that has any other.</summary>
[Flags]
internal enum IncompatibleFeatures : ulong
{
    None = 0,

    /// <summary>Refcounts may be wrong. They matter to writers only.</summary>
    Dirty = 1 << 0,
    Corrupt = 1 << 1,
    ExternalDataFile = 1 << 2,
    CompressionType = 1 << 3,
    ExtendedL2 = 1 << 4,
    Known = Dirty | Corrupt | ExternalDataFile | CompressionType | ExtendedL2,
}

/// <summary>How compressed clusters are compressed: <c>compression_type</c>.</summary>
internal enum ClusterCompression
{
    Deflate = 0,
    Zstd = 1,
}

/// <summary>
/// qcow2 "Header" and "Header extensions". Spec: QEMU docs/interop/qcow2. Big-endian; 72 bytes in version 2, at least 104 in version 3.
/// Refcounts and bitmaps are of no use to a reader.
/// </summary>
internal sealed class Qcow2Header
{
    public const string SnapshotTableName = "qcow2 snapshot table";

    private const string Name = "qcow2 header";
    private const int Version2Bytes = 72;
    private const int Version3Bytes = 104;
    private const int CompressionTypeAt = 104;

    private Qcow2Header(BeView v, ImageFile file)
    {
        long fileLength = file.Bytes.Length;
        Version = VersionOf(v);
        ClusterBits = ClusterBitsOf(v);
        VirtualBytes = v.NonNegative64(24, "size");
        v.Require(VirtualBytes <= long.MaxValue - ClusterBytes, 24, "size");
        CryptMethod = v.U32(32);
        HeaderBytes = Version2Bytes;
        if (Version >= 3)
        {
            HeaderBytes = HeaderLength(v);
            Features = (IncompatibleFeatures)v.U64(72);
            Compression = CompressionOf(v);
        }

        Extensions = HeaderExtensions.Read(v, HeaderBytes, ExtensionsEnd(v));
        if ((Features & ~IncompatibleFeatures.Known) is var unknown and not IncompatibleFeatures.None)
        {
            throw v.Unsupported(72, "incompatible feature: " + Extensions.NamesOf((ulong)unknown));
        }

        BackingFile = BackingName(v);
        EntryBits = Features.HasFlag(IncompatibleFeatures.ExtendedL2) ? 4 : 3;
        v.Require(EntryBits == 3 || ClusterBits >= Qcow2Limits.LeastExtendedClusterBits, 20, "cluster_bits: too few for extended L2 entries");

        L1Entries = v.U32(36);
        if (L1Entries * sizeof(ulong) > Qcow2Limits.MostL1Bytes)
        {
            throw v.TooLarge(36, "l1_size");
        }

        L1At = v.NonNegative64(40, "l1_table_offset");
        v.Require(L1At % ClusterBytes == 0, 40, "l1_table_offset: not aligned to a cluster");
        Bounds.Check(L1At, L1Entries * sizeof(ulong), fileLength, "qcow2 L1 table");

        v.Require(L1Entries >= L1EntriesFor(VirtualBytes), 36, $"l1_size: {L1EntriesFor(VirtualBytes)} entries are needed");
        Snapshots = v.U32(60);
        SnapshotsAt = Snapshots == 0 ? 0 : SnapshotTable(v, fileLength);
    }

    public int Version { get; }

    public int ClusterBits { get; }

    public int ClusterBytes => 1 << ClusterBits;

    /// <summary>log2 of an L2 entry's bytes.</summary>
    public int EntryBits { get; }

    public long VirtualBytes { get; }

    public int HeaderBytes { get; }

    public uint CryptMethod { get; }

    public IncompatibleFeatures Features { get; }

    public ClusterCompression Compression { get; }

    public long L1Entries { get; }

    public long L1At { get; }

    /// <summary>Internal snapshots in the table.</summary>
    public uint Snapshots { get; }

    /// <summary>Where the snapshot table begins; 0 without one.</summary>
    public long SnapshotsAt { get; }

    /// <summary>The active disk's clusters.</summary>
    public ClusterTable Active => new(L1At, L1Entries, VirtualBytes);

    public HeaderExtensions Extensions { get; }

    /// <summary>The backing file's name as found; null without one. Guest-controlled text.</summary>
    public string? BackingFile { get; }

    private static ReadOnlySpan<byte> Magic => [0x51, 0x46, 0x49, 0xFB];

    public static bool IsMagic(BeView v) => v.Field(0, 4).SequenceEqual(Magic);

    /// <summary>Reads the first cluster, in which header, extensions and the backing file's name lie.</summary>
    public static Qcow2Header Read(ImageFile file, ScanBudget budget)
    {
        long fileLength = file.Bytes.Length;
        Span<byte> start = stackalloc byte[Version2Bytes];
        Bounds.Check(0, start.Length, fileLength, Name);
        file.Bytes.Read(0, start);
        var head = new BeView(start, Name, 0);
        head.Require(IsMagic(head), 0, "magic");
        VersionOf(head);
        using RentedBuffer cluster = budget.Rent((int)Math.Min(1L << ClusterBitsOf(head), fileLength));
        file.Bytes.Read(0, cluster.Span);
        return new Qcow2Header(new BeView(cluster.Span, Name, 0), file);
    }

    /// <summary>How many L1 entries a disk of that size needs.</summary>
    public long L1EntriesFor(long virtualBytes)
    {
        int tableBits = ClusterBits + ClusterBits - EntryBits;
        return (virtualBytes >> tableBits) + ((virtualBytes & ((1L << tableBits) - 1)) > 0 ? 1 : 0);
    }

    private static int VersionOf(BeView v) => v.U32(4) is 2 or 3 ? (int)v.U32(4) : throw v.Unsupported(4, $"version {v.U32(4)}");

    private static int ClusterBitsOf(BeView v)
    {
        uint bits = v.U32(20);
        v.Require(bits >= Qcow2Limits.LeastClusterBits && bits < 64, 20, $"cluster_bits {bits}");
        return bits <= Qcow2Limits.MostClusterBits ? (int)bits : throw v.Unsupported(20, $"cluster_bits {bits}");
    }

    private int HeaderLength(BeView v)
    {
        uint length = v.U32(100);
        v.Require(length >= Version3Bytes && length % 8 == 0 && length <= ClusterBytes, 100, "header_length");
        v.Field(0, (int)length);
        return (int)length;
    }

    private ClusterCompression CompressionOf(BeView v)
    {
        byte type = HeaderBytes > CompressionTypeAt ? v.U8(CompressionTypeAt) : (byte)0;
        v.Require(Features.HasFlag(IncompatibleFeatures.CompressionType) == (type != 0), CompressionTypeAt, "compression_type: it contradicts the incompatible feature");
        return type <= (int)ClusterCompression.Zstd ? (ClusterCompression)type : throw v.Unsupported(CompressionTypeAt, $"compression_type {type}");
    }

    /// <summary>The extensions end where the backing file's name begins, at the latest with the first cluster.</summary>
    private static int ExtensionsEnd(BeView v) => v.U64(8) is var at and not 0 && at < (ulong)v.Length ? (int)at : v.Length;

    private string? BackingName(BeView v)
    {
        ulong at = v.U64(8);
        uint length = v.U32(16);
        if (at == 0 || length == 0)
        {
            return null;
        }

        v.Require(length <= Qcow2Limits.MostNameBytes, 16, "backing_file_size");
        v.Require(length <= (uint)ClusterBytes && at <= (ulong)ClusterBytes - length, 8, "backing_file_offset: not within the first cluster");
        return HeaderExtensions.Text(v.Inner((int)at, (int)length, "qcow2 backing file name"));
    }

    /// <summary>A table that cannot be there is a sign of damage, and QEMU refuses the image too.</summary>
    private long SnapshotTable(BeView v, long fileLength)
    {
        if (Snapshots > Qcow2Limits.MostSnapshots)
        {
            throw v.TooLarge(60, "nb_snapshots");
        }

        long at = v.NonNegative64(64, "snapshots_offset");
        v.Require(at % ClusterBytes == 0, 64, "snapshots_offset: not aligned to a cluster");
        Bounds.Check(at, (long)Snapshots * Qcow2Limits.SnapshotEntryBytes, fileLength, SnapshotTableName);
        return at;
    }
}

/// <summary>The L1 table of the active disk or of a snapshot, and how much of it is disk: the state of a VM's memory may lie beyond.</summary>
/// <param name="L1At">Where it begins.</param>
/// <param name="L1Entries">Its entries.</param>
/// <param name="VirtualBytes">What the guest sees.</param>
internal readonly record struct ClusterTable(long L1At, long L1Entries, long VirtualBytes);
