using System.Security.Cryptography;
using Org.BouncyCastle.Math.EC.Rfc8032;

namespace Vmsweep.Signatures.Bundles;

/// <summary>
/// A publisher's public key: Ed25519 (RFC 8032) or ECDSA on P-256 with SHA-256, as a SubjectPublicKeyInfo in PEM, which
/// <c>openssl pkey -pubout</c> writes.
/// </summary>
public sealed class PublisherKey : IDisposable
{
    private const string P256 = "1.2.840.10045.3.1.7";

    /// <summary>DER of a SubjectPublicKeyInfo for id-Ed25519 up to its 32 bytes of key, RFC 8410 section 4: there is no other form.</summary>
    private static readonly byte[] Ed25519Prefix = [0x30, 0x2A, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x03, 0x21, 0x00];

    private readonly byte[] _info;
    private readonly ECDsa? _ecdsa;

    private PublisherKey(byte[] info, ECDsa? ecdsa)
    {
        _info = info;
        _ecdsa = ecdsa;
        Id = Convert.ToHexStringLower(SHA256.HashData(info));
    }

    /// <summary>SHA-256 of the SubjectPublicKeyInfo.</summary>
    public string Id { get; }

    public string Algorithm => _ecdsa is null ? "Ed25519" : "ECDSA P-256";

    /// <param name="where">For messages.</param>
    /// <exception cref="BundleException">No public key of a kind that is used here.</exception>
    public static PublisherKey Parse(string pem, string where)
    {
        if (!PemEncoding.TryFind(pem, out PemFields fields))
        {
            throw new BundleException(where, "no key in PEM; openssl pkey -in PRIVATE.pem -pubout writes one");
        }

        string label = pem[fields.Label];
        return label == "PUBLIC KEY" ? FromInfo(Convert.FromBase64String(pem[fields.Base64Data]), where)
            : label.EndsWith("PRIVATE KEY", StringComparison.Ordinal) ? throw new BundleException(where, "a private key, which stays with its publisher; openssl pkey -in FILE -pubout gives the public one")
            : throw new BundleException(where, $"a {label}, not a PUBLIC KEY");
    }

    internal static PublisherKey FromInfo(byte[] info, string where)
    {
        if (info.AsSpan().StartsWith(Ed25519Prefix))
        {
            // A point of small order would verify signatures that nobody made.
            return info.Length == Ed25519Prefix.Length + Ed25519.PublicKeySize && Ed25519.ValidatePublicKeyFull(info, Ed25519Prefix.Length)
                ? new PublisherKey(info, null)
                : throw new BundleException(where, "an Ed25519 key that is none");
        }

        ECDsa ecdsa = ECDsa.Create();
        try
        {
            ecdsa.ImportSubjectPublicKeyInfo(info, out int read);
            if (read == info.Length && ecdsa.ExportParameters(includePrivateParameters: false).Curve.Oid?.Value == P256)
            {
                return new PublisherKey(ecdsa.ExportSubjectPublicKeyInfo(), ecdsa);
            }
        }
        catch (Exception e) when (e is CryptographicException or PlatformNotSupportedException)
        {
            // Not this kind of key either.
        }

        ecdsa.Dispose();
        throw new BundleException(where, "neither an Ed25519 nor an ECDSA P-256 key");
    }

    internal static PublisherKey FromEd25519(ReadOnlySpan<byte> key) => FromInfo([.. Ed25519Prefix, .. key], "the key");

    public string ToPem() => PemEncoding.WriteString("PUBLIC KEY", _info) + "\n";

    /// <summary>True when the holder of the private key signed exactly this.</summary>
    /// <param name="signature">64 bytes for Ed25519; for ECDSA the DER form that <c>openssl dgst -sign</c> writes.</param>
    public bool Verifies(byte[] message, byte[] signature)
    {
        if (_ecdsa is null)
        {
            return signature.Length == Ed25519.SignatureSize && Ed25519.Verify(signature, 0, _info, Ed25519Prefix.Length, message, 0, message.Length);
        }

        try
        {
            return _ecdsa.VerifyData(message, signature, HashAlgorithmName.SHA256, DSASignatureFormat.Rfc3279DerSequence);
        }
        catch (CryptographicException)
        {
            // No DER.
            return false;
        }
    }

    public void Dispose() => _ecdsa?.Dispose();
}
