using System.Numerics;

namespace Vmsweep.DiskReaders.Blocks.Crypto;

/// <summary>Exclusive-or of long runs of bytes, a vector at a time.</summary>
internal static class BulkXor
{
    /// <summary>Changes each byte of <paramref name="target"/> by the one of <paramref name="other"/>, which is at least as long.</summary>
    public static void Into(Span<byte> target, ReadOnlySpan<byte> other)
    {
        while (target.Length >= Vector<byte>.Count)
        {
            (new Vector<byte>(target) ^ new Vector<byte>(other)).CopyTo(target);
            target = target[Vector<byte>.Count..];
            other = other[Vector<byte>.Count..];
        }

        for (int i = 0; i < target.Length; i++)
        {
            target[i] ^= other[i];
        }
    }
}
