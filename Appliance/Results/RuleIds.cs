using System.Buffers.Binary;
using System.Security.Cryptography;

namespace Vmsweep.Appliance.Results;

/// <summary>Sets of rule ids as bytes, 16 for each.</summary>
internal static class RuleIds
{
    public const int Bytes = 16;

    /// <summary>In ascending order, so that equal sets are equal bytes.</summary>
    public static byte[] Pack(IEnumerable<UInt128> ids)
    {
        UInt128[] sorted = [.. ids.Distinct()];
        Array.Sort(sorted);
        byte[] bytes = new byte[sorted.Length * Bytes];
        for (int i = 0; i < sorted.Length; i++)
        {
            BinaryPrimitives.WriteUInt128BigEndian(bytes.AsSpan(i * Bytes), sorted[i]);
        }

        return bytes;
    }

    public static HashSet<UInt128> Unpack(ReadOnlySpan<byte> bytes)
    {
        HashSet<UInt128> ids = [];
        for (int at = 0; at + Bytes <= bytes.Length; at += Bytes)
        {
            ids.Add(BinaryPrimitives.ReadUInt128BigEndian(bytes[at..]));
        }

        return ids;
    }

    /// <summary>The name of a set.</summary>
    public static byte[] Digest(byte[] packed) => SHA256.HashData(packed);
}
