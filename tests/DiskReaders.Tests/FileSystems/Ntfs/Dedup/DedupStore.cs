using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Ntfs.Dedup;

/// <summary>A chunk in a store that a test builds.</summary>
internal readonly record struct BuiltChunk(uint LocalId, uint Container, uint Offset, uint Generation, byte[] Digest, uint StoredBytes, int Bytes);

/// <summary>A part of a file: its stream map.</summary>
internal readonly record struct BuiltPart(uint LocalId, uint Container, uint Offset, uint Bytes, byte[] Digest, long Begin, long End);

/// <summary>Builds a chunk store and the reparse points that lead into it byte by byte, as published descriptions have them.</summary>
internal sealed class DedupStore
{
    public const int FirstChunk = 0x5000;
    private const int RedirectionTable = 0x3000;
    private readonly Dictionary<string, List<byte>> _containers = [];
    private uint _nextId = 1;

    public Guid Id { get; } = new("5d1b7bfa-b73e-42a0-95cb-91ce1921cfb2");

    /// <summary>Names and bytes of the containers, below the store's folder.</summary>
    public IReadOnlyDictionary<string, List<byte>> Containers => _containers;

    public BuiltChunk Add(byte[] content, byte[]? packed = null, uint packing = 0, uint container = 1, uint generation = 1)
    {
        byte[] digest = SHA256.HashData(content);
        byte[] header = Header(0x58, 1, 0x28, (packed ?? content).Length);
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(0x20), packing);
        digest.CopyTo(header, 0x28);
        uint offset = Append($"Data/{container:x8}.{generation:x8}.ccc", container, generation, header, packed ?? content);
        return new BuiltChunk(_nextId++, container, offset, generation, digest, (uint)(packed ?? content).Length, content.Length);
    }

    public BuiltPart Map(IEnumerable<BuiltChunk> chunks, long begin = 0, uint container = 0x10000, uint generation = 1)
    {
        List<BuiltChunk> list = [.. chunks];
        byte[] map = new byte[8 + (64 * list.Count)];
        "Smap\x01\x03\x03"u8.CopyTo(map);
        long end = begin;
        for (int i = 0; i < list.Count; i++)
        {
            end += list[i].Bytes;
            Span<byte> record = map.AsSpan(8 + (64 * i), 64);
            BinaryPrimitives.WriteUInt32LittleEndian(record, list[i].LocalId);
            BinaryPrimitives.WriteUInt32LittleEndian(record[4..], list[i].Container);
            BinaryPrimitives.WriteUInt32LittleEndian(record[8..], list[i].Offset);
            BinaryPrimitives.WriteUInt32LittleEndian(record[12..], list[i].Generation);
            BinaryPrimitives.WriteInt64LittleEndian(record[16..], end);
            list[i].Digest.CopyTo(record[24..]);
            BinaryPrimitives.WriteUInt32LittleEndian(record[56..], list[i].StoredBytes);
        }

        byte[] digest = SHA256.HashData(map)[..16];
        byte[] header = Header(0x68, 2, 0x38, map.Length);
        digest.CopyTo(header, 0x38);
        BinaryPrimitives.WriteInt64LittleEndian(header.AsSpan(0x48), end);
        BinaryPrimitives.WriteInt64LittleEndian(header.AsSpan(0x50), begin);
        uint offset = Append($"Stream/{container:x8}.{generation:x8}.ccc", container, generation, header, map);
        return new BuiltPart(_nextId++, container, offset, (uint)map.Length, digest, begin, end);
    }

    /// <summary>The reparse point of a file, tag and all.</summary>
    public byte[] Reparse(string version, long fileSize, params BuiltPart[] parts)
    {
        byte[] entries = [.. parts.SelectMany(Entry)];
        byte[] data = version switch
        {
            "1.2" => Version1(fileSize, entries),
            "2.1" => Version2(entries),
            _ => Version3(fileSize, entries),
        };
        BinaryPrimitives.WriteUInt16LittleEndian(data.AsSpan(2), (ushort)data.Length);
        byte[] point = new byte[8 + data.Length];
        BinaryPrimitives.WriteUInt32LittleEndian(point, 0x8000_0013);
        BinaryPrimitives.WriteUInt16LittleEndian(point.AsSpan(4), (ushort)data.Length);
        data.CopyTo(point, 8);
        Seal(point);
        return point;
    }

    /// <summary>Makes the CRC of a reparse point right again.</summary>
    public static void Seal(Span<byte> point) =>
        BinaryPrimitives.WriteUInt32LittleEndian(point[^4..], Crc32.Of(point[8..^4]));

    /// <summary>Lets a container's redirection table say where chunks are.</summary>
    public void Redirect(string container, params (uint Id, uint Offset)[] entries)
    {
        Span<byte> bytes = System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_containers[container]);
        BinaryPrimitives.WriteInt32LittleEndian(bytes[(RedirectionTable + 8)..], entries.Length);
        for (int i = 0; i < entries.Length; i++)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(bytes[(RedirectionTable + 0x20 + (8 * i))..], entries[i].Id);
            BinaryPrimitives.WriteUInt32LittleEndian(bytes[(RedirectionTable + 0x24 + (8 * i))..], entries[i].Offset);
        }
    }

    public void Rename(string from, string to)
    {
        _containers[to] = _containers[from];
        _containers.Remove(from);
    }

    public void Remove(string container) => _containers.Remove(container);

    public void Patch(string container, long at, params byte[] bytes)
    {
        for (int i = 0; i < bytes.Length; i++)
        {
            _containers[container][(int)at + i] = bytes[i];
        }
    }

    /// <summary>Writes the containers to a folder and gives the lines of a script that copy them into the volume.</summary>
    public string CopyScript(string folder)
    {
        Directory.CreateDirectory(Path.Combine(folder, "store"));
        foreach ((string name, List<byte> bytes) in _containers)
        {
            string path = Path.Combine(folder, "store", name);
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            File.WriteAllBytes(path, [.. bytes]);
        }

        string store = $"System Volume Information/Dedup/ChunkStore/{{{Id.ToString().ToUpperInvariant()}}}.ddp";
        return $"mkdir -p '{store}'; cp -r $S/store/. '{store}/'";
    }

    public static string SetScript(string file, long size, byte[] reparse) =>
        $"truncate -s {size} '{file}'; setfattr -h -n system.ntfs_reparse_data -v 0x{Convert.ToHexString(reparse)} '{file}'";

    private byte[] Header(int bytes, ushort type, ushort headerSize, int stored)
    {
        byte[] header = new byte[bytes];
        "Ckhr\x01\x03\x03"u8.CopyTo(header);
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(8), _nextId);
        BinaryPrimitives.WriteInt32LittleEndian(header.AsSpan(12), stored);
        BinaryPrimitives.WriteUInt16LittleEndian(header.AsSpan(16), type);
        BinaryPrimitives.WriteUInt16LittleEndian(header.AsSpan(18), headerSize);
        return header;
    }

    private uint Append(string name, uint id, uint generation, byte[] header, byte[] content)
    {
        if (!_containers.TryGetValue(name, out List<byte>? container))
        {
            byte[] start = new byte[FirstChunk];
            "Cthr\x01\x03\x03"u8.CopyTo(start);
            BinaryPrimitives.WriteUInt32LittleEndian(start.AsSpan(16), id);
            BinaryPrimitives.WriteUInt32LittleEndian(start.AsSpan(20), generation);
            "Rrtl\x01\x03\x03"u8.CopyTo(start.AsSpan(RedirectionTable));
            BinaryPrimitives.WriteUInt32LittleEndian(start.AsSpan(RedirectionTable + 12), 8);
            _containers[name] = container = [.. start];
        }

        uint offset = (uint)container.Count;
        container.AddRange(header);
        container.AddRange(content);
        while (container.Count % 8 != 0)
        {
            container.Add(0);
        }

        return offset;
    }

    private static byte[] Entry(BuiltPart part)
    {
        byte[] entry = new byte[64];
        BinaryPrimitives.WriteUInt32LittleEndian(entry, part.LocalId);
        BinaryPrimitives.WriteUInt32LittleEndian(entry.AsSpan(4), part.Container);
        BinaryPrimitives.WriteUInt32LittleEndian(entry.AsSpan(8), part.Offset);
        BinaryPrimitives.WriteUInt32LittleEndian(entry.AsSpan(0x18), part.Bytes);
        BinaryPrimitives.WriteUInt32LittleEndian(entry.AsSpan(0x1C), 64);
        part.Digest.CopyTo(entry, 0x20);
        BinaryPrimitives.WriteInt64LittleEndian(entry.AsSpan(0x30), part.End);
        BinaryPrimitives.WriteInt64LittleEndian(entry.AsSpan(0x38), part.Begin);
        return entry;
    }

    private byte[] Version1(long fileSize, byte[] entries)
    {
        byte[] data = new byte[0x38 + 64 + 4];
        data[0] = 1;
        data[1] = 2;
        BinaryPrimitives.WriteInt64LittleEndian(data.AsSpan(8), fileSize);
        Id.ToByteArray().CopyTo(data, 0x18);
        entries.AsSpan(0, 64).CopyTo(data.AsSpan(0x38));
        return data;
    }

    private byte[] Version2(byte[] entries)
    {
        byte[] data = new byte[0x94 + entries.Length + 4];
        data[0] = 2;
        data[1] = 1;
        BinaryPrimitives.WriteUInt16LittleEndian(data.AsSpan(0x4C), (ushort)entries.Length);
        BinaryPrimitives.WriteUInt16LittleEndian(data.AsSpan(0x4E), 0x94);
        Id.ToByteArray().CopyTo(data, 0x74);
        entries.CopyTo(data, 0x94);
        return data;
    }

    /// <summary>Properties in the order in which a server of 2016 writes them.</summary>
    private byte[] Version3(long fileSize, byte[] entries)
    {
        byte[] dedup = List("DdRp", (10, Number(1)), (14, new byte[8]), (13, entries));
        byte[] recall = List("RbRp", (10, Number(1)), (9, Number(0)), (9, Number(0)), (6, new byte[8]), (6, new byte[8]), (12, new byte[16]));
        byte[] file = List(
            "FeRp",
            (10, Number(1)), (10, Number(0)), (12, Id.ToByteArray()), (11, BitConverter.GetBytes(131_603_123_456_789_012L)),
            (6, BitConverter.GetBytes(fileSize)), (5, Number(0)), (9, Number(0)), (13, recall), (13, dedup));
        return [3, 1, 0, 0, .. file, 0, 0, 0, 0];
    }

    private static byte[] Number(uint value) => BitConverter.GetBytes(value);

    private static byte[] List(string signature, params (ushort Kind, byte[] Value)[] properties)
    {
        byte[] list = new byte[16 + (8 * properties.Length) + properties.Sum(p => p.Value.Length)];
        Encoding.ASCII.GetBytes(signature).CopyTo(list, 0);
        BinaryPrimitives.WriteInt32LittleEndian(list.AsSpan(8), list.Length);
        BinaryPrimitives.WriteUInt16LittleEndian(list.AsSpan(14), (ushort)properties.Length);
        int at = 16 + (8 * properties.Length);
        for (int i = 0; i < properties.Length; i++)
        {
            Span<byte> entry = list.AsSpan(16 + (8 * i));
            BinaryPrimitives.WriteUInt16LittleEndian(entry, properties[i].Kind);
            BinaryPrimitives.WriteUInt16LittleEndian(entry[2..], (ushort)properties[i].Value.Length);
            BinaryPrimitives.WriteInt32LittleEndian(entry[4..], at);
            properties[i].Value.CopyTo(list, at);
            at += properties[i].Value.Length;
        }

        BinaryPrimitives.WriteUInt32LittleEndian(list.AsSpan(4), Crc32.Of(list.AsSpan(8)));
        return list;
    }
}
