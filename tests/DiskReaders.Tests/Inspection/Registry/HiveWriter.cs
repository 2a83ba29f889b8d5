using System.Buffers.Binary;
using System.Text;
using Vmsweep.DiskReaders.Inspection.Registry;

namespace Vmsweep.DiskReaders.Tests.Inspection.Registry;

/// <summary>Writes a registry hive byte by byte, in the lists and forms asked for. hivex reads what it writes (see the tests).</summary>
public sealed class HiveWriter
{
    private const int Segment = 16344;

    private readonly Node _root = new("ROOT");
    private readonly List<byte> _bins = [.. new byte[32]];

    /// <summary><c>lf</c>, <c>lh</c> or <c>li</c>.</summary>
    public string List { get; init; } = "lh";

    /// <summary>Puts an index root over leaves of so many keys.</summary>
    public int KeysOfLeaf { get; init; } = int.MaxValue;

    public uint Sequence { get; init; } = 7;

    public uint MinorVersion { get; init; } = 5;

    public HiveWriter Key(string path)
    {
        At(path);
        return this;
    }

    public HiveWriter Text(string path, string name, string text, uint type = 1) => Value(path, name, type, Encoding.Unicode.GetBytes(text + "\0"));

    public HiveWriter Number(string path, string name, uint number)
    {
        byte[] data = new byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(data, number);
        return Value(path, name, 4, data);
    }

    public HiveWriter Value(string path, string name, uint type, byte[] data)
    {
        At(path).Values.Add((name, type, data));
        return this;
    }

    public byte[] Build()
    {
        _bins.RemoveRange(32, _bins.Count - 32);
        int security = Cell([.. "sk"u8, .. new byte[2], .. Le(32), .. Le(32), .. Le(1), .. Le(20), 1, 0, 0, 0x80, .. new byte[16]]);
        int root = Write(_root, 0, security, isRoot: true);
        int free = (4096 - (_bins.Count % 4096)) % 4096;
        _bins.AddRange(free == 0 ? [] : [.. Le(free), .. new byte[free - 4]]);
        byte[] bins = [.. _bins];
        "hbin"u8.CopyTo(bins);
        Le(bins.Length).CopyTo(bins, 8);

        byte[] file = new byte[4096 + bins.Length];
        bins.CopyTo(file, 4096);
        "regf"u8.CopyTo(file);
        U32(file, 4, Sequence);
        U32(file, 8, Sequence);
        U32(file, 12, 1234567);
        U32(file, 20, 1);
        U32(file, 24, MinorVersion);
        U32(file, 32, 1);
        U32(file, 36, (uint)root);
        U32(file, 40, (uint)bins.Length);
        U32(file, 44, 1);
        Repair(file);
        return file;
    }

    /// <summary>The base block's checksum anew, and those of log entries, wherever they lie.</summary>
    public static void Repair(byte[] file)
    {
        if (file.Length >= 512)
        {
            U32(file, 508, BaseBlock.Checksum(file));
        }
    }

    /// <summary>A log of the new format: entries of whole pages that turn one hive into another, one page each.</summary>
    public static byte[] NewLog(byte[] before, byte[] after, uint firstSequence, int entries = int.MaxValue)
    {
        List<byte> log = [.. after[..512]];
        uint sequence = firstSequence;
        foreach (int page in Differing(before, after).Take(entries))
        {
            byte[] entry = new byte[(40 + 8 + 4096 + 511) / 512 * 512];
            "HvLE"u8.CopyTo(entry);
            U32(entry, 4, (uint)entry.Length);
            U32(entry, 12, sequence++);
            U32(entry, 16, (uint)(after.Length - 4096));
            U32(entry, 20, 1);
            U32(entry, 40, (uint)(page * 4096));
            U32(entry, 44, 4096);
            after.AsSpan(4096 + (page * 4096), 4096).CopyTo(entry.AsSpan(48));
            BinaryPrimitives.WriteUInt64LittleEndian(entry.AsSpan(24), Marvin32.Of(entry.AsSpan(40)));
            BinaryPrimitives.WriteUInt64LittleEndian(entry.AsSpan(32), Marvin32.Of(entry.AsSpan(0, 32)));
            log.AddRange(entry);
        }

        byte[] file = [.. log];
        U32(file, 28, BaseBlock.NewLog);
        U32(file, 4, sequence);
        U32(file, 8, sequence);
        Repair(file);
        return file;
    }

    /// <summary>A log of the old format.</summary>
    public static byte[] OldLog(byte[] before, byte[] after)
    {
        int pages = (after.Length - 4096) / 512;
        byte[] vector = new byte[(4 + (pages / 8) + 511) / 512 * 512];
        "DIRT"u8.CopyTo(vector);
        List<byte> data = [];
        foreach (int page in Differing(before, after))
        {
            vector[4 + page] = 0xFF;
            data.AddRange(after.AsSpan(4096 + (page * 4096), 4096));
        }

        byte[] file = [.. after[..512], .. vector, .. data];
        U32(file, 28, BaseBlock.OldLog);
        Repair(file);
        return file;
    }

