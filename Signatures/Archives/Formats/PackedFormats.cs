using System.Buffers.Binary;
using K4os.Compression.LZ4.Streams;
using Vmsweep.Signatures.Archives.Decoders;
using Vmsweep.Signatures.Matching;
using ZstdDecompression = ZstdSharp.DecompressionStream;

namespace Vmsweep.Signatures.Archives.Formats;

/// <summary>A format that packs one content without a name.</summary>
internal abstract class PackedFormat : IArchiveFormat
{
    public abstract string Name { get; }

    public abstract IReadOnlyList<FileType> Types { get; }

    public abstract bool Fits(ReadOnlySpan<byte> content);

    public void Read(ReadOnlyMemory<byte> content, IMemberSink sink) =>
        sink.Packed(MemberName(content.Span), -1, () => Open(content, sink), canReopen: true);

    protected virtual string MemberName(ReadOnlySpan<byte> content) => $"({Name})";

    protected abstract Stream Open(ReadOnlyMemory<byte> content, IMemberSink sink);
}

/// <summary>gzip. Spec: RFC 1952.</summary>
internal sealed class GzipFormat : PackedFormat
{
    public override string Name => "gzip";

    public override IReadOnlyList<FileType> Types { get; } = [FileTypes.Gzip];

    /// <summary>The first block's header is looked at too: with the magic number that leaves few files that are none.</summary>
    public override bool Fits(ReadOnlySpan<byte> content)
    {
        if (!GzipStream.TryHeader(content, out int length, out _) || content.Length <= length)
        {
            return false;
        }

        // Three bits: whether the block is the last, and its kind. A stored block tells its length twice.
        return ((content[length] >> 1) & 3) switch
        {
            0 => content.Length >= length + 5
                && BinaryPrimitives.ReadUInt16LittleEndian(content[(length + 1)..]) == (ushort)~BinaryPrimitives.ReadUInt16LittleEndian(content[(length + 3)..]),
            3 => false,
            _ => true,
        };
    }

    protected override string MemberName(ReadOnlySpan<byte> content) =>
        GzipStream.TryHeader(content, out _, out string name) && name.Length > 0 ? name : base.MemberName(content);

    protected override Stream Open(ReadOnlyMemory<byte> content, IMemberSink sink) => new GzipStream(content);

    private sealed class GzipStream(ReadOnlyMemory<byte> input) : ReadOnlyStream
    {
        private int _at;
        private InflateStream? _member;
        private uint _crc;
        private uint _length;

        public static bool TryHeader(ReadOnlySpan<byte> bytes, out int length, out string name)
        {
            length = 10;
            name = "";
            if (bytes.Length < 10 || bytes[0] != 0x1F || bytes[1] != 0x8B || bytes[2] != 8 || (bytes[3] & 0xE0) != 0)
            {
                return false;
            }

            int flags = bytes[3];
            if ((flags & 4) != 0)
            {
                if (bytes.Length < 12)
                {
                    return false;
                }

                length += 2 + BinaryPrimitives.ReadUInt16LittleEndian(bytes[10..]);
            }

            for (int field = 8; field <= 16; field *= 2)
            {
                if ((flags & field) == 0)
                {
                    continue;
                }

                int end = length < bytes.Length ? bytes[length..].IndexOf((byte)0) : -1;
                if (end < 0)
                {
                    return false;
                }

                name = field == 8 ? MemberNames.Of(bytes.Slice(length, end)) : name;
                length += end + 1;
            }

            length += (flags & 2) != 0 ? 2 : 0;
            return length <= bytes.Length;
        }

        public override int Read(Span<byte> buffer)
        {
            while (!buffer.IsEmpty)
            {
                if (_member is null)
                {
                    if (!TryHeader(input.Span[_at..], out int length, out _))
                    {
                        // Padding behind a member, or another file: no part of it.
                        return 0;
                    }

                    _at += length;
                    _member = new InflateStream(input[_at..]);
                    _crc = _length = 0;
                }

                int read = _member.Read(buffer);
                if (read > 0)
                {
                    _crc = Crc32.Append(_crc, buffer[..read]);
                    _length += (uint)read;
                    return read;
                }

                EndMember();
            }

            return 0;
        }

        protected override void Dispose(bool disposing)
        {
            _member?.Dispose();
            base.Dispose(disposing);
        }

        private void EndMember()
        {
            _at += _member!.Consumed;
            _member.Dispose();
            _member = null;
            if (input.Length - _at < 8)
            {
                _at = input.Length;
                throw ArchiveException.Truncated("gzip trailer", _at);
            }

            ReadOnlySpan<byte> trailer = input.Span.Slice(_at, 8);
            _at += 8;
            if (BinaryPrimitives.ReadUInt32LittleEndian(trailer) != _crc || BinaryPrimitives.ReadUInt32LittleEndian(trailer[4..]) != _length)
            {
                throw ArchiveException.Corrupt("gzip trailer", _at - 8, "its checksum or length is wrong");
            }
        }
    }
}

