namespace Vmsweep.Signatures.Bundles;

/// <summary>What a bundle may be. Far above what real ones are, far below what fills a disk or memory.</summary>
internal static class BundleLimits
{
    /// <summary>Room for <see cref="MostParts"/> parts.</summary>
    public const int MostManifestBytes = 4 << 20;

    /// <summary>An Ed25519 signature has 64 bytes, one of ECDSA P-256 at most 72.</summary>
    public const int MostSignatureBytes = 512;

    public const int MostParts = 10_000;

    public const long MostPartBytes = 4L << 30;

    /// <summary>All parts together.</summary>
    public const long MostBytes = 8L << 30;

    /// <summary>The name field of a tar header.</summary>
    public const int MostPathBytes = 100;

    /// <summary>Folders above a part.</summary>
    public const int MostPathDepth = 8;

    /// <summary>Each costs a signature check for each bundle.</summary>
    public const int MostTrustedKeys = 100;
}
