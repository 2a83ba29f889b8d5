namespace Vmsweep.DiskReaders.Volumes.BitLocker;

/// <summary>What a hostile volume may cost.</summary>
internal static class BitLockerLimits
{
    /// <summary>Windows keeps a handful of protectors; those beyond are not tried.</summary>
    public const int MostProtectors = 64;

    /// <summary>Each try of a password costs 2^20 rounds of SHA-256, about 0.3 s.</summary>
    public const int MostStretches = 1024;

    /// <summary>Passwords have at most 256 characters, manage-bde and Win32_EncryptableVolume.</summary>
    public const int MostPasswordBytes = 1024;

    /// <summary>A key file is 156 bytes, or a little more with a description.</summary>
    public const int MostKeyFileBytes = 64 << 10;

    /// <summary>A descriptor names at most as many block maps as its sector has room for.</summary>
    public const int MostBlockMaps = 505;

    /// <summary>One bit for each block of a volume: 2 TiB in blocks of 64 KiB.</summary>
    public const int MostBlockRecordBytes = 4 << 20;
}
