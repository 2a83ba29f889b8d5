using System.Numerics;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.BitLocker;

/// <summary>The form of a volume's first sector, each with its own place for the metadata offsets.</summary>
internal enum VolumeHeaderForm
{
    /// <summary>An NTFS boot sector but for its signature and the MFT mirror's cluster.</summary>
    Vista,

    /// <summary>Windows 7 and later.</summary>
    Seven,

    /// <summary>A FAT32 boot sector: the volume shows a small FAT to who cannot unlock it.</summary>
    ToGo,
}

/// <summary>"Volume header". Spec: Metz, "BitLocker Drive Encryption (BDE) format", section "Volume header". Little-endian; 512 bytes.</summary>
internal readonly struct VolumeHeader
{
    public const int Size = 512;

    private const int SevenIdentifierAt = 160;
    private const int ToGoIdentifierAt = 424;

    public readonly VolumeHeaderForm Form;
    public readonly int SectorBytes;

    /// <summary>Of Windows Vista's NTFS: byte offset of the master file table.</summary>
    public readonly long MasterFileTable;

    /// <summary>FVE metadata block 1 to 3; a Vista header knows the first only.</summary>
    public readonly long[] MetadataOffsets;

    /// <summary>Encrypt-on-Write descriptor 1 and 2; none unless the volume is encrypted as it is written.</summary>
    public readonly long[] EowOffsets;

    public VolumeHeader(LeView v)
    {
        SectorBytes = v.U16(11);
        v.Require(SectorBytes is >= 512 and <= 4096 && BitOperations.IsPow2(SectorBytes), 11, "bytes per sector");
        EowOffsets = [];
        bool isToGo = IsKnownIdentifier(v.MixedGuid(ToGoIdentifierAt)) && !v.Field(3, 8).SequenceEqual(Signature);
        int at = isToGo ? ToGoIdentifierAt : SevenIdentifierAt;
        if (IsKnownIdentifier(v.MixedGuid(at)))
        {
            Form = isToGo ? VolumeHeaderForm.ToGo : VolumeHeaderForm.Seven;
            MetadataOffsets = [v.NonNegative64(at + 16, "FVE metadata block 1 offset"), v.NonNegative64(at + 24, "FVE metadata block 2 offset"), v.NonNegative64(at + 32, "FVE metadata block 3 offset")];
            if (v.MixedGuid(at) == EncryptOnWriteIdentifier)
            {
                EowOffsets = [v.NonNegative64(at + 40, "Encrypt-on-Write descriptor 1 offset"), v.NonNegative64(at + 48, "Encrypt-on-Write descriptor 2 offset")];
            }

            return;
        }

        if (!v.Field(0, 3).SequenceEqual(VistaJump) || !v.Field(3, 8).SequenceEqual(Signature))
        {
            throw v.Unsupported(SevenIdentifierAt, "BitLocker identifier");
        }

        Form = VolumeHeaderForm.Vista;
        v.Require(v.U8(13) > 0, 13, "sectors per cluster block");
        MetadataOffsets = [ClusterOffset(v, 56, "FVE metadata block 1 cluster block number")];
        MasterFileTable = ClusterOffset(v, 48, "Master File Table (MFT) cluster block number");
    }

    public static ReadOnlySpan<byte> Signature => "-FVE-FS-"u8;

    public static Guid Identifier { get; } = new("4967d63b-2e29-4ad8-8399-f6a339e3d001");

    /// <summary>"BitLocker Used Disk Space Only": sectors are encrypted as they are written.</summary>
    public static Guid EncryptOnWriteIdentifier { get; } = new("92a84d3b-dd80-4d0e-9e4e-b1e3284eaed8");

    private static ReadOnlySpan<byte> VistaJump => [0xEB, 0x52, 0x90];

    public static bool Probe(IBlockSource content) =>
        content.HasAt(3, Signature)
        || content.HasAt(ToGoIdentifierAt, Identifier.ToByteArray())
        || content.HasAt(ToGoIdentifierAt, EncryptOnWriteIdentifier.ToByteArray());

    private static long ClusterOffset(LeView v, int at, string field)
    {
        long clusterBytes = (long)v.U16(11) * v.U8(13);
        long cluster = v.NonNegative64(at, field);
        v.Require(cluster <= long.MaxValue / clusterBytes, at, field);
        return cluster * clusterBytes;
    }

    private static bool IsKnownIdentifier(Guid identifier) => identifier == Identifier || identifier == EncryptOnWriteIdentifier;
}
