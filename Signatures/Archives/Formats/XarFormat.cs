using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using System.Xml;
using Vmsweep.Signatures.Archives.Decoders;

namespace Vmsweep.Signatures.Archives.Formats;

/// <summary>XAR: installers of macOS. A header, a directory in XML packed by zlib, then the heap. Spec: xar(1) and its wiki, "xarformat". Big-endian.</summary>
internal sealed class XarFormat : IArchiveFormat
{
    private const int HeaderBytes = 28;
    private const int MostDepth = 256;
    private const long MostDirectory = 64 << 20;
    private const int EntryBytes = 400;

    private static readonly XmlReaderSettings Settings = new()
    {
        DtdProcessing = DtdProcessing.Prohibit,
        XmlResolver = null,
        MaxCharactersInDocument = MostDirectory,
        IgnoreComments = true,
        IgnoreWhitespace = true,
    };

    public string Name => "xar";

    public bool Fits(ReadOnlySpan<byte> content) =>
        content.Length > HeaderBytes && content.StartsWith("xar!"u8) && BinaryPrimitives.ReadUInt16BigEndian(content[4..]) is >= HeaderBytes and <= 64 && DirectoryEnd(content) > 0;

    public void Read(ReadOnlyMemory<byte> content, IMemberSink sink)
    {
        int header = BinaryPrimitives.ReadUInt16BigEndian(content.Span[4..]);
        long heap = DirectoryEnd(content.Span);
        if (heap > content.Length)
        {
            throw ArchiveException.Truncated("xar directory", content.Length);
        }

        using var memory = new TableMemory(sink, "xar directory");
        foreach (Entry entry in ReadDirectory(content[(header + 2)..(int)heap], memory, sink))
        {
            sink.Tick();
            Give(entry, content, heap, sink);
        }
    }

    /// <summary>0 where what is said cannot be.</summary>
    private static long DirectoryEnd(ReadOnlySpan<byte> content)
    {
        ulong packed = BinaryPrimitives.ReadUInt64BigEndian(content[8..]);
        ulong size = BinaryPrimitives.ReadUInt64BigEndian(content[16..]);
        return packed is > 2 and < int.MaxValue && size is > 0 and <= (ulong)MostDirectory ? BinaryPrimitives.ReadUInt16BigEndian(content[4..]) + (long)packed : 0;
    }

    /// <summary>Places in the heap. A file's name may stand behind its data and the files in it, so that all is read before any of it is given.</summary>
    private static List<Entry> ReadDirectory(ReadOnlyMemory<byte> packed, TableMemory memory, IMemberSink sink)
    {
        List<Entry> entries = [];
        Stack<string> open = new();
        Stack<FileNode> files = new();
        Entry? entry = null;
        using var reader = XmlReader.Create(new InflateStream(packed), Settings);
        while (reader.Read())
        {
            sink.Tick();
            switch (reader.NodeType)
            {
                case XmlNodeType.Element:
                    if (reader.LocalName == "file")
                    {
                        memory.Add(EntryBytes);
                        files.Push(new FileNode(files.TryPeek(out FileNode? outer) ? outer : null));
                    }
                    else if (reader.LocalName is "data" or "ea" && files.Count > 0)
                    {
                        memory.Add(EntryBytes);
                        entries.Add(entry = new Entry(files.Peek(), reader.LocalName == "ea"));
                    }
                    else if (reader.LocalName == "encoding" && entry is not null)
                    {
                        entry.Encoding = reader.GetAttribute("style") ?? "";
                    }
                    else if (reader.LocalName == "name" && reader.GetAttribute("enctype") == "base64" && files.Count > 0)
                    {
                        files.Peek().IsBase64 = true;
                    }

                    if (!reader.IsEmptyElement)
                    {
                        open.Push(reader.LocalName);
                        if (open.Count > MostDepth)
                        {
                            throw new ArchiveException(ArchiveFault.Limit, "xar directory", -1, $"more than {MostDepth} elements deep");
                        }
                    }
                    else if (reader.LocalName == "file")
                    {
                        files.Pop();
                    }

                    break;
                case XmlNodeType.Text when open.Count > 0 && files.Count > 0:
                    memory.Add(2L * reader.Value.Length);
                    Take(open, files.Peek(), entry, reader.Value);
                    break;
                case XmlNodeType.EndElement:
                    string name = open.Pop();
                    if (name == "file")
                    {
                        files.Pop();
                    }
                    else if (name is "data" or "ea")
                    {
                        entry = null;
                    }

                    break;
            }
        }

        return entries;
    }

