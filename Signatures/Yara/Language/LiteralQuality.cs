namespace Vmsweep.Signatures.Yara.Language;

/// <summary>How seldom bytes are in ordinary files, so that finding them tells something.</summary>
internal static class LiteralQuality
{
    /// <summary>The shortest literal that is looked for.</summary>
    public const int LeastBytes = 3;

    private const int MostWindow = 8;

    private static readonly byte[] s_ofByte = [.. Enumerable.Range(0, 256).Select(c => Classify((byte)c))];

    /// <summary>0: not to be looked for; otherwise the higher the better.</summary>
    public static int Of(ReadOnlySpan<byte> bytes)
    {
        int best = 0;
        int width = Math.Min(bytes.Length, MostWindow);
        for (int at = 0; width >= LeastBytes && at + width <= bytes.Length; at++)
        {
            best = Math.Max(best, OfWindow(bytes.Slice(at, width)));
        }

        return best == 0 ? 0 : best + (Math.Min(bytes.Length, 32) / 4);
    }

    /// <summary>0 for windows of padding, which are in every file thousands of times.</summary>
    public static int OfWindow(ReadOnlySpan<byte> window)
    {
        int quality = 0;
        int telling = 0;
        for (int i = 0; i < window.Length; i++)
        {
            byte c = window[i];
            bool again = false;
            for (int j = 0; j < i; j++)
            {
                again |= window[j] == c;
            }

            int alone = s_ofByte[c];
            telling += again || alone == 1 ? 0 : 1;
            quality += again ? Math.Min(alone - 1, 1) : alone;
        }

        return telling < 2 ? 0 : quality;
    }

    /// <summary>1 for padding, more for what is seldom.</summary>
    public static int OfByte(byte c) => s_ofByte[c];

    private static byte Classify(byte c) => (byte)(
        c is 0 or 0x20 or 0xFF or 0x90 or 0xCC or (byte)'.' or (byte)'-' or (byte)'=' or (byte)'*' or (byte)'_' or (byte)'#' or (byte)'\t' or (byte)'\n' or (byte)'\r' ? 1
        : c is (byte)'e' or (byte)'t' or (byte)'a' or (byte)'i' or (byte)'n' or (byte)'o' or (byte)'r' or (byte)'s' ? 2
        : c is (>= (byte)'a' and <= (byte)'z') or (byte)'/' or 1 or 0x48 or 0x8B or 0x89 or 0xE8 or 0x24 or 0x44 or 0x0F ? 3
        : 4);
}
