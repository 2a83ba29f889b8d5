using System.Security.Cryptography;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Golden;

/// <summary>Ways to read a source whole, for comparison.</summary>
public static class Content
{
    /// <summary>SHA-256 in lower-case hexadecimal of the first <paramref name="limit"/> bytes.</summary>
    public static string Sha256(this IBlockSource source, long limit = long.MaxValue, int step = 1 << 20)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        byte[] buffer = new byte[step];
        long end = Math.Min(source.Length, limit);
        for (long at = 0; at < end; at += step)
        {
            Span<byte> part = buffer.AsSpan(0, (int)Math.Min(step, end - at));
            source.Read(at, part);
            hash.AppendData(part);
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    public static byte[] ReadAll(this IBlockSource source)
    {
        byte[] bytes = new byte[source.Length];
        source.Read(0, bytes);
        return bytes;
    }

    public static string Sha256OfFile(string path)
    {
        using FileStream file = File.OpenRead(path);
        return Convert.ToHexStringLower(SHA256.HashData(file));
    }
}
