using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs.Dedup;

/// <summary>
/// The data of a reparse point IO_REPARSE_TAG_DEDUP: which chunk store of the volume holds the file, and where its stream maps are.
/// Microsoft has not published it. Sources: write-ups of recovered volumes with their dumps, the fields that the events of
/// Microsoft-Windows-Deduplication-Change name, and what two free readers document of it. Little-endian: major and minor version, length
/// of all, a body by version, CRC-32 of all before it. Versions seen: 1.2, 2.1 and 3.1.
/// </summary>
internal sealed class DedupReparse
{
    private const string Structure = "deduplication";
    private const int HeaderBytes = 4;
    private const int CrcBytes = 4;

    /// <summary>"FeRp", "DdRp": lists of properties, the second inside the first.</summary>
    private const uint FileEntry = 0x7052_6546;
    private const uint DedupData = 0x7052_6444;

    /// <summary>Kinds of properties.</summary>
    private const ushort Number64 = 6;
    private const ushort Identifier = 12;
    private const ushort Blob = 13;

    private DedupReparse(Guid store, long fileSize, StreamMapReference[] parts)
    {
        Store = store;
        FileSize = fileSize;
        Parts = parts;
        long end = 0;
        foreach (StreamMapReference part in parts)
        {
            // A part that no map stands for lies in the file itself; how it is marked is not known.
            if (part.Begin != end || part.End <= part.Begin)
            {
                throw new DiskFormatException(Fault.Unsupported, Structure, -1, $"a part from {part.Begin} to {part.End} follows byte {end}: the file is only partly in the chunk store");
            }

            end = part.End;
        }

        if (end != fileSize)
        {
            throw new DiskFormatException(Fault.Unsupported, Structure, -1, $"the chunk store has {end} of {fileSize} bytes");
        }
    }

    /// <summary>Names the store's folder.</summary>
    public Guid Store { get; }

    public long FileSize { get; }

    /// <summary>In file order, without a gap between them.</summary>
    public StreamMapReference[] Parts { get; }

    /// <exception cref="DiskFormatException">The data is damaged, or of a version that is not known.</exception>
    public static DedupReparse Parse(ReadOnlySpan<byte> data)
    {
        var v = new LeView(data, Structure, -1);
        v.Require(v.U16(2) == v.Length && v.Length >= HeaderBytes + CrcBytes, 2, "length");
        v.Require(Crc32.Of(data[..^CrcBytes]) == v.U32(v.Length - CrcBytes), v.Length - CrcBytes, "CRC-32");
        LeView body = new(data[..^CrcBytes], Structure, -1);
        return (v.U8(0), v.U8(1)) switch
        {
            (1, 2) => Version1(body),
            (2, 1) => Version2(body),
            (3, _) => Version3(body),
            _ => throw new DiskFormatException(Fault.Unsupported, Structure, -1, $"version {v.U8(0)}.{v.U8(1)} of the reparse point"),
        };
    }

    private static DedupReparse Version1(LeView v)
    {
        long size = v.NonNegative64(0x08, "file size");
        return new DedupReparse(v.MixedGuid(0x18), size, [new StreamMapReference(v.Inner(0x38, StreamMapReference.Size, Structure), size)]);
    }

    private static DedupReparse Version2(LeView v)
    {
        StreamMapReference[] parts = ReadParts(v, v.U16(0x4E), v.U16(0x4C));
        return new DedupReparse(v.MixedGuid(0x74), parts[^1].End, parts);
    }

    private static DedupReparse Version3(LeView v)
    {
        LeView file = v.Inner(HeaderBytes, v.Length - HeaderBytes, "FeRp");
        file.Require(file.U32(0) == FileEntry, 0, "signature");
        Guid? store = null;
        long? size = null;
        StreamMapReference[]? parts = null;
        for (int i = 0; i < file.U16(14); i++)
        {
            LeView value = Property(file, i, out ushort kind);
            if (kind == Identifier && store is null)
            {
                store = value.MixedGuid(0);
            }
            else if (kind == Number64 && size is null)
            {
                size = value.NonNegative64(0, "file size");
            }
            else if (kind == Blob && parts is null && value.U32(0) == DedupData)
            {
                parts = PartsOf(new LeView(value.Bytes, "DdRp", -1));
            }
        }

        file.Require(store is not null && size is not null && parts is not null, 16, "properties");
        return new DedupReparse(store!.Value, size!.Value, parts!);
    }

    private static StreamMapReference[] PartsOf(LeView list)
    {
        for (int i = 0; i < list.U16(14); i++)
        {
            LeView value = Property(list, i, out ushort kind);
            if (kind == Blob)
            {
                return ReadParts(value, 0, value.Length);
            }
        }

        throw list.Corrupt(16, "properties");
    }

    /// <summary>Kind, length and offset from the list's first byte.</summary>
    private static LeView Property(LeView list, int index, out ushort kind)
    {
        LeView entry = list.Inner(16 + (index * 8), 8, list.Structure);
        kind = entry.U16(0);
        entry.Require(entry.U32(4) <= (uint)list.Length, 4, "offset");
        return list.Inner((int)entry.U32(4), entry.U16(2), list.Structure);
    }

    private static StreamMapReference[] ReadParts(LeView v, int at, int bytes)
    {
        v.Require(bytes > 0 && bytes % StreamMapReference.Size == 0, at, "size of the list of stream maps");
        var parts = new StreamMapReference[bytes / StreamMapReference.Size];
        for (int i = 0; i < parts.Length; i++)
        {
            parts[i] = new StreamMapReference(v.Inner(at + (i * StreamMapReference.Size), StreamMapReference.Size, v.Structure));
        }

        return parts;
    }
}
