using System.Security.Cryptography;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Blocks.Crypto;

namespace Vmsweep.DiskReaders.Volumes.Luks;

/// <summary>Makes a cipher of dm-crypt's way to name one: <c>cipher-mode-iv</c>, such as <c>aes-cbc-essiv:sha256</c>.</summary>
internal static class LuksCipher
{
    /// <summary>dm-crypt counts sectors of 512 bytes for initialization vectors, whatever it encrypts at once.</summary>
    public const int IvUnitBytes = 512;

    /// <summary>Why it cannot be made; null when it can.</summary>
    /// <param name="encryption">As the header names it.</param>
    /// <param name="keyBytes">0 when not known.</param>
    public static DiskFormatException? FaultOf(string encryption, int keyBytes, string structure, long offset)
    {
        (string cipher, string mode, string iv) = Parts(encryption);
        if (cipher != "aes" || mode is not ("xts" or "cbc" or "ecb") || (mode != "ecb" && iv is not ("plain" or "plain64" or "essiv:sha256")))
        {
            return new DiskFormatException(Fault.Unsupported, structure, offset, $"unsupported cipher {encryption}");
        }

        bool fits = keyBytes == 0 || (mode == "xts" ? keyBytes is 32 or 64 : keyBytes is 16 or 24 or 32);
        return fits ? null : new DiskFormatException(Fault.Unsupported, structure, offset, $"unsupported key of {keyBytes * 8} bits for {encryption}");
    }

    /// <param name="encryption">As the header names it.</param>
    /// <param name="key">Copied.</param>
    /// <param name="sectorBytes">Bytes encrypted at once.</param>
    /// <param name="firstSector">The number of the first sector, in units of <see cref="IvUnitBytes"/>.</param>
    /// <param name="budget">Memory to work in.</param>
    /// <exception cref="DiskFormatException"><see cref="Fault.Unsupported"/>: the cipher, or a key of this length for it.</exception>
    public static ISectorCipher Make(string encryption, ReadOnlySpan<byte> key, int sectorBytes, long firstSector, ScanBudget budget)
    {
        if (FaultOf(encryption, Math.Max(1, key.Length), "LUKS cipher", -1) is { } fault)
        {
            throw fault;
        }

        (_, string mode, string iv) = Parts(encryption);
        if (mode == "ecb")
        {
            return new AesEcbCipher(key, sectorBytes);
        }

        long step = sectorBytes / IvUnitBytes;
        SectorIv vectors = iv switch
        {
            "plain" => SectorIv.Plain(firstSector, step),
            "plain64" => SectorIv.Plain64(firstSector, step),
            _ => SectorIv.Essiv(key, firstSector, step),
        };
        return mode == "xts" ? new AesXtsCipher(key, sectorBytes, budget, vectors) : new AesCbcCipher(key, sectorBytes, budget, vectors);
    }

    private static (string Cipher, string Mode, string Iv) Parts(string encryption)
    {
        string[] parts = encryption.Split('-', 3);
        return (parts[0], parts.Length > 1 ? parts[1] : "", parts.Length > 2 ? parts[2] : "");
    }

    /// <summary>AES block by block, without a vector.</summary>
    private sealed class AesEcbCipher(ReadOnlySpan<byte> key, int sectorBytes) : ISectorCipher
    {
        private readonly AesPool _aes = new(key);

        public int SectorBytes { get; } = sectorBytes;

        public void Decrypt(long sector, Span<byte> data) => _aes.Decrypt(data, data);

        public void Dispose() => _aes.Dispose();
    }
}
