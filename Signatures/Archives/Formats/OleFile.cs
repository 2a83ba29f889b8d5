using System.Buffers.Binary;

namespace Vmsweep.Signatures.Archives.Formats;

/// <summary>A stream of a compound file.</summary>
/// <param name="Path">Storages and name, with <c>/</c> between them.</param>
internal sealed record OleStream(string Path, string Name, uint Start, long Size);

/// <summary>A compound file. Spec: [MS-CFB]. Little-endian; sectors of 512 or 4096 bytes, and of 64 in the mini stream.</summary>
internal sealed class OleFile
{
    public const int HeaderBytes = 512;
    private const int EntryBytes = 128;
    private const int MiniBytes = 64;
    private const int MostDepth = 64;

    // What a stream takes beside its path.
    private const int StreamBytes = 160;

    private const uint EndOfChain = 0xFFFF_FFFE;
    private const uint NoStream = 0xFFFF_FFFF;
    private const uint LargestSector = 0xFFFF_FFFA;
    private const int StorageKind = 1, StreamKind = 2, RootKind = 5;

    private readonly ReadOnlyMemory<byte> _content;
    private readonly IMemberSink _sink;
    private readonly int _sectorBytes;
    private readonly long _cutoff;
    private readonly List<uint> _fat = [];
    private readonly List<uint> _miniFat = [];
    private readonly List<uint> _miniSectors = [];
    private readonly byte[] _entries;

    public OleFile(ReadOnlyMemory<byte> content, IMemberSink sink)
    {
        _content = content;
        _sink = sink;
        ReadOnlySpan<byte> header = content.Span[..HeaderBytes];
        int shift = U16(header, 30);
        if (shift is not (9 or 12) || U16(header, 32) != 6)
        {
            throw ArchiveException.Corrupt("ole header", 30, "a sector size that is none");
        }

        _sectorBytes = 1 << shift;
        _cutoff = U32(header, 56);
        ReadFat(header);
        _entries = ReadChain(U32(header, 48), "ole directory");
        foreach (uint sector in Chain(U32(header, 60), "ole mini fat"))
        {
            AddSector(sector, _miniFat);
        }

        if (_entries.Length >= EntryBytes && _entries[66] == RootKind)
        {
            _miniSectors.AddRange(Chain(U32(_entries, 116), "ole mini stream"));
        }
    }

    /// <summary>Every stream, also of entries that no storage leads to: some programs find them by their index.</summary>
    /// <param name="tables">Holds them.</param>
    public List<OleStream> Streams(TableMemory tables)
    {
        List<OleStream> streams = [];
        bool[] seen = new bool[_entries.Length / EntryBytes];
        if (seen.Length > 0)
        {
            seen[0] = true;
            Walk(U32(_entries, 76), "", 0, seen, streams, tables);
        }

        for (int i = 0; i < seen.Length; i++)
        {
            if (!seen[i] && _entries[(i * EntryBytes) + 66] == StreamKind)
            {
                Add(i, "(orphan)/", streams, tables);
            }
        }

        return streams;
    }

    public byte[] Read(OleStream stream)
    {
        if (stream.Size > _content.Length)
        {
            throw ArchiveException.Corrupt("ole stream", -1, $"it declares {stream.Size} bytes, more than the file has");
        }

        byte[] bytes = new byte[stream.Size];
        if (stream.Size >= _cutoff)
        {
            Fill(bytes, stream.Start, _fat, _sectorBytes, SectorAt);
        }
        else
        {
            Fill(bytes, stream.Start, _miniFat, MiniBytes, MiniSectorAt);
        }

        return bytes;
    }

    private void Fill(byte[] bytes, uint start, List<uint> table, int sectorBytes, Func<uint, long> place)
    {
        uint sector = start;
        for (int at = 0; at < bytes.Length; at += sectorBytes)
        {
            if ((at & 0xF_FFFF) == 0)
            {
                _sink.Tick();
            }

            long from = place(sector);
            int count = Math.Min(sectorBytes, bytes.Length - at);
            if (from < 0 || from + count > _content.Length)
            {
                throw ArchiveException.Truncated("ole stream", from);
            }

            _content.Span.Slice((int)from, count).CopyTo(bytes.AsSpan(at));
            sector = sector < table.Count ? table[(int)sector] : EndOfChain;
        }
    }

    private long SectorAt(uint sector) => sector < LargestSector ? (sector + 1L) * _sectorBytes : -1;

    private long MiniSectorAt(uint sector)
    {
        long at = (long)sector * MiniBytes;
        int index = (int)Math.Min(at / _sectorBytes, int.MaxValue);
        return index < _miniSectors.Count ? SectorAt(_miniSectors[index]) + (at % _sectorBytes) : -1;
    }

