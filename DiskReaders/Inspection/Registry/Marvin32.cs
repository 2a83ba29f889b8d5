using System.Buffers.Binary;
using System.Numerics;

namespace Vmsweep.DiskReaders.Inspection.Registry;

/// <summary>
/// The checksum function Marvin32 of Microsoft's US patent 8,555,355, with the seed that registry logs use. Spec of the use: "Windows
/// registry file format specification", "Log entries", notes 1 to 3.
/// </summary>
internal static class Marvin32
{
    public const ulong LogSeed = 0xC5554E7A_884DEF82;

    public static ulong Of(ReadOnlySpan<byte> data, ulong seed = LogSeed)
    {
        unchecked
        {
            uint low = (uint)seed;
            uint high = (uint)(seed >> 32);
            for (; data.Length >= 4; data = data[4..])
            {
                low += BinaryPrimitives.ReadUInt32LittleEndian(data);
                Mix(ref low, ref high);
            }

            // The rest, closed with one bit.
            uint last = 0x80;
            for (int i = data.Length - 1; i >= 0; i--)
            {
                last = (last << 8) | data[i];
            }

            low += last;
            Mix(ref low, ref high);
            Mix(ref low, ref high);
            return ((ulong)high << 32) | low;
        }
    }

    private static void Mix(ref uint low, ref uint high)
    {
        unchecked
        {
            high ^= low;
            low = BitOperations.RotateLeft(low, 20) + high;
            high = BitOperations.RotateLeft(high, 9) ^ low;
            low = BitOperations.RotateLeft(low, 27) + high;
            high = BitOperations.RotateLeft(high, 19);
        }
    }
}
