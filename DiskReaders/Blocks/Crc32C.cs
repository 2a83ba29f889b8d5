using System.Buffers.Binary;
using System.Runtime.InteropServices;
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

    // A processor begins an instruction in each cycle and has its result three later: three lanes keep it busy. Three of them and two steps are a sector.
    private const int Lanes = 3;
    private const int LaneBytes = 1360;

    private static readonly uint[] Tables = BuildTables();
    private static readonly uint[] LaneShift = BuildLaneShift();

    private static bool HasInstruction => Sse42.X64.IsSupported || ArmCrc32.Arm64.IsSupported;

    /// <summary>The standard checksum: initial value and final exclusive-or are all ones.</summary>
    /// <param name="data">The bytes.</param>
    /// <param name="seed">The checksum of the bytes before, to go on from there; 0 to begin.</param>
    public static uint Compute(ReadOnlySpan<byte> data, uint seed = 0) => ~Update(~seed, data);

    /// <summary>The raw register after <paramref name="data"/>, without inversions.</summary>
    public static uint Update(uint state, ReadOnlySpan<byte> data)
    {
        if (!HasInstruction)
        {
            return UpdateInSoftware(state, data);
        }

        for (; data.Length >= Lanes * LaneBytes; data = data[(Lanes * LaneBytes)..])
        {
            state = UpdateLanes(state, data[..(Lanes * LaneBytes)]);
        }

        ReadOnlySpan<ulong> words = Words(data);
        ReadOnlySpan<byte> rest = data[(words.Length * sizeof(ulong))..];
        if (Sse42.X64.IsSupported)
        {
            ulong register = state;
            foreach (ulong word in words)
            {
                register = Sse42.X64.Crc32(register, word);
            }

            state = unchecked((uint)register);
            foreach (byte b in rest)
            {
                state = Sse42.Crc32(state, b);
            }
        }
        else
        {
            foreach (ulong word in words)
            {
                state = ArmCrc32.Arm64.ComputeCrc32C(state, word);
            }

            foreach (byte b in rest)
            {
                state = ArmCrc32.ComputeCrc32C(state, b);
            }
        }

        return state;
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

    // The register is linear in what went through it: that of a lane alone, begun with 0, completes the one before, moved over as many zeros.
    private static uint UpdateLanes(uint state, ReadOnlySpan<byte> data)
    {
        ReadOnlySpan<ulong> first = Words(data[..LaneBytes]);
        ReadOnlySpan<ulong> second = Words(data.Slice(LaneBytes, LaneBytes));
        ReadOnlySpan<ulong> third = Words(data.Slice(2 * LaneBytes, LaneBytes));
        ulong register = state;
        ulong registerOfSecond = 0;
        ulong registerOfThird = 0;

        // Which processor it is is asked once: in the loops the question would take as long as the answer.
        if (Sse42.X64.IsSupported)
        {
            for (int i = 0; i < first.Length && i < second.Length && i < third.Length; i++)
            {
                register = Sse42.X64.Crc32(register, first[i]);
                registerOfSecond = Sse42.X64.Crc32(registerOfSecond, second[i]);
                registerOfThird = Sse42.X64.Crc32(registerOfThird, third[i]);
            }
        }
        else
        {
            for (int i = 0; i < first.Length && i < second.Length && i < third.Length; i++)
            {
                register = ArmCrc32.Arm64.ComputeCrc32C(unchecked((uint)register), first[i]);
                registerOfSecond = ArmCrc32.Arm64.ComputeCrc32C(unchecked((uint)registerOfSecond), second[i]);
                registerOfThird = ArmCrc32.Arm64.ComputeCrc32C(unchecked((uint)registerOfThird), third[i]);
            }
        }

        return unchecked(OverLane(OverLane((uint)register) ^ (uint)registerOfSecond) ^ (uint)registerOfThird);
    }

    // Banned for what a format lays out, whose fields are read by views. Here is no layout: these are what the instruction takes.
#pragma warning disable RS0030
    private static ReadOnlySpan<ulong> Words(ReadOnlySpan<byte> bytes) => MemoryMarshal.Cast<byte, ulong>(bytes);
#pragma warning restore RS0030

    private static uint OverLane(uint state)
    {
        ReadOnlySpan<uint> t = LaneShift;
        return t[(int)(state & 0xFF)]
            ^ t[SliceEntries + (int)((state >> 8) & 0xFF)]
            ^ t[(2 * SliceEntries) + (int)((state >> 16) & 0xFF)]
            ^ t[(3 * SliceEntries) + (int)(state >> 24)];
    }

    // One table for each byte of the register: what it becomes over a lane of zeros.
    private static uint[] BuildLaneShift()
    {
        uint[] tables = new uint[4 * SliceEntries];
        byte[] zeros = new byte[LaneBytes];
        for (int bit = 0; bit < 32; bit++)
        {
            uint moved = UpdateInSoftware(1U << bit, zeros);
            int table = bit / 8 * SliceEntries;
            for (int i = 0; i < SliceEntries; i++)
            {
                tables[table + i] ^= ((i >> (bit % 8)) & 1) != 0 ? moved : 0;
            }
        }

        return tables;
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
