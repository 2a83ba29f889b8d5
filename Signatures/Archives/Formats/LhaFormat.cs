using System.Buffers.Binary;
using Vmsweep.Signatures.Archives.Decoders;

namespace Vmsweep.Signatures.Archives.Formats;

/// <summary>LHA and LZH with headers of levels 0 to 3. Spec: LHa for UNIX, header.doc.md. Little-endian.</summary>
internal sealed class LhaFormat : IArchiveFormat
{
    private const int SmallestHeader = 22;
    private const int MostHeaderBytes = 1 << 16;

    public string Name => "lha";

    public bool Fits(ReadOnlySpan<byte> content) => content.Length >= 32 && content[2] == '-' && content[3] == 'l' && (content[4] is (byte)'h' or (byte)'z') && content[6] == '-' && Header.TryRead(content, out _);

    public void Read(ReadOnlyMemory<byte> content, IMemberSink sink)
    {
        for (int at = 0; at < content.Length && content.Span[at] != 0;)
        {
            sink.Tick();
            if (!Header.TryRead(content.Span[at..], out Header header))
            {
                throw content.Length - at < SmallestHeader ? ArchiveException.Truncated("lha header", at) : ArchiveException.Corrupt("lha header", at, "no header where one must begin");
            }

            int data = at + header.Bytes;
            int there = (int)Math.Min(header.PackedBytes, content.Length - data);
            if (header.Method != "-lhd-")
            {
                Give(header, content.Slice(data, there), data, sink);
            }

            at = data + there;
        }
    }

    private static void Give(Header header, ReadOnlyMemory<byte> packed, int at, IMemberSink sink)
    {
        if (packed.Length < header.PackedBytes)
        {
            sink.Gap(ArchiveFault.Truncated, "lha member", at, header.PackedBytes - packed.Length, "the archive ends in the middle of it", header.Name);
        }

        if (header.Method is "-lh0-" or "-lz4-")
        {
            sink.Packed(header.Name, packed.Length, () => new Crc16Stream(new SpanStream(packed), header.SizeBytes, header.Crc));
            return;
        }

        (int window, int placeBits) = header.Method switch { "-lh4-" => (12, 4), "-lh5-" => (13, 4), "-lh6-" => (15, 5), "-lh7-" => (16, 5), _ => (0, 0) };
        if (window == 0)
        {
            sink.Gap(ArchiveFault.Unsupported, "lha member", at, packed.Length, $"method {header.Method}", header.Name);
            return;
        }

        sink.Packed(header.Name, header.SizeBytes, () => new Crc16Stream(new LhaStream(packed, header.SizeBytes, window, placeBits), header.SizeBytes, header.Crc));
    }

