using System.Buffers.Binary;

namespace Vmsweep.Signatures.Archives.Formats;

/// <summary>A member of a ZIP, from its central directory header (APPNOTE 4.3.12) or its local header (4.3.7). Little-endian.</summary>
internal sealed record ZipEntry
{
    public const int LocalBytes = 30;
    public const int CentralBytes = 46;
    public const uint LocalMagic = 0x0403_4B50;
    public const uint CentralMagic = 0x0201_4B50;
    private const ushort Zip64Extra = 0x0001;
    private const ushort AesExtra = 0x9901;

    public required string Name { get; init; }

    public ushort Flags { get; init; }

    public ushort Method { get; init; }

    public ushort ModifiedTime { get; init; }

    public uint Crc { get; init; }

    public long PackedBytes { get; init; }

    public long SizeBytes { get; init; }

    /// <summary>Of the local header, as the archive counts.</summary>
    public long Offset { get; init; }

    /// <summary>Strength of WinZip's AES, 1 to 3; 0 where it is not used.</summary>
    public int AesStrength { get; init; }

    /// <summary>AE-2 keeps no checksum.</summary>
    public bool HasCrc { get; init; } = true;

    public bool IsEncrypted => (Flags & 1) != 0;

    /// <summary>Sizes and checksum stand behind the data.</summary>
    public bool HasDescriptor => (Flags & 8) != 0;

    public bool IsFolder => SizeBytes == 0 && PackedBytes == 0 && Name.EndsWith('/');

    /// <summary>Reads a central header; null where there is none.</summary>
    public static ZipEntry? Central(ReadOnlySpan<byte> bytes, out int length)
    {
        length = 0;
        if (bytes.Length < CentralBytes || BinaryPrimitives.ReadUInt32LittleEndian(bytes) != CentralMagic)
        {
            return null;
        }

        int name = BinaryPrimitives.ReadUInt16LittleEndian(bytes[28..]);
        int extra = BinaryPrimitives.ReadUInt16LittleEndian(bytes[30..]);
        length = CentralBytes + name + extra + BinaryPrimitives.ReadUInt16LittleEndian(bytes[32..]);
        if (bytes.Length < CentralBytes + name + extra)
        {
            return null;
        }

        var entry = new ZipEntry
        {
            Name = MemberNames.Of(bytes.Slice(CentralBytes, name)),
            Flags = BinaryPrimitives.ReadUInt16LittleEndian(bytes[8..]),
            Method = BinaryPrimitives.ReadUInt16LittleEndian(bytes[10..]),
            ModifiedTime = BinaryPrimitives.ReadUInt16LittleEndian(bytes[12..]),
            Crc = BinaryPrimitives.ReadUInt32LittleEndian(bytes[16..]),
            PackedBytes = BinaryPrimitives.ReadUInt32LittleEndian(bytes[20..]),
            SizeBytes = BinaryPrimitives.ReadUInt32LittleEndian(bytes[24..]),
            Offset = BinaryPrimitives.ReadUInt32LittleEndian(bytes[42..]),
        };
        return entry.WithExtra(bytes.Slice(CentralBytes + name, extra));
    }

    /// <summary>Reads a local header; null where there is none.</summary>
    /// <param name="bytes">From the header on.</param>
    /// <param name="length">To the data.</param>
    public static ZipEntry? Local(ReadOnlySpan<byte> bytes, out int length)
    {
        length = 0;
        if (bytes.Length < LocalBytes || BinaryPrimitives.ReadUInt32LittleEndian(bytes) != LocalMagic)
        {
            return null;
        }

        int name = BinaryPrimitives.ReadUInt16LittleEndian(bytes[26..]);
        int extra = BinaryPrimitives.ReadUInt16LittleEndian(bytes[28..]);
        length = LocalBytes + name + extra;
        if (bytes.Length < length)
        {
            return null;
        }

        var entry = new ZipEntry
        {
            Name = MemberNames.Of(bytes.Slice(LocalBytes, name)),
            Flags = BinaryPrimitives.ReadUInt16LittleEndian(bytes[6..]),
            Method = BinaryPrimitives.ReadUInt16LittleEndian(bytes[8..]),
            ModifiedTime = BinaryPrimitives.ReadUInt16LittleEndian(bytes[10..]),
            Crc = BinaryPrimitives.ReadUInt32LittleEndian(bytes[14..]),
            PackedBytes = BinaryPrimitives.ReadUInt32LittleEndian(bytes[18..]),
            SizeBytes = BinaryPrimitives.ReadUInt32LittleEndian(bytes[22..]),
        };
        return entry.WithExtra(bytes.Slice(LocalBytes + name, extra));
    }

    private ZipEntry WithExtra(ReadOnlySpan<byte> extra)
    {
        ZipEntry entry = this;
        while (extra.Length >= 4)
        {
            ushort id = BinaryPrimitives.ReadUInt16LittleEndian(extra);
            int length = BinaryPrimitives.ReadUInt16LittleEndian(extra[2..]);
            if (length > extra.Length - 4)
            {
                break;
            }

            ReadOnlySpan<byte> data = extra.Slice(4, length);
            if (id == Zip64Extra)
            {
                // Only the fields that are full in the header are here, in this order.
                entry = entry with
                {
                    SizeBytes = Wide(entry.SizeBytes, ref data),
                    PackedBytes = Wide(entry.PackedBytes, ref data),
                    Offset = Wide(entry.Offset, ref data),
                };
            }
            else if (id == AesExtra && data.Length >= 7)
            {
                entry = entry with
                {
                    AesStrength = data[4],
                    HasCrc = BinaryPrimitives.ReadUInt16LittleEndian(data) == 1,
                    Method = BinaryPrimitives.ReadUInt16LittleEndian(data[5..]),
                };
            }

            extra = extra[(4 + length)..];
        }

        return entry;
    }

    private static long Wide(long value, ref ReadOnlySpan<byte> data)
    {
        if (value != uint.MaxValue || data.Length < 8)
        {
            return value;
        }

        value = (long)Math.Min(BinaryPrimitives.ReadUInt64LittleEndian(data), long.MaxValue);
        data = data[8..];
        return value;
    }
}
