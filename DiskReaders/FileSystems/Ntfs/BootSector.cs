using System.Numerics;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs;

/// <summary>
/// NTFS boot sector, "BPB and extended BPB fields on NTFS volumes". Spec: Microsoft, "How NTFS Works", table "BPB and extended
/// BPB fields". Little-endian; 512 bytes, whatever the sector size. A copy stands in the sector behind the last one counted.
/// </summary>
internal readonly struct BootSector
{
    public const int Size = 512;

    /// <summary>The largest cluster Windows formats (since Windows 10 1709).</summary>
    private const long MaxClusterBytes = 2 << 20;

    /// <summary>FILE records of 1024 and 4096 bytes exist; more is left for the sizes that a format tool may set.</summary>
    private const int MaxRecordBytes = 64 << 10;

    public readonly int BytesPerSector;
    public readonly int ClusterBytes;
    public readonly int RecordBytes;
    public readonly long TotalSectors;
    public readonly long TotalClusters;
    public readonly long MftLcn;
    public readonly long MftMirrLcn;
    public readonly ulong SerialNumber;

    public BootSector(LeView v)
    {
        v.Require(v.Field(3, 8).SequenceEqual("NTFS    "u8), 3, "OEM ID");
        BytesPerSector = v.U16(0x0B);
        v.Require(BytesPerSector is >= 256 and <= 4096 && BitOperations.IsPow2(BytesPerSector), 0x0B, "bytes per sector");

        // Up to 128 sectors are counted; above, the byte is a negative exponent of two.
        int sectors = v.U8(0x0D);
        v.Require(sectors > 0x80 ? sectors >= 256 - 13 : BitOperations.IsPow2(sectors), 0x0D, "sectors per cluster");
        long cluster = (long)BytesPerSector * (sectors > 0x80 ? 1L << (256 - sectors) : sectors);
        v.Require(cluster <= MaxClusterBytes, 0x0D, "sectors per cluster");
        ClusterBytes = (int)cluster;

        TotalSectors = v.NonNegative64(0x28, "total sectors");
        v.Require(TotalSectors > 0 && TotalSectors < long.MaxValue / BytesPerSector - 1, 0x28, "total sectors");
        TotalClusters = TotalSectors * BytesPerSector / ClusterBytes;
        MftLcn = v.NonNegative64(0x30, "logical cluster number for the file $MFT");
        v.Require(MftLcn < TotalClusters, 0x30, "logical cluster number for the file $MFT");
        MftMirrLcn = v.NonNegative64(0x38, "logical cluster number for the file $MFTMirr");

        int record = v.U8(0x40);
        v.Require(record is > 0 and <= 0x80 or >= 256 - 16, 0x40, "clusters per file record segment");
        long recordBytes = record <= 0x80 ? (long)record * ClusterBytes : 1L << (256 - record);
        v.Require(recordBytes is >= UpdateSequence.StrideBytes and <= MaxRecordBytes && BitOperations.IsPow2(recordBytes), 0x40, "clusters per file record segment");
        RecordBytes = (int)recordBytes;
        SerialNumber = v.U64(0x48);
    }

    /// <summary>The boot sector's copy stands right behind the sectors that are counted.</summary>
    public long BackupOffset => TotalSectors * BytesPerSector;

    /// <summary>Parses without exceptions for what is no NTFS boot sector at all.</summary>
    public static bool TryParse(ReadOnlySpan<byte> sector, long offset, out BootSector boot, out DiskFormatException? fault)
    {
        boot = default;
        fault = null;
        try
        {
            boot = new BootSector(new LeView(sector, "NTFS boot sector", offset));
            return true;
        }
        catch (DiskFormatException e)
        {
            fault = e;
            return false;
        }
    }
}
