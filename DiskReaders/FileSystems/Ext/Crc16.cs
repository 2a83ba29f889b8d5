namespace Vmsweep.DiskReaders.FileSystems.Ext;

/// <summary>CRC-16 (reflected polynomial 0xA001), the checksum of group descriptors with <c>gdt_csum</c> ("Block Group Descriptors").</summary>
internal static class Crc16
{
    private static readonly ushort[] Table = BuildTable();

    /// <summary>The register after <paramref name="data"/>.</summary>
    public static ushort Update(ushort state, ReadOnlySpan<byte> data)
    {
        foreach (byte b in data)
        {
            state = (ushort)((state >> 8) ^ Table[(state ^ b) & 0xFF]);
        }

        return state;
    }

    private static ushort[] BuildTable()
    {
        ushort[] table = new ushort[256];
        for (int i = 0; i < table.Length; i++)
        {
            int value = i;
            for (int bit = 0; bit < 8; bit++)
            {
                value = (value & 1) != 0 ? (value >> 1) ^ 0xA001 : value >> 1;
            }

            table[i] = (ushort)value;
        }

        return table;
    }
}
