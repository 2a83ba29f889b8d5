using System.Collections.Concurrent;
using System.Security.Cryptography;

namespace Vmsweep.DiskReaders.Blocks.Crypto;

/// <summary>The platform's AES under one key, one instance for each thread that asks at a time. Block by block only: modes are made of it in bulk.</summary>
internal sealed class AesPool : IDisposable
{
    public const int BlockBytes = 16;

    private readonly ConcurrentBag<Aes> _idle = [];
    private readonly byte[] _key;
    private bool _disposed;

    /// <param name="key">16, 24 or 32 bytes; copied.</param>
    public AesPool(ReadOnlySpan<byte> key)
    {
        if (key.Length is not (16 or 24 or 32))
        {
            throw new ArgumentException("an AES key has 16, 24 or 32 bytes", nameof(key));
        }

        _key = key.ToArray();
    }

    /// <summary>Encrypts whole blocks, each by itself. The spans are the same or do not overlap.</summary>
    public void Encrypt(ReadOnlySpan<byte> blocks, Span<byte> destination)
    {
        Aes aes = Take();
        aes.EncryptEcb(blocks, destination, PaddingMode.None);
        _idle.Add(aes);
    }

    /// <summary>Decrypts whole blocks, each by itself. The spans are the same or do not overlap.</summary>
    public void Decrypt(ReadOnlySpan<byte> blocks, Span<byte> destination)
    {
        Aes aes = Take();
        aes.DecryptEcb(blocks, destination, PaddingMode.None);
        _idle.Add(aes);
    }

    public void Dispose()
    {
        _disposed = true;
        while (_idle.TryTake(out Aes? aes))
        {
            aes.Dispose();
        }

        CryptographicOperations.ZeroMemory(_key);
    }

    private Aes Take()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (_idle.TryTake(out Aes? idle))
        {
            return idle;
        }

        var made = Aes.Create();
        made.Key = _key;
        return made;
    }
}
