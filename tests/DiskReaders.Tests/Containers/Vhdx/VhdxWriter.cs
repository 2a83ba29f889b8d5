using System.Buffers.Binary;
using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Tests.Containers.Vhdx;

/// <summary>
/// Builds small VHDX files from [MS-VHDX] alone, for what qemu-img cannot make: differencing disks, dirty logs, 4096-byte sectors,
/// every payload state, and damage. Header section, log, metadata, BAT, then blocks in the order they were added.
/// </summary>
internal sealed class VhdxWriter
{
    public const int Megabyte = 1 << 20;
    public const int HeaderAt = 64 << 10;
    public const int SecondHeaderAt = 128 << 10;
    public const int RegionsAt = 192 << 10;
    public const int SecondRegionsAt = 256 << 10;
    public const int LogAt = Megabyte;
    public const int MetadataAt = 2 * Megabyte;
    public const int BatAt = 3 * Megabyte;
    public const int ItemsAt = MetadataAt + (64 << 10);

    public static readonly Guid LogGuid = new("01234567-89ab-cdef-0123-456789abcdef");

    private readonly List<byte[]> _blocks = [];
    private readonly Dictionary<long, ulong> _bat = [];
    private readonly Dictionary<long, byte[]> _bitmaps = [];
    private readonly List<(int Sector, byte[] Entry)> _log = [];

    public int SectorBytes { get; init; } = 512;

    public int BlockBytes { get; init; } = Megabyte;

    public long DiskBytes { get; init; } = 3 * Megabyte;

    public bool LeaveBlocksAllocated { get; init; }

    public Guid DataWriteGuid { get; init; } = Guid.NewGuid();

    public (string Key, string Value)[]? Parent { get; init; }

    public Guid LocatorType { get; init; } = new("B04AEFB7-D19E-4A81-B789-25B8E9445913");

    public int BatMegabytes { get; init; } = 1;

    public long FirstBlockAt => BatAt + ((long)BatMegabytes * Megabyte);

    private long ChunkRatio => (1L << 23) * SectorBytes / BlockBytes;

    /// <summary>Adds a block of the state 6 with this content, or gives a block without content another state.</summary>
    public VhdxWriter Block(long block, int state, byte[]? content = null)
    {
        ulong entry = (ulong)state;
        if (content is not null)
        {
            entry |= (ulong)(FirstBlockAt + Stored());
            byte[] whole = new byte[BlockBytes];
            content.CopyTo(whole, 0);
            _blocks.Add(whole);
        }

        _bat[block + (block / ChunkRatio)] = entry;
        return this;
    }

    /// <summary>A partially present block: the sectors for which <paramref name="present"/> answers true are in this file.</summary>
    public VhdxWriter Partial(long block, byte[] content, Func<int, bool> present)
    {
        long chunk = block / ChunkRatio;
        if (!_bitmaps.TryGetValue(chunk, out byte[]? bits))
        {
            _bat[((chunk + 1) * (ChunkRatio + 1)) - 1] = (ulong)(FirstBlockAt + Stored()) | 6;
            _bitmaps[chunk] = bits = new byte[Megabyte];
            _blocks.Add(bits);
        }

        Block(block, 7, content);
        int sectors = BlockBytes / SectorBytes;
        for (int i = 0; i < sectors; i++)
        {
            if (present(i))
            {
                long bit = (block % ChunkRatio * sectors) + i;
                bits[bit >> 3] |= (byte)(1 << (int)(bit & 7));
            }
        }

        return this;
    }