/// <summary>bzip2.</summary>
internal sealed class Bzip2Format : PackedFormat
{
    public override string Name => "bzip2";

    public override IReadOnlyList<FileType> Types { get; } = [FileTypes.Bzip2];

    public override bool Fits(ReadOnlySpan<byte> content) => Bzip2Stream.Fits(content);

    protected override Stream Open(ReadOnlyMemory<byte> content, IMemberSink sink) => new ReservedStream(sink.Reserve(4_000_000, "bzip2"), new Bzip2Stream(content));
}

/// <summary>xz.</summary>
internal sealed class XzFormat : PackedFormat
{
    public override string Name => "xz";

    public override IReadOnlyList<FileType> Types { get; } = [FileTypes.Xz];

    public override bool Fits(ReadOnlySpan<byte> content) => XzStream.Fits(content);

    protected override Stream Open(ReadOnlyMemory<byte> content, IMemberSink sink) => new XzStream(content, sink);
}

/// <summary>lzip members, one after another. Spec: the lzip manual, "File format".</summary>
internal sealed class LzipFormat : PackedFormat
{
    public override string Name => "lzip";

    public override IReadOnlyList<FileType> Types { get; } = [FileTypes.Lzip];

    public override bool Fits(ReadOnlySpan<byte> content) => content.Length >= 26 && FileTypes.Lzip.Fits(content) && DictionaryBytes(content[5]) > 0 && content[6] == 0;

    protected override Stream Open(ReadOnlyMemory<byte> content, IMemberSink sink) => new LzipStream(content, sink);

    private static uint DictionaryBytes(byte coded)
    {
        int bits = coded & 0x1F;
        return bits is < 12 or > 29 ? 0 : (1u << bits) - ((1u << (bits - 4)) * (uint)(coded >> 5));
    }

    private sealed class LzipStream(ReadOnlyMemory<byte> input, IMemberSink sink) : ReadOnlyStream
    {
        private int _at;
        private LzmaStream? _member;
        private uint _crc;
        private long _length;

        public override int Read(Span<byte> buffer)
        {
            while (!buffer.IsEmpty)
            {
                if (_member is null)
                {
                    ReadOnlySpan<byte> rest = input.Span[_at..];
                    if (rest.Length < 6 || !rest.StartsWith("LZIP\u0001"u8) || DictionaryBytes(rest[5]) == 0)
                    {
                        return 0;
                    }

                    // lc, lp and pb are fixed in lzip.
                    byte[] properties = new byte[LzmaStream.PropertyBytes];
                    properties[0] = 93;
                    BinaryPrimitives.WriteUInt32LittleEndian(properties.AsSpan(1), DictionaryBytes(rest[5]));
                    _at += 6;
                    _member = new LzmaStream(input[_at..], properties, -1, sink);
                    _crc = 0;
                    _length = 0;
                }

                int read = _member.Read(buffer);
                if (read > 0)
                {
                    _crc = Crc32.Append(_crc, buffer[..read]);
                    _length += read;
                    return read;
                }

                EndMember();
            }

            return 0;
        }

        protected override void Dispose(bool disposing)
        {
            _member?.Dispose();
            base.Dispose(disposing);
        }

        private void EndMember()
        {
            _at += _member!.Consumed;
            _member.Dispose();
            _member = null;
            if (input.Length - _at < 20)
            {
                _at = input.Length;
                throw ArchiveException.Truncated("lzip trailer", _at);
            }

            ReadOnlySpan<byte> trailer = input.Span.Slice(_at, 20);
            _at += 20;
            if (BinaryPrimitives.ReadUInt32LittleEndian(trailer) != _crc || BinaryPrimitives.ReadInt64LittleEndian(trailer[4..]) != _length)
            {
                throw ArchiveException.Corrupt("lzip trailer", _at - 20, "its checksum or length is wrong");
            }
        }
    }
}

/// <summary>Zstandard frames. Spec: RFC 8878; by ZstdSharp.</summary>
internal sealed class ZstdFormat : PackedFormat
{
    public override string Name => "zstd";

    public override IReadOnlyList<FileType> Types { get; } = [FileTypes.Zstd, FileTypes.ZstdSkippable];

    /// <summary>Reserved bits are zero, and the first block is of a known kind.</summary>
    public override bool Fits(ReadOnlySpan<byte> content)
    {
        // Skippable frames may come first, as pzstd writes them.
        for (int i = 0; i < 4 && content.Length >= 8 && FileTypes.ZstdSkippable.Fits(content); i++)
        {
            long next = 8L + BinaryPrimitives.ReadUInt32LittleEndian(content[4..]);
            content = next < content.Length ? content[(int)next..] : [];
        }

        return WindowBytes(content) >= 0;
    }

    protected override Stream Open(ReadOnlyMemory<byte> content, IMemberSink sink) => Decode(content, sink);

