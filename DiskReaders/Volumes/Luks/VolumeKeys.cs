using System.Security.Cryptography;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Luks;

/// <summary>The volume keys that were found, by the digest that proved them, and how. Zeroed when disposed.</summary>
internal sealed class VolumeKeys : IDisposable
{
    private readonly Dictionary<int, byte[]> _keys = [];

    /// <summary>What opened the volume, for people: never the secret itself.</summary>
    public List<string> OpenedBy { get; } = [];

    /// <summary>Key slots that were not tried, and why.</summary>
    public List<DiskFormatException> NotTried { get; } = [];

    public ReadOnlySpan<byte> Of(LuksDigest digest) => _keys[digest.Number];

    public bool Has(LuksDigest digest) => _keys.ContainsKey(digest.Number);

    public void Add(LuksDigest digest, ReadOnlySpan<byte> key, string openedBy)
    {
        _keys.Add(digest.Number, key.ToArray());
        OpenedBy.Add(openedBy);
    }

    public void Dispose()
    {
        foreach (byte[] key in _keys.Values)
        {
            CryptographicOperations.ZeroMemory(key);
        }

        _keys.Clear();
    }
}
