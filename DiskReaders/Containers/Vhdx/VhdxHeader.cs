using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Vhdx;

/// <summary>VHDX "Header". Spec: [MS-VHDX] 2.2.2. Little-endian; 4 KiB; two copies, at 64 and 128 KiB.</summary>
internal readonly struct VhdxHeader
{
    public const string Name = "VHDX Header";
    public const int Size = 4096;

    /// <summary>Everything else in the file lies on and counts in these (2.2, 2.5.1).</summary>
    public const int Megabyte = 1 << 20;

    private const int ChecksumAt = 4;
    private const uint Signature = 0x6461_6568; // "head"
    private const long FirstOffset = 64 << 10;
    private const long SecondOffset = 128 << 10;

    public readonly ulong SequenceNumber;
    public readonly Guid DataWriteGuid, LogGuid;
    public readonly uint LogLength;
    public readonly long LogOffset;

    private VhdxHeader(LeView v)
    {
        SequenceNumber = v.U64(8);
        DataWriteGuid = v.MixedGuid(32);
        LogGuid = v.MixedGuid(48);
        LogLength = v.U32(68);
        LogOffset = v.NonNegative64(72, "LogOffset");
        if (v.U16(66) != 1)
        {
            throw v.Unsupported(66, "Version");
        }

        // "unless LogGuid is zero, in which case the log contents are ignored".
        if (v.U16(64) != 0 && LogGuid != Guid.Empty)
        {
            throw v.Unsupported(64, "LogVersion");
        }

        v.Require(LogLength % Megabyte == 0 && (LogLength > 0 || LogGuid == Guid.Empty), 68, "LogLength");
        v.Require(LogOffset % Megabyte == 0 && (LogOffset >= Megabyte || LogLength == 0), 72, "LogOffset");
    }

    /// <summary>
    /// The current header: the valid one with the higher SequenceNumber. One invalid copy is what an interrupted update leaves and
    /// is no fault.
    /// </summary>
    public static VhdxHeader ReadCurrent(IBlockSource file, ScanBudget budget)
    {
        Bounds.Check(0, Megabyte, file.Length, "VHDX header section");
        using RentedBuffer both = budget.Rent(2 * Size);
        Span<byte> first = both.Span[..Size];
        Span<byte> second = both.Span[Size..];
        file.Read(FirstOffset, first);
        file.Read(SecondOffset, second);
        bool firstValid = HasChecksum(first, Signature);
        bool secondValid = HasChecksum(second, Signature);
        if (!firstValid && !secondValid)
        {
            throw new DiskFormatException(Fault.Corrupt, Name, FirstOffset, "neither header has its signature and checksum");
        }

        if (firstValid && secondValid)
        {
            ulong a = BinaryPrimitives.ReadUInt64LittleEndian(first[8..]);
            ulong b = BinaryPrimitives.ReadUInt64LittleEndian(second[8..]);
            if (a == b && !first.SequenceEqual(second))
            {
                throw new DiskFormatException(Fault.Corrupt, Name, FirstOffset, "two different headers have the same SequenceNumber");
            }

            secondValid = b > a;
        }

        return secondValid ? new(new LeView(second, Name, SecondOffset)) : new(new LeView(first, Name, FirstOffset));
    }

    /// <summary>
    /// Whether a structure that begins with a signature and a CRC-32C over itself, taken with that field zero, is intact. The
    /// field is zero afterwards.
    /// </summary>
    internal static bool HasChecksum(Span<byte> structure, uint signature)
    {
        Span<byte> field = structure.Slice(ChecksumAt, 4);
        uint stored = BinaryPrimitives.ReadUInt32LittleEndian(field);
        field.Clear();
        return BinaryPrimitives.ReadUInt32LittleEndian(structure) == signature && Crc32C.Compute(structure) == stored;
    }
}