    internal static Stream Decode(ReadOnlyMemory<byte> content, IMemberSink sink)
    {
        // The library takes no frame whose window is larger than what is set here.
        long window = Math.Max(1 << 10, LargestWindow(content.Span));
        IDisposable memory = sink.Reserve(window + (1 << 20), "zstd window");
        var stream = new ZstdDecompression(new SpanStream(content));
        int bits = 10;
        while (1L << bits < window && bits < 31)
        {
            bits++;
        }

        stream.SetParameter(ZstdSharp.Unsafe.ZSTD_dParameter.ZSTD_d_windowLogMax, bits);
        return new ReservedStream(memory, stream);
    }

    /// <summary>Of the first frame; the library refuses later ones that need more.</summary>
    private static long LargestWindow(ReadOnlySpan<byte> content)
    {
        while (content.Length >= 8 && FileTypes.ZstdSkippable.Fits(content))
        {
            long next = 8L + BinaryPrimitives.ReadUInt32LittleEndian(content[4..]);
            content = next < content.Length ? content[(int)next..] : [];
        }

        return WindowBytes(content);
    }

    /// <summary>What the frame's header asks for; -1 where there is no frame.</summary>
    private static long WindowBytes(ReadOnlySpan<byte> frame)
    {
        if (frame.Length < 9 || !FileTypes.Zstd.Fits(frame) || (frame[4] & 0x08) != 0)
        {
            return -1;
        }

        int descriptor = frame[4];
        bool isSingle = (descriptor & 0x20) != 0;
        int sizeBytes = (descriptor >> 6) switch { 0 => isSingle ? 1 : 0, 1 => 2, 2 => 4, _ => 8 };
        int at = 5 + (isSingle ? 0 : 1) + ((descriptor & 3) switch { 3 => 4, var d => d });
        if (frame.Length < at + sizeBytes + 3 || ((frame[at + sizeBytes] >> 1) & 3) == 3)
        {
            return -1;
        }

        if (isSingle)
        {
            ulong size = 0;
            for (int i = 0; i < sizeBytes; i++)
            {
                size |= (ulong)frame[at + i] << (8 * i);
            }

            return (long)Math.Min(size + (sizeBytes == 2 ? 256UL : 0), 1UL << 40);
        }

        long unit = 1L << (10 + (frame[5] >> 3));
        return unit + (unit / 8 * (frame[5] & 7));
    }
}

/// <summary>LZ4 frames. Spec: "LZ4 Frame Format Description"; by K4os.Compression.LZ4.</summary>
internal sealed class Lz4Format : PackedFormat
{
    public override string Name => "lz4";

    public override IReadOnlyList<FileType> Types { get; } = [FileTypes.Lz4];

    /// <summary>Version 01, no reserved bit, a block size that is one, and room for a checksum.</summary>
    public override bool Fits(ReadOnlySpan<byte> content) =>
        content.Length >= 11 && FileTypes.Lz4.Fits(content)
        && (content[4] & 0xC2) == 0x40 && (content[5] & 0x8F) == 0 && content[5] >> 4 >= 4;

    protected override Stream Open(ReadOnlyMemory<byte> content, IMemberSink sink) =>
        new ReservedStream(sink.Reserve(16 << 20, "lz4"), LZ4Stream.Decode(new SpanStream(content)));
}

/// <summary>compress (.Z): LZW of up to 16 bits; by SharpCompress.</summary>
internal sealed class CompressFormat : PackedFormat
{
    private const int TriedBytes = 128;

    public override string Name => "compress";

    public override IReadOnlyList<FileType> Types { get; } = [FileTypes.Compress];

    /// <summary>Two bytes of magic and one of flags are no proof, and nothing else is checked: the first codes must be ones.</summary>
    public override bool Fits(ReadOnlySpan<byte> content) =>
        content.Length >= 6 && FileTypes.Compress.Fits(content) && (content[2] & 0x60) == 0 && (content[2] & 0x1F) is >= 9 and <= 16 && (content[4] & 1) == 0 && IsSound(content[..Math.Min(content.Length, TriedBytes)]);

    private static bool IsSound(ReadOnlySpan<byte> head)
    {
        try
        {
            using var stream = new SharpCompress.Compressors.Lzw.LzwStream(new SpanStream(head.ToArray()));
            return stream.ReadAtLeast(new byte[TriedBytes], TriedBytes, throwOnEndOfStream: false) > 0;
        }
        catch (Exception e) when (e is SharpCompress.Common.SharpCompressException or IOException or InvalidOperationException or IndexOutOfRangeException)
        {
            return false;
        }
    }

    protected override Stream Open(ReadOnlyMemory<byte> content, IMemberSink sink) =>
        new ReservedStream(sink.Reserve(1 << 20, "compress"), new SharpCompress.Compressors.Lzw.LzwStream(new SpanStream(content)));
}

/// <summary>Gives a decoder's memory back with it.</summary>
internal sealed class ReservedStream(IDisposable memory, Stream inner) : ReadOnlyStream
{
    public override int Read(Span<byte> buffer) => inner.Read(buffer);

    protected override void Dispose(bool disposing)
    {
        inner.Dispose();
        memory.Dispose();
        base.Dispose(disposing);
    }
}
