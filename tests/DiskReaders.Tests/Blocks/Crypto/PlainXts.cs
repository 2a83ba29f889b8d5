using System.Buffers.Binary;
using System.Security.Cryptography;

namespace Vmsweep.DiskReaders.Tests.Blocks.Crypto;

/// <summary>AES-XTS block by block, and bytes to encrypt: what images are made with.</summary>
internal static class PlainXts
{
    public static byte[] Bytes(int count, int seed)
    {
        byte[] bytes = new byte[count];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }

    /// <summary>IEEE 1619 section 5.3.2, as it is written there.</summary>
    public static void Encrypt(ReadOnlySpan<byte> key, long sector, ReadOnlySpan<byte> plain, Span<byte> cipherText)
    {
        using var data = Aes.Create();
        data.Key = key[..(key.Length / 2)].ToArray();
        using var tweakKey = Aes.Create();
        tweakKey.Key = key[(key.Length / 2)..].ToArray();
        byte[] tweak = new byte[16];
        BinaryPrimitives.WriteInt64LittleEndian(tweak, sector);
        tweak = tweakKey.EncryptEcb(tweak, PaddingMode.None);
        byte[] block = new byte[16];
        for (int at = 0; at < plain.Length; at += 16)
        {
            for (int i = 0; i < 16; i++)
            {
                block[i] = (byte)(plain[at + i] ^ tweak[i]);
            }

            block = data.EncryptEcb(block, PaddingMode.None);
            for (int i = 0; i < 16; i++)
            {
                cipherText[at + i] = (byte)(block[i] ^ tweak[i]);
            }

            int carry = 0;
            for (int i = 0; i < 16; i++)
            {
                int doubled = (tweak[i] << 1) | carry;
                tweak[i] = (byte)doubled;
                carry = doubled >> 8;
            }

            tweak[0] ^= (byte)(carry == 0 ? 0 : 0x87);
        }
    }
}
