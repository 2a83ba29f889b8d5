using System.Buffers.Binary;
using Vmsweep.Signatures.Archives.Decoders;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Signatures.Archives.Formats;

/// <summary>Cabinets: stored, MSZIP and LZX. Spec: [MS-CAB], [MS-MCI] (MSZIP). Little-endian.</summary>
internal sealed class CabFormat : IArchiveFormat
{
    private const int HeaderBytes = 36;
    private const ushort HasPrevious = 1, HasNext = 2, HasReserve = 4;
    private const ushort ContinuedFromPrevious = 0xFFFD, ContinuedToNext = 0xFFFE, ContinuedBoth = 0xFFFF;

    public string Name => "cab";

    /// <summary>Reserved fields are zero, the version is 1.3, and what it holds lies inside of it.</summary>
    public IReadOnlyList<FileType> Types { get; } = [FileTypes.Cabinet];

    public bool Fits(ReadOnlySpan<byte> content) =>
        content.Length >= HeaderBytes && FileTypes.Cabinet.Fits(content) && content[12..16].IndexOfAnyExcept((byte)0) < 0 && content[24] == 3 && content[25] == 1
        && BinaryPrimitives.ReadUInt16LittleEndian(content[30..]) <= 7
        && BinaryPrimitives.ReadUInt32LittleEndian(content[16..]) is >= HeaderBytes and var files && files < BinaryPrimitives.ReadUInt32LittleEndian(content[8..]);

    public void Read(ReadOnlyMemory<byte> content, IMemberSink sink)
    {
        ReadOnlySpan<byte> bytes = content.Span;
        long size = BinaryPrimitives.ReadUInt32LittleEndian(bytes[8..]);
        if (size > bytes.Length)
        {
            sink.Gap(ArchiveFault.Truncated, "cab", bytes.Length, size - bytes.Length, $"it declares {size} bytes");
        }

        int filesAt = (int)Math.Min(BinaryPrimitives.ReadUInt32LittleEndian(bytes[16..]), int.MaxValue);
        int folders = BinaryPrimitives.ReadUInt16LittleEndian(bytes[26..]);
        int files = BinaryPrimitives.ReadUInt16LittleEndian(bytes[28..]);
        ushort flags = BinaryPrimitives.ReadUInt16LittleEndian(bytes[30..]);
        var at = new Cursor(bytes, HeaderBytes);
        int folderReserve = 0;
        int dataReserve = 0;
        if ((flags & HasReserve) != 0)
        {
            int headerReserve = at.U16();
            folderReserve = at.U8();
            dataReserve = at.U8();
            at.Skip(headerReserve);
        }

        for (int names = ((flags & HasPrevious) != 0 ? 2 : 0) + ((flags & HasNext) != 0 ? 2 : 0); names > 0; names--)
        {
            at.Text();
        }

        List<(long Data, int Blocks, int Method)> table = [];
        for (int i = 0; i < folders; i++)
        {
            table.Add((at.U32(), at.U16(), at.U16()));
            at.Skip(folderReserve);
        }

        List<(string Name, long Size, long Offset, int Folder)> members = ReadFiles(bytes, filesAt, files, folders, sink);
        foreach (IGrouping<int, (string Name, long Size, long Offset, int Folder)> inFolder in members.GroupBy(m => m.Folder))
        {
            try
            {
                ReadFolder(content, table[inFolder.Key], [.. inFolder.OrderBy(m => m.Offset)], dataReserve, sink);
            }
            catch (ArchiveException e)
            {
                // The next folder stands for itself.
                sink.Gap(e.Fault, e.Structure, e.Offset, inFolder.Sum(m => m.Size), $"{e.Detail}; {inFolder.Count()} members", inFolder.First().Name);
            }
        }
    }

