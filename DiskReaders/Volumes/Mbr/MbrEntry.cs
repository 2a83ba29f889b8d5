using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Mbr;

/// <summary>
/// Partition record of a master boot record or extended boot record. Spec: UEFI 2.10 section 5.2.1 "Legacy Master Boot Record",
/// table 5.2; little-endian; 16 bytes. The CHS fields are ignored, as every system since LBA does.
/// </summary>
internal readonly struct MbrEntry
{
    public const int Size = 16;
    public const int FirstAt = 446;
    public const int Count = 4;

    /// <summary>The whole disk belongs to a GPT (section 5.2.3 "Protective MBR").</summary>
    public const byte GptProtective = 0xEE;

    public readonly byte BootIndicator, OSType;
    public readonly uint StartingLba, SizeInLba;

    public MbrEntry(LeView v)
    {
        BootIndicator = v.U8(0);
        OSType = v.U8(4);
        StartingLba = v.U32(8);
        SizeInLba = v.U32(12);
    }

    /// <summary>A record without type or size describes nothing.</summary>
    public bool IsUsed => OSType != 0 && SizeInLba != 0;

    /// <summary>DOS, Windows (LBA) and Linux extended partitions.</summary>
    public bool IsExtended => OSType is 0x05 or 0x0F or 0x85;

    public bool HasValidIndicator => BootIndicator is 0 or 0x80;

    public bool IsAllZero => BootIndicator == 0 && OSType == 0 && StartingLba == 0 && SizeInLba == 0;
}
