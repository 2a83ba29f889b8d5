using System.Globalization;
using System.Text;
using System.Text.Unicode;

namespace Vmsweep.DiskReaders.FileSystems;

/// <summary>
/// Names and paths of a guest are bytes: UTF-8 where the guest's are valid text, otherwise what the guest has (Linux), or
/// the three-byte form of an unpaired surrogate (NTFS, FAT), as ntfs-3g shows it too.
/// </summary>
public static class GuestName
{
    /// <summary>A UTF-16LE name as bytes; unpaired surrogates become three bytes each.</summary>
    public static byte[] FromUtf16(ReadOnlySpan<char> name)
    {
        byte[] bytes = new byte[name.Length * 3];
        int used = 0;
        for (int i = 0; i < name.Length; i++)
        {
            if (Rune.TryCreate(name[i], out Rune rune) || (i + 1 < name.Length && Rune.TryCreate(name[i], name[i + 1], out rune)))
            {
                i += rune.Utf16SequenceLength - 1;
                used += rune.EncodeToUtf8(bytes.AsSpan(used));
            }
            else
            {
                bytes[used++] = (byte)(0xE0 | (name[i] >> 12));
                bytes[used++] = (byte)(0x80 | ((name[i] >> 6) & 0x3F));
                bytes[used++] = (byte)(0x80 | (name[i] & 0x3F));
            }
        }

        return bytes[..used];
    }

    /// <summary>
    /// The text form of the contract: <c>\</c>, tab and newline as <c>\\</c>, <c>\t</c>, <c>\n</c>; bytes that are not UTF-8, and with
    /// <paramref name="controls"/> also control characters and other characters that act on a terminal, as <c>\xNN</c>.
    /// </summary>
    public static string Escape(ReadOnlySpan<byte> name, bool controls)
    {
        // Nearly all names are plain ASCII.
        if (!name.ContainsAnyExceptInRange((byte)' ', (byte)'~') && !name.Contains((byte)'\\'))
        {
            return Encoding.ASCII.GetString(name);
        }

        var text = new StringBuilder(name.Length);
        Span<char> units = stackalloc char[2];
        while (!name.IsEmpty)
        {
            bool valid = Rune.DecodeFromUtf8(name, out Rune rune, out int consumed) == System.Buffers.OperationStatus.Done;
            ReadOnlySpan<byte> bytes = name[..consumed];
            name = name[consumed..];
            if (!valid || (controls && rune.Value is not ('\t' or '\n') && ActsOnTerminal(rune)))
            {
                foreach (byte b in bytes)
                {
                    text.Append("\\x").Append(b.ToString("X2", CultureInfo.InvariantCulture));
                }
            }
            else
            {
                _ = rune.Value switch
                {
                    '\\' => text.Append(@"\\"),
                    '\t' => text.Append(@"\t"),
                    '\n' => text.Append(@"\n"),
                    _ => text.Append(units[..rune.EncodeToUtf16(units)]),
                };
            }
        }

        return text.ToString();
    }

    /// <summary>Undoes <see cref="Escape"/>: what a user typed or copied from a listing, as guest bytes.</summary>
    public static byte[] Unescape(string text)
    {
        byte[] utf8 = Encoding.UTF8.GetBytes(text);
        var bytes = new List<byte>(utf8.Length);
        for (int i = 0; i < utf8.Length; i++)
        {
            if (utf8[i] != '\\' || i + 1 >= utf8.Length)
            {
                bytes.Add(utf8[i]);
                continue;
            }

            switch (utf8[i + 1])
            {
                case (byte)'\\': bytes.Add((byte)'\\'); i++; break;
                case (byte)'t': bytes.Add((byte)'\t'); i++; break;
                case (byte)'n': bytes.Add((byte)'\n'); i++; break;
                case (byte)'x' when i + 3 < utf8.Length && byte.TryParse(utf8.AsSpan(i + 2, 2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out byte value):
                    bytes.Add(value);
                    i += 3;
                    break;
                default: bytes.Add((byte)'\\'); break;
            }
        }

        return [.. bytes];
    }

    public static bool IsValidUtf8(ReadOnlySpan<byte> name) => Utf8.IsValid(name);

    /// <summary>Controls (C0, DEL, C1) and format characters (bidirectional overrides, zero-width) change what a reader sees.</summary>
    public static bool ActsOnTerminal(Rune rune) =>
        Rune.GetUnicodeCategory(rune) is UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator;

    /// <summary>A name that stays one name in a path: the two-byte forms of NUL and <c>/</c> stand for them, as elsewhere.</summary>
    internal static byte[] Safe(byte[] name)
    {
        if (name.Length == 0)
        {
            return [0xE2, 0x90, 0xA0];
        }

        if (name is [(byte)'.'] or [(byte)'.', (byte)'.'])
        {
            return [.. name.SelectMany(_ => new byte[] { 0xE2, 0x80, 0xA4 })];
        }

        return name.AsSpan().ContainsAny((byte)0, (byte)'/')
            ? [.. name.SelectMany(b => b switch { 0 => new byte[] { 0xC0, 0x80 }, (byte)'/' => [0xC0, 0xAF], _ => [b] })]
            : name;
    }
}
