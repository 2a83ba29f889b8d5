using System.Globalization;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Blocks.Crypto;

namespace Vmsweep.DiskReaders.Volumes.BitLocker;

/// <summary>"Encryption methods": what each encrypts with, and how its key is stored.</summary>
/// <param name="Name">For people: mode, cipher, key bits.</param>
/// <param name="AesKeyBytes">Of each AES key in it.</param>
/// <param name="StoredBytes">Of the data key in the metadata: with the diffuser always two fields of 32 bytes.</param>
internal sealed record BitLockerCipher(string Name, int AesKeyBytes, int StoredBytes)
{
    private const int TweakKeyAt = 32;

    /// <exception cref="DiskFormatException"><see cref="Fault.Unsupported"/>: not one of them.</exception>
    public static BitLockerCipher Of(int method) => method switch
    {
        0x8000 => new("cbc-aes-128-elephant", 16, 64),
        0x8001 => new("cbc-aes-256-elephant", 32, 64),
        0x8002 => new("cbc-aes-128", 16, 16),
        0x8003 => new("cbc-aes-256", 32, 32),
        0x8004 => new("xts-aes-128", 16, 32),
        0x8005 => new("xts-aes-256", 32, 64),
        _ => throw new DiskFormatException(Fault.Unsupported, "FVE metadata header", -1, string.Create(CultureInfo.InvariantCulture, $"encryption method 0x{method:X4}")),
    };

    public bool IsKey(byte[] key) => key.Length == StoredBytes;

    public ISectorCipher Make(ReadOnlySpan<byte> key, int sectorBytes, ScanBudget budget)
    {
        if (Name.StartsWith("xts", StringComparison.Ordinal))
        {
            return new AesXtsCipher(key, sectorBytes, budget);
        }

        var cbc = new AesCbcCipher(key[..AesKeyBytes], sectorBytes, budget, SectorIv.EncryptedOffset(key[..AesKeyBytes], sectorBytes));
        return StoredBytes == 64 ? new ElephantCipher(cbc, key.Slice(TweakKeyAt, AesKeyBytes), budget) : cbc;
    }
}
