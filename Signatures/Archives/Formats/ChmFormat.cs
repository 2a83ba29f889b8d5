using System.Buffers.Binary;
using Vmsweep.Signatures.Archives.Decoders;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Signatures.Archives.Formats;

/// <summary>Compiled help: files in one LZX stream that begins anew every few frames. Spec: "Unofficial (Preliminary) HTML Help Specification". Little-endian.</summary>
internal sealed class ChmFormat : IArchiveFormat
{
    private const int HeaderBytes = 0x60;
    private const int FrameBytes = 32 << 10;

    // What a name takes beside its characters.
    private const int EntryBytes = 128;

    private const string Space = "::DataSpace/Storage/MSCompressed/";
    private const string ResetTableEnd = "/InstanceData/ResetTable";

    public string Name => "chm";

    public IReadOnlyList<FileType> Types { get; } = [FileTypes.CompiledHelp];

    public bool Fits(ReadOnlySpan<byte> content) =>
        content.Length > HeaderBytes && FileTypes.CompiledHelp.Fits(content) && content[4] is 2 or 3 && BinaryPrimitives.ReadUInt32LittleEndian(content[8..]) is >= 0x58 and <= 0x1000;

    public void Read(ReadOnlyMemory<byte> content, IMemberSink sink)
    {
        ReadOnlySpan<byte> bytes = content.Span;
        long directory = Offset(bytes, 0x48);
        long data = bytes[4] == 3 ? Offset(bytes, 0x58) : directory + Offset(bytes, 0x50);
        using TableMemory tables = new(sink, "chm directory");
        List<Entry> entries = ReadDirectory(content, directory, sink, tables);
        foreach (Entry entry in entries.Where(e => e.Section == 0 && e.Size > 0 && !e.Name.StartsWith("::", StringComparison.Ordinal)))
        {
            sink.Stored(entry.Name, Slice(content, data + entry.Offset, entry.Size, "chm file"));
        }

        Entry[] packed = [.. entries.Where(e => e.Section == 1 && e.Size > 0).OrderBy(e => e.Offset)];
        if (packed.Length > 0)
        {
            ReadPacked(content, data, entries, packed, sink);
        }
    }

    private static List<Entry> ReadDirectory(ReadOnlyMemory<byte> content, long at, IMemberSink sink, TableMemory tables)
    {
        ReadOnlySpan<byte> header = Slice(content, at, 0x54, "chm directory").Span;
        long headerBytes = BinaryPrimitives.ReadUInt32LittleEndian(header[8..]);
        long chunkBytes = BinaryPrimitives.ReadUInt32LittleEndian(header[16..]);
        if (!header.StartsWith("ITSP"u8) || chunkBytes is < 0x40 or > 1 << 20)
        {
            throw ArchiveException.Corrupt("chm directory", at, "its header");
        }

        // Chunks are read in the order in which they lie: no list of them can lead in a circle.
        List<Entry> entries = [];
        long chunks = BinaryPrimitives.ReadUInt32LittleEndian(header[0x2C..]);
        long first = at + headerBytes;
        for (long i = 0; i < chunks && first + ((i + 1) * chunkBytes) <= content.Length; i++)
        {
            sink.Tick();
            ReadOnlySpan<byte> chunk = content.Span.Slice((int)(first + (i * chunkBytes)), (int)chunkBytes);
            if (!chunk.StartsWith("PMGL"u8))
            {
                continue;
            }

            long free = BinaryPrimitives.ReadUInt32LittleEndian(chunk[4..]);
            int position = 0x14;
            while (position < chunkBytes - free)
            {
                long length = Number(chunk, ref position);
                if (length > chunk.Length - position)
                {
                    throw ArchiveException.Corrupt("chm directory", first + (i * chunkBytes) + position, "a name leaves its chunk");
                }

                tables.Add(EntryBytes + (2 * length));
                string name = MemberNames.Of(chunk.Slice(position, (int)length));
                position += (int)length;
                entries.Add(new Entry(name, Number(chunk, ref position), Number(chunk, ref position), Number(chunk, ref position)));
            }
        }

        if (first + (chunks * chunkBytes) > content.Length)
        {
            sink.Gap(ArchiveFault.Truncated, "chm directory", content.Length, 0, "names lie behind the end");
        }

        return entries;
    }

