namespace Vmsweep.DiskReaders.Blocks.Streams;

/// <summary>CRC-64 of ECMA-182, reflected, as .xz uses it (section 6 of its specification), without the final inversion.</summary>
internal static class Crc64
{
    private const ulong Polynomial = 0xC96C_5795_D787_0F42;

    private static readonly ulong[] Table = Make();

    public static ulong Append(ulong crc, ReadOnlySpan<byte> bytes)
    {
        foreach (byte b in bytes)
        {
            crc = Table[(int)(crc & 0xFF) ^ b] ^ (crc >> 8);
        }

        return crc;
    }

    private static ulong[] Make()
    {
        var table = new ulong[256];
        for (ulong i = 0; i < 256; i++)
        {
            ulong value = i;
            for (int bit = 0; bit < 8; bit++)
            {
                value = (value & 1) != 0 ? (value >> 1) ^ Polynomial : value >> 1;
            }

            table[i] = value;
        }

        return table;
    }
}
