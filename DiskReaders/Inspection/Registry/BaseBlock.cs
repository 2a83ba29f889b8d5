using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Inspection.Registry;

/// <summary>
/// The base block of a hive or, in part, of its log. Spec: M. Suhanov, "Windows registry file format specification", "Base block";
/// little-endian; 4096 bytes, of which 512 are read.
/// </summary>
internal readonly struct BaseBlock
{
    /// <summary>What the hive bins data begins at.</summary>
    public const int Size = 4096;

    public const int SizeRead = 512;
    public const string Structure = "registry base block";

    public const uint PrimaryFile = 0;
    public const uint OldLog = 1;

    /// <summary>A log of entries, since Windows 8.1; earlier previews of it had 2.</summary>
    public const uint NewLog = 6;

    private const int BinAlignment = 4096;

    public readonly uint PrimarySequence, SecondarySequence, MajorVersion, MinorVersion, FileType, RootCellOffset, HiveBinsBytes, ClusteringFactor;
    public readonly ulong LastWritten;

    /// <summary>The checksum is the block's own.</summary>
    public readonly bool IsWhole;

    public BaseBlock(LeView v)
    {
        v.Require(v.Field(0, 4).SequenceEqual("regf"u8), 0, "Signature");
        PrimarySequence = v.U32(4);
        SecondarySequence = v.U32(8);
        LastWritten = v.U64(12);
        MajorVersion = v.U32(20);
        MinorVersion = v.U32(24);
        FileType = v.U32(28);
        RootCellOffset = v.U32(36);
        HiveBinsBytes = v.U32(40);
        ClusteringFactor = v.U32(44);
        IsWhole = v.U32(508) == Checksum(v.Field(0, 508));
    }

    public bool IsClean => IsWhole && PrimarySequence == SecondarySequence;

    public static BaseBlock Read(IBlockSource file)
    {
        Bounds.Check(0, SizeRead, file.Length, Structure);
        Span<byte> bytes = stackalloc byte[SizeRead];
        file.Read(0, bytes);
        return new BaseBlock(new LeView(bytes, Structure, 0));
    }

    /// <summary>Rejects a block by which nothing can be found.</summary>
    public void RequirePrimary()
    {
        Require(MajorVersion == 1 && MinorVersion is >= 2 and <= 6, 20, "Major or Minor version");
        Require(HiveBinsBytes is > 0 and <= int.MaxValue && HiveBinsBytes % BinAlignment == 0, 40, "Hive bins data size");
    }

    private static void Require(bool condition, int at, string field)
    {
        if (!condition)
        {
            throw new DiskFormatException(Fault.Corrupt, Structure, at, "bad " + field);
        }
    }

    /// <summary>XOR of the words before it; 0 and all ones are never written. Spec: as above, note 2; the exceptions are Windows' own.</summary>
    public static uint Checksum(ReadOnlySpan<byte> block)
    {
        uint sum = 0;
        for (int i = 0; i < 508; i += 4)
        {
            sum ^= BinaryPrimitives.ReadUInt32LittleEndian(block[i..]);
        }

        return sum switch { 0 => 1, uint.MaxValue => uint.MaxValue - 1, _ => sum };
    }
}
