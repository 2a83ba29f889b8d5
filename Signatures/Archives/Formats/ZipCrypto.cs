using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using Vmsweep.Signatures.Archives.Decoders;

namespace Vmsweep.Signatures.Archives.Formats;

/// <summary>The encryptions of ZIP members: the traditional one (APPNOTE 6.1) and WinZip's AES ("AES Encryption Information", AE-1 and AE-2).</summary>
internal static class ZipCrypto
{
    private const int HeaderBytes = 12;
    private const int AesVerifierBytes = 2;
    private const int AesCodeBytes = 10;
    private const int AesRounds = 1000;

    /// <summary>The packed bytes, decrypted; null when the password is wrong.</summary>
    public static byte[]? Decrypt(ZipEntry entry, ReadOnlySpan<byte> data, string password) =>
        entry.AesStrength > 0 ? DecryptAes(entry.AesStrength, data, password) : DecryptTraditional(entry, data, password);

    private static byte[]? DecryptTraditional(ZipEntry entry, ReadOnlySpan<byte> data, string password)
    {
        if (data.Length < HeaderBytes)
        {
            return null;
        }

        uint key0 = 0x1234_5678, key1 = 0x2345_6789, key2 = 0x3456_7890;
        foreach (byte b in Encoding.UTF8.GetBytes(password))
        {
            Update(b);
        }

        byte[] plain = new byte[data.Length];
        for (int i = 0; i < data.Length; i++)
        {
            uint t = (key2 | 2) & 0xFFFF;
            plain[i] = (byte)(data[i] ^ (byte)((t * (t ^ 1)) >> 8));
            Update(plain[i]);
            if (i == HeaderBytes - 1 && plain[i] != (byte)(entry.HasDescriptor ? entry.ModifiedTime >> 8 : (ushort)(entry.Crc >> 24)) && plain[i] != (byte)(entry.Crc >> 24))
            {
                return null;
            }
        }

        return plain[HeaderBytes..];

        void Update(byte b)
        {
            key0 = Crc32.Step(key0, b);
            key1 = ((key1 + (key0 & 0xFF)) * 134775813) + 1;
            key2 = Crc32.Step(key2, (byte)(key1 >> 24));
        }
    }

    private static byte[]? DecryptAes(int strength, ReadOnlySpan<byte> data, string password)
    {
        int keyBytes = 8 + (8 * strength);
        int saltBytes = keyBytes / 2;
        if (strength > 3 || data.Length < saltBytes + AesVerifierBytes + AesCodeBytes)
        {
            return null;
        }

#pragma warning disable CA5379 // The format fixes SHA-1.
        byte[] keys = Rfc2898DeriveBytes.Pbkdf2(Encoding.UTF8.GetBytes(password), data[..saltBytes], AesRounds, HashAlgorithmName.SHA1, (2 * keyBytes) + AesVerifierBytes);
#pragma warning restore CA5379
        if (!data.Slice(saltBytes, AesVerifierBytes).SequenceEqual(keys.AsSpan(2 * keyBytes)))
        {
            return null;
        }

        byte[] plain = data[(saltBytes + AesVerifierBytes)..^AesCodeBytes].ToArray();
        using var aes = Aes.Create();
        aes.Key = keys[..keyBytes];
        Span<byte> counter = stackalloc byte[16 * 256];
        Span<byte> stream = stackalloc byte[16 * 256];
        counter.Clear();
        ulong count = 1;
        for (int at = 0; at < plain.Length; at += stream.Length)
        {
            for (int block = 0; block < counter.Length; block += 16)
            {
                BinaryPrimitives.WriteUInt64LittleEndian(counter[block..], count++);
            }

#pragma warning disable CA5358 // Counter mode is made of it.
            aes.EncryptEcb(counter, stream, PaddingMode.None);
#pragma warning restore CA5358
            Span<byte> part = plain.AsSpan(at, Math.Min(stream.Length, plain.Length - at));
            for (int i = 0; i < part.Length; i++)
            {
                part[i] ^= stream[i];
            }
        }

        return plain;
    }
}
