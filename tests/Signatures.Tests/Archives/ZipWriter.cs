using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;
using Vmsweep.Signatures.Archives.Decoders;

namespace Vmsweep.Signatures.Tests.Archives;

/// <summary>ZIP files byte by byte, for those that no program makes.</summary>
internal static class ZipWriter
{
    public static byte[] Stored(params (string Name, byte[] Data)[] members) => Make(members, deflate: false);

    public static byte[] Deflated(params (string Name, byte[] Data)[] members) => Make(members, deflate: true);

    /// <summary>Many entries of the directory for one member.</summary>
    public static byte[] Overlapping(byte[] data, int entries)
    {
        byte[] packed = Deflate(data);
        using var zip = new MemoryStream();
        zip.Write(Header(0x0403_4B50, "a", packed, data));
        zip.Write(packed);
        long directory = zip.Length;
        for (int i = 0; i < entries; i++)
        {
            zip.Write(Header(0x0201_4B50, "a", packed, data));
        }

        return End(zip, directory, entries);
    }

    private static byte[] Make((string Name, byte[] Data)[] members, bool deflate)
    {
        using var zip = new MemoryStream();
        List<byte[]> directory = [];
        foreach ((string name, byte[] data) in members)
        {
            byte[] packed = deflate ? Deflate(data) : data;
            byte[] central = Header(0x0201_4B50, name, packed, data, deflate);
            BinaryPrimitives.WriteUInt32LittleEndian(central.AsSpan(42), (uint)zip.Length);
            directory.Add(central);
            zip.Write(Header(0x0403_4B50, name, packed, data, deflate));
            zip.Write(packed);
        }

        long at = zip.Length;
        directory.ForEach(d => zip.Write(d));
        return End(zip, at, members.Length);
    }

    private static byte[] End(MemoryStream zip, long directory, int entries)
    {
        byte[] end = new byte[22];
        BinaryPrimitives.WriteUInt32LittleEndian(end, 0x0605_4B50);
        BinaryPrimitives.WriteUInt16LittleEndian(end.AsSpan(8), (ushort)entries);
        BinaryPrimitives.WriteUInt16LittleEndian(end.AsSpan(10), (ushort)entries);
        BinaryPrimitives.WriteUInt32LittleEndian(end.AsSpan(12), (uint)(zip.Length - directory));
        BinaryPrimitives.WriteUInt32LittleEndian(end.AsSpan(16), (uint)directory);
        zip.Write(end);
        return zip.ToArray();
    }

    private static byte[] Header(uint magic, string name, byte[] packed, byte[] data, bool deflate = true)
    {
        byte[] text = Encoding.UTF8.GetBytes(name);
        bool isCentral = magic == 0x0201_4B50;
        int shift = isCentral ? 2 : 0;
        byte[] header = new byte[(isCentral ? 46 : 30) + text.Length];
        BinaryPrimitives.WriteUInt32LittleEndian(header, magic);
        BinaryPrimitives.WriteUInt16LittleEndian(header.AsSpan(8 + shift), (ushort)(deflate ? 8 : 0));
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(14 + shift), Crc32.Of(data));
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(18 + shift), (uint)packed.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(22 + shift), (uint)data.Length);
        BinaryPrimitives.WriteUInt16LittleEndian(header.AsSpan(26 + shift), (ushort)text.Length);
        text.CopyTo(header, isCentral ? 46 : 30);
        return header;
    }

    private static byte[] Deflate(byte[] data)
    {
        using var packed = new MemoryStream();
        using (var deflate = new DeflateStream(packed, CompressionLevel.Optimal))
        {
            deflate.Write(data);
        }

        return packed.ToArray();
    }
}
