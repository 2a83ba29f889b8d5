using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers;

/// <summary>
/// One block of tar metadata: POSIX.1-2017 pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format". 512 bytes, numbers as octal
/// text, or in GNU's base-256 when the first bit is set.
/// </summary>
internal readonly struct TarHeader
{
    public const int Size = 512;
    private const string Structure = "tar header";

    public readonly string Name;
    public readonly long SizeBytes;

    /// <summary><c>typeflag</c>.</summary>
    public readonly char Type;

    /// <exception cref="DiskFormatException">The block is no header.</exception>
    public TarHeader(ReadOnlySpan<byte> block, long offset)
    {
        if (!HasChecksum(block))
        {
            throw new DiskFormatException(Fault.Corrupt, Structure, offset, "bad chksum");
        }

        Type = (char)block[156];
        SizeBytes = Number(block.Slice(124, 12), offset + 124, "size");
        string name = Text(block[..100]);

        // prefix is the POSIX format's; GNU's keeps times in its place.
        Name = block.Slice(257, 6).SequenceEqual("ustar\0"u8) && block[345] != 0 ? Text(block.Slice(345, 155)) + "/" + name : name;
    }

    /// <summary>The sum of all bytes with <c>chksum</c> itself as spaces. Old programs summed signed bytes.</summary>
    public static bool HasChecksum(ReadOnlySpan<byte> block)
    {
        int unsigned = 0;
        int signed = 0;
        for (int i = 0; i < Size; i++)
        {
            byte b = i is >= 148 and < 156 ? (byte)' ' : block[i];
            unsigned += b;
            signed += unchecked((sbyte)b);
        }

        return TryOctal(block.Slice(148, 8), out long given) && (given == unsigned || given == signed);
    }

    public static string Text(ReadOnlySpan<byte> field)
    {
        int end = field.IndexOf((byte)0);
        return Encoding.UTF8.GetString(end < 0 ? field : field[..end]);
    }

    private static long Number(ReadOnlySpan<byte> field, long offset, string name)
    {
        if ((field[0] & 0x80) == 0)
        {
            return TryOctal(field, out long octal) ? octal : throw new DiskFormatException(Fault.Corrupt, Structure, offset, $"bad {name}");
        }

        // Base-256: a negative number, or one of more than 63 bits, is no size.
        long value = field[0] & 0x7F;
        foreach (byte b in field[1..])
        {
            if (value > long.MaxValue >> 8)
            {
                throw new DiskFormatException(Fault.Corrupt, Structure, offset, $"bad {name}");
            }

            value = (value << 8) | b;
        }

        return value;
    }

    /// <summary>Octal digits between spaces and NULs; nothing but those is zero, as GNU tar writes it for links.</summary>
    private static bool TryOctal(ReadOnlySpan<byte> field, out long value)
    {
        value = 0;
        ReadOnlySpan<byte> digits = field.Trim(" \0"u8);
        foreach (byte b in digits)
        {
            if (b is < (byte)'0' or > (byte)'7')
            {
                return false;
            }

            value = (value << 3) | (uint)(b - '0');
        }

        return true;
    }
}