    private static void ReadPacked(ReadOnlyMemory<byte> content, long data, List<Entry> entries, Entry[] packed, IMemberSink sink)
    {
        ReadOnlyMemory<byte> Find(Predicate<string> fits, string what) =>
            entries.Find(e => e.Section == 0 && e.Name.StartsWith(Space, StringComparison.Ordinal) && fits(e.Name)) is { } entry
                ? Slice(content, data + entry.Offset, entry.Size, what)
                : throw ArchiveException.Corrupt(what, -1, "it is missing");

        ReadOnlySpan<byte> control = Find(n => n.EndsWith("/ControlData", StringComparison.Ordinal), "chm control data").Span;
        if (control.Length < 0x18 || !control[4..].StartsWith("LZXC"u8))
        {
            throw ArchiveException.Unsupported("chm control data", -1, "a compression that is not LZX");
        }

        bool inFrames = BinaryPrimitives.ReadUInt32LittleEndian(control[8..]) == 2;
        long interval = BinaryPrimitives.ReadUInt32LittleEndian(control[12..]) / (inFrames ? 1L : FrameBytes);
        long window = BinaryPrimitives.ReadUInt32LittleEndian(control[16..]) * (inFrames ? (long)FrameBytes : 1);
        int bits = window > 0 ? System.Numerics.BitOperations.Log2((ulong)window) : 0;
        if (bits is < 15 or > 21 || interval < 1)
        {
            throw ArchiveException.Corrupt("chm control data", -1, "window or reset interval");
        }

        ReadOnlyMemory<byte> stream = Find(n => n.EndsWith("/Content", StringComparison.Ordinal), "chm content");
        ReadOnlyMemory<byte> table = Find(n => n.EndsWith(ResetTableEnd, StringComparison.Ordinal), "chm reset table");
        using IDisposable memory = sink.Reserve((1L << bits) + (1 << 20), "chm window");
        Stream? unpacked = null;
        long position = 0;
        foreach (Entry entry in packed)
        {
            sink.Tick();
            try
            {
                if (unpacked is null || entry.Offset < position)
                {
                    unpacked = new ChmStream(stream, table, bits, interval);
                    position = 0;
                }

                new PartStream(unpacked, entry.Offset - position).Skip(sink.Tick);
                var part = new PartStream(unpacked, entry.Size);
                sink.Packed(entry.Name, entry.Size, () => part);
                position = entry.Offset;
                part.Skip(sink.Tick);
                position += entry.Size;
            }
            catch (ArchiveException e)
            {
                sink.Gap(e.Fault, e.Structure, e.Offset, 0, e.Detail + "; it and what follows in the stream was not read", entry.Name);
                return;
            }
        }
    }

    private static ReadOnlyMemory<byte> Slice(ReadOnlyMemory<byte> content, long at, long size, string structure) =>
        at >= 0 && size >= 0 && at <= content.Length && size <= content.Length - at ? content.Slice((int)at, (int)size) : throw ArchiveException.Truncated(structure, at);

    private static long Offset(ReadOnlySpan<byte> bytes, int at) => (long)Math.Min(BinaryPrimitives.ReadUInt64LittleEndian(bytes[at..]), int.MaxValue);

    private static long Number(ReadOnlySpan<byte> bytes, ref int at)
    {
        long value = 0;
        for (int i = 0; i < 8; i++)
        {
            if (at >= bytes.Length)
            {
                break;
            }

            byte b = bytes[at++];
            value = (value << 7) | (uint)(b & 0x7F);
            if (b < 0x80)
            {
                return value;
            }
        }

        throw ArchiveException.Corrupt("chm number", at, "it does not end");
    }

    private sealed record Entry(string Name, long Section, long Offset, long Size);

    /// <summary>The frames one after another, by the table of where each begins.</summary>
    private sealed class ChmStream : UnpackStream
    {
        private readonly ReadOnlyMemory<byte> _stream;
        private readonly ReadOnlyMemory<byte> _table;
        private readonly int _windowBits;
        private readonly long _interval;
        private readonly long _size;
        private readonly int _entriesAt;
        private LzxDecoder? _lzx;
        private long _frame;

        public ChmStream(ReadOnlyMemory<byte> stream, ReadOnlyMemory<byte> table, int windowBits, long interval)
        {
            ReadOnlySpan<byte> header = table.Span;
            if (header.Length < 0x28 || BinaryPrimitives.ReadUInt64LittleEndian(header[0x20..]) != FrameBytes)
            {
                throw ArchiveException.Corrupt("chm reset table", -1, "its header");
            }

            (_stream, _table, _windowBits, _interval) = (stream, table, windowBits, interval);
            _size = (long)Math.Min(BinaryPrimitives.ReadUInt64LittleEndian(header[0x10..]), long.MaxValue);
            _entriesAt = (int)Math.Min(BinaryPrimitives.ReadUInt32LittleEndian(header[12..]), (uint)header.Length);
            Buffer = new byte[FrameBytes];
        }

        protected override bool Fill()
        {
            Start = End = 0;
            long left = _size - (_frame * FrameBytes);
            if (left <= 0)
            {
                return false;
            }

            long from = PlaceOf(_frame) ?? throw ArchiveException.Truncated("chm reset table", _entriesAt + (8 * _frame));
            long to = PlaceOf(_frame + 1) ?? _stream.Length;
            if (from > to || to > _stream.Length)
            {
                throw ArchiveException.Corrupt("chm reset table", _entriesAt + (8 * _frame), "a frame lies outside of the content");
            }

            if (_frame % _interval == 0 || _lzx is null)
            {
                _lzx = new LzxDecoder(_windowBits);
            }

            int size = (int)Math.Min(FrameBytes, left);
            _frame++;
            _lzx.Decode(_stream.Span[(int)from..(int)to], Buffer.AsSpan(0, size));
            End = size;
            return true;
        }

        private long? PlaceOf(long frame)
        {
            long at = _entriesAt + (8 * frame);
            return at <= _table.Length - 8 ? (long)Math.Min(BinaryPrimitives.ReadUInt64LittleEndian(_table.Span[(int)at..]), int.MaxValue) : null;
        }
    }
}
