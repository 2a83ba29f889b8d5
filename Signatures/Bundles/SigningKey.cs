using System.Security.Cryptography;
using Org.BouncyCastle.Math.EC.Rfc8032;

namespace Vmsweep.Signatures.Bundles;

/// <summary>A publisher's private key, as <c>openssl genpkey</c> writes it: PKCS #8 or, for ECDSA, SEC 1, not encrypted.</summary>
public sealed class SigningKey : IDisposable
{
    /// <summary>DER of a PrivateKeyInfo for id-Ed25519 up to its 32 bytes, RFC 8410 section 7, without the optional public key.</summary>
    private static readonly byte[] Ed25519Prefix = [0x30, 0x2E, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

    private readonly byte[]? _seed;
    private readonly ECDsa? _ecdsa;

    private SigningKey(byte[] seed)
    {
        _seed = seed;
        byte[] publicKey = new byte[Ed25519.PublicKeySize];
        Ed25519.GeneratePublicKey(seed, 0, publicKey, 0);
        Public = PublisherKey.FromEd25519(publicKey);
    }

    private SigningKey(ECDsa ecdsa, string where)
    {
        Public = PublisherKey.FromInfo(ecdsa.ExportSubjectPublicKeyInfo(), where);
        _ecdsa = ecdsa;
    }

    public PublisherKey Public { get; }

    /// <param name="where">For messages.</param>
    /// <exception cref="BundleException">No private key of a kind that is used here.</exception>
    public static SigningKey Parse(string pem, string where)
    {
        // openssl ecparam writes the curve's name before the key.
        const string Parameters = "-----END EC PARAMETERS-----";
        int after = pem.IndexOf(Parameters, StringComparison.Ordinal);
        pem = after < 0 ? pem : pem[(after + Parameters.Length)..];
        if (!PemEncoding.TryFind(pem, out PemFields fields))
        {
            throw new BundleException(where, "no key in PEM; openssl genpkey -algorithm ed25519 writes one");
        }

        string label = pem[fields.Label];
        if (label is not ("PRIVATE KEY" or "EC PRIVATE KEY"))
        {
            throw new BundleException(where, label == "ENCRYPTED PRIVATE KEY"
                ? "the key is encrypted; openssl pkey -in FILE | vmsweep signatures build --key - ... asks for its passphrase"
                : $"a {label}, not a PRIVATE KEY");
        }

        byte[] info = Convert.FromBase64String(pem[fields.Base64Data]);
        if (label == "PRIVATE KEY" && info.Length == Ed25519Prefix.Length + Ed25519.SecretKeySize && info.AsSpan().StartsWith(Ed25519Prefix))
        {
            return new SigningKey(info[Ed25519Prefix.Length..]);
        }

        ECDsa ecdsa = ECDsa.Create();
        try
        {
            if (label == "PRIVATE KEY")
            {
                ecdsa.ImportPkcs8PrivateKey(info, out _);
            }
            else
            {
                ecdsa.ImportECPrivateKey(info, out _);
            }

            return new SigningKey(ecdsa, where);
        }
        catch (Exception e) when (e is CryptographicException or PlatformNotSupportedException or BundleException)
        {
            ecdsa.Dispose();
            throw new BundleException(where, "neither an Ed25519 nor an ECDSA P-256 key");
        }
    }

    /// <summary>In the form that <see cref="PublisherKey.Verifies"/> and openssl take.</summary>
    public byte[] Sign(byte[] message)
    {
        if (_ecdsa is not null)
        {
            return _ecdsa.SignData(message, HashAlgorithmName.SHA256, DSASignatureFormat.Rfc3279DerSequence);
        }

        byte[] signature = new byte[Ed25519.SignatureSize];
        Ed25519.Sign(_seed, 0, message, 0, message.Length, signature, 0);
        return signature;
    }

    public void Dispose()
    {
        CryptographicOperations.ZeroMemory(_seed);
        _ecdsa?.Dispose();
        Public.Dispose();
    }
}