    /// <summary>What all levels have, and the name.</summary>
    private readonly record struct Header(string Method, int Bytes, long PackedBytes, long SizeBytes, ushort Crc, string Name)
    {
        public static bool TryRead(ReadOnlySpan<byte> content, out Header header)
        {
            header = default;
            if (content.Length < SmallestHeader + 2 || content[2] != '-' || content[6] != '-' || content[3] is not ((byte)'l' or (byte)'p') || content[20] > 3)
            {
                return false;
            }

            return content[20] <= 1 ? TryOld(content, out header) : TryNew(content, out header);
        }

        /// <summary>Levels 0 and 1: a size and a sum of one byte each, and the name inside.</summary>
        private static bool TryOld(ReadOnlySpan<byte> content, out Header header)
        {
            header = default;
            int bytes = content[0] + 2;
            int name = content[21];
            if (bytes < SmallestHeader + 2 + name || content.Length < bytes || Sum(content[2..bytes]) != content[1])
            {
                return false;
            }

            long packed = BinaryPrimitives.ReadUInt32LittleEndian(content[7..]);
            ushort crc = BinaryPrimitives.ReadUInt16LittleEndian(content[(22 + name)..]);
            string path = MemberNames.OfField(content.Slice(22, name));
            if (content[20] == 1)
            {
                int more = BinaryPrimitives.ReadUInt16LittleEndian(content[(bytes - 2)..]);
                if (!TryMore(content, ref bytes, more, 2, out string? inner, out string? folder, out int extra) || extra > packed)
                {
                    return false;
                }

                packed -= extra;
                path = folder + (inner ?? path);
            }

            header = new Header(MethodOf(content), bytes, packed, BinaryPrimitives.ReadUInt32LittleEndian(content[11..]), crc, path.Replace('\\', '/'));
            return true;
        }

        /// <summary>Levels 2 and 3: all that varies stands in headers that follow each other.</summary>
        private static bool TryNew(ReadOnlySpan<byte> content, out Header header)
        {
            header = default;
            bool isWide = content[20] == 3;
            int bytes = isWide ? 28 : 24;
            int width = isWide ? 4 : 2;
            if (content.Length < bytes + width || (isWide && BinaryPrimitives.ReadUInt16LittleEndian(content) != 4))
            {
                return false;
            }

            long whole = isWide ? BinaryPrimitives.ReadUInt32LittleEndian(content[24..]) : BinaryPrimitives.ReadUInt16LittleEndian(content);
            long more = isWide ? BinaryPrimitives.ReadUInt32LittleEndian(content[bytes..]) : BinaryPrimitives.ReadUInt16LittleEndian(content[bytes..]);
            bytes += width;
            if (whole < bytes || whole > Math.Min(content.Length, MostHeaderBytes) || more > whole
                || !TryMore(content[..(int)whole], ref bytes, (int)more, width, out string? inner, out string? folder, out _))
            {
                return false;
            }

            header = new Header(
                MethodOf(content), (int)whole, BinaryPrimitives.ReadUInt32LittleEndian(content[7..]), BinaryPrimitives.ReadUInt32LittleEndian(content[11..]),
                BinaryPrimitives.ReadUInt16LittleEndian(content[21..]), folder + (inner ?? "(member)"));
            return true;
        }

        /// <summary>Each further header has its size, which counts itself, before it: type, content, size of the next.</summary>
        private static bool TryMore(ReadOnlySpan<byte> content, ref int at, int size, int width, out string? name, out string folder, out int all)
        {
            (name, folder, all) = (null, "", 0);
            while (size > 0)
            {
                if (size < 1 + width || size > content.Length - at || all + size > MostHeaderBytes)
                {
                    return false;
                }

                ReadOnlySpan<byte> text = content.Slice(at + 1, size - 1 - width);
                if (content[at] == 1)
                {
                    name = MemberNames.OfField(text);
                }
                else if (content[at] == 2)
                {
                    // Folders stand between bytes of 0xFF, which no name has.
                    byte[] path = text.ToArray();
                    path.AsSpan().Replace((byte)0xFF, (byte)'/');
                    folder = MemberNames.OfField(path);
                }

                all += size;
                at += size;
                long next = width == 4 ? BinaryPrimitives.ReadUInt32LittleEndian(content[(at - 4)..]) : BinaryPrimitives.ReadUInt16LittleEndian(content[(at - 2)..]);
                size = (int)Math.Min(next, int.MaxValue);
            }

            return true;
        }

        private static string MethodOf(ReadOnlySpan<byte> content) => System.Text.Encoding.Latin1.GetString(content.Slice(2, 5));

        private static byte Sum(ReadOnlySpan<byte> bytes)
        {
            byte sum = 0;
            foreach (byte b in bytes)
            {
                unchecked
                {
                    sum += b;
                }
            }

            return sum;
        }
    }

    /// <summary>Checks size and CRC-16 (ARC) at the end.</summary>
    private sealed class Crc16Stream(Stream inner, long size, ushort crc) : ReadOnlyStream
    {
        private long _length;
        private ushort _crc;

        public override int Read(Span<byte> buffer)
        {
            int read = inner.Read(buffer);
            _length += read;
            foreach (byte b in buffer[..read])
            {
                _crc = (ushort)((_crc >> 8) ^ Table[(byte)(_crc ^ b)]);
            }

            return read > 0 || buffer.IsEmpty ? read
                : _length != size ? throw ArchiveException.Corrupt("lha member", -1, $"it has {_length} bytes and not the {size} that are declared")
                : _crc != crc ? throw ArchiveException.Corrupt("lha member", -1, "its checksum is wrong")
                : 0;
        }

        protected override void Dispose(bool disposing)
        {
            inner.Dispose();
            base.Dispose(disposing);
        }

        private static readonly ushort[] Table = [.. Enumerable.Range(0, 256).Select(n =>
        {
            for (int bit = 0; bit < 8; bit++)
            {
                n = (n >> 1) ^ ((n & 1) != 0 ? 0xA001 : 0);
            }

            return (ushort)n;
        })];
    }
}