    private void ReadFat(ReadOnlySpan<byte> header)
    {
        for (int i = 0; i < 109; i++)
        {
            uint sector = U32(header, 76 + (4 * i));
            if (sector < LargestSector)
            {
                AddSector(sector, _fat);
            }
        }

        int perSector = (_sectorBytes / 4) - 1;
        uint next = U32(header, 68);
        for (int i = 0; next < LargestSector; i++)
        {
            long at = SectorAt(next);
            if (at + _sectorBytes > _content.Length || i > _content.Length / _sectorBytes)
            {
                throw ArchiveException.Corrupt("ole difat", at, "it leaves the file or goes in a circle");
            }

            ReadOnlySpan<byte> table = _content.Span.Slice((int)at, _sectorBytes);
            for (int j = 0; j < perSector; j++)
            {
                uint sector = U32(table, 4 * j);
                if (sector < LargestSector)
                {
                    AddSector(sector, _fat);
                }
            }

            next = U32(table, _sectorBytes - 4);
        }
    }

    private void AddSector(uint sector, List<uint> table)
    {
        // No file needs more entries than it has sectors; the mini stream has eight or more for each.
        long at = SectorAt(sector);
        if (at < 0 || at + _sectorBytes > _content.Length || table.Count > _content.Length / 16)
        {
            throw ArchiveException.Truncated("ole fat", at);
        }

        ReadOnlySpan<byte> entries = _content.Span.Slice((int)at, _sectorBytes);
        for (int i = 0; i < _sectorBytes; i += 4)
        {
            table.Add(U32(entries, i));
        }
    }

    private List<uint> Chain(uint start, string structure)
    {
        List<uint> sectors = [];
        for (uint sector = start; sector < LargestSector; sector = sector < _fat.Count ? _fat[(int)sector] : EndOfChain)
        {
            if (sectors.Count > _content.Length / _sectorBytes)
            {
                throw ArchiveException.Corrupt(structure, SectorAt(sector), "its chain goes in a circle");
            }

            sectors.Add(sector);
        }

        return sectors;
    }

    private byte[] ReadChain(uint start, string structure)
    {
        List<uint> sectors = Chain(start, structure);
        byte[] bytes = new byte[sectors.Count * _sectorBytes];
        for (int i = 0; i < sectors.Count; i++)
        {
            long at = SectorAt(sectors[i]);
            if (at + _sectorBytes > _content.Length)
            {
                _sink.Gap(ArchiveFault.Truncated, structure, at, 0, "it goes on behind the end of the file");
                return bytes[..(i * _sectorBytes)];
            }

            _content.Span.Slice((int)at, _sectorBytes).CopyTo(bytes.AsSpan(i * _sectorBytes));
        }

        return bytes;
    }

    /// <summary>A storage's entries are a tree; both sides are walked, without recursion on what a file says.</summary>
    private void Walk(uint first, string path, int depth, bool[] seen, List<OleStream> streams, TableMemory tables)
    {
        Stack<uint> open = new([first]);
        while (open.TryPop(out uint id))
        {
            if (id == NoStream || id >= seen.Length || seen[id])
            {
                continue;
            }

            seen[id] = true;
            ReadOnlySpan<byte> entry = _entries.AsSpan((int)id * EntryBytes, EntryBytes);
            open.Push(U32(entry, 68));
            open.Push(U32(entry, 72));
            if (entry[66] == StreamKind)
            {
                Add((int)id, path, streams, tables);
            }
            else if (entry[66] == StorageKind && depth < MostDepth)
            {
                Walk(U32(entry, 76), path + NameOf(entry) + "/", depth + 1, seen, streams, tables);
            }
        }
    }

    private void Add(int id, string path, List<OleStream> streams, TableMemory tables)
    {
        tables.Add(StreamBytes + (2L * path.Length));
        ReadOnlySpan<byte> entry = _entries.AsSpan(id * EntryBytes, EntryBytes);
        string name = NameOf(entry);
        long size = _sectorBytes == 512 ? U32(entry, 120) : (long)Math.Min(BinaryPrimitives.ReadUInt64LittleEndian(entry[120..]), long.MaxValue);
        streams.Add(new OleStream(path + name, name, U32(entry, 116), size));
    }

    private static string NameOf(ReadOnlySpan<byte> entry)
    {
        int length = Math.Clamp(U16(entry, 64) - 2, 0, 62) & ~1;
        return MsiNames.Decode(MemberNames.OfUtf16(entry[..length]));
    }

    private static int U16(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt16LittleEndian(bytes[at..]);

    private static uint U32(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt32LittleEndian(bytes[at..]);
}

/// <summary>Windows Installer packs two characters of a stream's name into one, from U+3800 on; U+4840 begins a table's name.</summary>
internal static class MsiNames
{
    private const string Alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._";

    public static string Decode(string name)
    {
        if (!name.AsSpan().ContainsAnyInRange('\u3800', '\u4840'))
        {
            return name;
        }

        var text = new System.Text.StringBuilder();
        foreach (char c in name)
        {
            switch (c)
            {
                case >= '\u3800' and < '\u4800':
                    text.Append(Alphabet[(c - 0x3800) & 63]).Append(Alphabet[((c - 0x3800) >> 6) & 63]);
                    break;
                case >= '\u4800' and < '\u4840':
                    text.Append(Alphabet[c - 0x4800]);
                    break;
                case '\u4840':
                    text.Append('!');
                    break;
                default:
                    text.Append(c);
                    break;
            }
        }

        return text.ToString();
    }
}
