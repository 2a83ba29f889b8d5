using System.Buffers.Binary;
using System.Text;
using Vmsweep.Signatures.Archives.Decoders;

namespace Vmsweep.Signatures.Tests.Archives;

/// <summary>Small RAR archives whose members are stored: Debian has no program that makes any.</summary>
internal static class RarWriter
{
    public static byte[] Rar5(params (string Name, byte[] Data)[] members)
    {
        List<byte> all = [.. "Rar!\u001A\u0007\u0001\0"u8];
        all.AddRange(Header5([1, 0, 0]));
        foreach ((string name, byte[] data) in members)
        {
            byte[] utf8 = Encoding.UTF8.GetBytes(name);
            byte[] crc = new byte[4];
            BinaryPrimitives.WriteUInt32LittleEndian(crc, Crc32.Of(data));
            all.AddRange(Header5([2, 2, .. Number(data.Length), 4, .. Number(data.Length), 0x20, .. crc, 0, 1, .. Number(utf8.Length), .. utf8]));
            all.AddRange(data);
        }

        all.AddRange(Header5([5, 0, 0]));
        return [.. all];
    }

    public static byte[] Rar4(params (string Name, byte[] Data)[] members)
    {
        List<byte> all = [.. "Rar!\u001A\u0007\0"u8];
        all.AddRange(Header4(0x73, 0, new byte[6]));
        foreach ((string name, byte[] data) in members)
        {
            byte[] ascii = Encoding.ASCII.GetBytes(name);
            byte[] fields = new byte[25 + ascii.Length];
            BinaryPrimitives.WriteInt32LittleEndian(fields, data.Length);
            BinaryPrimitives.WriteInt32LittleEndian(fields.AsSpan(4), data.Length);
            fields[8] = 3;
            BinaryPrimitives.WriteUInt32LittleEndian(fields.AsSpan(9), Crc32.Of(data));
            BinaryPrimitives.WriteUInt32LittleEndian(fields.AsSpan(13), 0x5A21_0000);
            fields[17] = 20;
            fields[18] = 0x30;
            BinaryPrimitives.WriteInt16LittleEndian(fields.AsSpan(19), (short)ascii.Length);
            BinaryPrimitives.WriteUInt32LittleEndian(fields.AsSpan(21), 0x81A4);
            ascii.CopyTo(fields, 25);
            all.AddRange(Header4(0x74, 0x8000, fields));
            all.AddRange(data);
        }

        all.AddRange(Header4(0x7B, 0x4000, []));
        return [.. all];
    }

    /// <summary>A header of RAR 5 around its body, with its checksum.</summary>
    public static byte[] Header5(byte[] body)
    {
        byte[] sized = [.. Number(body.Length), .. body];
        byte[] header = new byte[4 + sized.Length];
        BinaryPrimitives.WriteUInt32LittleEndian(header, Crc32.Of(sized));
        sized.CopyTo(header, 4);
        return header;
    }

    public static byte[] Number(long value)
    {
        List<byte> bytes = [];
        for (; value > 0x7F; value >>= 7)
        {
            bytes.Add((byte)(value | 0x80));
        }

        return [.. bytes, (byte)value];
    }

    private static byte[] Header4(byte kind, ushort flags, byte[] fields)
    {
        byte[] header = new byte[7 + fields.Length];
        header[2] = kind;
        BinaryPrimitives.WriteUInt16LittleEndian(header.AsSpan(3), flags);
        BinaryPrimitives.WriteUInt16LittleEndian(header.AsSpan(5), (ushort)header.Length);
        fields.CopyTo(header, 7);
        BinaryPrimitives.WriteUInt16LittleEndian(header, (ushort)Crc32.Of(header.AsSpan(2)));
        return header;
    }
}
