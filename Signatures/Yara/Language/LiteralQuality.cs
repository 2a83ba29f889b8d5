namespace Vmsweep.Signatures.Yara.Language;

/// <summary>How seldom bytes are in ordinary files, so that finding them tells something.</summary>
internal static class LiteralQuality
{
    /// <summary>The shortest literal that the prefilter can look for at every second offset: two overlapping windows of four bytes.</summary>
    public const int LeastBytes = 5;

    /// <summary>0: not to be looked for; otherwise the higher the better.</summary>
    public static int Of(ReadOnlySpan<byte> bytes)
    {
        int best = 0;
        for (int at = 0; at + LeastBytes <= bytes.Length; at++)
        {
            best = Math.Max(best, OfPair(bytes, at));
        }

        return best == 0 ? 0 : best + Math.Min(bytes.Length, 16);
    }

    /// <summary>The worse of two neighbouring windows.</summary>
    public static int OfPair(ReadOnlySpan<byte> bytes, int at) => Math.Min(OfWindow(bytes.Slice(at, 4)), OfWindow(bytes.Slice(at + 1, 4)));

    private static int OfWindow(ReadOnlySpan<byte> window)
    {
        int quality = 0;
        int blanks = 0;
        for (int i = 0; i < window.Length; i++)
        {
            byte c = window[i];
            if (c is 0 or 0x20 or 0xFF or 0x90 or 0xCC or (byte)'.' or (byte)'-' or (byte)'=' or (byte)'*' or (byte)'_' or (byte)'#' or (byte)'\t' or (byte)'\n' or (byte)'\r')
            {
                blanks++;
            }
            else
            {
                quality += c is (byte)'e' or (byte)'t' or (byte)'a' or (byte)'i' or (byte)'n' or (byte)'o' or (byte)'r' or (byte)'s' ? 2
                    : c is >= (byte)'a' and <= (byte)'z' or (byte)'/' or 1 or 0x48 or 0x8B or 0x89 or 0xE8 or 0x24 or 0x44 or 0x0F ? 3
                    : 4;
            }

            if (window[..i].Contains(c))
            {
                quality -= 2;
            }
        }

        // Windows of padding are in every file, thousands of times.
        return blanks >= 3 ? 0 : Math.Max(0, quality);
    }
}
