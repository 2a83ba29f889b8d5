using System.Buffers.Binary;
using Vmsweep.Signatures.Archives.Decoders;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Signatures.Archives.Formats;

/// <summary>
/// Nullsoft's installers, versions 2 and 3: behind the program a first header, then the compiled script and the installed files, packed one by one or as
/// one stream. Everything that is packed is a member, whether the script installs it or not. Format: as NSIS writes it (its <c>fileform.h</c> names the
/// fields).
/// </summary>
internal sealed class NsisFormat : IArchiveFormat
{
    private const string Structure = "nsis";
    private const int FirstHeaderBytes = 28;
    private const uint PackedBit = 0x8000_0000;
    private const uint KnownFlags = 0xF;
    private const uint NoChecksum = 4;

    /// <summary>The program in front is filled up to it.</summary>
    private const int Alignment = 512;

    /// <summary>What a script may have; the largest installers have a few hundred kilobytes.</summary>
    private const int MostScriptBytes = 64 << 20;

    private enum Method
    {
        Stored,
        Deflate,
        Bzip2,
        Lzma,
        FilteredLzma,
    }

    public string Name => "nsis";

    private static ReadOnlySpan<byte> Signature => [0xEF, 0xBE, 0xAD, 0xDE, 0x4E, 0x75, 0x6C, 0x6C, 0x73, 0x6F, 0x66, 0x74, 0x49, 0x6E, 0x73, 0x74];

    public IReadOnlyList<FileType> Types { get; } = [FileTypes.Program, FileTypes.NsisData];

    public bool Fits(ReadOnlySpan<byte> content) => FirstHeader(content) >= 0;

    public void Read(ReadOnlyMemory<byte> content, IMemberSink sink)
    {
        int first = FirstHeader(content.Span);
        ReadOnlySpan<byte> header = content.Span[first..];
        uint flags = BinaryPrimitives.ReadUInt32LittleEndian(header);
        uint scriptBytes = BinaryPrimitives.ReadUInt32LittleEndian(header[20..]);
        long declared = BinaryPrimitives.ReadUInt32LittleEndian(header[24..]);
        if (scriptBytes > MostScriptBytes)
        {
            throw new ArchiveException(ArchiveFault.Limit, Structure, first + 20, $"its script has {scriptBytes} bytes, over the limit of {MostScriptBytes}");
        }

        // The checksum at the end is of a download's use, and of none here: whatever is damaged is matched as far as it goes.
        long end = first + declared - ((flags & NoChecksum) == 0 ? 4 : 0);
        ReadOnlyMemory<byte> data = content[(first + FirstHeaderBytes)..(int)Math.Clamp(end, first + FirstHeaderBytes, content.Length)];
        if (end > content.Length)
        {
            sink.Gap(ArchiveFault.Truncated, Structure, first + 24, end - content.Length, $"it declares {declared} bytes, and {content.Length - first} are there");
        }

        if (data.Length < 8)
        {
            throw ArchiveException.Truncated(Structure, first);
        }

        if (HasBlocks(data.Span, scriptBytes))
        {
            ReadBlocks(data, first + FirstHeaderBytes, (int)scriptBytes, sink);
        }
        else
        {
            ReadSolid(data, (int)scriptBytes, sink);
        }
    }

    /// <summary>Nothing says it: the script's length stands first, or the stream that holds all.</summary>
    private static bool HasBlocks(ReadOnlySpan<byte> data, uint scriptBytes)
    {
        uint word = BinaryPrimitives.ReadUInt32LittleEndian(data);
        uint packed = word & ~PackedBit;
        return word == scriptBytes || ((word & PackedBit) != 0 && packed < scriptBytes && packed <= data.Length - 4 && !IsLzma(data));
    }

    /// <summary>Where the first header lies; -1 where there is none that holds together. An uninstaller is kept in its installer without a program.</summary>
    private static int FirstHeader(ReadOnlySpan<byte> content)
    {
        if (content.Length >= FirstHeaderBytes && content[4..].StartsWith(Signature))
        {
            return (BinaryPrimitives.ReadUInt32LittleEndian(content) & ~KnownFlags) == 0 ? 0 : -1;
        }

        if (content.Length < Alignment + FirstHeaderBytes || content[0] != 'M' || content[1] != 'Z')
        {
            return -1;
        }

        for (int at = 4; at < content.Length;)
        {
            int next = content[at..].IndexOf(Signature);
            if (next < 0)
            {
                return -1;
            }

            at += next;
            int first = at - 4;
            if (first % Alignment == 0 && content.Length - first >= FirstHeaderBytes && (BinaryPrimitives.ReadUInt32LittleEndian(content[first..]) & ~KnownFlags) == 0)
            {
                return first;
            }

            at += Signature.Length;
        }

        return -1;
    }

