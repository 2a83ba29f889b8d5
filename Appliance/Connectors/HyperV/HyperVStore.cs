using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Connectors.HyperV;

/// <summary>
/// Hyper-V's key-value store (<c>.vmcx</c>, <c>.vmrs</c>), read only. Spec: "HyperV Storage File Format", Microsoft's openvmm, hvs_file. Little-endian,
/// packed. Two headers at 0 and 4096, an object table at 8192, and what it lists: key tables with entries that name their parent by table and offset. A
/// replay log holds what was being written when the host stopped; it is applied in memory.
/// </summary>
internal sealed class HyperVStore
{
    public const uint Signature = 0x0128_2014;

    private const int HeaderBytes = 46;
    private const int SecondHeaderAt = 4096;
    private const int ObjectTableAt = 8192;
    private const uint ObjectTableSignature = 0x0111_0001;
    private const uint ReplayLogSignature = 0x0111_0003;
    private const ushort KeyTableSignature = 0x0002;

    // Versions before 4.0 lay their entries out in another way, and no host since 2016 writes them.
    private const uint ReadVersion = 0x0400;

    private const int ObjectTableHeaderBytes = 8;
    private const int ObjectEntryBytes = 18;
    private const int ReplayLogHeaderBytes = 34;
    private const int ReplayEntryBytes = 28;
    private const int KeyTableHeaderBytes = 10;
    private const int KeyEntryHeaderBytes = 21;
    private const byte PointsToFileObject = 1;

    // A configuration has some dozen tables of 4 KiB; the state of a VM with a terabyte of memory some ten thousand.
    private const int MostObjectTables = 4096;
    private const int MostTableBytes = 1 << 20;
    private const int MostTablesBytes = 64 << 20;
    private const int MostEntries = 1 << 20;
    private const int MostReplayed = 1024;
    private const int MostReplayedBytes = 8 << 20;

    // Longer texts are notes and certificates; nothing that is looked for is as long.
    private const int MostTextBytes = 64 << 10;
    private const int MostSmallArray = 64;
    private const int MostDepth = 64;

    // Of all nodes together. Real paths have less than a hundred.
    private const int MostPathChars = 8 << 20;

    private readonly IBlockSource _file;
    private readonly List<(long Offset, byte[] Bytes)> _replayed = [];
    private readonly Dictionary<ushort, (ushort Sequence, byte[] Bytes)> _tables = [];
    private readonly Dictionary<(ushort Table, uint Offset), string> _nodes = [];
    private readonly Dictionary<string, object> _values = new(StringComparer.OrdinalIgnoreCase);

    private int _pathChars;

    private HyperVStore(IBlockSource file) => _file = file;

    /// <summary>Values by path (<c>configuration/properties/name</c>): string, long, ulong, double, bool, or bytes; long texts and arrays are left out.</summary>
    public IReadOnlyDictionary<string, object> Values => _values;

    /// <summary>True when the bytes begin like a store.</summary>
    public static bool Probe(IBlockSource file)
    {
        if (file.Length < HeaderBytes)
        {
            return false;
        }

        Span<byte> head = stackalloc byte[4];
        file.Read(0, head);
        return new LeView(head, "header", 0).U32(0) == Signature;
    }

    /// <param name="file">The file's bytes.</param>
    /// <param name="wanted">Which texts and numbers are kept, by path; null for all.</param>
    /// <exception cref="DiskFormatException">It is no store, or a faulty one.</exception>
    public static HyperVStore Read(IBlockSource file, Func<string, bool>? wanted = null)
    {
        var store = new HyperVStore(file);
        store.ReadReplayLog(store.Header());
        store.ReadObjectTables();
        store.ReadEntries(wanted ?? (_ => true));
        return store;
    }

