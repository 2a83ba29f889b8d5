using System.Text;

namespace Vmsweep.Signatures.Bundles;

/// <summary>
/// The header of a tar member: POSIX.1-2017 pax, "ustar Interchange Format", 512 bytes, and GNU tar's older magic. Only regular files
/// with a plain name are members of a bundle; whatever else tar knows is refused.
/// </summary>
internal static class TarFormat
{
    public const int BlockBytes = 512;

    private const int NameBytes = 100;

    /// <summary>The member's name and size; null for the zero block that ends an archive.</summary>
    /// <param name="where">For messages.</param>
    /// <exception cref="BundleException">No header, or of a member that a bundle cannot have.</exception>
    public static (string Name, long Bytes)? Read(ReadOnlySpan<byte> header, string where)
    {
        if (!header.ContainsAnyExcept((byte)0))
        {
            return null;
        }

        long sum = 0;
        for (int i = 0; i < BlockBytes; i++)
        {
            sum += i is >= 148 and < 156 ? (byte)' ' : header[i];
        }

        if (Octal(header.Slice(148, 8)) != sum)
        {
            throw new BundleException(where, "no tar header, or a damaged one");
        }

        if (!header.Slice(257, 8).SequenceEqual("ustar\000"u8) && !header.Slice(257, 8).SequenceEqual("ustar  \0"u8))
        {
            throw new BundleException(where, "a tar header of an unknown kind");
        }

        ReadOnlySpan<byte> name = header[..NameBytes];
        int end = name.IndexOf((byte)0);
        string shown = Encoding.ASCII.GetString(end < 0 ? name : name[..end]);
        if (end >= 0 && name[end..].ContainsAnyExcept((byte)0))
        {
            throw new BundleException(where, "a member's name goes on behind its end");
        }

        if (header[156] != '0')
        {
            throw new BundleException($"{where}: member \"{shown}\"", header[156] switch
            {
                (byte)'5' => "a folder; a bundle holds files alone (tar --no-recursion)",
                (byte)'1' or (byte)'2' => "a link",
                (byte)'3' or (byte)'4' or (byte)'6' => "a device",
                _ => "no plain file, or a name of more than 100 characters",
            });
        }

        // linkname; prefix, in GNU's form other fields: names are short enough to need neither.
        if (header.Slice(157, 100).ContainsAnyExcept((byte)0) || header.Slice(345, 167).ContainsAnyExcept((byte)0))
        {
            throw new BundleException($"{where}: member \"{shown}\"", "a link name or a prefix");
        }

        long bytes = Octal(header.Slice(124, 12));
        return bytes >= 0 ? (shown, bytes) : throw new BundleException($"{where}: member \"{shown}\"", "its size is no number");
    }

    /// <param name="name">Of at most <see cref="NameBytes"/> ASCII characters.</param>
    public static byte[] Write(string name, long bytes, DateTimeOffset time)
    {
        byte[] header = new byte[BlockBytes];
        Encoding.ASCII.GetBytes(name, header);
        Put(100, 8, 0b110_100_100);
        Put(108, 8, 0);
        Put(116, 8, 0);
        Put(124, 12, bytes);
        Put(136, 12, Math.Max(0, time.ToUnixTimeSeconds()));
        header.AsSpan(148, 8).Fill((byte)' ');
        header[156] = (byte)'0';
        "ustar\000"u8.CopyTo(header.AsSpan(257));
        long sum = 0;
        Array.ForEach(header, b => sum += b);
        Put(148, 7, sum);
        return header;

        void Put(int at, int width, long value) =>
            Encoding.ASCII.GetBytes(Convert.ToString(value, 8).PadLeft(width - 1, '0') + "\0", header.AsSpan(at));
    }

    /// <summary>Zeros that fill a member's last block.</summary>
    public static int Padding(long bytes) => (int)(-bytes & (BlockBytes - 1));

    /// <summary>Octal digits, then blanks or zeros; -1 for anything else, and for what does not fit.</summary>
    private static long Octal(ReadOnlySpan<byte> field)
    {
        ReadOnlySpan<byte> digits = field.TrimStart((byte)' ');
        int end = digits.IndexOfAny((byte)' ', (byte)0);
        digits = end < 0 ? digits : digits[..end];
        if (digits.IsEmpty || digits.ContainsAnyExceptInRange((byte)'0', (byte)'7') || (end >= 0 && field[(field.Length - (field.TrimStart((byte)' ').Length - end))..].ContainsAnyExcept((byte)' ', (byte)0)))
        {
            return -1;
        }

        long value = 0;
        foreach (byte digit in digits)
        {
            value = (value << 3) | (uint)(digit - '0');
        }

        return value;
    }
}
