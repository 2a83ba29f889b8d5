using System.Globalization;
using Vmsweep.Signatures.Archives.Decoders;

namespace Vmsweep.Signatures.Archives.Formats;

/// <summary>
/// tar: v7, ustar, pax and GNU. Spec: POSIX.1-2017 "pax", GNU tar manual "Basic Tar Format". Read from memory, members being part of it, or from a
/// stream where a packed tar is larger than memory.
/// </summary>
internal sealed class TarFormat : IArchiveFormat
{
    private const int BlockBytes = 512;
    private const int ChecksumAt = 148;

    /// <summary>Extended headers and long names: nobody's are larger.</summary>
    private const int MostMetadata = 1 << 20;

    public string Name => "tar";

    public bool Fits(ReadOnlySpan<byte> content) => IsTar(content);

    /// <summary>The first header's checksum is right: old archives have no other mark.</summary>
    public static bool IsTar(ReadOnlySpan<byte> content) => content.Length >= BlockBytes && content[0] != 0 && HasChecksum(content[..BlockBytes]);

    public void Read(ReadOnlyMemory<byte> content, IMemberSink sink) => Walk(new MemoryTar(content), sink);

    /// <summary>Reads from a stream, which cannot go back.</summary>
    public static void Read(Stream stream, IMemberSink sink) => Walk(new StreamTar(stream), sink);

    private static void Walk(ITarSource source, IMemberSink sink)
    {
        string? longName = null;
        long? paxSize = null;
        byte[] block = new byte[BlockBytes];
        bool hasEnd = false;
        for (long at = 0; ; at = source.Position)
        {
            sink.Tick();
            int read = source.Read(block);
            if (read < BlockBytes)
            {
                // Two blocks of zeros end an archive; where they are missing, nobody knows what else is.
                if (!hasEnd)
                {
                    throw ArchiveException.Truncated("tar header", at);
                }

                return;
            }

            if (block.AsSpan().IndexOfAnyExcept((byte)0) < 0)
            {
                // More may follow: archives are joined, and hidden, behind their end.
                hasEnd = true;
                continue;
            }

            if (!HasChecksum(block))
            {
                if (hasEnd)
                {
                    // Something else behind the end: no part of it.
                    return;
                }

                throw ArchiveException.Corrupt("tar header", at, "its checksum is wrong; what follows was not read");
            }

            long size = paxSize ?? Number(block.AsSpan(124, 12));
            if (size < 0)
            {
                throw ArchiveException.Corrupt("tar header", at, "a size that is none");
            }

            char kind = (char)block[156];
            if (kind is 'L' or 'K' or 'x' or 'g')
            {
                byte[] data = ReadMetadata(source, size, at);
                if (kind == 'L')
                {
                    longName = MemberNames.OfField(data);
                }
                else if (kind == 'x')
                {
                    (longName, paxSize) = ReadPax(data, longName);
                }

                source.Skip(Padding(size), sink);
                continue;
            }

            string name = longName ?? NameOf(block);
            if (kind == 'S')
            {
                // GNU's sparse files: further maps may follow the header; what is stored is given as it is stored.
                bool more = block[482] != 0;
                while (more)
                {
                    sink.Tick();
                    byte[] map = new byte[BlockBytes];
                    more = source.Read(map) == BlockBytes && map[504] != 0;
                }
            }

            if (kind is '0' or '\0' or '7' or 'S' && !(kind == '\0' && name.EndsWith('/')))
            {
                source.Give(name, size, sink);
                source.Skip(Padding(size), sink);
            }
            else if (kind is 'D' or 'M' or 'V' or 'N')
            {
                source.Skip(size + Padding(size), sink);
            }

            longName = null;
            paxSize = null;
        }
    }

    private static byte[] ReadMetadata(ITarSource source, long size, long at)
    {
        if (size > MostMetadata)
        {
            throw new ArchiveException(ArchiveFault.Limit, "tar header", at, $"{size} bytes of names and attributes");
        }

        byte[] data = new byte[size];
        return source.Read(data) == size ? data : throw ArchiveException.Truncated("tar header", at);
    }

