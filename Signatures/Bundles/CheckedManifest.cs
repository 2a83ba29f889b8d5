using System.Security.Cryptography;

namespace Vmsweep.Signatures.Bundles;

/// <summary>A manifest whose signature was checked, or that the operator wants without one.</summary>
/// <param name="Id">SHA-256 of its bytes: the identity of the bundle.</param>
/// <param name="Signer">Null: nobody signed it.</param>
internal sealed record CheckedManifest(string Id, BundleManifest Manifest, Publisher? Signer)
{
    /// <summary>Of two publishers' clocks one may be a little ahead.</summary>
    private static readonly TimeSpan ClockSlack = TimeSpan.FromDays(1);

    /// <summary>Checks the signature before a byte of the manifest is parsed.</summary>
    /// <param name="mayBeUnsigned">The operator vouches for it: a signature that is missing or a stranger's is not asked for.</param>
    /// <exception cref="BundleException">Not signed, signed by a stranger, or no manifest.</exception>
    public static CheckedManifest Of(byte[] manifest, byte[] signature, TrustedKeys trust, bool mayBeUnsigned, string where)
    {
        Publisher? signer = signature.Length > 0 ? trust.SignerOf(manifest, signature) : null;
        if (signer is null && !mayBeUnsigned)
        {
            throw new BundleException(where, signature.Length == 0
                ? "not signed; --unsigned takes it all the same, if it is your own"
                : trust.Read().Count == 0 ? "no publisher is trusted yet; vmsweep signatures trust add KEYFILE pins a publisher's key" : "signed by none of the trusted publishers, or changed since");
        }

        return new CheckedManifest(Convert.ToHexStringLower(SHA256.HashData(manifest)), BundleManifest.Parse(manifest, $"{where}: {BundleManifest.FileName}"), signer);
    }

    /// <exception cref="BundleException">It must not become active any more, or not yet.</exception>
    public void RequireInTime(DateTimeOffset now, string where)
    {
        if (Manifest.Expires <= now)
        {
            throw new BundleException(where, $"{Manifest} expired on {Manifest.Expires.UtcDateTime:yyyy-MM-dd HH:mm} UTC");
        }

        if (Manifest.Created > now + ClockSlack)
        {
            throw new BundleException(where, $"{Manifest} was created on {Manifest.Created.UtcDateTime:yyyy-MM-dd HH:mm} UTC, which is still to come; check this machine's clock");
        }
    }
}
