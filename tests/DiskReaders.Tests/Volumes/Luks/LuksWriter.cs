using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using Konscious.Security.Cryptography;
using Vmsweep.DiskReaders.Volumes.Luks;

namespace Vmsweep.DiskReaders.Tests.Volumes.Luks;

/// <summary>Small volumes of both versions, written field by field from the specifications, with key derivation that costs nothing.</summary>
internal static class LuksWriter
{
    public const string Secret = "secret";
    public const int HeaderBytes = 16 << 10;
    public const int KeySlotsAt = 2 * HeaderBytes;
    public const int DataAt = KeySlotsAt + 4096;
    public const int Luks1DataAt = 8 * 512;
    private const int KeyBytes = 32;
    private const int Stripes = 4;
    private const int Sector = 512;

    public static readonly byte[] VolumeKey = Noise(1, KeyBytes);

    public static readonly byte[] Plain = Noise(2, 8 * Sector);

    private static readonly byte[] Salt = Noise(3, 32);

    /// <summary>LUKS1, two slots, <c>aes-cbc-plain64</c>.</summary>
    public static byte[] Luks1()
    {
        byte[] image = new byte[Luks1DataAt + Plain.Length];
        "LUKS"u8.CopyTo(image);
        image[4] = 0xBA;
        image[5] = 0xBE;
        image[7] = 1;
        "aes"u8.CopyTo(image.AsSpan(8));
        "cbc-plain64"u8.CopyTo(image.AsSpan(40));
        "sha256"u8.CopyTo(image.AsSpan(72));
        U32(image, 104, Luks1DataAt / Sector);
        U32(image, 108, KeyBytes);
        Rfc2898DeriveBytes.Pbkdf2(VolumeKey, Salt, 2, HashAlgorithmName.SHA256, 20).CopyTo(image, 112);
        Salt.CopyTo(image, 132);
        U32(image, 164, 2);
        "01234567-89ab-cdef-0123-456789abcdef"u8.CopyTo(image.AsSpan(168));
        for (int slot = 0; slot < 8; slot++)
        {
            int at = 208 + (slot * 48);
            U32(image, at, slot < 2 ? 0x00AC_71F3u : 0x0000_DEAD);
            U32(image, at + 4, 2);
            Salt.CopyTo(image, at + 8);
            U32(image, at + 40, (uint)(2 + slot));
            U32(image, at + 44, Stripes);
        }

        KeyMaterial("other").CopyTo(image, 2 * Sector);
        KeyMaterial(Secret).CopyTo(image, 3 * Sector);
        Encrypt(Plain, VolumeKey).CopyTo(image, Luks1DataAt);
        return image;
    }

    /// <summary>LUKS2: slot 0 by PBKDF2, slot 1 by Argon2id, both under the secret; <c>aes-cbc-plain64</c>.</summary>
    /// <param name="edit">Changes the JSON text before it is written.</param>
    /// <param name="headerBytes">Size of each header; all offsets of the text must then fit it.</param>
    public static byte[] Luks2(Func<string, string>? edit = null, int headerBytes = HeaderBytes)
    {
        string json = Json(headerBytes);
        string edited = edit is null ? json : edit(json);
        if (edit is not null && edited == json)
        {
            throw new ArgumentException("nothing was edited", nameof(edit));
        }

        int move = 2 * (headerBytes - HeaderBytes);
        byte[] image = new byte[DataAt + move + Plain.Length];
        Header(image, 0, "LUKS", headerBytes, edited);
        Header(image, headerBytes, "SKUL", headerBytes, edited);
        KeyMaterial(Secret).CopyTo(image, KeySlotsAt + move);
        byte[] key = ByArgon2();
        Encrypt(Split(), key).CopyTo(image, KeySlotsAt + move + Sector);
        Encrypt(Plain, VolumeKey).CopyTo(image, DataAt + move);
        Repair(image);
        return image;
    }

    /// <summary>LUKS2, an edit of one text.</summary>
    public static byte[] Luks2(string old, string with) => Luks2(j => j.Replace(old, with, StringComparison.Ordinal));

    /// <summary>Recomputes the checksums of both headers.</summary>
    public static void Repair(byte[] image)
    {
        if (image[7] != 2)
        {
            return;
        }

        foreach (int at in (int[])[0, (int)Math.Min(int.MaxValue, BinaryPrimitives.ReadUInt64BigEndian(image.AsSpan(8)))])
        {
            int bytes = (int)BinaryPrimitives.ReadUInt64BigEndian(image.AsSpan(at + 8));
            image.AsSpan(at + 448, 64).Clear();
            SHA256.HashData(image.AsSpan(at, bytes), image.AsSpan(at + 448));
        }
    }

