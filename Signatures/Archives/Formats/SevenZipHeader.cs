using System.Buffers.Binary;
using System.Numerics;

namespace Vmsweep.Signatures.Archives.Formats;

/// <summary>A coder of a folder.</summary>
internal sealed record SevenZipCoder(ulong Id, int Inputs, int Outputs, byte[] Properties);

/// <summary>Coders that together unpack one or more streams of the archive into one: a "solid block" where it holds many files.</summary>
internal sealed class SevenZipFolder
{
    public List<SevenZipCoder> Coders { get; } = [];

    /// <summary>Input of a coder and the output that feeds it.</summary>
    public List<(int Input, int Output)> Bonds { get; } = [];

    /// <summary>Inputs that packed streams feed, in order.</summary>
    public List<int> PackedInputs { get; } = [];

    /// <summary>By output of the coders.</summary>
    public List<long> Sizes { get; } = [];

    public uint? Crc { get; set; }

    public int FirstPack { get; set; }

    /// <summary>The files in it.</summary>
    public List<(long Size, uint? Crc)> Files { get; } = [];

    /// <summary>The output that nothing takes.</summary>
    public int MainOutput
    {
        get
        {
            for (int i = 0; i < Sizes.Count; i++)
            {
                if (!Bonds.Exists(b => b.Output == i))
                {
                    return i;
                }
            }

            return -1;
        }
    }
}

/// <summary>
/// The header of a 7z archive. Spec: 7zFormat.txt of the LZMA SDK (public domain). Counts are held against the bytes that are there, and what is made of
/// them against the memory for it.
/// </summary>
internal sealed class SevenZipHeader
{
    private const int MostCoders = 16;

    // What one takes, with its part of the lists that it stands in.
    private const int FolderBytes = 768, CoderBytes = 256, FileBytes = 96, NameBytes = 64, SizeBytes = 48;

    private const byte EndId = 0, HeaderId = 1, PropertiesId = 2, StreamsId = 4, FilesId = 5, PackId = 6, UnpackId = 7, SubStreamsId = 8, SizeId = 9, CrcId = 10,
        FolderId = 11, UnpackSizeId = 12, CountId = 13, EmptyStreamId = 14, NamesId = 17;

    private readonly ReadOnlyMemory<byte> _bytes;
    private readonly TableMemory _memory;
    private int _at;

    private SevenZipHeader(ReadOnlyMemory<byte> bytes, TableMemory memory) => (_bytes, _memory) = (bytes, memory);

    public long PackOffset { get; private set; }

    public List<long> PackSizes { get; } = [];

    public List<SevenZipFolder> Folders { get; } = [];

    /// <summary>Of all files, also empty ones.</summary>
    public List<string> Names { get; } = [];

    /// <summary>By file; folders, empty files and deletions have no stream.</summary>
    public bool[] HasStream { get; private set; } = [];

    /// <summary>True when it only says how the real header is packed.</summary>
    public bool IsPacked { get; private set; }

    /// <param name="memory">Holds what is made of it.</param>
    public static SevenZipHeader Read(ReadOnlyMemory<byte> bytes, TableMemory memory)
    {
        var header = new SevenZipHeader(bytes, memory);
        switch (header.Byte())
        {
            case 0x17:
                header.IsPacked = true;
                header.ReadStreams();
                break;
            case HeaderId:
                header.ReadHeader();
                break;
            default:
                throw header.Bad("no header");
        }

        return header;
    }

    private void ReadHeader()
    {
        while (true)
        {
            ulong id = Number();
            switch (id)
            {
                case EndId:
                    return;
                case PropertiesId:
                    for (ulong property = Number(); property != EndId; property = Number())
                    {
                        Skip(Number());
                    }

                    break;
                case StreamsId:
                    ReadStreams();
                    break;
                case FilesId:
                    ReadFiles();
                    break;
                default:
                    throw ArchiveException.Unsupported("7z header", _at, $"part {id}");
            }
        }
    }

    private void ReadStreams()
    {
        bool hasFiles = false;
        while (true)
        {
            switch (Number())
            {
                case EndId:
                    if (!hasFiles)
                    {
                        foreach (SevenZipFolder folder in Folders)
                        {
                            folder.Files.Add((folder.Sizes[folder.MainOutput], folder.Crc));
                        }
                    }

                    return;
                case PackId:
                    ReadPack();
                    break;
                case UnpackId:
                    ReadFolders();
                    break;
                case SubStreamsId:
                    ReadSubStreams();
                    hasFiles = true;
                    break;
                default:
                    throw Bad("an unknown part of the streams");
            }
        }
    }

