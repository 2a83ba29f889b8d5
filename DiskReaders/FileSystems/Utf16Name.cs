using System.Buffers.Binary;

namespace Vmsweep.DiskReaders.FileSystems;

/// <summary>Names of files and streams, UTF-16LE, as guest bytes.</summary>
internal static class Utf16Name
{
    /// <summary>FileNameLength and AttributeNameLength are one byte.</summary>
    private const int MaxChars = 255;

    /// <summary>
    /// As <see cref="GuestName.FromUtf16"/>, but <c>/</c> and NUL, which NTFS itself does not forbid, become the two-byte forms
    /// that no text has: a name stays one name in a path, and no C string ends early.
    /// </summary>
    public static byte[] ToBytes(ReadOnlySpan<byte> name)
    {
        byte[] bytes = new byte[name.Length / 2];
        for (int i = 0; i < bytes.Length; i++)
        {
            ushort c = BinaryPrimitives.ReadUInt16LittleEndian(name[(2 * i)..]);
            if (c is 0 or '/' or >= 0x80)
            {
                return ToBytesSlowly(name);
            }

            bytes[i] = (byte)c;
        }

        return bytes;
    }

    public static string ToText(ReadOnlySpan<byte> name) => System.Text.Encoding.Unicode.GetString(name);

    private static byte[] ToBytesSlowly(ReadOnlySpan<byte> name)
    {
        Span<char> chars = stackalloc char[MaxChars];
        chars = chars[..Math.Min(MaxChars, name.Length / 2)];
        bool reserved = false;
        for (int i = 0; i < chars.Length; i++)
        {
            chars[i] = (char)BinaryPrimitives.ReadUInt16LittleEndian(name[(2 * i)..]);
            reserved |= chars[i] is '\0' or '/';
        }

        byte[] bytes = GuestName.FromUtf16(chars);
        if (!reserved)
        {
            return bytes;
        }

        var escaped = new List<byte>(bytes.Length + 8);
        foreach (byte b in bytes)
        {
            switch (b)
            {
                case 0:
                    escaped.AddRange([0xC0, 0x80]);
                    break;
                case (byte)'/':
                    escaped.AddRange([0xC0, 0xAF]);
                    break;
                default:
                    escaped.Add(b);
                    break;
            }
        }

        return [.. escaped];
    }
}
