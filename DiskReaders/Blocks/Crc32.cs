namespace Vmsweep.DiskReaders.Blocks;

/// <summary>CRC-32 of ISO 3309 (polynomial 0xEDB88320, reflected, inverted at both ends), as UEFI's CalculateCrc32 and zlib have it.</summary>
public static class Crc32
{
    private static readonly uint[] Table = MakeTable();

    public static uint Of(ReadOnlySpan<byte> bytes) => Append(0, bytes);

    /// <summary>Goes on from the CRC of the bytes before.</summary>
    public static uint Append(uint crc, ReadOnlySpan<byte> bytes)
    {
        unchecked
        {
            uint state = ~crc;
            foreach (byte b in bytes)
            {
                state = Table[(byte)(state ^ b)] ^ (state >> 8);
            }

            return ~state;
        }
    }

    private static uint[] MakeTable()
    {
        uint[] table = new uint[256];
        for (uint i = 0; i < 256; i++)
        {
            uint value = i;
            for (int bit = 0; bit < 8; bit++)
            {
                value = (value & 1) != 0 ? 0xEDB8_8320 ^ (value >> 1) : value >> 1;
            }

            table[i] = value;
        }

        return table;
    }
}
