using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.BitLocker;

/// <summary>"FVE metadata entry types".</summary>
internal enum FveEntryType
{
    Property = 0,
    VolumeMasterKey = 2,
    FullVolumeEncryptionKey = 3,
    StartupKey = 6,
    Description = 7,
    MetadataAreas = 15,
}

/// <summary>"FVE metadata value types".</summary>
internal enum FveValueType
{
    Key = 1,
    UnicodeString = 2,
    StretchKey = 3,
    AesCcmEncryptedKey = 5,
    VolumeMasterKey = 8,
    ExternalKey = 9,
    MetadataAreas = 15,
}

/// <summary>"FVE metadata entry": what it is and its data. Little-endian; 8 bytes and the data.</summary>
internal readonly ref struct FveEntry
{
    public const int HeaderBytes = 8;

    private FveEntry(FveEntryType type, FveValueType value, LeView data)
    {
        Type = type;
        Value = value;
        Data = data;
    }

    public FveEntryType Type { get; }

    public FveValueType Value { get; }

    public LeView Data { get; }

    /// <summary>Takes the first of a row of entries, and leaves the others.</summary>
    /// <returns>False at the end, which an entry of size 0 is too: Windows 8 pads with zeros.</returns>
    public static bool TryTake(scoped ref LeView row, out FveEntry entry)
    {
        entry = default;
        if (row.Length < HeaderBytes)
        {
            return false;
        }

        int size = row.U16(0);
        if (size == 0)
        {
            return false;
        }

        row.Require(size >= HeaderBytes && size <= row.Length, 0, "entry size");
        entry = new FveEntry((FveEntryType)row.U16(2), (FveValueType)row.U16(4), row.Inner(HeaderBytes, size - HeaderBytes, "FVE metadata entry"));
        row = row.Inner(size, row.Length - size, row.Structure);
        return true;
    }

    /// <summary>The first property of a kind among the entries from <paramref name="at"/>; false where there is none.</summary>
    public static bool TryFind(LeView data, int at, FveValueType value, out FveEntry found)
    {
        LeView row = data.Inner(at, data.Length - at, data.Structure);
        while (TryTake(ref row, out found))
        {
            if (found.Value == value)
            {
                return true;
            }
        }

        return false;
    }
}
