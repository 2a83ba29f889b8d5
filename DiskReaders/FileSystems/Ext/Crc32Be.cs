namespace Vmsweep.DiskReaders.FileSystems.Ext;

/// <summary>CRC-32 (polynomial 0x04C11DB7, most significant bit first), of transactions with <c>JBD2_FEATURE_COMPAT_CHECKSUM</c>.</summary>
internal static class Crc32Be
{
    private static readonly uint[] Table = BuildTable();

    /// <summary>The register after <paramref name="data"/>.</summary>
    public static uint Update(uint state, ReadOnlySpan<byte> data)
    {
        foreach (byte b in data)
        {
            state = unchecked(state << 8) ^ Table[(state >> 24) ^ b];
        }

        return state;
    }

    private static uint[] BuildTable()
    {
        uint[] table = new uint[256];
        for (uint i = 0; i < table.Length; i++)
        {
            uint value = i << 24;
            for (int bit = 0; bit < 8; bit++)
            {
                value = unchecked(value << 1) ^ ((value & 0x8000_0000) != 0 ? 0x04C1_1DB7u : 0);
            }

            table[i] = value;
        }

        return table;
    }
}