    private static List<(string Name, long Size, long Offset, int Folder)> ReadFiles(ReadOnlySpan<byte> bytes, int filesAt, int files, int folders, IMemberSink sink)
    {
        List<(string, long, long, int)> members = [];
        var at = new Cursor(bytes, filesAt);
        for (int i = 0; i < files; i++)
        {
            sink.Tick();
            if (at.IsAtEnd)
            {
                sink.Gap(ArchiveFault.Truncated, "cab file", at.Position, 0, $"{files - i} of {files} entries lie behind the end");
                break;
            }

            long size = at.U32();
            long offset = at.U32();
            int folder = at.U16();
            at.Skip(6);
            string name = at.Text();
            if (folder is ContinuedFromPrevious or ContinuedToNext or ContinuedBoth || folder >= folders)
            {
                bool isContinued = folder >= ContinuedFromPrevious;
                sink.Gap(isContinued ? ArchiveFault.Truncated : ArchiveFault.Corrupt, "cab file", at.Position, size, isContinued ? "it goes on in another cabinet" : "it lies in no folder", name);
                continue;
            }

            members.Add((name, size, offset, folder));
        }

        return members;
    }

    private static void ReadFolder(
        ReadOnlyMemory<byte> content, (long Data, int Blocks, int Method) folder, List<(string Name, long Size, long Offset, int Folder)> members, int reserve, IMemberSink sink)
    {
        Stream? stream = null;
        long position = 0;
        try
        {
            foreach ((string name, long size, long offset, _) in members)
            {
                sink.Tick();
                if (stream is null || offset < position)
                {
                    // Files may overlap; then the folder is unpacked once more.
                    stream?.Dispose();
                    stream = null;
                    stream = new CabFolderStream(content, folder.Data, folder.Blocks, folder.Method, reserve, sink);
                    position = 0;
                }

                Stream source = stream;
                try
                {
                    new PartStream(source, offset - position).Skip(sink.Tick);
                    position = offset;
                }
                catch (ArchiveException e)
                {
                    sink.Gap(e.Fault, e.Structure, e.Offset, size, e.Detail, name);
                    return;
                }

                var part = new PartStream(source, size);
                sink.Packed(name, size, () => new CheckedStream(part, "cab file", size, null));
                try
                {
                    part.Skip(sink.Tick);
                    position += size;
                }
                catch (ArchiveException)
                {
                    // Said with the member. What follows in the folder cannot be read either.
                    int left = members.Count - 1 - members.FindIndex(m => m.Name == name && m.Offset == offset);
                    if (left > 0)
                    {
                        sink.Gap(ArchiveFault.Corrupt, "cab folder", folder.Data, 0, $"{left} members behind it in the same folder cannot be read");
                    }

                    return;
                }
            }
        }
        finally
        {
            stream?.Dispose();
        }
    }

    private ref struct Cursor(ReadOnlySpan<byte> bytes, int at)
    {
        private readonly ReadOnlySpan<byte> _bytes = bytes;

        public int Position { get; private set; } = at;

        public readonly bool IsAtEnd => Position >= _bytes.Length;

        public byte U8() => Take(1)[0];

        public ushort U16() => BinaryPrimitives.ReadUInt16LittleEndian(Take(2));

        public uint U32() => BinaryPrimitives.ReadUInt32LittleEndian(Take(4));

        public void Skip(int count) => Take(count);

        public string Text()
        {
            int length = Position <= _bytes.Length ? _bytes[Position..].IndexOf((byte)0) : -1;
            return length >= 0 ? MemberNames.Of(Take(length + 1)[..length]) : throw ArchiveException.Truncated("cab name", Position);
        }

        private ReadOnlySpan<byte> Take(int count)
        {
            if (count > _bytes.Length - Position || Position > _bytes.Length)
            {
                throw ArchiveException.Truncated("cab header", Position);
            }

            Position += count;
            return _bytes.Slice(Position - count, count);
        }
    }
}

/// <summary>What the data blocks of a folder unpack to.</summary>
internal sealed class CabFolderStream : UnpackStream
{
    private const int BlockHeaderBytes = 8;
    private const int MostBlockBytes = 32 << 10;

    /// <summary>[MS-MCI]: a packed block may be this much larger than what it holds.</summary>
    private const int MostPackedBytes = MostBlockBytes + 6144;

    private readonly ReadOnlyMemory<byte> _content;
    private readonly int _reserve;
    private readonly int _method;
    private readonly LzxDecoder? _lzx;
    private readonly IDisposable _memory;
    private readonly byte[] _history = new byte[MostBlockBytes];
    private int _historyBytes;
    private long _at;
    private int _left;

