using System.Globalization;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Luks;

/// <summary>A place where the volume key may be stored, encrypted under a secret.</summary>
/// <param name="Number">As cryptsetup counts, from 0.</param>
/// <param name="Priority">LUKS2: 2 is tried first, 0 only when nothing else is left.</param>
internal sealed record LuksKeySlot(int Number, int Priority = 1)
{
    public int KeyBytes { get; init; }

    public KeyDerivation Kdf { get; init; } = KeyDerivation.None;

    public int Stripes { get; init; }

    /// <summary>Hash of the anti-forensic splitter.</summary>
    public string SplitHash { get; init; } = "";

    /// <summary>Cipher of the key material, such as <c>aes-xts-plain64</c>.</summary>
    public string Encryption { get; init; } = "";

    /// <summary>Key of the key material's cipher.</summary>
    public int AreaKeyBytes { get; init; }

    public long AreaOffset { get; init; }

    /// <summary>Why it cannot be tried; null when it can.</summary>
    public DiskFormatException? Fault { get; init; }

    public override string ToString() => Number.ToString(CultureInfo.InvariantCulture) + " (" + (Fault?.Detail ?? Kdf.ToString()) + ")";
}

/// <summary>By which a volume key is known to be right, and what it belongs to.</summary>
/// <param name="KeyBytes">Of the volume key where the header itself tells it, LUKS1; 0 otherwise.</param>
internal sealed record LuksDigest(int Number, IReadOnlyList<int> Slots, IReadOnlyList<int> Segments, KeyDerivation Kdf, byte[] Value, int KeyBytes = 0);

/// <summary>A range of the volume's data.</summary>
/// <param name="Size">Null: to the end of the device.</param>
/// <param name="Encryption">Null: not encrypted, LUKS2 <c>linear</c>.</param>
/// <param name="IvTweak">Number of its first sector, in units of 512 bytes.</param>
internal sealed record LuksSegment(int Number, long Offset, long? Size, string? Encryption, long IvTweak, int SectorBytes)
{
    /// <summary>True when no key is needed to read it. <c>cipher_null</c> is what an unfinished encryption of old left behind.</summary>
    public bool IsPlain => Encryption is null || Encryption.StartsWith("cipher_null", StringComparison.Ordinal);
}

/// <summary>LUKS2: something outside that can give a passphrase: a TPM, a server, a keyring.</summary>
internal sealed record LuksToken(string Kind, IReadOnlyList<int> Slots)
{
    public override string ToString() => Slots.Count == 0 ? Kind : $"{Kind} (slot {string.Join(", ", Slots)})";
}

/// <summary>What a header of either version says. Text in it is the guest's.</summary>
internal sealed record LuksHeader(int Version, string Uuid, string Label)
{
    public IReadOnlyList<LuksKeySlot> Slots { get; init; } = [];

    public IReadOnlyList<LuksDigest> Digests { get; init; } = [];

    /// <summary>In the order in which they make up the volume.</summary>
    public IReadOnlyList<LuksSegment> Segments { get; init; } = [];

    public IReadOnlyList<LuksToken> Tokens { get; init; } = [];

    /// <summary>Where metadata and key slot areas end: no data lies before.</summary>
    public long EndOfMetadata { get; init; }

    /// <summary>Why the data cannot be read even with a key; null when they can.</summary>
    public DiskFormatException? Fault { get; init; }

    public List<string> Notes { get; } = [];

    /// <summary>The digests whose keys are needed to read all segments.</summary>
    public IReadOnlyList<LuksDigest> NeededDigests =>
        [.. Segments.Where(s => !s.IsPlain).Select(DigestOf).OfType<LuksDigest>().Distinct()];

    public LuksDigest? DigestOf(LuksSegment segment) => Digests.FirstOrDefault(d => d.Segments.Contains(segment.Number));

    /// <summary>The key's size as header or slots tell it; 0 when none does.</summary>
    public int KeyBytesOf(LuksDigest digest) =>
        digest.KeyBytes > 0 ? digest.KeyBytes : Slots.FirstOrDefault(s => s.KeyBytes > 0 && digest.Slots.Contains(s.Number))?.KeyBytes ?? 0;

    /// <summary>How it lies on its device, for people.</summary>
    public string Describe()
    {
        List<string> parts = [];
        foreach (LuksSegment segment in Segments)
        {
            int bits = DigestOf(segment) is { } digest ? KeyBytesOf(digest) * 8 : 0;
            string text = segment.Encryption ?? "linear";
            text += bits > 0 && !segment.IsPlain ? $", key of {bits} bits" : "";
            text += segment.SectorBytes > LuksCipher.IvUnitBytes ? $", sectors of {segment.SectorBytes}" : "";
            if (!parts.Contains(text))
            {
                parts.Add(text);
            }
        }

        return $"luks{Version} {string.Join(" and ", parts)}";
    }
}
