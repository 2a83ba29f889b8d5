using System.Buffers.Binary;
using System.Text;

namespace Vmsweep.DiskReaders.FileSystems.Udf;

/// <summary>OSTA Compressed Unicode. Spec: OSTA UDF 2.60, section 2.1.1: a compression ID, then characters of 8 or of 16 bits, big-endian.</summary>
internal static class UdfNames
{
    private const byte EightBits = 8;
    private const byte SixteenBits = 16;

    // The same for names of deleted files whose text is kept (UDF 2.60, 2.3.4.2).
    private const byte EightBitsDeleted = 254;
    private const byte SixteenBitsDeleted = 255;

    public static byte[] Name(ReadOnlySpan<byte> d) => GuestName.Safe(Bytes(d));

    /// <summary>A d-string: its last byte counts those before it that are used.</summary>
    public static string Text(ReadOnlySpan<byte> dstring)
    {
        int used = Math.Min((int)dstring[^1], dstring.Length - 1);
        return Encoding.UTF8.GetString(Bytes(dstring[..used])).TrimEnd('\0', ' ');
    }

    private static byte[] Bytes(ReadOnlySpan<byte> d)
    {
        if (d.IsEmpty)
        {
            return [];
        }

        ReadOnlySpan<byte> characters = d[1..];
        Span<byte> utf16 = stackalloc byte[2 * byte.MaxValue];
        int count;
        switch (d[0])
        {
            case EightBits or EightBitsDeleted:
                count = characters.Length;
                for (int i = 0; i < count; i++)
                {
                    (utf16[2 * i], utf16[(2 * i) + 1]) = (characters[i], 0);
                }

                break;
            case SixteenBits or SixteenBitsDeleted:
                count = characters.Length / 2;
                for (int i = 0; i < count; i++)
                {
                    BinaryPrimitives.WriteUInt16LittleEndian(utf16[(2 * i)..], BinaryPrimitives.ReadUInt16BigEndian(characters[(2 * i)..]));
                }

                break;
            default:
                return d.ToArray();
        }

        return Utf16Name.ToBytes(utf16[..(2 * count)]);
    }
}
