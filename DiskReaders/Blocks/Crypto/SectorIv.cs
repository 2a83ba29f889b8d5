using System.Buffers.Binary;
using System.Security.Cryptography;

namespace Vmsweep.DiskReaders.Blocks.Crypto;

/// <summary>What makes the same bytes differ from sector to sector: 16 bytes for each number. Safe for many threads.</summary>
/// <param name="first">Number of sector 0.</param>
/// <param name="step">By how much numbers rise from sector to sector: dm-crypt counts 512 bytes whatever its sectors are.</param>
internal abstract class SectorIv(long first, long step) : IDisposable
{
    public const int Bytes = AesPool.BlockBytes;

    /// <summary>dm-crypt <c>plain64</c>, IEEE 1619 "tweak": the number, little-endian.</summary>
    public static SectorIv Plain64(long first = 0, long step = 1) => new Number(first, step, ulong.MaxValue);

    /// <summary>dm-crypt <c>plain</c>: the low 32 bits of the number, little-endian.</summary>
    public static SectorIv Plain(long first = 0, long step = 1) => new Number(first, step, uint.MaxValue);

    /// <summary>dm-crypt <c>essiv:sha256</c>: the number encrypted under the hash of the key.</summary>
    public static SectorIv Essiv(ReadOnlySpan<byte> key, long first = 0, long step = 1)
    {
        Span<byte> hash = stackalloc byte[SHA256.HashSizeInBytes];
        SHA256.HashData(key, hash);
        var iv = new Encrypted(hash, first, step);
        CryptographicOperations.ZeroMemory(hash);
        return iv;
    }

    /// <summary>BitLocker with AES-CBC: the sector's byte offset encrypted under the data key.</summary>
    public static SectorIv EncryptedOffset(ReadOnlySpan<byte> key, int sectorBytes) => new Encrypted(key, 0, sectorBytes);

    /// <summary>Fills in those of consecutive sectors.</summary>
    /// <param name="sector">The first one.</param>
    /// <param name="ivs">16 bytes for each.</param>
    public abstract void Fill(long sector, Span<byte> ivs);

    public virtual void Dispose()
    {
    }

    protected void FillNumbers(long sector, ulong mask, Span<byte> ivs)
    {
        unchecked
        {
            ulong number = (ulong)first + ((ulong)sector * (ulong)step);
            for (int at = 0; at < ivs.Length; at += Bytes, number += (ulong)step)
            {
                BinaryPrimitives.WriteUInt64LittleEndian(ivs[at..], number & mask);
                BinaryPrimitives.WriteUInt64LittleEndian(ivs[(at + 8)..], 0);
            }
        }
    }

    private sealed class Number(long first, long step, ulong mask) : SectorIv(first, step)
    {
        public override void Fill(long sector, Span<byte> ivs) => FillNumbers(sector, mask, ivs);
    }

    private sealed class Encrypted(ReadOnlySpan<byte> key, long first, long step) : SectorIv(first, step)
    {
        private readonly AesPool _aes = new(key);

        public override void Fill(long sector, Span<byte> ivs)
        {
            FillNumbers(sector, ulong.MaxValue, ivs);
            _aes.Encrypt(ivs, ivs);
        }

        public override void Dispose()
        {
            base.Dispose();
            _aes.Dispose();
        }
    }
}
