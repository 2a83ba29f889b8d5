using System.Numerics;

namespace Vmsweep.Appliance.Results;

/// <summary>
/// Which of a block's places a VM has: numbers below <see cref="Size"/>, as one bit each or, where they are few, as two bytes each. VMs that were made from
/// one image have the same places, which were numbered one after the other: then a sighting costs a bit.
/// </summary>
internal static class PlaceSet
{
    public const int Size = 1024;

    private const int BitmapBytes = Size / 8;

    /// <summary>The first byte of a set of bits; the length tells lists, which are even, from them.</summary>
    private const byte IsBitmap = 1;

    public static byte[] Pack(IEnumerable<int> places)
    {
        int[] sorted = [.. places.Distinct().Order()];
        if (sorted.Length * 2 < BitmapBytes)
        {
            byte[] list = new byte[sorted.Length * 2];
            for (int i = 0; i < sorted.Length; i++)
            {
                (list[2 * i], list[(2 * i) + 1]) = ((byte)sorted[i], (byte)(sorted[i] >> 8));
            }

            return list;
        }

        byte[] bits = new byte[1 + BitmapBytes];
        bits[0] = IsBitmap;
        foreach (int place in sorted)
        {
            bits[1 + (place / 8)] |= (byte)(1 << (place % 8));
        }

        return bits;
    }

    /// <exception cref="FormatException">It is no such set: the database is damaged.</exception>
    public static IEnumerable<int> Unpack(byte[] bytes)
    {
        if (bytes.Length == 1 + BitmapBytes && bytes[0] == IsBitmap)
        {
            for (int i = 1; i < bytes.Length; i++)
            {
                for (int left = bytes[i]; left != 0; left &= left - 1)
                {
                    yield return ((i - 1) * 8) + BitOperations.TrailingZeroCount(left);
                }
            }

            yield break;
        }

        if (bytes.Length % 2 != 0 || bytes.Length >= BitmapBytes)
        {
            throw new FormatException("a set of places is damaged");
        }

        for (int i = 0; i < bytes.Length; i += 2)
        {
            int place = bytes[i] | (bytes[i + 1] << 8);
            yield return place < Size ? place : throw new FormatException("a set of places is damaged");
        }
    }
}