    private static void Take(Stack<string> open, FileNode file, Entry? entry, string text)
    {
        switch (open.Peek())
        {
            case "name" when entry is null:
                file.Name = text;
                break;
            case "name":
                entry.Attribute = text;
                break;
            case "length" when entry is not null:
                entry.Length = Number(text);
                break;
            case "offset" when entry is not null:
                entry.Offset = Number(text);
                break;
            case "size" when entry is not null:
                entry.Size = Number(text);
                break;
        }
    }

    private static long Number(string text) => long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out long value) ? value : -1;

    private static void Give(Entry entry, ReadOnlyMemory<byte> content, long heap, IMemberSink sink)
    {
        string name = entry.Path;
        if (entry.Length <= 0 && entry.Size <= 0)
        {
            return;
        }

        if (entry.Length < 0 || entry.Offset < 0 || entry.Offset > content.Length - heap)
        {
            sink.Gap(ArchiveFault.Corrupt, "xar file", -1, 0, "its place is outside of the archive", name);
            return;
        }

        int at = (int)(heap + entry.Offset);
        int there = (int)Math.Min(entry.Length, content.Length - at);
        if (there < entry.Length)
        {
            sink.Gap(ArchiveFault.Truncated, "xar file", at, entry.Length - there, "the archive ends in the middle of it", name);
        }

        ReadOnlyMemory<byte> packed = content.Slice(at, there);
        sink.Packed(name, entry.Size, () => new CheckedStream(Open(entry.Encoding, packed, at, sink), "xar file", entry.Size, null));
    }

    private static Stream Open(string encoding, ReadOnlyMemory<byte> packed, long at, IMemberSink sink)
    {
        switch (encoding)
        {
            case "" or "application/octet-stream":
                return new SpanStream(packed);
            case "application/x-gzip":
                // So it is called; it is zlib: two bytes, DEFLATE, a checksum.
                return packed.Length > 2 ? new InflateStream(packed[2..]) : throw ArchiveException.Truncated("xar file", at);
            case "application/x-bzip2":
                return new ReservedStream(sink.Reserve(4_000_000, "bzip2"), new Bzip2Stream(packed));
            case "application/x-xz":
                return new XzStream(packed, sink);
            case "application/x-lzma" when packed.Span is [0xFD, (byte)'7', ..]:
                return new XzStream(packed, sink);
            case "application/x-lzma" when packed.Length > 13:
                return new LzmaStream(packed[13..], packed.Span[..LzmaStream.PropertyBytes], BinaryPrimitives.ReadInt64LittleEndian(packed.Span[5..]), sink);
            default:
                throw ArchiveException.Unsupported("xar file", at, $"encoding \"{(encoding.Length <= 64 ? encoding : encoding[..64])}\"");
        }
    }

    private sealed class FileNode(FileNode? outer)
    {
        public string Name { get; set; } = "(file)";

        public bool IsBase64 { get; set; }

        public string Path
        {
            get
            {
                var path = new StringBuilder();
                for (FileNode? node = this; node is not null; node = node.Outer)
                {
                    path.Insert(0, (node.Outer is null ? "" : "/") + node.Shown);
                }

                return path.ToString();
            }
        }

        private FileNode? Outer => outer;

        private string Shown
        {
            get
            {
                byte[] bytes = new byte[Name.Length];
                return IsBase64 && Convert.TryFromBase64String(Name, bytes, out int length) ? MemberNames.Of(bytes.AsSpan(0, length)) : Name;
            }
        }
    }

    private sealed class Entry(FileNode file, bool isAttribute)
    {
        public long Offset { get; set; } = -1;

        /// <summary>In the heap.</summary>
        public long Length { get; set; } = -1;

        /// <summary>Unpacked.</summary>
        public long Size { get; set; } = -1;

        public string Encoding { get; set; } = "";

        public string Attribute { get; set; } = "";

        public string Path => isAttribute ? $"{file.Path} (attribute {Attribute})" : file.Path;
    }
}
