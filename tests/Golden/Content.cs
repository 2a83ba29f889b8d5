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
        long end = Math.Min(source.Length, limit);
        byte[] buffer = BufferFor(end, step);
        for (long at = 0; at < end; at += step)
        {
            Span<byte> part = buffer.AsSpan(0, (int)Math.Min(step, end - at));
            source.Read(at, part);
            hash.AppendData(part);
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    /// <summary>As <see cref="Sha256"/>, as the scan does: what is not stored is not read.</summary>
    public static string SparseSha256(this IBlockSource source)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        byte[] buffer = BufferFor(source.Length, 1 << 20);
        for (long at = 0; at < source.Length;)
        {
            StoredExtent extent = source.Locate(at, source.Length - at);
            long part = Math.Min(extent.Length, buffer.Length);
            Span<byte> bytes = buffer.AsSpan(0, (int)part);
            if (extent.IsStored)
            {
                source.Read(at, bytes);
            }
            else
            {
                bytes.Clear();
            }

            hash.AppendData(bytes);
            at += part;
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    // A mebibyte for each of thousands of small files would be most of what a listing costs.
    private static byte[] BufferFor(long bytes, int most) => new byte[(int)Math.Clamp(bytes, 0, most)];

    public static byte[] ReadAll(this IBlockSource source)
    {
        byte[] bytes = new byte[source.Length];
        source.Read(0, bytes);
        return bytes;
    }

    /// <summary>Any slicing of reads equals one read: fails where a slice, of a byte to a mebibyte, has other bytes than are expected.</summary>
    public static void CheckSlices(this IBlockSource source, ReadOnlySpan<byte> expected)
    {
        var random = new Random(6);
        byte[] buffer = new byte[1 << 20];
        for (int i = 0; i < 400; i++)
        {
            int at = random.Next(expected.Length);
            Span<byte> slice = buffer.AsSpan(0, Math.Min(random.Next(1, 1 << random.Next(1, 21)), expected.Length - at));
            source.Read(at, slice);
            if (!slice.SequenceEqual(expected.Slice(at, slice.Length)))
            {
                throw new InvalidOperationException($"other bytes in {slice.Length} at {at}");
            }
        }
    }

    public static string Sha256OfFile(string path)
    {
        using FileStream file = File.OpenRead(path);
        return Convert.ToHexStringLower(SHA256.HashData(file));
    }
}
