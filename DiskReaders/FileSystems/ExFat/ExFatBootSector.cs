using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.ExFat;

/// <summary>Main or Backup Boot Sector. Spec: Microsoft "exFAT file system specification", section 3.1; little-endian; 512 bytes.</summary>
internal readonly struct ExFatBootSector
{
    public const string Structure = "exFAT boot sector";
    public const int Size = 512;

    /// <summary>Sectors of one boot region; the last holds the checksum of the others (3.4).</summary>
    public const int RegionSectors = 12;

    /// <summary>2^32 - 11 (3.1.9).</summary>
    private const uint MostClusters = 0xFFFF_FFF5;

    public readonly long VolumeLength, FatOffsetBytes, FatBytes, HeapOffset;
    public readonly uint ClusterCount, RootCluster, SerialNumber;
    public readonly int Flags, SectorBytes, ClusterBytes, Fats;

    public ExFatBootSector(LeView v)
    {
        v.Require(v.Field(3, 8).SequenceEqual("EXFAT   "u8), 3, "FileSystemName");
        v.Require(!v.Field(11, 53).ContainsAnyExcept((byte)0), 11, "MustBeZero");
        v.Require(v.U8(108) is >= 9 and <= 12, 108, "BytesPerSectorShift");
        v.Require(v.U8(109) <= 25 - v.U8(108), 109, "SectorsPerClusterShift");
        v.Require((Fats = v.U8(110)) is 1 or 2, 110, "NumberOfFats");
        int sectorShift = v.U8(108);
        SectorBytes = 1 << sectorShift;
        ClusterBytes = 1 << (sectorShift + v.U8(109));
        v.Require(v.U64(72) is > 0 and <= (1UL << 50), 72, "VolumeLength");
        VolumeLength = v.I64(72) << sectorShift;
        FatOffsetBytes = (long)v.U32(80) << sectorShift;
        FatBytes = (long)v.U32(84) << sectorShift;
        HeapOffset = (long)v.U32(88) << sectorShift;
        ClusterCount = v.U32(92);
        v.Require(ClusterCount is > 0 and <= MostClusters, 92, "ClusterCount");
        v.Require(FatOffsetBytes >= 2L * RegionSectors * SectorBytes, 80, "FatOffset");
        v.Require(FatBytes >= (ClusterCount + 2L) * 4, 84, "FatLength");
        v.Require(HeapOffset >= FatOffsetBytes + (Fats * FatBytes), 88, "ClusterHeapOffset");
        RootCluster = v.U32(96);
        SerialNumber = v.U32(100);
        v.Require(v.U16(104) is >= 0x100 and < 0x200, 104, "FileSystemRevision");
        Flags = v.U16(106);
        v.Require(v.U16(510) == 0xAA55, 510, "BootSignature");
    }

    /// <summary>ActiveFat: the second FAT and allocation bitmap are in use (TexFAT; 3.1.13.1).</summary>
    public bool UsesSecond => (Flags & 1) != 0 && Fats == 2;

    public bool IsDirty => (Flags & 2) != 0;

    public bool HadMediaFailure => (Flags & 4) != 0;

    /// <summary>The active table.</summary>
    public long ActiveFat => FatOffsetBytes + (UsesSecond ? FatBytes : 0);

    /// <summary>Boot Checksum (3.4): of the eleven sectors before it, without VolumeFlags and PercentInUse.</summary>
    public static uint Checksum(ReadOnlySpan<byte> sectors)
    {
        uint sum = 0;
        for (int i = 0; i < sectors.Length; i++)
        {
            if (i is not (106 or 107 or 112))
            {
                sum = unchecked(((sum << 31) | (sum >> 1)) + sectors[i]);
            }
        }

        return sum;
    }
}
