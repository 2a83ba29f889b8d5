using System.Numerics;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Fat;

/// <summary>
/// Boot sector with its BIOS parameter block. Spec: Microsoft "FAT: General Overview of On-Disk Format" 1.03, "Boot Sector and
/// BPB Structure"; little-endian; 512 bytes. The signature 55 AA is not asked for: Atari and early DOS volumes have none.
/// </summary>
internal readonly struct FatBootSector
{
    public const string Structure = "FAT boot sector";
    public const int Size = 512;

    /// <summary>A volume with fewer clusters is FAT12 ("FAT Type Determination").</summary>
    private const long MostFat12Clusters = 4084;

    /// <summary>Entry values from 0x0FFFFFF7 on are no cluster numbers.</summary>
    private const long MostFat32Clusters = 0x0FFF_FFF5;

    private const long MostFat16Clusters = 0xFFF5;

    /// <summary>The specification knows 1 and 2; mkfs.fat writes up to 4 and Linux reads any.</summary>
    private const int MostFats = 15;

    public readonly int BytsPerSec, SecPerClus, RsvdSecCnt, NumFATs, RootEntCnt, ExtFlags;
    public readonly byte Media;
    public readonly long TotSec, FATSz, ClusterCount;
    public readonly uint RootClus, VolID;
    public readonly int EntryBits;
    public readonly bool HasSignature;
    public readonly string VolLab;

    public FatBootSector(LeView v)
    {
        v.Require((BytsPerSec = v.U16(11)) is 512 or 1024 or 2048 or 4096, 11, "BPB_BytsPerSec");
        v.Require(BitOperations.IsPow2(SecPerClus = v.U8(13)), 13, "BPB_SecPerClus");
        v.Require((RsvdSecCnt = v.U16(14)) != 0, 14, "BPB_RsvdSecCnt");
        v.Require((NumFATs = v.U8(16)) is > 0 and <= MostFats, 16, "BPB_NumFATs");
        RootEntCnt = v.U16(17);
        v.Require((Media = v.U8(21)) is 0xF0 or >= 0xF8, 21, "BPB_Media");
        TotSec = v.U16(19) != 0 ? v.U16(19) : v.U32(32);
        v.Require(TotSec != 0, 32, "BPB_TotSec32");
        bool isFat32 = v.U16(22) == 0;
        FATSz = isFat32 ? v.U32(36) : v.U16(22);
        v.Require(FATSz != 0, 22, "BPB_FATSz16 or BPB_FATSz32");
        v.Require(isFat32 || RootEntCnt != 0, 17, "BPB_RootEntCnt");
        ExtFlags = isFat32 ? v.U16(40) : 0;
        RootClus = isFat32 ? v.U32(44) & 0x0FFF_FFFF : 0;

        long dataSectors = TotSec - FirstDataSector;
        v.Require(dataSectors >= SecPerClus, 32, "BPB_TotSec: the volume ends before its first cluster");
        ClusterCount = dataSectors / SecPerClus;

        // By count as the specification has it, except that a 32-bit FAT size means FAT32 even below 65525 clusters: the layout
        // of the block depends on it, mkfs.fat -F 32 makes such volumes, and Windows and Linux read them so.
        EntryBits = isFat32 ? 32 : ClusterCount <= MostFat12Clusters ? 12 : 16;
        long most = EntryBits switch { 12 => MostFat12Clusters, 16 => MostFat16Clusters, _ => MostFat32Clusters };

        // A table with room for fewer entries leaves the clusters behind it out of reach; a larger one is common.
        long addressable = (FATSz * BytsPerSec * 8 / EntryBits) - 2;
        ClusterCount = Math.Min(ClusterCount, addressable);
        v.Require(ClusterCount > 0 && ClusterCount <= most, 22, "BPB_FATSz: the table does not fit the clusters");

        int extended = isFat32 ? 64 : 36;
        bool hasExtended = v.U8(extended + 2) is 0x28 or 0x29;
        VolID = hasExtended ? v.U32(extended + 3) : 0;
        VolLab = v.U8(extended + 2) == 0x29 ? FatNames.Label(v.Field(extended + 7, 11)) : "";
        HasSignature = v.U16(510) == 0xAA55;
    }

    public int ClusterBytes => BytsPerSec * SecPerClus;

    public long FatBytes => FATSz * BytsPerSec;

    /// <summary>Where a copy of the table begins.</summary>
    public long FatOffset(int copy) => ((long)RsvdSecCnt + (copy * FATSz)) * BytsPerSec;

    /// <summary>FAT12 and FAT16: where the root folder begins.</summary>
    public long RootOffset => FatOffset(NumFATs);

    public int RootBytes => RootEntCnt * FatFolderReader.EntrySize;

    public long DataOffset => FirstDataSector * BytsPerSec;

    public uint LastCluster => (uint)(ClusterCount + 1);

    public ClusterHeap Heap => new(DataOffset, ClusterBytes, LastCluster, FatOffset(0));

    public bool IsCluster(uint cluster) => cluster >= 2 && cluster <= LastCluster;

    public long ClusterOffset(uint cluster) => DataOffset + ((long)(cluster - 2) * ClusterBytes);

    private long FirstDataSector => RsvdSecCnt + (NumFATs * FATSz) + (((RootEntCnt * 32) + BytsPerSec - 1) / BytsPerSec);
}
