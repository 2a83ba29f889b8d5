using System.Text;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Signatures.Hashes;

/// <summary>
/// One line of a hash list. Either what <c>sha256sum</c> prints, or columns between commas, semicolons or tabs with quotes as in
/// RFC 4180: the strongest hash of the first columns counts, then a name and a severity in whatever order.
/// </summary>
internal ref struct HashLine
{
    /// <summary>Lists of NIST and of malware exchanges have their hashes among the first eight columns.</summary>
    private const int FirstColumns = 8;

    private const int MostColumns = 16;

    /// <summary>The hash in hexadecimal digits.</summary>
    public ReadOnlySpan<byte> Hex { get; private set; }

    /// <summary>As it stands in the line, with doubled quotes where it was quoted.</summary>
    public ReadOnlySpan<byte> Name { get; private set; }

    public Severity? Severity { get; private set; }

    /// <summary>Null when the line holds a hash, otherwise what is wrong with it.</summary>
    public static string? Parse(ReadOnlySpan<byte> text, out HashLine line)
    {
        line = default;
        int digits = HexRun(text);
        if (IsHash(digits) && (digits == text.Length || text[digits] == ' '))
        {
            ReadOnlySpan<byte> name = WithoutComment(text[digits..]).TrimStart(" *"u8).TrimEnd(" \t"u8);
            if (name.IsEmpty || !",;\t"u8.Contains(name[0]))
            {
                line.Hex = text[..digits];
                line.Name = name;
                return null;
            }
        }

        return line.ParseColumns(WithoutComment(text));
    }

    /// <summary>A table may name its columns in its first line.</summary>
    public static bool IsHeading(ReadOnlySpan<byte> text)
    {
        string words = Encoding.UTF8.GetString(text);
        return words.IndexOfAny([',', ';', '\t']) >= 0
            && (words.Contains("hash", StringComparison.OrdinalIgnoreCase) || words.Contains("sha", StringComparison.OrdinalIgnoreCase) || words.Contains("md5", StringComparison.OrdinalIgnoreCase));
    }

    private static bool IsHash(int digits) => digits is 32 or 40 or 64;

    private static int HexRun(ReadOnlySpan<byte> text)
    {
        int end = text.IndexOfAnyExcept(Hexadecimal);
        return end < 0 ? text.Length : end;
    }

    private static readonly System.Buffers.SearchValues<byte> Hexadecimal = System.Buffers.SearchValues.Create("0123456789abcdefABCDEF"u8);

    private static ReadOnlySpan<byte> WithoutComment(ReadOnlySpan<byte> text)
    {
        int at = text.IndexOf(" #"u8);
        return at < 0 ? text : text[..at];
    }

    private string? ParseColumns(ReadOnlySpan<byte> text)
    {
        Span<Range> columns = stackalloc Range[MostColumns];
        int count = Split(text, columns);
        int best = -1;
        int bestDigits = 0;
        for (int i = 0; i < Math.Min(count, FirstColumns); i++)
        {
            int digits = HexRun(text[columns[i]]);
            if (digits == text[columns[i]].Length && IsHash(digits) && digits > bestDigits)
            {
                (best, bestDigits) = (i, digits);
            }
        }

        if (best < 0)
        {
            int digits = count > 0 ? HexRun(text[columns[0]]) : 0;
            return digits > 0 && digits == text[columns[0]].Length
                ? $"{digits} hexadecimal digits: MD5 has 32, SHA-1 40, SHA-256 64"
                : "no hash in hexadecimal digits";
        }

        Hex = text[columns[best]];
        for (int i = 0; i < count; i++)
        {
            ReadOnlySpan<byte> column = text[columns[i]];
            if (i == best || (IsHash(column.Length) && HexRun(column) == column.Length))
            {
                continue;
            }

            if (Severity is null && column.Length <= 16 && Severities.Parse(Encoding.UTF8.GetString(column)) is { } named)
            {
                Severity = named;
            }
            else if (Name.IsEmpty)
            {
                Name = column;
            }
        }

        return null;
    }

    /// <summary>Columns that are not empty, without their quotes and the blanks around them.</summary>
    private static int Split(ReadOnlySpan<byte> text, Span<Range> columns)
    {
        int first = text.IndexOfAny((byte)',', (byte)';', (byte)'\t');
        byte separator = first < 0 ? (byte)' ' : text[first];
        int count = 0;
        int at = 0;
        while (at <= text.Length && count < columns.Length)
        {
            int end = at;
            for (bool quoted = false; end < text.Length && (quoted || text[end] != separator); end++)
            {
                quoted ^= text[end] == '"';
            }

            int from = at;
            int to = end;
            Trim(text, ref from, ref to);
            if (to - from >= 2 && text[from] == '"' && text[to - 1] == '"')
            {
                from++;
                to--;
                Trim(text, ref from, ref to);
            }

            if (to > from)
            {
                columns[count++] = from..to;
            }

            at = end + 1;
        }

        return count;
    }

    private static void Trim(ReadOnlySpan<byte> text, ref int from, ref int to)
    {
        for (; from < to && text[from] is (byte)' ' or (byte)'\t'; from++)
        {
        }

        for (; to > from && text[to - 1] is (byte)' ' or (byte)'\t'; to--)
        {
        }
    }
}
