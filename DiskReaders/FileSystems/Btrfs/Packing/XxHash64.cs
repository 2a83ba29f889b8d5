using System.Buffers.Binary;
using System.Numerics;

namespace Vmsweep.DiskReaders.FileSystems.Btrfs.Packing;

/// <summary>XXH64 with seed 0. Specification: "xxHash fast digest algorithm", section "XXH64 algorithm description".</summary>
internal static class XxHash64
{
    private const ulong Prime1 = 0x9E37_79B1_85EB_CA87;
    private const ulong Prime2 = 0xC2B2_AE3D_27D4_EB4F;
    private const ulong Prime3 = 0x1656_67B1_9E37_79F9;
    private const ulong Prime4 = 0x85EB_CA77_C2B2_AE63;
    private const ulong Prime5 = 0x27D4_EB2F_1656_67C5;
    private const int StripeBytes = 32;

    public static ulong Of(ReadOnlySpan<byte> data)
    {
        unchecked
        {
            ulong length = (ulong)data.Length;
            ulong acc;
            if (data.Length >= StripeBytes)
            {
                ulong a = Prime1 + Prime2, b = Prime2, c = 0, d = 0 - Prime1;
                while (data.Length >= StripeBytes)
                {
                    a = Round(a, BinaryPrimitives.ReadUInt64LittleEndian(data));
                    b = Round(b, BinaryPrimitives.ReadUInt64LittleEndian(data[8..]));
                    c = Round(c, BinaryPrimitives.ReadUInt64LittleEndian(data[16..]));
                    d = Round(d, BinaryPrimitives.ReadUInt64LittleEndian(data[24..]));
                    data = data[StripeBytes..];
                }

                acc = BitOperations.RotateLeft(a, 1) + BitOperations.RotateLeft(b, 7) + BitOperations.RotateLeft(c, 12) + BitOperations.RotateLeft(d, 18);
                acc = Merge(Merge(Merge(Merge(acc, a), b), c), d);
            }
            else
            {
                acc = Prime5;
            }

            acc += length;
            while (data.Length >= 8)
            {
                acc = (BitOperations.RotateLeft(acc ^ Round(0, BinaryPrimitives.ReadUInt64LittleEndian(data)), 27) * Prime1) + Prime4;
                data = data[8..];
            }

            if (data.Length >= 4)
            {
                acc = (BitOperations.RotateLeft(acc ^ (BinaryPrimitives.ReadUInt32LittleEndian(data) * Prime1), 23) * Prime2) + Prime3;
                data = data[4..];
            }

            foreach (byte one in data)
            {
                acc = BitOperations.RotateLeft(acc ^ (one * Prime5), 11) * Prime1;
            }

            acc = (acc ^ (acc >> 33)) * Prime2;
            acc = (acc ^ (acc >> 29)) * Prime3;
            return acc ^ (acc >> 32);
        }
    }

    private static ulong Round(ulong acc, ulong lane) => unchecked(BitOperations.RotateLeft(acc + (lane * Prime2), 31) * Prime1);

    private static ulong Merge(ulong acc, ulong lane) => unchecked(((acc ^ Round(0, lane)) * Prime1) + Prime4);
}