    private void ReadPack()
    {
        PackOffset = Long();
        int count = Count();
        while (true)
        {
            switch (Number())
            {
                case EndId:
                    return;
                case SizeId:
                    for (int i = 0; i < count; i++)
                    {
                        _memory.Add(SizeBytes);
                        PackSizes.Add(Long());
                    }

                    break;
                case CrcId:
                    ReadCrcs(count);
                    break;
                default:
                    throw Bad("an unknown part of the packed streams");
            }
        }
    }

    private void ReadFolders()
    {
        Expect(FolderId);
        int count = Count();
        if (Byte() != 0)
        {
            throw ArchiveException.Unsupported("7z header", _at, "folders that are kept elsewhere");
        }

        int pack = 0;
        for (int i = 0; i < count; i++)
        {
            SevenZipFolder folder = ReadFolder();
            folder.FirstPack = pack;
            pack += folder.PackedInputs.Count;
            Folders.Add(folder);
        }

        Expect(UnpackSizeId);
        foreach (SevenZipFolder folder in Folders)
        {
            int outputs = folder.Coders.Sum(c => c.Outputs);
            for (int i = 0; i < outputs; i++)
            {
                folder.Sizes.Add(Long());
            }

            if (folder.MainOutput < 0)
            {
                throw Bad("a folder without an output");
            }
        }

        for (ulong id = Number(); id != EndId; id = Number())
        {
            if (id != CrcId)
            {
                throw Bad("an unknown part of the folders");
            }

            uint?[] crcs = ReadCrcs(count);
            for (int i = 0; i < count; i++)
            {
                Folders[i].Crc = crcs[i];
            }
        }
    }

    private SevenZipFolder ReadFolder()
    {
        _memory.Add(FolderBytes);
        var folder = new SevenZipFolder();
        int coders = Count();
        int inputs = 0;
        int outputs = 0;
        if (coders is 0 or > MostCoders)
        {
            throw Bad("a number of coders that is none");
        }

        for (int i = 0; i < coders; i++)
        {
            _memory.Add(CoderBytes);
            int flags = Byte();
            if ((flags & 0xC0) != 0 || (flags & 15) > 8)
            {
                throw ArchiveException.Unsupported("7z coder", _at, "unknown flags");
            }

            ulong id = 0;
            for (int j = 0; j < (flags & 15); j++)
            {
                id = (id << 8) | Byte();
            }

            (int ins, int outs) = (flags & 0x10) != 0 ? (Count(), Count()) : (1, 1);
            byte[] properties = (flags & 0x20) != 0 ? Bytes(Number()).ToArray() : [];
            if (ins > MostCoders || outs > MostCoders)
            {
                throw Bad("a coder with too many streams");
            }

            folder.Coders.Add(new SevenZipCoder(id, ins, outs, properties));
            inputs += ins;
            outputs += outs;
        }

        for (int i = 0; i < outputs - 1; i++)
        {
            (int input, int output) = (Count(), Count());
            if (input >= inputs || output >= outputs || folder.Bonds.Exists(b => b.Input == input || b.Output == output))
            {
                throw Bad("a bond of streams that are none");
            }

            folder.Bonds.Add((input, output));
        }

        int packed = inputs - folder.Bonds.Count;
        for (int i = 0; i < packed; i++)
        {
            int input = packed == 1 ? Enumerable.Range(0, inputs).First(n => !folder.Bonds.Exists(b => b.Input == n)) : Count();
            if (input >= inputs || folder.PackedInputs.Contains(input))
            {
                throw Bad("a packed stream for no input");
            }

            folder.PackedInputs.Add(input);
        }

        return folder;
    }

