using System.Buffers.Binary;
using System.Runtime.Intrinsics.X86;
using ArmCrc32 = System.Runtime.Intrinsics.Arm.Crc32;

namespace Vmsweep.DiskReaders.Blocks;

/// <summary>
/// CRC-32C (Castagnoli, RFC 3720 appendix B.4; reflected polynomial 0x82F63B78), as VHDX, ext4, XFS and Btrfs use it. Uses the
/// processor's instruction where there is one.
/// </summary>
public static class Crc32C
{
    private const uint Polynomial = 0x82F6_3B78;
    private const int Slices = 8;
    private const int SliceEntries = 256;

    private static readonly uint[] Tables = BuildTables();

    /// <summary>The standard checksum: initial value and final exclusive-or are all ones.</summary>
    /// <param name="data">The bytes.</param>
    /// <param name="seed">The checksum of the bytes before, to go on from there; 0 to begin.</param>
    public static uint Compute(ReadOnlySpan<byte> data, uint seed = 0) => ~Update(~seed, data);

    /// <summary>The raw register after <paramref name="data"/>, without inversions.</summary>
    public static uint Update(uint state, ReadOnlySpan<byte> data)
    {
        if (Sse42.X64.IsSupported)
        {
            while (data.Length >= 8)
            {
                state = (uint)Sse42.X64.Crc32(state, BinaryPrimitives.ReadUInt64LittleEndian(data));
                data = data[8..];
            }

            foreach (byte b in data)
            {
                state = Sse42.Crc32(state, b);
            }

            return state;
        }

        if (ArmCrc32.Arm64.IsSupported)
        {
            while (data.Length >= 8)
            {
                state = ArmCrc32.Arm64.ComputeCrc32C(state, BinaryPrimitives.ReadUInt64LittleEndian(data));
                data = data[8..];
            }

            foreach (byte b in data)
            {
                state = ArmCrc32.ComputeCrc32C(state, b);
            }

            return state;
        }

        return UpdateInSoftware(state, data);
    }

    /// <summary>As <see cref="Update"/>, for processors without the instruction: eight bytes a step by tables.</summary>
    internal static uint UpdateInSoftware(uint state, ReadOnlySpan<byte> data)
    {
        ReadOnlySpan<uint> t = Tables;
        while (data.Length >= Slices)
        {
            uint low = BinaryPrimitives.ReadUInt32LittleEndian(data) ^ state;
            uint high = BinaryPrimitives.ReadUInt32LittleEndian(data[4..]);
            state = t[(7 * SliceEntries) + (int)(low & 0xFF)]
                ^ t[(6 * SliceEntries) + (int)((low >> 8) & 0xFF)]
                ^ t[(5 * SliceEntries) + (int)((low >> 16) & 0xFF)]
                ^ t[(4 * SliceEntries) + (int)(low >> 24)]
                ^ t[(3 * SliceEntries) + (int)(high & 0xFF)]
                ^ t[(2 * SliceEntries) + (int)((high >> 8) & 0xFF)]
                ^ t[SliceEntries + (int)((high >> 16) & 0xFF)]
                ^ t[(int)(high >> 24)];
            data = data[Slices..];
        }

        foreach (byte b in data)
        {
            state = (state >> 8) ^ t[(int)((state ^ b) & 0xFF)];
        }

        return state;
    }

    private static uint[] BuildTables()
    {
        uint[] tables = new uint[Slices * SliceEntries];
        for (uint i = 0; i < SliceEntries; i++)
        {
            uint value = i;
            for (int bit = 0; bit < 8; bit++)
            {
                value = (value & 1) != 0 ? (value >> 1) ^ Polynomial : value >> 1;
            }

            tables[i] = value;
        }

        for (int i = SliceEntries; i < tables.Length; i++)
        {
            uint shorter = tables[i - SliceEntries];
            tables[i] = (shorter >> 8) ^ tables[shorter & 0xFF];
        }

        return tables;
    }
}
