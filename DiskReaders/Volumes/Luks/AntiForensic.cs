using System.Buffers.Binary;
using System.Security.Cryptography;

namespace Vmsweep.DiskReaders.Volumes.Luks;

/// <summary>
/// The anti-forensic splitter, LUKS1 specification section 2.4: a key is stored in stripes that are all needed, so that losing any
/// of them destroys it.
/// </summary>
internal static class AntiForensic
{
    /// <summary>Brings a key together again.</summary>
    /// <param name="stripes">As many as fit, each as long as the key.</param>
    /// <param name="hash">Spreads each bit over all of the stripe.</param>
    public static void Merge(ReadOnlySpan<byte> stripes, Span<byte> key, HashAlgorithmName hash)
    {
        key.Clear();
        while (stripes.Length > key.Length)
        {
            Add(key, stripes);
            Diffuse(key, hash);
            stripes = stripes[key.Length..];
        }

        Add(key, stripes);
    }

    private static void Add(Span<byte> key, ReadOnlySpan<byte> stripe)
    {
        for (int i = 0; i < key.Length; i++)
        {
            key[i] ^= stripe[i];
        }
    }

    // H2: each piece of a hash's length becomes the hash of its number, big-endian, and itself; the last one may be cut.
    private static void Diffuse(Span<byte> key, HashAlgorithmName hash)
    {
        Span<byte> numbered = stackalloc byte[4 + 64];
        Span<byte> digest = stackalloc byte[64];
        int pieceBytes = LuksHash.Bytes(hash);
        for (int at = 0; at < key.Length; at += pieceBytes)
        {
            Span<byte> piece = key.Slice(at, Math.Min(pieceBytes, key.Length - at));
            BinaryPrimitives.WriteInt32BigEndian(numbered, at / pieceBytes);
            piece.CopyTo(numbered[4..]);
            CryptographicOperations.HashData(hash, numbered[..(4 + piece.Length)], digest);
            digest[..piece.Length].CopyTo(piece);
        }
    }
}