    private void ReadSubStreams()
    {
        int[] counts = [.. Enumerable.Repeat(1, Folders.Count)];
        ulong id = Number();
        if (id == CountId)
        {
            for (int i = 0; i < counts.Length; i++)
            {
                counts[i] = Count();
            }

            id = Number();
        }

        List<List<long>> sizes = [];
        bool hasSizes = id == SizeId;
        for (int i = 0; i < counts.Length; i++)
        {
            long left = Folders[i].Sizes[Folders[i].MainOutput];
            List<long> own = [];
            for (int j = 0; j < counts[i] - 1; j++)
            {
                _memory.Add(FileBytes);
                long size = hasSizes ? Long() : throw Bad("files without sizes");
                own.Add(size);
                left -= size;
                if (left < 0)
                {
                    throw Bad("files are larger than what holds them");
                }
            }

            if (counts[i] > 0)
            {
                own.Add(left);
            }

            sizes.Add(own);
        }

        id = hasSizes ? Number() : id;
        Queue<uint?> crcs = new();
        while (id != EndId)
        {
            if (id != CrcId)
            {
                throw Bad("an unknown part of the files' streams");
            }

            int unknown = 0;
            for (int i = 0; i < counts.Length; i++)
            {
                unknown += counts[i] == 1 && Folders[i].Crc is not null ? 0 : counts[i];
            }

            crcs = new Queue<uint?>(ReadCrcs(unknown));
            id = Number();
        }

        for (int i = 0; i < counts.Length; i++)
        {
            bool isKnown = counts[i] == 1 && Folders[i].Crc is not null;
            Folders[i].Files.AddRange(sizes[i].Select(s => (s, isKnown ? Folders[i].Crc : crcs.TryDequeue(out uint? crc) ? crc : null)));
        }
    }

    private void ReadFiles()
    {
        int count = Count();
        _memory.Add(2L * count);
        HasStream = [.. Enumerable.Repeat(true, count)];
        for (ulong id = Number(); id != EndId; id = Number())
        {
            int length = (int)Math.Min(Number(), int.MaxValue);
            int next = _at + Math.Min(length, _bytes.Length - _at);
            if (id == EmptyStreamId)
            {
                bool[] empty = Bits(count);
                for (int i = 0; i < count; i++)
                {
                    HasStream[i] = !empty[i];
                }
            }
            else if (id == NamesId)
            {
                if (Byte() != 0)
                {
                    throw ArchiveException.Unsupported("7z header", _at, "names that are kept elsewhere");
                }

                ReadNames(count, next);
            }

            _at = next;
        }
    }

    private void ReadNames(int count, int end)
    {
        ReadOnlySpan<byte> bytes = _bytes.Span[_at..end];
        for (int i = 0; i < count; i++)
        {
            int length = 0;
            while (length + 2 <= bytes.Length && (bytes[length] | bytes[length + 1]) != 0)
            {
                length += 2;
            }

            _memory.Add(NameBytes + (2L * length));
            Names.Add(MemberNames.OfUtf16(bytes[..length]));
            bytes = length + 2 <= bytes.Length ? bytes[(length + 2)..] : [];
        }
    }

    private uint?[] ReadCrcs(int count)
    {
        _memory.Add(SizeBytes * (long)count);
        bool[] defined = Byte() != 0 ? [.. Enumerable.Repeat(true, count)] : Bits(count);
        return [.. defined.Select(d => d ? BinaryPrimitives.ReadUInt32LittleEndian(Bytes(4)) : (uint?)null)];
    }

    private bool[] Bits(int count)
    {
        _memory.Add(count);
        ReadOnlySpan<byte> bytes = Bytes(((ulong)count + 7) / 8);
        bool[] bits = new bool[count];
        for (int i = 0; i < count; i++)
        {
            bits[i] = (bytes[i / 8] & (0x80 >> (i % 8))) != 0;
        }

        return bits;
    }

    private void Expect(byte id)
    {
        if (Number() != id)
        {
            throw Bad($"part {id} is missing");
        }
    }

    /// <summary>How many of something that takes at least a bit for each.</summary>
    private int Count()
    {
        ulong count = Number();
        return count <= (ulong)_bytes.Length * 8 ? (int)count : throw Bad($"{count} of something are more than the header can hold");
    }

    private long Long()
    {
        ulong value = Number();
        return value <= long.MaxValue ? (long)value : throw Bad("a size that is none");
    }

    private ulong Number()
    {
        byte first = Byte();
        int more = BitOperations.LeadingZeroCount((uint)(byte)~first) - 24;
        ulong value = 0;
        for (int i = 0; i < more; i++)
        {
            value |= (ulong)Byte() << (8 * i);
        }

        return more >= 7 ? value : value | ((ulong)(first & ((1 << (7 - more)) - 1)) << (8 * more));
    }

    private byte Byte() => _at < _bytes.Length ? _bytes.Span[_at++] : throw ArchiveException.Truncated("7z header", _at);

    private ReadOnlySpan<byte> Bytes(ulong count)
    {
        if (count > (ulong)(_bytes.Length - _at))
        {
            throw ArchiveException.Truncated("7z header", _at);
        }

        _at += (int)count;
        return _bytes.Span.Slice(_at - (int)count, (int)count);
    }

    private void Skip(ulong count) => Bytes(count);

    private ArchiveException Bad(string detail) => ArchiveException.Corrupt("7z header", _at, detail);
}
