using System.Buffers.Binary;
using System.Security.Cryptography;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.BitLocker;

/// <summary>"FVE AES-CCM encrypted key": a key under another one. Nonce of 12 bytes, tag of 16, then the encrypted "key container".</summary>
internal sealed class WrappedKey
{
    private const int NonceBytes = 12;
    private const int TagBytes = 16;

    /// <summary>Size, version, unused, encryption method.</summary>
    private const int ContainerHeaderBytes = 12;

    private const int MostKeyBytes = 256;

    private readonly byte[] _nonce;
    private readonly byte[] _tag;
    private readonly byte[] _data;

    public WrappedKey(LeView v)
    {
        int data = v.Length - NonceBytes - TagBytes;
        v.Require(data > ContainerHeaderBytes && data <= ContainerHeaderBytes + MostKeyBytes, 0, "size of an encrypted key");
        _nonce = v.Field(0, NonceBytes).ToArray();
        _tag = v.Field(NonceBytes, TagBytes).ToArray();
        _data = v.Field(NonceBytes + TagBytes, data).ToArray();
    }

    /// <summary>The key within; null when <paramref name="key"/> is not the one it was wrapped with: the tag tells.</summary>
    public byte[]? Unwrap(ReadOnlySpan<byte> key)
    {
        byte[] container = new byte[_data.Length];
        try
        {
            using var ccm = new AesCcm(key);
            ccm.Decrypt(_nonce, _data, _tag, container);
            int size = BinaryPrimitives.ReadInt32LittleEndian(container);
            return size > ContainerHeaderBytes && size <= container.Length ? container[ContainerHeaderBytes..size] : null;
        }
        catch (AuthenticationTagMismatchException)
        {
            return null;
        }
        finally
        {
            CryptographicOperations.ZeroMemory(container);
        }
    }
}