    /// <summary>The newer of the two headers that is sound.</summary>
    private (long LogAt, long LogBytes) Header()
    {
        (ushort Sequence, long LogAt, long LogBytes)? best = null;
        foreach (int at in (int[])[0, SecondHeaderAt])
        {
            byte[] bytes = new byte[HeaderBytes];
            if (at + HeaderBytes > _file.Length)
            {
                continue;
            }

            _file.Read(at, bytes);
            var v = new LeView(bytes, "HyperVStorageHeader", at);
            if (v.U32(0) != Signature || !ChecksumHolds(bytes, 4))
            {
                continue;
            }

            if (v.U32(10) != ReadVersion)
            {
                throw v.Unsupported(10, FormattableString.Invariant($"FormatVersion 0x{v.U32(10):X4}"));
            }

            ushort sequence = v.U16(8);
            if (best is null || unchecked((short)(sequence - best.Value.Sequence)) > 0)
            {
                best = (sequence, v.NonNegative64(26, "ReplayLogOffsetInBytes"), v.NonNegative64(34, "ReplayLogSizeInBytes"));
            }
        }

        return best is { } header ? (header.LogAt, header.LogBytes) : throw new DiskFormatException(Fault.Corrupt, "HyperVStorageHeader", 0, "neither header is sound");
    }

    private void ReadReplayLog((long LogAt, long LogBytes) log)
    {
        byte[] head = At(log.LogAt, ReplayLogHeaderBytes, "replay log");
        var v = new LeView(head, "replay log", log.LogAt);
        v.Require(v.U32(0) == ReplayLogSignature, 0, "Signature");
        uint count = v.U32(8);
        if (count == 0)
        {
            return;
        }

        v.Require(ChecksumHolds(head, 4), 4, "Checksum");
        v.Require(count <= v.U32(13), 8, "CurrentEntriesCount");
        if (count > MostReplayed)
        {
            throw v.TooLarge(8, "CurrentEntriesCount");
        }

        byte[] entries = At(log.LogAt + ReplayLogHeaderBytes, (int)count * ReplayEntryBytes, "replay log");
        int total = 0;
        List<(long, byte[])> replayed = [];
        for (int i = 0; i < count; i++)
        {
            LeView entry = new LeView(entries, "replay log", log.LogAt + ReplayLogHeaderBytes).Inner(i * ReplayEntryBytes, ReplayEntryBytes, "replay log entry");
            entry.Require(ChecksumHolds(entry.Bytes, 0), 0, "HeaderChecksum");
            long to = entry.NonNegative64(4, "DestinationOffset");
            uint size = entry.U32(12);
            long within = entry.NonNegative64(16, "OffsetInsideLog");
            entry.Require(size <= MostReplayedBytes && (total += (int)size) <= MostReplayedBytes && within <= log.LogBytes && size <= log.LogBytes - within && to <= long.MaxValue - size, 12, "DestinationSize");
            byte[] data = At(log.LogAt + within, (int)size, "replay log");
            entry.Require(Crc32.Of(data) == entry.U32(24), 24, "DataChecksum");
            replayed.Add((to, data));
        }

        // Not before all are known: the log itself is read as it lies.
        _replayed.AddRange(replayed);
    }

    private void ReadObjectTables()
    {
        var seen = new HashSet<long>();
        var tables = new Queue<long>([ObjectTableAt]);
        int left = MostTablesBytes;
        while (tables.TryDequeue(out long at))
        {
            if (!seen.Add(at) || seen.Count > MostObjectTables)
            {
                throw new DiskFormatException(Fault.Corrupt, "object table", at, "the tables lead round, or there are too many");
            }

            byte[] head = At(at, ObjectTableHeaderBytes, "object table");
            var v = new LeView(head, "object table", at);
            v.Require(v.U32(0) == ObjectTableSignature, 0, "Signature");
            uint count = v.U32(4);
            if (count > MostTableBytes / ObjectEntryBytes)
            {
                throw v.TooLarge(4, "EntriesCount");
            }

            byte[] entries = At(at + ObjectTableHeaderBytes, (int)count * ObjectEntryBytes, "object table");
            for (int i = 0; i < count; i++)
            {
                LeView entry = new LeView(entries, "object table", at + ObjectTableHeaderBytes).Inner(i * ObjectEntryBytes, ObjectEntryBytes, "object table entry");
                ObjectType type = (ObjectType)entry.U8(0);
                if (type is not (ObjectType.ObjectTable or ObjectType.KeyTable))
                {
                    continue;
                }

                entry.Require(ChecksumHolds(entry.Bytes, 1), 1, "EntryChecksum");
                long offset = entry.NonNegative64(5, "FileOffsetInBytes");
                if (type == ObjectType.ObjectTable)
                {
                    tables.Enqueue(offset);
                    continue;
                }

                uint size = entry.U32(13);
                if (size > MostTableBytes || (left -= (int)size) < 0)
                {
                    throw entry.TooLarge(13, "SizeInBytes");
                }

                AddTable(At(offset, (int)size, "key table"), offset);
            }
        }
    }