    /// <summary>All in one stream: each part behind its length.</summary>
    private static void ReadSolid(ReadOnlyMemory<byte> data, int scriptBytes, IMemberSink sink)
    {
        using Stream stream = Unpack(data, MethodOf(data.Span), sink);
        if (!TryLength(stream, out uint length) || length != scriptBytes)
        {
            throw ArchiveException.Corrupt(Structure, -1, $"its script does not have the {scriptBytes} bytes that are declared");
        }

        using IDisposable memory = sink.Reserve(scriptBytes, Structure);
        using NsisScript script = ReadScript(new PartStream(stream, scriptBytes), scriptBytes, sink);
        for (long at = 0; TryLength(stream, out length); at += 4 + (long)length)
        {
            sink.Tick();
            var part = new PartStream(stream, length);
            sink.Packed(script.NameAt(at), length, () => part);
            part.Skip(sink.Tick);
        }
    }

    /// <summary>Each part for itself, packed where that made it smaller.</summary>
    private static void ReadBlocks(ReadOnlyMemory<byte> data, int dataAt, int scriptBytes, IMemberSink sink)
    {
        (ReadOnlyMemory<byte> packed, bool isPacked, int next) = Block(data, 0, dataAt);
        using IDisposable memory = sink.Reserve(scriptBytes, Structure);
        Method method = isPacked ? MethodOf(packed.Span) : Method.Stored;
        using NsisScript script = ReadPackedScript(packed, method, scriptBytes, sink);

        int parts = next;
        for (int at = next; at < data.Length; at = next)
        {
            sink.Tick();
            (ReadOnlyMemory<byte> block, bool isBlockPacked, next) = Block(data, at, dataAt);
            string name = script.NameAt(at - parts);
            if (isBlockPacked)
            {
                sink.Packed(name, -1, () => Unpack(block, method == Method.Stored ? MethodOf(block.Span) : method, sink), canReopen: true);
            }
            else
            {
                sink.Stored(name, block);
            }
        }
    }

    private static (ReadOnlyMemory<byte> Bytes, bool IsPacked, int Next) Block(ReadOnlyMemory<byte> data, int at, int dataAt)
    {
        if (data.Length - at < 4)
        {
            throw ArchiveException.Truncated("nsis block", dataAt + at);
        }

        uint word = BinaryPrimitives.ReadUInt32LittleEndian(data.Span[at..]);
        uint length = word & ~PackedBit;
        if (length > data.Length - at - 4)
        {
            throw ArchiveException.Truncated("nsis block", dataAt + at);
        }

        return (data.Slice(at + 4, (int)length), (word & PackedBit) != 0, at + 4 + (int)length);
    }

    private static NsisScript ReadPackedScript(ReadOnlyMemory<byte> packed, Method method, int length, IMemberSink sink)
    {
        using Stream stream = Unpack(packed, method, sink);
        return ReadScript(new PartStream(stream, length), length, sink);
    }

    private static NsisScript ReadScript(Stream stream, int length, IMemberSink sink)
    {
        byte[] bytes = new byte[length];
        for (int at = 0; at < length;)
        {
            sink.Tick();
            int read = stream.Read(bytes.AsSpan(at));
            at += read > 0 ? read : throw ArchiveException.Truncated("nsis script", at);
        }

        sink.Stored("(script)", bytes);
        return NsisScript.Parse(bytes, sink);
    }

    /// <summary>False at the stream's end.</summary>
    private static bool TryLength(Stream stream, out uint length)
    {
        Span<byte> word = stackalloc byte[4];
        int got = stream.ReadAtLeast(word, word.Length, throwOnEndOfStream: false);
        length = BinaryPrimitives.ReadUInt32LittleEndian(word);
        return got switch { 0 => false, 4 => true, _ => throw ArchiveException.Truncated(Structure, -1) };
    }

    /// <summary>Nothing names it; the first bytes of the other two are too rare in DEFLATE to be met by chance.</summary>
    private static Method MethodOf(ReadOnlySpan<byte> data)
    {
        if (IsLzma(data))
        {
            return Method.Lzma;
        }

        return data.Length > 1 && data[0] <= 1 && IsLzma(data[1..]) ? Method.FilteredLzma
            : data.Length > 1 && data[0] == 0x31 && data[1] < 14 ? Method.Bzip2
            : Method.Deflate;
    }

    /// <summary>lc 3, lp 0, pb 2, and a dictionary of whole 64 KiB; the range coder begins with a zero.</summary>
    private static bool IsLzma(ReadOnlySpan<byte> data) => data.Length > 5 && data[0] == 0x5D && data[1] == 0 && data[2] == 0 && data[5] == 0;

    private static Stream Unpack(ReadOnlyMemory<byte> data, Method method, IMemberSink sink)
    {
        switch (method)
        {
            case Method.Stored:
                return new SpanStream(data);
            case Method.Deflate:
                return new InflateStream(data, mayLackComplement: true);
            case Method.Bzip2:
                return new Bzip2Stream(data, isBare: true);
            default:
                bool isFiltered = method == Method.FilteredLzma && data.Span[0] == 1;
                data = method == Method.FilteredLzma ? data[1..] : data;
                if (data.Length < LzmaStream.PropertyBytes)
                {
                    throw ArchiveException.Truncated("lzma", -1);
                }

                var stream = new LzmaStream(data[LzmaStream.PropertyBytes..], data.Span[..LzmaStream.PropertyBytes], -1, sink);
                return isFiltered ? new BranchFilter(stream, BranchKind.X86) : stream;
        }
    }
}