    /// <summary>A log entry. A write of null is a zero descriptor of <c>Zeros</c> bytes.</summary>
    public VhdxWriter Log(
        int sector, ulong sequence, int tailSector, (long Offset, byte[]? Data, long Zeros)[] writes, ulong? flushed = null, ulong last = 0, int extraSectors = 0)
    {
        int descriptorSectors = (writes.Length + 2 + 127) / 128;
        byte[] entry = new byte[(descriptorSectors + writes.Count(w => w.Data is not null) + extraSectors) * 4096];
        Span<byte> e = entry;
        "loge"u8.CopyTo(e);
        U32(e, 8, (uint)entry.Length);
        U32(e, 12, (uint)tailSector * 4096);
        U64(e, 16, sequence);
        U32(e, 24, (uint)writes.Length);
        LogGuid.TryWriteBytes(e[32..]);
        U64(e, 48, flushed ?? 0);
        U64(e, 56, last);
        int data = descriptorSectors * 4096;
        for (int i = 0; i < writes.Length; i++)
        {
            Span<byte> d = e[(64 + (i * 32))..];
            U64(d, 16, (ulong)writes[i].Offset);
            U64(d, 24, sequence);
            if (writes[i].Data is { } bytes)
            {
                "desc"u8.CopyTo(d);
                bytes.AsSpan(4092, 4).CopyTo(d[4..]);
                bytes.AsSpan(0, 8).CopyTo(d[8..]);
                Span<byte> s = e.Slice(data, 4096);
                bytes.CopyTo(s);
                "data"u8.CopyTo(s);
                U32(s, 4, (uint)(sequence >> 32));
                U32(s, 4092, (uint)(sequence & uint.MaxValue));
                data += 4096;
            }
            else
            {
                "zero"u8.CopyTo(d);
                U64(d, 8, (ulong)writes[i].Zeros);
            }
        }

        U32(e, 4, Crc32C.Compute(entry));
        _log.Add((sector, entry));
        return this;
    }

    /// <summary>The whole file.</summary>
    public byte[] Build() => Build(FirstBlockAt + Stored());

    /// <summary>Only what lies before the BAT; a file that is made longer has an empty BAT.</summary>
    public byte[] BuildHead() => Build(BatAt);

    /// <summary>Recomputes the checksums of headers, region tables and whatever in the log looks like an entry.</summary>
    public static void Repair(byte[] image)
    {
        Checksum(image.AsSpan(HeaderAt, 4096));
        Checksum(image.AsSpan(SecondHeaderAt, 4096));
        Checksum(image.AsSpan(RegionsAt, 64 << 10));
        Checksum(image.AsSpan(SecondRegionsAt, 64 << 10));
        for (int at = LogAt; at < LogAt + Megabyte; at += 4096)
        {
            Span<byte> sector = image.AsSpan(at, 4096);
            long length = BinaryPrimitives.ReadUInt32LittleEndian(sector[8..]);
            if (sector.StartsWith("loge"u8) && length is > 0 and <= Megabyte && length % 4096 == 0)
            {
                byte[] entry = new byte[length];
                for (int i = 0; i < length; i += 4096)
                {
                    image.AsSpan(LogAt + ((at - LogAt + i) % Megabyte), 4096).CopyTo(entry.AsSpan(i));
                }

                Checksum(entry);
                entry.AsSpan(4, 4).CopyTo(sector[4..]);
            }
        }
    }