    /// <summary>Lines of "LENGTH KEY=VALUE\n".</summary>
    private static (string? Name, long? Size) ReadPax(ReadOnlySpan<byte> data, string? name)
    {
        long? size = null;
        while (!data.IsEmpty)
        {
            int space = data.IndexOf((byte)' ');
            if (space < 0 || !int.TryParse(data[..space], NumberStyles.None, CultureInfo.InvariantCulture, out int length) || length <= space + 1 || length > data.Length)
            {
                break;
            }

            ReadOnlySpan<byte> record = data[(space + 1)..(length - 1)];
            if (record.StartsWith("path="u8))
            {
                name = MemberNames.Of(record[5..]);
            }
            else if (record.StartsWith("size="u8) && long.TryParse(record[5..], NumberStyles.None, CultureInfo.InvariantCulture, out long declared))
            {
                size = declared;
            }
            else if (record.StartsWith("GNU.sparse.name="u8))
            {
                name = MemberNames.Of(record[16..]);
            }

            data = data[length..];
        }

        return (name, size);
    }

    private static string NameOf(ReadOnlySpan<byte> header)
    {
        string name = MemberNames.OfField(header[..100]);
        string prefix = header.Slice(257, 6).SequenceEqual("ustar\0"u8) ? MemberNames.OfField(header.Slice(345, 155)) : "";
        return prefix.Length > 0 ? $"{prefix}/{name}" : name;
    }

    private static bool HasChecksum(ReadOnlySpan<byte> header)
    {
        long stored = Number(header.Slice(ChecksumAt, 8));
        int sum = 8 * ' ';
        int signed = sum;
        for (int i = 0; i < BlockBytes; i++)
        {
            if (i is < ChecksumAt or >= ChecksumAt + 8)
            {
                sum += header[i];
                signed += (sbyte)header[i];
            }
        }

        // Where no number stands, none is equal: the signed sum of any file may be below zero.
        return stored >= 0 && (stored == sum || stored == signed);
    }

    /// <summary>Octal digits, or where the highest bit is set, binary; -1 for neither.</summary>
    private static long Number(ReadOnlySpan<byte> field)
    {
        long value = 0;
        if ((field[0] & 0x80) != 0)
        {
            foreach (byte b in field[^8..])
            {
                value = (value << 8) | b;
            }

            return field[0] == 0x80 && value >= 0 ? value : -1;
        }

        ReadOnlySpan<byte> digits = field.Trim(" \0"u8);
        foreach (byte b in digits)
        {
            if (b is < (byte)'0' or > (byte)'7')
            {
                return b is 0 or (byte)' ' ? value : -1;
            }

            value = (value << 3) | (uint)(b - '0');
        }

        return digits.IsEmpty ? -1 : value;
    }

    private static long Padding(long size) => -size & (BlockBytes - 1);

    private interface ITarSource
    {
        long Position { get; }

        /// <summary>As much as there is.</summary>
        int Read(Span<byte> destination);

        void Skip(long bytes, IMemberSink sink);

        void Give(string name, long size, IMemberSink sink);
    }

    private sealed class MemoryTar(ReadOnlyMemory<byte> content) : ITarSource
    {
        private int _at;

        public long Position => _at;

        public int Read(Span<byte> destination)
        {
            int count = Math.Min(destination.Length, content.Length - _at);
            content.Span.Slice(_at, count).CopyTo(destination);
            _at += count;
            return count;
        }

        public void Skip(long bytes, IMemberSink sink) => _at += (int)Math.Min(bytes, content.Length - _at);

        public void Give(string name, long size, IMemberSink sink)
        {
            int there = (int)Math.Min(size, content.Length - _at);
            if (there < size)
            {
                sink.Gap(ArchiveFault.Truncated, "tar member", _at, size - there, "the archive ends in the middle of it", name);
            }

            sink.Stored(name, content.Slice(_at, there));
            _at += there;
        }
    }

    private sealed class StreamTar(Stream stream) : ITarSource
    {
        public long Position { get; private set; }

        public int Read(Span<byte> destination)
        {
            int read = stream.ReadAtLeast(destination, destination.Length, throwOnEndOfStream: false);
            Position += read;
            return read;
        }

        public void Skip(long bytes, IMemberSink sink)
        {
            var part = new PartStream(stream, bytes);
            part.Skip(sink.Tick);
            Position += bytes;
        }

        public void Give(string name, long size, IMemberSink sink)
        {
            var part = new PartStream(stream, size);
            sink.Packed(name, size, () => part);
            part.Skip(sink.Tick);
            Position += size;
        }
    }
}
