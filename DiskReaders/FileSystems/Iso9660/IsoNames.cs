
namespace Vmsweep.DiskReaders.FileSystems.Iso9660;

/// <summary>Names as Linux shows them (fs/isofs/dir.c, joliet.c): without the version 1, and plain ones in lower case.</summary>
internal static class IsoNames
{
    public static byte[] Plain(ReadOnlySpan<byte> name)
    {
        name = name.EndsWith(".;1"u8) ? name[..^3] : name.EndsWith(";1"u8) ? name[..^2] : name;
        byte[] text = name.ToArray();
        for (int i = 0; i < text.Length; i++)
        {
            text[i] = text[i] switch
            {
                >= (byte)'A' and <= (byte)'Z' => (byte)(text[i] | 0x20),
                (byte)';' or (byte)'/' => (byte)'.',
                _ => text[i],
            };
        }

        return GuestName.Safe(text);
    }

    /// <summary>UCS-2 or UTF-16, big-endian.</summary>
    public static byte[] Joliet(ReadOnlySpan<byte> name)
    {
        Span<byte> little = stackalloc byte[DirectoryRecord.MostBytes];
        little = little[..(name.Length & ~1)];
        for (int i = 0; i < little.Length; i += 2)
        {
            (little[i], little[i + 1]) = (name[i + 1], name[i]);
        }

        ReadOnlySpan<byte> bytes = Utf16Name.ToBytes(little);
        bytes = bytes.EndsWith(";1"u8) && bytes.Length > 2 ? bytes[..^2] : bytes;
        while (bytes.Length >= 2 && bytes[^1] == (byte)'.')
        {
            bytes = bytes[..^1];
        }

        return GuestName.Safe(bytes.ToArray());
    }
}