    public static void U32(Span<byte> bytes, int at, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(bytes[at..], value);

    public static void U64(Span<byte> bytes, int at, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(bytes[at..], value);

    /// <summary>Bytes that differ everywhere and from one seed to another.</summary>
    public static byte[] Noise(int seed, int length)
    {
        byte[] bytes = new byte[length];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }

    private byte[] Build(long bytes)
    {
        byte[] image = new byte[bytes];
        Span<byte> v = image;
        "vhdxfile"u8.CopyTo(v);
        WriteHeader(image, HeaderAt, 1);
        WriteHeader(image, SecondHeaderAt, 2);
        foreach (int at in (int[])[RegionsAt, SecondRegionsAt])
        {
            Span<byte> table = v[at..];
            "regi"u8.CopyTo(table);
            U32(table, 8, 2);
            WriteRegion(table[16..], new("2DC27766-F623-4200-9D64-115E9BFD4A08"), BatAt, BatMegabytes * Megabyte);
            WriteRegion(table[48..], new("8B7CA206-4790-4B9A-B8FE-575F050F886E"), MetadataAt, Megabyte);
        }

        WriteMetadata(v[MetadataAt..(MetadataAt + Megabyte)]);
        foreach ((long index, ulong entry) in _bat)
        {
            U64(v, BatAt + (int)(index * 8), entry);
        }

        long place = FirstBlockAt;
        foreach (byte[] block in _blocks)
        {
            block.CopyTo(image, place);
            place += block.Length;
        }

        foreach ((int sector, byte[] entry) in _log)
        {
            for (int i = 0; i < entry.Length; i += 4096)
            {
                entry.AsSpan(i, 4096).CopyTo(v[(LogAt + (((sector * 4096) + i) % Megabyte))..]);
            }
        }

        Repair(image);
        return image;
    }

    private static void Checksum(Span<byte> structure)
    {
        U32(structure, 4, 0);
        U32(structure, 4, Crc32C.Compute(structure));
    }

    private static void WriteRegion(Span<byte> entry, Guid guid, long offset, int length)
    {
        guid.TryWriteBytes(entry);
        U64(entry, 16, (ulong)offset);
        U32(entry, 24, (uint)length);
        U32(entry, 28, 1);
    }

    private void WriteHeader(byte[] image, int at, ulong sequence)
    {
        Span<byte> header = image.AsSpan(at, 4096);
        "head"u8.CopyTo(header);
        U64(header, 8, sequence);
        DataWriteGuid.TryWriteBytes(header[32..]);
        if (_log.Count > 0)
        {
            LogGuid.TryWriteBytes(header[48..]);
        }

        header[66] = 1;
        U32(header, 68, Megabyte);
        U64(header, 72, LogAt);
    }

    private void WriteMetadata(Span<byte> region)
    {
        "metadata"u8.CopyTo(region);
        byte[] parameters = new byte[8];
        U32(parameters, 0, (uint)BlockBytes);
        parameters[4] = (byte)((LeaveBlocksAllocated ? 1 : 0) | (Parent is null ? 0 : 2));
        List<(Guid Id, byte[] Item, uint Flags)> items =
        [
            (new("CAA16737-FA36-4D43-B3B6-33F0AA44E76B"), parameters, 4),
            (new("2FA54224-CD1B-4876-B211-5DBED83BF4B8"), BitConverter.GetBytes(DiskBytes), 6),
            (new("BECA12AB-B2E6-4523-93EF-C309E000C746"), Guid.NewGuid().ToByteArray(), 6),
            (new("8141BF1D-A96F-4709-BA47-F233A8FAAB5F"), BitConverter.GetBytes(SectorBytes), 6),
            (new("CDA348C7-445D-4471-9CC9-E9885251C556"), BitConverter.GetBytes(4096), 6),
        ];
        if (Parent is not null)
        {
            items.Add((new("A8D35F2D-B30B-454D-ABF7-D3D84834AB0C"), Locator(), 4));
        }

        region[10] = (byte)items.Count;
        int place = 64 << 10;
        for (int i = 0; i < items.Count; i++)
        {
            Span<byte> entry = region[(32 + (i * 32))..];
            items[i].Id.TryWriteBytes(entry);
            U32(entry, 16, (uint)place);
            U32(entry, 20, (uint)items[i].Item.Length);
            U32(entry, 24, items[i].Flags);
            items[i].Item.CopyTo(region[place..]);
            place += items[i].Item.Length;
        }
    }

    private byte[] Locator()
    {
        int tableBytes = 20 + (Parent!.Length * 12);
        var strings = new MemoryStream();
        byte[] table = new byte[tableBytes];
        LocatorType.TryWriteBytes(table);
        BinaryPrimitives.WriteUInt16LittleEndian(table.AsSpan(18), (ushort)Parent.Length);
        for (int i = 0; i < Parent.Length; i++)
        {
            byte[] key = Encoding.Unicode.GetBytes(Parent[i].Key);
            byte[] value = Encoding.Unicode.GetBytes(Parent[i].Value);
            Span<byte> entry = table.AsSpan(20 + (i * 12));
            U32(entry, 0, (uint)(tableBytes + strings.Length));
            strings.Write(key);
            U32(entry, 4, (uint)(tableBytes + strings.Length));
            strings.Write(value);
            BinaryPrimitives.WriteUInt16LittleEndian(entry[8..], (ushort)key.Length);
            BinaryPrimitives.WriteUInt16LittleEndian(entry[10..], (ushort)value.Length);
        }

        return [.. table, .. strings.ToArray()];
    }

    private long Stored() => _blocks.Sum(b => (long)b.Length);
}
