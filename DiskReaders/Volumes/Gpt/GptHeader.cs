using System.Numerics;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Gpt;

/// <summary>GPT Header. Spec: UEFI 2.10 section 5.3.2, table 5.5; little-endian; HeaderSize bytes, at least 92, in one logical block.</summary>
internal readonly struct GptHeader
{
    public const string Structure = "GPT Header";
    public const int MinSize = 92;

    /// <summary>Entries of a table. The specification asks for at least 16 KiB (128 entries) and sets no end; no tool writes more than this.</summary>
    public const int MaxEntries = 65_536;

    /// <summary>Bytes of an entry: 128 times a power of two (table 5.5). Larger ones than this were never seen.</summary>
    public const int MaxEntryBytes = 4096;

    /// <summary>Bytes of a table, which is held in memory while it is read.</summary>
    public const int MaxTableBytes = 16 << 20;

    private const int HeaderCrc32At = 16;

    public readonly long AlternateLba, PartitionEntryLba;
    public readonly int NumberOfPartitionEntries, SizeOfPartitionEntry;
    public readonly uint PartitionEntryArrayCrc32;
    public readonly Guid DiskGuid;

    /// <param name="v">The whole logical block.</param>
    /// <param name="lba">Where it was read.</param>
    public GptHeader(LeView v, long lba)
    {
        v.Require(HasSignature(v.Bytes), 0, "Signature");
        v.Require(v.U32(8) >> 16 == 1, 8, "Revision");
        uint size = v.U32(12);
        v.Require(size >= MinSize && size <= v.Length, 12, "HeaderSize");
        v.Require(v.U32(HeaderCrc32At) == CrcOf(v.Field(0, (int)size)), HeaderCrc32At, "HeaderCRC32");
        v.Require(v.U64(24) == (ulong)lba, 24, "MyLBA");
        AlternateLba = v.NonNegative64(32, "AlternateLBA");
        DiskGuid = v.MixedGuid(56);
        PartitionEntryLba = v.NonNegative64(72, "PartitionEntryLBA");
        uint entries = v.U32(80);
        uint entryBytes = v.U32(84);
        v.Require(entryBytes >= 128 && BitOperations.IsPow2(entryBytes), 84, "SizeOfPartitionEntry");
        if (entries > MaxEntries || entryBytes > MaxEntryBytes || (ulong)entries * entryBytes > MaxTableBytes)
        {
            throw v.TooLarge(80, "NumberOfPartitionEntries times SizeOfPartitionEntry");
        }

        NumberOfPartitionEntries = (int)entries;
        SizeOfPartitionEntry = (int)entryBytes;
        PartitionEntryArrayCrc32 = v.U32(88);
    }

    public int TableBytes => NumberOfPartitionEntries * SizeOfPartitionEntry;

    public static bool HasSignature(ReadOnlySpan<byte> block) => block.StartsWith("EFI PART"u8);

    /// <summary>The header's CRC, computed with its own field as zero (section 5.3.2).</summary>
    private static uint CrcOf(ReadOnlySpan<byte> header)
    {
        uint crc = Crc32.Of(header[..HeaderCrc32At]);
        crc = Crc32.Append(crc, [0, 0, 0, 0]);
        return Crc32.Append(crc, header[(HeaderCrc32At + 4)..]);
    }
}