    /// <summary>AES-CBC with the sector number as vector.</summary>
    public static byte[] Encrypt(ReadOnlySpan<byte> plain, byte[] key, long first = 0)
    {
        using var aes = Aes.Create();
        aes.Key = key;
        byte[] iv = new byte[16];
        byte[] encrypted = new byte[plain.Length];
        for (int at = 0; at < plain.Length; at += Sector)
        {
            BinaryPrimitives.WriteInt64LittleEndian(iv, first + (at / Sector));
            aes.EncryptCbc(plain.Slice(at, Sector), iv, encrypted.AsSpan(at), PaddingMode.None);
        }

        return encrypted;
    }

    public static byte[] U32(byte[] image, int at, uint value)
    {
        BinaryPrimitives.WriteUInt32BigEndian(image.AsSpan(at), value);
        return image;
    }

    private static string Json(int headerBytes)
    {
        string salt = Convert.ToBase64String(Salt);
        string digest = Convert.ToBase64String(Rfc2898DeriveBytes.Pbkdf2(VolumeKey, Salt, 3, HashAlgorithmName.SHA256, 32));
        int keySlots = 2 * headerBytes;
        return $$$$"""
            {"keyslots":{
            "0":{"type":"luks2","key_size":32,"af":{"type":"luks1","stripes":4,"hash":"sha256"},
            "area":{"type":"raw","offset":"{{{{keySlots}}}}","size":"512","encryption":"aes-cbc-plain64","key_size":32},
            "kdf":{"type":"pbkdf2","hash":"sha256","iterations":2,"salt":"{{{{salt}}}}"}},
            "1":{"type":"luks2","key_size":32,"af":{"type":"luks1","stripes":4,"hash":"sha256"},
            "area":{"type":"raw","offset":"{{{{keySlots + Sector}}}}","size":"512","encryption":"aes-cbc-plain64","key_size":32},
            "kdf":{"type":"argon2id","time":1,"memory":8,"cpus":1,"salt":"{{{{salt}}}}"}}},
            "tokens":{"0":{"type":"clevis","keyslots":["1"],"jwe":{"a":[1,2]}}},
            "segments":{"0":{"type":"crypt","offset":"{{{{keySlots + 4096}}}}","size":"dynamic","iv_tweak":"0","encryption":"aes-cbc-plain64","sector_size":512}},
            "digests":{"0":{"type":"pbkdf2","keyslots":["0","1"],"segments":["0"],"hash":"sha256","iterations":3,"salt":"{{{{salt}}}}","digest":"{{{{digest}}}}"}},
            "config":{"json_size":"{{{{headerBytes - 4096}}}}","keyslots_size":"4096"}}
            """;
    }

    private static void Header(byte[] image, int at, string magic, int headerBytes, string json)
    {
        Encoding.ASCII.GetBytes(magic).CopyTo(image, at);
        image[at + 4] = 0xBA;
        image[at + 5] = 0xBE;
        image[at + 7] = 2;
        BinaryPrimitives.WriteInt64BigEndian(image.AsSpan(at + 8), headerBytes);
        BinaryPrimitives.WriteInt64BigEndian(image.AsSpan(at + 16), 7);
        "label"u8.CopyTo(image.AsSpan(at + 24));
        "sha256"u8.CopyTo(image.AsSpan(at + 72));
        "01234567-89ab-cdef-0123-456789abcdef"u8.CopyTo(image.AsSpan(at + 168));
        BinaryPrimitives.WriteInt64BigEndian(image.AsSpan(at + 256), at);
        Encoding.UTF8.GetBytes(json).CopyTo(image, at + 4096);
    }

    private static byte[] KeyMaterial(string secret) =>
        Encrypt(Split(), Rfc2898DeriveBytes.Pbkdf2(secret, Salt, 2, HashAlgorithmName.SHA256, KeyBytes));

    private static byte[] ByArgon2()
    {
        using var argon2 = new Argon2id(Encoding.UTF8.GetBytes(Secret)) { Salt = Salt, Iterations = 1, MemorySize = 8, DegreeOfParallelism = 1 };
        return argon2.GetBytes(KeyBytes);
    }

    /// <summary>The volume key in stripes: all but the last are noise, that one makes up the difference.</summary>
    private static byte[] Split()
    {
        byte[] area = Noise(4, Sector);
        area.AsSpan((Stripes - 1) * KeyBytes, KeyBytes).Clear();
        byte[] last = new byte[KeyBytes];
        AntiForensic.Merge(area.AsSpan(0, Stripes * KeyBytes), last, HashAlgorithmName.SHA256);
        for (int i = 0; i < KeyBytes; i++)
        {
            area[((Stripes - 1) * KeyBytes) + i] = (byte)(last[i] ^ VolumeKey[i]);
        }

        return area;
    }

    private static byte[] Noise(int seed, int length)
    {
        byte[] bytes = new byte[length];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }
}
