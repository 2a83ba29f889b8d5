using System.Buffers.Binary;
using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Tests.Inventory;

/// <summary>
/// Writes Hyper-V's key-value store as openvmm's "HyperV Storage File Format" describes it: two headers, an object table, key tables of 4 KiB, file objects
/// for long values, a replay log.
/// </summary>
internal sealed class HyperVStoreWriter
{
    public const int Page = 4096;
    public const int ObjectTableAt = 2 * Page;
    public const int ReplayLogAt = 3 * Page;
    public const int FirstTableAt = 5 * Page;

    private const int LongValue = 2048;
    private const int KeyHeader = 21;
    private const int TableHeader = 10;

    private readonly List<(string Path, object Value)> _values = [];

    /// <summary>What was being written when the host stopped.</summary>
    public List<(long To, byte[] Bytes)> Replay { get; } = [];

    public uint Version { get; init; } = 0x0400;

    public HyperVStoreWriter Add(string path, object value)
    {
        _values.Add((path, value));
        return this;
    }

    public byte[] Build()
    {
        List<(byte Type, byte Flags, string Name, byte[] Data, string Parent, string Path)> entries = [];
        List<byte[]> fileObjects = [];
        var nodes = new HashSet<string>();
        foreach ((string path, object value) in _values)
        {
            string[] parts = path.Split('/');
            for (int i = 1; i < parts.Length; i++)
            {
                string node = string.Join('/', parts[..i]);
                if (nodes.Add(node))
                {
                    entries.Add((9, 0, parts[i - 1], new byte[12], string.Join('/', parts[..(i - 1)]), node));
                }
            }

            (byte type, byte[] data) = Encoded(value);
            bool isLong = data.Length >= LongValue;
            if (isLong)
            {
                fileObjects.Add(data[4..]);
                data = [.. Le(4, (ulong)(data.Length - 4)), .. Le(8, (ulong)fileObjects.Count)];
            }

            entries.Add((type, (byte)(isLong ? 1 : 0), parts[^1], data, string.Join('/', parts[..^1]), path));
        }

        // Where each entry goes, so that children know their parents.
        var places = new Dictionary<string, (int Table, int At)>();
        List<List<int>> tables = [[]];
        int at = TableHeader;
        for (int i = 0; i < entries.Count; i++)
        {
            int size = SizeOf(entries[i].Name, entries[i].Data);
            if (at + size > Page - KeyHeader - 1)
            {
                tables.Add([]);
                at = TableHeader;
            }

            places[entries[i].Path] = (tables.Count, at);
            tables[^1].Add(i);
            at += size;
        }

        int objectsAt = FirstTableAt + (tables.Count * Page);
        byte[] image = new byte[objectsAt + fileObjects.Sum(f => Aligned(f.Length))];
        List<long> objectOffsets = [];
        int next = objectsAt;
        foreach (byte[] bytes in fileObjects)
        {
            objectOffsets.Add(next);
            bytes.CopyTo(image, next);
            next += Aligned(bytes.Length);
        }

        for (int t = 0; t < tables.Count; t++)
        {
            Span<byte> table = image.AsSpan(FirstTableAt + (t * Page), Page);
            at = TableHeader;
            foreach (int i in tables[t])
            {
                (byte type, byte flags, string name, byte[] data, string parent, _) = entries[i];
                byte[] value = flags == 0 ? data : [.. data[..4], .. Le(8, (ulong)objectOffsets[(int)BinaryPrimitives.ReadUInt64LittleEndian(data.AsSpan(4)) - 1])];
                (int Table, int At) up = parent.Length == 0 ? (0, 0) : places[parent];
                Entry(table[at..], type, flags, name, value, up);
                at += SizeOf(name, value);
            }

            Free(table[at..]);
            Le(2, 2).CopyTo(table);
            Le(2, (ulong)(t + 1)).CopyTo(table[2..]);
            Le(2, 1).CopyTo(table[4..]);
            Seal(table[..TableHeader], 6);
        }

        Span<byte> objects = image.AsSpan(ObjectTableAt, Page);
        Le(4, 0x0111_0001).CopyTo(objects);
        Le(4, (Page - 8) / 18).CopyTo(objects[4..]);
        int slot = 0;
        for (int t = 0; t < tables.Count; t++)
        {
            Slot(objects, slot++, 2, FirstTableAt + (t * Page), Page);
        }

        for (int i = 0; i < fileObjects.Count; i++)
        {
            Slot(objects, slot++, 3, objectOffsets[i], Aligned(fileObjects[i].Length));
        }

        WriteLog(image.AsSpan(ReplayLogAt, 2 * Page));
        Header(image.AsSpan(0, 46), 2);
        Header(image.AsSpan(Page, 46), 1);
        return image;
    }