    private void AddTable(byte[] bytes, long at)
    {
        var v = new LeView(bytes, "key table", at);
        v.Require(v.U16(0) == KeyTableSignature, 0, "Signature");
        v.Require(ChecksumHolds(v.Field(0, KeyTableHeaderBytes), 6), 6, "Checksum");
        (ushort index, ushort sequence) = (v.U16(2), v.U16(4));
        if (!_tables.TryGetValue(index, out (ushort Sequence, byte[] Bytes) other) || unchecked((short)(sequence - other.Sequence)) > 0)
        {
            _tables[index] = (sequence, bytes);
        }
    }

    private void ReadEntries(Func<string, bool> wanted)
    {
        List<(ushort Table, uint At)> leaves = [];
        var parents = new Dictionary<(ushort Table, uint Offset), (string Name, ushort ParentTable, uint ParentOffset)>();
        int count = 0;
        foreach ((ushort index, (_, byte[] bytes)) in _tables)
        {
            for (int at = KeyTableHeaderBytes; at + KeyEntryHeaderBytes < bytes.Length;)
            {
                var v = new LeView(bytes.AsSpan(at), "key table entry", at);
                uint size = v.U32(2);
                if (size == 0)
                {
                    break;
                }

                v.Require(size >= KeyEntryHeaderBytes && size <= bytes.Length - at, 2, "SizeInBytes");
                if (++count > MostEntries)
                {
                    throw v.TooLarge(2, "number of entries");
                }

                KeyType type = (KeyType)v.U8(0);
                if (type == KeyType.Node)
                {
                    parents.Add((index, (uint)at), (NameOf(v, size), v.U16(6), v.U32(8)));
                }
                else if (type is KeyType.Int or KeyType.UInt or KeyType.Double or KeyType.String or KeyType.Array or KeyType.Bool)
                {
                    leaves.Add((index, (uint)at));
                }

                at += (int)size;
            }
        }

        foreach ((ushort table, uint at) in leaves)
        {
            var v = new LeView(_tables[table].Bytes.AsSpan((int)at), "key table entry", at);
            string path = Join(PathOf(parents, (v.U16(6), v.U32(8))), NameOf(v, v.U32(2)));
            if (wanted(path) && ValueOf(v) is { } value)
            {
                // Of two of a name programs take one or the other.
                _values.TryAdd(path, value);
            }
        }
    }

    /// <summary>The path of a node; found once for each.</summary>
    private string PathOf(Dictionary<(ushort Table, uint Offset), (string Name, ushort ParentTable, uint ParentOffset)> parents, (ushort Table, uint Offset) node)
    {
        var line = new Stack<((ushort Table, uint Offset) Node, string Name)>();
        string path = "";
        while (node.Table != 0)
        {
            if (_nodes.TryGetValue(node, out string? known))
            {
                path = known;
                break;
            }

            if (line.Count >= MostDepth || !parents.TryGetValue(node, out (string Name, ushort ParentTable, uint ParentOffset) found))
            {
                throw new DiskFormatException(Fault.Corrupt, "key table entry", node.Offset, line.Count >= MostDepth ? "nodes lead round, or nest too deep" : "it names a parent that is not there");
            }

            line.Push((node, found.Name));
            node = (found.ParentTable, found.ParentOffset);
        }

        while (line.TryPop(out ((ushort Table, uint Offset) Node, string Name) next))
        {
            path = Join(path, next.Name);
            if ((_pathChars += path.Length) > MostPathChars)
            {
                throw new DiskFormatException(Fault.Limit, "key table entry", next.Node.Offset, "the names of all nodes are too long together");
            }

            _nodes.Add(next.Node, path);
        }

        return path;
    }

