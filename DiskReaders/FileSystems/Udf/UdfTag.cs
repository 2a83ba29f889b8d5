using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Udf;

/// <summary>Descriptor tag. Spec: ECMA-167, sections 3/7.2 and 4/7.2; little-endian; 16 bytes in front of each descriptor.</summary>
internal static class UdfTag
{
    public const int Size = 16;

    public const int PrimaryVolume = 1, AnchorVolumePointer = 2, VolumePointer = 3, Partition = 5, LogicalVolume = 6, Terminating = 8, LogicalVolumeIntegrity = 9;
    public const int Indirect = 248, FileSet = 256, FileIdentifier = 257, AllocationExtent = 258, FileEntry = 261, ExtendedFileEntry = 266;

    private static readonly ushort[] CrcTable = MakeTable();

    /// <summary>The identifier of a sound tag; -1 when its checksum, its CRC or its location is wrong.</summary>
    /// <param name="v">The descriptor, as much of it as there may be.</param>
    /// <param name="location">The block that it lies in; null where it is not checked.</param>
    public static int Identify(LeView v, uint? location)
    {
        if (v.Length < Size || Checksum(v.Bytes) != v.U8(4))
        {
            return -1;
        }

        int crcLength = v.U16(10);
        return crcLength <= v.Length - Size && Crc(v.Bytes.Slice(Size, crcLength)) == v.U16(8) && (location is null || v.U32(12) == location) ? v.U16(0) : -1;
    }

    /// <exception cref="DiskFormatException">The tag is not sound, or another one.</exception>
    public static void Require(LeView v, uint? location, int identifier) =>
        v.Require(Identify(v, location) == identifier, 0, "descriptor tag: its identifier, checksum, CRC or location");

    /// <summary>Sum of the tag's other bytes.</summary>
    public static byte Checksum(ReadOnlySpan<byte> tag)
    {
        byte sum = 0;
        for (int i = 0; i < Size; i++)
        {
            sum = unchecked((byte)(sum + (i == 4 ? 0 : tag[i])));
        }

        return sum;
    }

    /// <summary>CRC of ITU-T V.41, x^16 + x^12 + x^5 + 1, from zero.</summary>
    public static ushort Crc(ReadOnlySpan<byte> bytes)
    {
        ushort crc = 0;
        foreach (byte b in bytes)
        {
            crc = unchecked((ushort)((crc << 8) ^ CrcTable[(crc >> 8) ^ b]));
        }

        return crc;
    }

    private static ushort[] MakeTable()
    {
        ushort[] table = new ushort[256];
        for (int i = 0; i < table.Length; i++)
        {
            int crc = i << 8;
            for (int bit = 0; bit < 8; bit++)
            {
                crc = (crc & 0x8000) != 0 ? (crc << 1) ^ 0x1021 : crc << 1;
            }

            table[i] = unchecked((ushort)crc);
        }

        return table;
    }
}