    /// <summary>The hive as it stands while a write to it is under way.</summary>
    public static byte[] Dirty(byte[] hive)
    {
        byte[] dirty = (byte[])hive.Clone();
        U32(dirty, 4, BinaryPrimitives.ReadUInt32LittleEndian(dirty.AsSpan(4)) + 1);
        Repair(dirty);
        return dirty;
    }

    public static void U32(byte[] bytes, int at, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(at), value);

    private static IEnumerable<int> Differing(byte[] before, byte[] after) =>
        Enumerable.Range(0, (after.Length - 4096) / 4096).Where(p =>
            4096 + ((p + 1) * 4096) > before.Length || !before.AsSpan(4096 + (p * 4096), 4096).SequenceEqual(after.AsSpan(4096 + (p * 4096), 4096)));

    private static byte[] Le(int value) => BitConverter.GetBytes(value);

    private static byte[] Le16(int value) => BitConverter.GetBytes((ushort)value);

    private Node At(string path)
    {
        Node node = _root;
        foreach (string name in path.Split('\\', StringSplitOptions.RemoveEmptyEntries))
        {
            if (node.Keys.Find(k => k.Name == name) is not { } child)
            {
                node.Keys.Add(child = new Node(name));
            }

            node = child;
        }

        return node;
    }

    private int Cell(byte[] data)
    {
        int offset = _bins.Count;
        int size = (4 + data.Length + 7) / 8 * 8;
        _bins.AddRange([.. Le(-size), .. data, .. new byte[size - 4 - data.Length]]);
        return offset;
    }

    private void Patch(int cell, int at, int value)
    {
        byte[] bytes = Le(value);
        for (int i = 0; i < bytes.Length; i++)
        {
            _bins[cell + 4 + at + i] = bytes[i];
        }
    }

    private int Write(Node node, int parent, int security, bool isRoot)
    {
        bool isPlain = node.Name.All(c => c < 256);
        byte[] name = isPlain ? Encoding.Latin1.GetBytes(node.Name) : Encoding.Unicode.GetBytes(node.Name);
        int cell = Cell([
            .. "nk"u8, .. Le16((isRoot ? 0xC : 0) | (isPlain ? 0x20 : 0)), .. new byte[8], .. new byte[4], .. Le(parent), .. Le(node.Keys.Count), .. Le(0), .. Le(-1), .. Le(-1),
            .. Le(node.Values.Count), .. Le(-1), .. Le(security), .. Le(-1), .. Le(200), .. Le(0), .. Le(200), .. Le(1 << 20), .. Le(0), .. Le16(name.Length), .. Le16(0), .. name]);
        List<(string Name, int Cell)> keys = [.. node.Keys.OrderBy(k => k.Name.ToUpperInvariant(), StringComparer.Ordinal).Select(k => (k.Name, Write(k, cell, security, false)))];
        if (keys.Count > 0)
        {
            List<int> leaves = [.. keys.Chunk(Math.Min(KeysOfLeaf, keys.Count)).Select(Leaf)];
            Patch(cell, 28, leaves is [var only] ? only : Cell([.. "ri"u8, .. Le16(leaves.Count), .. leaves.SelectMany(Le)]));
        }

        if (node.Values.Count > 0)
        {
            List<int> values = [.. node.Values.Select(v => WriteValue(v.Name, v.Type, v.Data))];
            Patch(cell, 40, Cell([.. values.SelectMany(Le)]));
        }

        return cell;
    }

    private int Leaf((string Name, int Cell)[] keys) => Cell([.. Encoding.ASCII.GetBytes(List), .. Le16(keys.Length), .. keys.SelectMany(k => Element(k.Name, k.Cell))]);

    private byte[] Element(string name, int cell)
    {
        if (List == "li")
        {
            return Le(cell);
        }

        uint hash = 0;
        foreach (char c in name)
        {
            hash = unchecked((37 * hash) + char.ToUpperInvariant(c));
        }

        byte[] hint = Encoding.Latin1.GetBytes(name.PadRight(4, '\0')[..4]);
        return [.. Le(cell), .. List == "lh" ? BitConverter.GetBytes(hash) : hint];
    }

    private int WriteValue(string name, uint type, byte[] data)
    {
        int size = data.Length;
        int at = size <= 4 ? BitConverter.ToInt32([.. data, .. new byte[4 - size]]) : size > Segment && MinorVersion > 3 ? Big(data) : Cell(data);
        return Cell([.. "vk"u8, .. Le16(name.Length), .. Le(size <= 4 ? size | int.MinValue : size), .. Le(at), .. BitConverter.GetBytes(type), .. Le16(1), .. Le16(0), .. Encoding.Latin1.GetBytes(name)]);
    }

    private int Big(byte[] data)
    {
        // Windows leaves four bytes after a segment, on which hivex relies.
        List<int> segments = [.. data.Chunk(Segment).Select(s => Cell([.. s, 0, 0, 0, 0]))];
        int list = Cell([.. segments.SelectMany(Le)]);
        return Cell([.. "db"u8, .. Le16(segments.Count), .. Le(list)]);
    }

    private sealed record Node(string Name)
    {
        public List<Node> Keys { get; } = [];

        public List<(string Name, uint Type, byte[] Data)> Values { get; } = [];
    }
}
