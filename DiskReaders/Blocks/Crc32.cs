using System.Buffers.Binary;

namespace Vmsweep.DiskReaders.Blocks;

/// <summary>CRC-32 of ISO 3309 (polynomial 0xEDB88320, reflected, inverted at both ends), as UEFI's CalculateCrc32 and zlib have it; eight bytes a step by tables.</summary>
public static class Crc32
{
    private const int Slices = 8;
    private const int SliceEntries = 256;

    private static readonly uint[] Tables = MakeTables();

    public static uint Of(ReadOnlySpan<byte> bytes) => Append(0, bytes);

    /// <summary>Goes on from the CRC of the bytes before.</summary>
    public static uint Append(uint crc, ReadOnlySpan<byte> bytes)
    {
        unchecked
        {
            uint state = ~crc;
            ReadOnlySpan<uint> t = Tables;
            while (bytes.Length >= Slices)
            {
                uint low = BinaryPrimitives.ReadUInt32LittleEndian(bytes) ^ state;
                uint high = BinaryPrimitives.ReadUInt32LittleEndian(bytes[4..]);
                state = t[(7 * SliceEntries) + (int)(low & 0xFF)]
                    ^ t[(6 * SliceEntries) + (int)((low >> 8) & 0xFF)]
                    ^ t[(5 * SliceEntries) + (int)((low >> 16) & 0xFF)]
                    ^ t[(4 * SliceEntries) + (int)(low >> 24)]
                    ^ t[(3 * SliceEntries) + (int)(high & 0xFF)]
                    ^ t[(2 * SliceEntries) + (int)((high >> 8) & 0xFF)]
                    ^ t[SliceEntries + (int)((high >> 16) & 0xFF)]
                    ^ t[(int)(high >> 24)];
                bytes = bytes[Slices..];
            }

            foreach (byte b in bytes)
            {
                state = t[(byte)(state ^ b)] ^ (state >> 8);
            }

            return ~state;
        }
    }

    private static uint[] MakeTables()
    {
        uint[] table = new uint[Slices * SliceEntries];
        for (uint i = 0; i < SliceEntries; i++)
        {
            uint value = i;
            for (int bit = 0; bit < 8; bit++)
            {
                value = (value & 1) != 0 ? 0xEDB8_8320 ^ (value >> 1) : value >> 1;
            }

            table[i] = value;
        }

        for (int i = SliceEntries; i < table.Length; i++)
        {
            uint shorter = table[i - SliceEntries];
            table[i] = table[shorter & 0xFF] ^ (shorter >> 8);
        }

        return table;
    }
}