    /// <summary>Recomputes every checksum of an image that was changed.</summary>
    public static void Repair(byte[] image)
    {
        Seal(image.AsSpan(0, 46), 4);
        Seal(image.AsSpan(Page, 46), 4);
        for (int slot = 0; slot < (Page - 8) / 18; slot++)
        {
            Seal(image.AsSpan(ObjectTableAt + 8 + (slot * 18), 18), 1);
        }

        Seal(image.AsSpan(ReplayLogAt, 34), 4);
        for (int at = FirstTableAt; at + TableHeader <= image.Length && image[at] == 2; at += Page)
        {
            Seal(image.AsSpan(at, TableHeader), 6);
        }
    }

    private static void Slot(Span<byte> objects, int slot, byte type, long offset, int size)
    {
        Span<byte> entry = objects.Slice(8 + (slot * 18), 18);
        entry[0] = type;
        Le(8, (ulong)offset).CopyTo(entry[5..]);
        Le(4, (ulong)size).CopyTo(entry[13..]);
        entry[17] = 1;
        Seal(entry, 1);
    }

    private void Header(Span<byte> header, ushort sequence)
    {
        Le(4, 0x0128_2014).CopyTo(header);
        Le(2, sequence).CopyTo(header[8..]);
        Le(4, Version).CopyTo(header[10..]);
        Le(4, Page).CopyTo(header[22..]);
        Le(8, ReplayLogAt).CopyTo(header[26..]);
        Le(8, 2 * Page).CopyTo(header[34..]);
        Le(4, Page).CopyTo(header[42..]);
        Seal(header, 4);
    }

    private void WriteLog(Span<byte> log)
    {
        Le(4, 0x0111_0003).CopyTo(log);
        Le(4, (ulong)Replay.Count).CopyTo(log[8..]);
        Le(4, (Page - 34) / 28).CopyTo(log[13..]);
        Seal(log[..34], 4);
        int data = Page;
        for (int i = 0; i < Replay.Count; i++)
        {
            (long to, byte[] bytes) = Replay[i];
            bytes.CopyTo(log[data..]);
            Span<byte> entry = log.Slice(34 + (i * 28), 28);
            Le(8, (ulong)to).CopyTo(entry[4..]);
            Le(4, (ulong)bytes.Length).CopyTo(entry[12..]);
            Le(8, (ulong)data).CopyTo(entry[16..]);
            Le(4, Crc32.Of(bytes)).CopyTo(entry[24..]);
            Seal(entry, 0);
            data += bytes.Length;
        }
    }

    private static void Entry(Span<byte> to, byte type, byte flags, string name, byte[] data, (int Table, int At) parent)
    {
        int size = SizeOf(name, data);
        (to[0], to[1]) = (type, flags);
        Le(4, (ulong)size).CopyTo(to[2..]);
        Le(2, (ulong)parent.Table).CopyTo(to[6..]);
        Le(4, (ulong)parent.At).CopyTo(to[8..]);
        Le(4, 1).CopyTo(to[16..]);
        byte[] text = [.. Encoding.UTF8.GetBytes(name), 0];
        to[20] = (byte)text.Length;
        text.CopyTo(to[KeyHeader..]);
        data.CopyTo(to[(KeyHeader + text.Length)..]);
        Seal(to[..size], 12);
    }

    private static void Free(Span<byte> to)
    {
        to[0] = 1;
        Le(4, (ulong)to.Length).CopyTo(to[2..]);
    }

    private static (byte Type, byte[] Data) Encoded(object value) => value switch
    {
        string text => (6, [.. Le(4, (ulong)((text.Length + 1) * 2)), .. Encoding.Unicode.GetBytes(text + '\0')]),
        byte[] array => (7, [.. Le(4, (ulong)array.Length), .. array]),
        bool flag => (8, Le(4, flag ? 1u : 0)),
        long number => (3, Le(8, (ulong)number)),
        ulong number => (4, Le(8, number)),
        double number => (5, Le(8, BitConverter.DoubleToUInt64Bits(number))),
        _ => throw new ArgumentException("no type of a store", nameof(value)),
    };

    private static int SizeOf(string name, byte[] data) => KeyHeader + Encoding.UTF8.GetByteCount(name) + 1 + data.Length;

    private static int Aligned(int length) => (length + Page - 1) / Page * Page;

    private static byte[] Le(int length, ulong value)
    {
        byte[] bytes = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        return bytes[..length];
    }

    private static void Seal(Span<byte> structure, int at)
    {
        structure.Slice(at, 4).Clear();
        Le(4, Crc32.Of(structure)).CopyTo(structure[at..]);
    }
}
