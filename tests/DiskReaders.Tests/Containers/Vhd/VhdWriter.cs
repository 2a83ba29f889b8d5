using System.Buffers.Binary;
using System.Text;

namespace Vmsweep.DiskReaders.Tests.Containers.Vhd;

/// <summary>
/// Builds small VHD files from Microsoft's specification alone, for what qemu-img cannot make: differencing disks, partial bitmaps, other
/// block sizes, and damage. Footer's copy, header, locators, table, blocks in the order they were added, footer.
/// </summary>
internal sealed class VhdWriter
{
    public const int HeaderAt = 512;
    public const int LocatorsAt = 1536;
    public const int LocatorBytes = 512;
    public const int TableAt = LocatorsAt + (8 * LocatorBytes);

    private readonly List<(long Block, byte[] Bytes)> _blocks = [];

    public int BlockBytes { get; init; } = 64 << 10;

    public long DiskBytes { get; init; } = 200 << 10;

    public Guid Id { get; init; } = Guid.NewGuid();

    public string Creator { get; init; } = "win ";

    public (int Cylinders, int Heads, int Sectors) Geometry { get; init; } = (65_535, 16, 255);

    public Guid? ParentId { get; init; }

    /// <summary>Seconds since 2000; 0: not noted.</summary>
    public uint TimeStamp { get; init; }

    public uint ParentTimeStamp { get; init; }

    public string ParentName { get; init; } = "";

    public (string Code, byte[] Data)[] Locators { get; init; } = [];

    public long FirstBlockAt => (TableAt + (Blocks * 4) + 511) / 512 * 512;

    public int BitmapBytes => ((BlockBytes / 512 / 8) + 511) / 512 * 512;

    private long Blocks => (DiskBytes + BlockBytes - 1) / BlockBytes;

    /// <summary>Adds a block; the sectors for which <paramref name="present"/> answers true are in this file.</summary>
    public VhdWriter Block(long block, byte[] content, Func<int, bool>? present = null)
    {
        byte[] bytes = new byte[BitmapBytes + BlockBytes];
        for (int i = 0; i < BlockBytes / 512; i++)
        {
            if (present is null || present(i))
            {
                bytes[i >> 3] |= (byte)(0x80 >> (i & 7));
            }
        }

        content.CopyTo(bytes, BitmapBytes);
        _blocks.Add((block, bytes));
        return this;
    }

    public byte[] Build()
    {
        var image = new MemoryStream();
        byte[] footer = Footer(ParentId is null ? 3 : 4, HeaderAt);
        image.Write(footer);
        byte[] header = new byte[1024];
        "cxsparse"u8.CopyTo(header);
        U64(header, 8, ulong.MaxValue);
        U64(header, 16, TableAt);
        U32(header, 24, 0x0001_0000);
        U32(header, 28, (uint)Blocks);
        U32(header, 32, (uint)BlockBytes);
        (ParentId ?? Guid.Empty).TryWriteBytes(header.AsSpan(40), bigEndian: true, out _);
        U32(header, 56, ParentTimeStamp);
        Encoding.BigEndianUnicode.GetBytes(ParentName).CopyTo(header, 64);
        byte[] locators = new byte[8 * LocatorBytes];
        for (int i = 0; i < Locators.Length; i++)
        {
            Encoding.ASCII.GetBytes(Locators[i].Code).CopyTo(header, 576 + (i * 24));
            U32(header, 580 + (i * 24), 1);
            U32(header, 584 + (i * 24), (uint)Locators[i].Data.Length);
            U64(header, 592 + (i * 24), (ulong)(LocatorsAt + (i * LocatorBytes)));
            Locators[i].Data.CopyTo(locators, i * LocatorBytes);
        }

        Checksum(header, 36);
        image.Write(header);
        image.Write(locators);
        byte[] table = new byte[FirstBlockAt - TableAt];
        table.AsSpan().Fill(0xFF);
        long at = FirstBlockAt;
        foreach ((long block, byte[] bytes) in _blocks)
        {
            U32(table, (int)block * 4, (uint)(at / 512));
            at += bytes.Length;
        }

        image.Write(table);
        _blocks.ForEach(b => image.Write(b.Bytes));
        image.Write(footer);
        return image.ToArray();
    }

    public byte[] BuildFixed(byte[] content) => [.. content, .. Footer(2, -1)];

    /// <summary>Recomputes the checksums of the footer, its copy and the header.</summary>
    public static void Repair(byte[] image)
    {
        Checksum(image.AsSpan(image.Length - 512), 64);
        if (image.AsSpan().StartsWith("conectix"u8))
        {
            Checksum(image.AsSpan(0, 512), 64);
            Checksum(image.AsSpan(HeaderAt, 1024), 36);
        }
    }

    public static void Checksum(Span<byte> structure, int at)
    {
        U32(structure, at, 0);
        uint sum = 0;
        foreach (byte b in structure)
        {
            sum += b;
        }

        U32(structure, at, ~sum);
    }

    public static void U32(Span<byte> bytes, int at, uint value) => BinaryPrimitives.WriteUInt32BigEndian(bytes[at..], value);

    public static void U64(Span<byte> bytes, int at, ulong value) => BinaryPrimitives.WriteUInt64BigEndian(bytes[at..], value);

    /// <summary>Bytes that differ everywhere and from one seed to another.</summary>
    public static byte[] Noise(int seed, int length)
    {
        byte[] bytes = new byte[length];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }

    private byte[] Footer(int type, long dataOffset)
    {
        byte[] footer = new byte[512];
        "conectix"u8.CopyTo(footer);
        U32(footer, 8, 2);
        U32(footer, 12, 0x0001_0000);
        U64(footer, 16, (ulong)dataOffset);
        U32(footer, 24, TimeStamp);
        Encoding.ASCII.GetBytes(Creator).CopyTo(footer, 28);
        U64(footer, 40, (ulong)DiskBytes);
        U64(footer, 48, (ulong)DiskBytes);
        BinaryPrimitives.WriteUInt16BigEndian(footer.AsSpan(56), (ushort)Geometry.Cylinders);
        footer[58] = (byte)Geometry.Heads;
        footer[59] = (byte)Geometry.Sectors;
        U32(footer, 60, (uint)type);
        Id.TryWriteBytes(footer.AsSpan(68), bigEndian: true, out _);
        Checksum(footer, 64);
        return footer;
    }
}
