using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.BitLocker;

/// <summary>How far encryption or decryption of a volume has come, from the block header's offset 12.</summary>
internal enum ConversionState
{
    Decrypted = 1,
    SwitchingWithLog = 2,
    Paused = 3,
    Encrypted = 4,
    Switching = 5,
}

/// <summary>
/// "FVE metadata block": header, metadata header, entries, validation. Three copies lie on the volume. Little-endian. The size in
/// the header counts units of 16 bytes from version 2 on; behind it lies the validation: size, version, CRC-32 of the block.
/// </summary>
internal sealed class MetadataBlock
{
    /// <summary>Bytes that each copy takes: 16 KiB on Vista, 64 KiB since ("Metadata files").</summary>
    public const int VistaAreaBytes = 16 << 10;

    public const int AreaBytes = 64 << 10;

    private const int HeaderBytes = 64;
    private const int MetadataHeaderBytes = 48;
    private const int ValidationBytes = 8;

    /// <param name="v">The whole area; less at the end of the source.</param>
    public MetadataBlock(LeView v)
    {
        v.Require(v.Field(0, 8).SequenceEqual(VolumeHeader.Signature), 0, "signature");
        Version = v.U16(10);
        if (Version is not (1 or 2))
        {
            throw v.Unsupported(10, "version");
        }

        int size = v.U16(8) * (Version == 1 ? 1 : 16);
        v.Require(size >= HeaderBytes + MetadataHeaderBytes && size <= v.Length - ValidationBytes, 8, "size");
        LeView validation = v.Inner(size, ValidationBytes, "FVE validation");
        validation.Require(validation.U32(4) == Crc32.Of(v.Field(0, size)), 4, "CRC-32 of the metadata block");

        State = (ConversionState)v.U16(12);
        if (Version == 2)
        {
            EncryptedBytes = v.NonNegative64(16, "encrypted volume size");
            ConvertedBytes = v.U32(24);
            HeaderSectors = v.U32(28);
            HeaderOffset = v.NonNegative64(56, "volume header offset");
        }
        else
        {
            MftMirrorCluster = v.U64(56);
        }

        Offsets = [v.NonNegative64(32, "FVE metadata block 1 offset"), v.NonNegative64(40, "FVE metadata block 2 offset"), v.NonNegative64(48, "FVE metadata block 3 offset")];

        LeView metadata = v.Inner(HeaderBytes, size - HeaderBytes, "FVE metadata header");
        uint bytes = metadata.U32(0);
        metadata.Require(metadata.U32(4) == 1, 4, "version");
        metadata.Require(metadata.U32(8) == MetadataHeaderBytes, 8, "header size");
        metadata.Require(bytes >= MetadataHeaderBytes && bytes <= metadata.Length, 0, "metadata size");
        VolumeId = metadata.MixedGuid(16);
        NextNonce = metadata.U32(32);
        Method = metadata.U16(36);
        ReadEntries(metadata.Inner(MetadataHeaderBytes, (int)bytes - MetadataHeaderBytes, "FVE metadata entries"));
    }

    /// <summary>1 on Windows Vista, 2 since.</summary>
    public int Version { get; }

    public ConversionState State { get; }

    /// <summary>While the volume is converted, only what lies before this is encrypted.</summary>
    public long EncryptedBytes { get; }

    /// <summary>Of a conversion with a log: bytes behind <see cref="EncryptedBytes"/> that were being converted and may lie in the log.</summary>
    public long ConvertedBytes { get; }

    /// <summary>How many sectors at the start of the volume lie elsewhere, and where.</summary>
    public long HeaderSectors { get; }

    public long HeaderOffset { get; }

    /// <summary>From the metadata area descriptors; 0 where the block has none.</summary>
    public long AreaHeaderOffset { get; private set; }

    public long AreaHeaderBytes { get; private set; }

    /// <summary>What stands at offset 56 of the boot sector when Windows Vista shows it.</summary>
    public ulong MftMirrorCluster { get; }

    public IReadOnlyList<long> Offsets { get; }

    public Guid VolumeId { get; }

    /// <summary>Rises with each change of the metadata: the copy with the highest is the newest.</summary>
    public uint NextNonce { get; }

    /// <summary>"Encryption methods", the low half.</summary>
    public int Method { get; }

    /// <summary>Computer, drive and date, as Windows wrote them when encryption began. Guest text.</summary>
    public string Description { get; private set; } = "";

    public List<KeyProtector> Protectors { get; } = [];

    /// <summary>The data key under the volume master key; null when the block has none.</summary>
    public WrappedKey? DataKey { get; private set; }

    private void ReadEntries(LeView row)
    {
        while (FveEntry.TryTake(ref row, out FveEntry entry))
        {
            switch (entry.Type, entry.Value)
            {
                case (FveEntryType.VolumeMasterKey, FveValueType.VolumeMasterKey):
                    if (Protectors.Count < BitLockerLimits.MostProtectors)
                    {
                        Protectors.Add(new KeyProtector(entry.Data));
                    }

                    break;
                case (FveEntryType.FullVolumeEncryptionKey, FveValueType.AesCcmEncryptedKey):
                    DataKey = new WrappedKey(entry.Data);
                    break;
                case (FveEntryType.Description, FveValueType.UnicodeString):
                    Description = Encoding.Unicode.GetString(entry.Data.Bytes).TrimEnd('\0');
                    break;
                case (FveEntryType.MetadataAreas, FveValueType.MetadataAreas) when entry.Data.Length >= 16:
                    AreaHeaderOffset = entry.Data.NonNegative64(0, "volume header offset");
                    AreaHeaderBytes = entry.Data.NonNegative64(8, "volume header size");
                    break;
                default:
                    break;
            }
        }
    }
}
