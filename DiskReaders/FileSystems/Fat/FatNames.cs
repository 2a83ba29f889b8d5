using System.Text;

namespace Vmsweep.DiskReaders.FileSystems.Fat;

/// <summary>
/// Names of FAT entries. Short names are in the OEM code page, taken as 437, and shown as Linux and Windows NT show them: upper
/// case unless DIR_NTRes says otherwise. What would make a path say something else is replaced by its picture.
/// </summary>
internal static class FatNames
{
    public const int ShortLength = 11;

    private const int BaseLength = 8;

    /// <summary>DIR_NTRes: the base, or the extension, is lower case (Windows NT; no part of the specification).</summary>
    private const int LowerBase = 0x08;

    private const int LowerExtension = 0x10;

    /// <summary>Code page 437, upper half, as unicode.org's CP437.TXT has it.</summary>
    private const string Cp437 =
        "\u00C7\u00FC\u00E9\u00E2\u00E4\u00E0\u00E5\u00E7\u00EA\u00EB\u00E8\u00EF\u00EE\u00EC\u00C4\u00C5"
        + "\u00C9\u00E6\u00C6\u00F4\u00F6\u00F2\u00FB\u00F9\u00FF\u00D6\u00DC\u00A2\u00A3\u00A5\u20A7\u0192"
        + "\u00E1\u00ED\u00F3\u00FA\u00F1\u00D1\u00AA\u00BA\u00BF\u2310\u00AC\u00BD\u00BC\u00A1\u00AB\u00BB"
        + "\u2591\u2592\u2593\u2502\u2524\u2561\u2562\u2556\u2555\u2563\u2551\u2557\u255D\u255C\u255B\u2510"
        + "\u2514\u2534\u252C\u251C\u2500\u253C\u255E\u255F\u255A\u2554\u2569\u2566\u2560\u2550\u256C\u2567"
        + "\u2568\u2564\u2565\u2559\u2558\u2552\u2553\u256B\u256A\u2518\u250C\u2588\u2584\u258C\u2590\u2580"
        + "\u03B1\u00DF\u0393\u03C0\u03A3\u03C3\u00B5\u03C4\u03A6\u0398\u03A9\u03B4\u221E\u03C6\u03B5\u2229"
        + "\u2261\u00B1\u2265\u2264\u2320\u2321\u00F7\u2248\u00B0\u2219\u00B7\u221A\u207F\u00B2\u25A0\u00A0";

    /// <summary>A short name as guest bytes; never empty, never <c>.</c> or <c>..</c>, without <c>/</c> and NUL.</summary>
    /// <param name="name">DIR_Name, 11 bytes.</param>
    /// <param name="ntRes">DIR_NTRes.</param>
    public static byte[] Short(ReadOnlySpan<byte> name, byte ntRes)
    {
        Span<char> text = stackalloc char[ShortLength + 1];
        int length = Part(name[..BaseLength], (ntRes & LowerBase) != 0, isStart: true, text);
        int extension = Part(name[BaseLength..], (ntRes & LowerExtension) != 0, isStart: false, text[(length + 1)..]);
        if (extension > 0)
        {
            text[length] = '.';
            length += 1 + extension;
        }

        text = text[..length];
        if (length == 0)
        {
            return GuestName.FromUtf16("\u2420");
        }

        if (text is "." or "..")
        {
            text.Fill('\u2024');
        }

        return Utf8(text);
    }

    /// <summary>True when a long name is a file's name on any system: not empty, not <c>.</c> or <c>..</c>, without separator.</summary>
    public static bool IsProper(ReadOnlySpan<char> longName) =>
        longName is not ("" or "." or "..") && !longName.ContainsAny('/', '\0');

    /// <summary>UTF-16 as guest bytes.</summary>
    public static byte[] Utf8(ReadOnlySpan<char> text)
    {
        if (!Ascii.IsValid(text))
        {
            return GuestName.FromUtf16(text);
        }

        byte[] bytes = new byte[text.Length];
        for (int i = 0; i < bytes.Length; i++)
        {
            bytes[i] = (byte)text[i];
        }

        return bytes;
    }

    /// <summary>A volume label: 11 bytes, padded; empty for the one that says that there is none.</summary>
    public static string Label(ReadOnlySpan<byte> label)
    {
        if (label.SequenceEqual("NO NAME    "u8))
        {
            return "";
        }

        Span<char> text = stackalloc char[ShortLength];
        for (int i = 0; i < text.Length; i++)
        {
            text[i] = Decode(i == 0 && label[i] == 0x05 ? (byte)0xE5 : label[i]);
        }

        return text.TrimEnd(" \0").ToString();
    }

    /// <summary>ChkSum() of the specification ("Long Directory Entries"): the sum that each long entry keeps of its short name.</summary>
    public static byte Checksum(ReadOnlySpan<byte> shortName)
    {
        byte sum = 0;
        foreach (byte b in shortName[..ShortLength])
        {
            sum = unchecked((byte)(((sum & 1) << 7) + (sum >> 1) + b));
        }

        return sum;
    }

    private static int Part(ReadOnlySpan<byte> bytes, bool isLower, bool isStart, Span<char> text)
    {
        bytes = bytes.TrimEnd((byte)' ');
        for (int i = 0; i < bytes.Length; i++)
        {
            // 0x05 stands for 0xE5, which as first byte would mark a deleted entry.
            char c = Decode(isStart && i == 0 && bytes[i] == 0x05 ? (byte)0xE5 : bytes[i]);
            text[i] = c switch
            {
                '/' => '\u2215',
                '\0' => '\u2400',
                _ => isLower ? char.ToLowerInvariant(c) : c,
            };
        }

        return bytes.Length;
    }

    private static char Decode(byte b) => b < 0x80 ? (char)b : Cp437[b - 0x80];
}
