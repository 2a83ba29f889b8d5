using System.Security.Cryptography;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Luks;

/// <summary>The platform's hashes under the names that headers use.</summary>
internal static class LuksHash
{
    /// <exception cref="DiskFormatException"><see cref="Fault.Unsupported"/>: not one of the platform's.</exception>
    public static HashAlgorithmName Of(string name, string structure, long offset) => name switch
    {
        "sha1" => HashAlgorithmName.SHA1,
        "sha256" => HashAlgorithmName.SHA256,
        "sha384" => HashAlgorithmName.SHA384,
        "sha512" => HashAlgorithmName.SHA512,
        "sha3-256" when SHA3_256.IsSupported => HashAlgorithmName.SHA3_256,
        "sha3-384" when SHA3_384.IsSupported => HashAlgorithmName.SHA3_384,
        "sha3-512" when SHA3_512.IsSupported => HashAlgorithmName.SHA3_512,
        _ => throw new DiskFormatException(Fault.Unsupported, structure, offset, $"unsupported hash {name}"),
    };

    public static int Bytes(HashAlgorithmName hash) => hash.Name switch
    {
        "SHA1" => 20,
        "SHA384" or "SHA3-384" => 48,
        "SHA512" or "SHA3-512" => 64,
        _ => 32,
    };
}
