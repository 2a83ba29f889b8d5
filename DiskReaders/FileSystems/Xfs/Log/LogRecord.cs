using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Xfs.Log;

/// <summary>
/// <c>xlog_rec_header</c>. Specification: "XFS Algorithms &amp; Data Structures", "Log Records". Big-endian, but for the checksum; takes a
/// sector of 512 bytes, and one more for each further 32 KiB of the largest record.
/// </summary>
internal readonly struct LogRecord
{
    public const uint Magic = 0xFEED_BABE;
    public const int SectorBytes = 512;
    public const int MostBytes = 256 << 10;        // XLOG_MAX_RECORD_BSIZE
    public const int CycleDataField = 44;
    public const int CyclesPerSector = 64;
    public const int ExtendedBytes = 260;          // xlog_rec_ext_header

    private const int CycleBytes = 32 << 10;       // XLOG_HEADER_CYCLE_SIZE: as much as one sector keeps the first words of
    private const int LengthField = 12;
    private const int ChecksumField = 32;

    public readonly uint Cycle, Version, Checksum, Operations, Format;
    public readonly int Length, HeaderSectors;
    public readonly ulong Lsn, TailLsn;
    public readonly Guid Uuid;

    /// <summary>
    /// A sector that was only marked with its cycle: after a mount the kernel does so with all that writes in flight may have reached, thousands of
    /// sectors, so that none of them is taken for a record.
    /// </summary>
    public static bool IsBlank(ReadOnlySpan<byte> sector) => BinaryPrimitives.ReadUInt32BigEndian(sector[LengthField..]) == 0;

    /// <exception cref="DiskFormatException">It is no header of a record.</exception>
    public LogRecord(BeView v)
    {
        v.Require(v.U32(0) == Magic, 0, "h_magicno");
        Cycle = v.U32(4);
        Version = v.U32(8);
        v.Require(Version is 1 or 2, 8, "h_version");
        uint length = v.U32(LengthField);
        v.Require(length is > 0 and <= MostBytes && length % 4 == 0, LengthField, "h_len");
        Length = (int)length;
        Lsn = v.U64(16);
        TailLsn = v.U64(24);
        Checksum = BinaryPrimitives.ReadUInt32LittleEndian(v.Field(ChecksumField, 4));
        Operations = v.U32(40);
        Format = v.U32(300);
        Uuid = v.Uuid(304);
        uint size = v.U32(320);
        v.Require(Version == 1 || size <= MostBytes, 320, "h_size");
        HeaderSectors = Version == 2 && size > CycleBytes ? (int)((size + CycleBytes - 1) / CycleBytes) : 1;
        // A record of one operation that says how the log was left may be longer than h_size says; no other may.
        v.Require(length <= (long)HeaderSectors * CycleBytes || Operations == 1, LengthField, "h_len");
    }

    public int DataSectors => (Length + SectorBytes - 1) / SectorBytes;

    public int Sectors => HeaderSectors + DataSectors;

    /// <summary>The checksum of header, further headers and data as they are stored. The header ends with its last field, or is padded to eight bytes.</summary>
    public bool ChecksumGood(ReadOnlySpan<byte> record) => ChecksumOf(record) == Checksum || Of(record, 324) == Checksum;

    /// <summary>The checksum that the record should have.</summary>
    public uint ChecksumOf(ReadOnlySpan<byte> record) => Of(record, 328);

    private uint Of(ReadOnlySpan<byte> record, int headerBytes)
    {
        ReadOnlySpan<byte> zeros = [0, 0, 0, 0];
        uint state = Crc32C.Update(uint.MaxValue, record[..ChecksumField]);
        state = Crc32C.Update(Crc32C.Update(state, zeros), record[(ChecksumField + 4)..headerBytes]);
        for (int i = 1; i < (Length + CycleBytes - 1) / CycleBytes; i++)
        {
            state = Crc32C.Update(state, record.Slice(i * SectorBytes, ExtendedBytes));
        }

        return ~Crc32C.Update(state, record.Slice(HeaderSectors * SectorBytes, Length));
    }
}