    private static string Join(string path, string name) => path.Length == 0 ? name : path + "/" + name;

    /// <summary>UTF-8, its closing zero counted.</summary>
    private static string NameOf(LeView v, uint size)
    {
        int length = v.U8(20);
        v.Require(length > 0 && KeyEntryHeaderBytes + length <= size, 20, "NameSizeInSymbols");
        return Encoding.UTF8.GetString(v.Field(KeyEntryHeaderBytes, length - 1));
    }

    private object? ValueOf(LeView v)
    {
        int at = KeyEntryHeaderBytes + v.U8(20);
        int length = (int)v.U32(2) - at;
        KeyType type = (KeyType)v.U8(0);
        bool isFile = (v.U8(1) & PointsToFileObject) != 0;
        switch (type)
        {
            case KeyType.String when isFile:
                v.Require(length >= 12, 2, "SizeInBytes");
                return v.U32(at) <= MostTextBytes ? Text(At(v.NonNegative64(at + 4, "OffsetInBytes"), (int)v.U32(at), "file object")) : null;
            case KeyType.String:
                v.Require(length >= 4 && v.U32(at) <= length - 4, at, "SizeInBytes of a string");
                return Text(v.Field(at + 4, (int)v.U32(at)));
            case KeyType.Array:
                v.Require(length >= 4 && (isFile || v.U32(at) <= length - 4), at, "SizeInBytes of an array");
                return !isFile && v.U32(at) <= MostSmallArray ? v.Field(at + 4, (int)v.U32(at)).ToArray() : null;
            case KeyType.Bool:
                v.Require(length >= 4, 2, "SizeInBytes");
                return v.U32(at) != 0;
            default:
                v.Require(length >= 8, 2, "SizeInBytes");
                return type switch
                {
                    KeyType.Int => v.I64(at),
                    KeyType.UInt => v.U64(at),
                    _ => (object)BitConverter.Int64BitsToDouble(v.I64(at)),
                };
        }
    }

    private static string Text(ReadOnlySpan<byte> utf16)
    {
        string text = Encoding.Unicode.GetString(utf16[..(utf16.Length & ~1)]);
        int end = text.IndexOf('\0', StringComparison.Ordinal);
        return end < 0 ? text : text[..end];
    }

    /// <summary>A CRC-32 that was taken with its own four bytes zero.</summary>
    private static bool ChecksumHolds(ReadOnlySpan<byte> bytes, int at)
    {
        uint crc = Crc32.Append(Crc32.Append(Crc32.Of(bytes[..at]), [0, 0, 0, 0]), bytes[(at + 4)..]);
        return crc == new LeView(bytes, "checksum", 0).U32(at);
    }

    /// <summary>Bytes as they are once the log is replayed.</summary>
    private byte[] At(long offset, int length, string structure)
    {
        Bounds.Check(offset, length, _file.Length, structure);
        byte[] bytes = new byte[length];
        _file.Read(offset, bytes);
        foreach ((long to, byte[] data) in _replayed)
        {
            long from = Math.Max(offset, to);
            long end = Math.Min(offset + length, to + data.Length);
            if (from < end)
            {
                data.AsSpan((int)(from - to), (int)(end - from)).CopyTo(bytes.AsSpan((int)(from - offset)));
            }
        }

        return bytes;
    }

    private enum ObjectType : byte
    {
        ObjectTable = 1,
        KeyTable = 2,
    }

    private enum KeyType : byte
    {
        Int = 3,
        UInt = 4,
        Double = 5,
        String = 6,
        Array = 7,
        Bool = 8,
        Node = 9,
    }
}