    public CabFolderStream(ReadOnlyMemory<byte> content, long at, int blocks, int method, int reserve, IMemberSink sink)
    {
        _content = content;
        _at = at;
        _left = blocks;
        _reserve = reserve;
        _method = method & 15;
        int window = (method >> 8) & 0x1F;
        switch (_method)
        {
            case 0 or 1:
                _memory = sink.Reserve(4 * MostBlockBytes, "cab folder");
                break;
            case 3 when window is >= 15 and <= 21:
                _memory = sink.Reserve(1L << window, "cab folder");
                _lzx = new LzxDecoder(window);
                break;
            case 2:
                throw ArchiveException.Unsupported("cab folder", at, "Quantum compression");
            default:
                throw ArchiveException.Corrupt("cab folder", at, "a compression that is none");
        }

        Buffer = new byte[MostBlockBytes];
    }

    protected override bool Fill()
    {
        Start = End = 0;
        if (_left == 0)
        {
            return false;
        }

        if (_at > _content.Length - BlockHeaderBytes - _reserve)
        {
            throw ArchiveException.Truncated("cab data block", _at);
        }

        _left--;
        ReadOnlySpan<byte> header = _content.Span[(int)_at..];
        int packed = BinaryPrimitives.ReadUInt16LittleEndian(header[4..]);
        int size = BinaryPrimitives.ReadUInt16LittleEndian(header[6..]);
        if (packed > MostPackedBytes || size > MostBlockBytes)
        {
            throw ArchiveException.Corrupt("cab data block", _at, "it is larger than any");
        }

        if (size == 0)
        {
            throw new ArchiveException(ArchiveFault.Truncated, "cab data block", _at, "it goes on in another cabinet");
        }

        long data = _at + BlockHeaderBytes + _reserve;
        if (packed > _content.Length - data)
        {
            throw ArchiveException.Truncated("cab data block", _at);
        }

        uint wanted = BinaryPrimitives.ReadUInt32LittleEndian(header);
        ReadOnlyMemory<byte> bytes = _content.Slice((int)data, packed);
        if (wanted != 0 && wanted != Checksum(header.Slice(4, 4), Checksum(bytes.Span, 0)))
        {
            throw ArchiveException.Corrupt("cab data block", _at, "its checksum is wrong");
        }

        _at = data + packed;
        switch (_method)
        {
            case 0:
                End = Math.Min(packed, size);
                bytes.Span[..End].CopyTo(Buffer);
                break;
            case 1:
                Inflate(bytes, size);
                break;
            default:
                _lzx!.Decode(bytes.Span, Buffer.AsSpan(0, size));
                End = size;
                break;
        }

        return true;
    }

    protected override void Dispose(bool disposing)
    {
        _memory.Dispose();
        base.Dispose(disposing);
    }

    private void Inflate(ReadOnlyMemory<byte> bytes, int size)
    {
        if (!bytes.Span.StartsWith("CK"u8))
        {
            throw ArchiveException.Corrupt("mszip block", _at, "its magic number is missing");
        }

        using var inflate = new InflateStream(bytes[2..], history: _history.AsSpan(0, _historyBytes));
        while (End < size)
        {
            int read = inflate.Read(Buffer.AsSpan(End, size - End));
            if (read == 0)
            {
                throw ArchiveException.Corrupt("mszip block", _at, "it is shorter than declared");
            }

            End += read;
        }

        // A block's matches may reach into the one before.
        Buffer.AsSpan(0, size).CopyTo(_history);
        _historyBytes = size;
    }

    /// <summary>[MS-CAB] 3.1: four bytes at a time, the last ones highest first.</summary>
    private static uint Checksum(ReadOnlySpan<byte> bytes, uint sum)
    {
        while (bytes.Length >= 4)
        {
            sum ^= BinaryPrimitives.ReadUInt32LittleEndian(bytes);
            bytes = bytes[4..];
        }

        uint last = 0;
        foreach (byte b in bytes)
        {
            last = (last << 8) | b;
        }

        return sum ^ last;
    }
}
