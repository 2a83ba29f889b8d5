using System.Buffers.Binary;
using System.Text;
using Vmsweep.Signatures.Archives.Decoders;

namespace Vmsweep.Signatures.Archives.Formats;

/// <summary>ARJ, stored and with methods 1 to 4, garbled by password too. Spec: ARJ Technical Information (TECHNOTE.TXT). Little-endian.</summary>
internal sealed class ArjFormat : IArchiveFormat
{
    private const int SmallestHeader = 30;
    private const int MostHeader = 2600;
    private const byte Garbled = 1, Continues = 4;
    private const int ArchiveType = 2, FolderType = 3, LabelType = 4;

    public string Name => "arj";

    public bool Fits(ReadOnlySpan<byte> content) => TryHeader(content, out ReadOnlySpan<byte> header, out _) && header[6] == ArchiveType;

    public void Read(ReadOnlyMemory<byte> content, IMemberSink sink)
    {
        for (int at = 0; at < content.Length;)
        {
            sink.Tick();
            ReadOnlySpan<byte> rest = content.Span[at..];
            if (rest is [0x60, 0xEA, 0, 0, ..])
            {
                return;
            }

            if (!TryHeader(rest, out ReadOnlySpan<byte> header, out int bytes))
            {
                throw rest.Length < MostHeader ? ArchiveException.Truncated("arj header", at) : ArchiveException.Corrupt("arj header", at, "no sound header where one must begin");
            }

            at += bytes;
            if (header[6] != ArchiveType)
            {
                uint packed = BinaryPrimitives.ReadUInt32LittleEndian(header[12..]);
                int there = (int)Math.Min(packed, content.Length - at);
                Give(header, content.Slice(at, there), packed - there, at, sink);
                at += there;
            }
        }

        throw ArchiveException.Truncated("arj end", content.Length);
    }

    private static void Give(ReadOnlySpan<byte> header, ReadOnlyMemory<byte> packed, long missing, int at, IMemberSink sink)
    {
        int method = header[5];
        int type = header[6];
        byte flags = header[4];
        byte modifier = header[7];
        long size = BinaryPrimitives.ReadUInt32LittleEndian(header[16..]);
        uint crc = BinaryPrimitives.ReadUInt32LittleEndian(header[20..]);
        string name = MemberNames.OfField(header[Math.Min((int)header[0], header.Length)..]).Replace('\\', '/');
        if (type is FolderType or LabelType)
        {
            return;
        }

        if (missing > 0)
        {
            sink.Gap(ArchiveFault.Truncated, "arj member", at, missing, "the archive ends in the middle of it", name);
        }

        if ((flags & Continues) != 0)
        {
            sink.Gap(ArchiveFault.Truncated, "arj member", at, 0, "it goes on in another volume", name);
        }

        if (method > 4)
        {
            sink.Gap(ArchiveFault.Unsupported, "arj member", at, packed.Length, $"method {method}", name);
            return;
        }

        if ((flags & Garbled) == 0)
        {
            sink.Packed(name, size, () => Open(method, packed, size, crc));
            return;
        }

        sink.Packed(name, size, () => OpenGarbled(method, packed, size, crc, modifier, at, sink), packing: "encrypted");
    }

    private static CheckedStream Open(int method, ReadOnlyMemory<byte> packed, long size, uint crc) => new(
        method switch { 0 => new SpanStream(packed), 4 => new ArjFastestStream(packed, size), _ => new LhaStream(packed, size, 16, 5) }, "arj member", size, crc);

    /// <summary>Each byte is combined with one of the password; the checksum is all that tells a wrong one.</summary>
    private static ReservedStream OpenGarbled(int method, ReadOnlyMemory<byte> packed, long size, uint crc, byte modifier, long at, IMemberSink sink)
    {
        IDisposable memory = sink.Reserve(packed.Length, "arj member");
        byte[] plain = new byte[packed.Length];
        byte[] part = new byte[64 << 10];
        foreach (string password in sink.Passwords)
        {
            byte[] key = [.. Encoding.UTF8.GetBytes(password).Select(b => unchecked((byte)(b + modifier)))];
            for (int i = 0; i < plain.Length; i++)
            {
                plain[i] = (byte)(packed.Span[i] ^ key[i % key.Length]);
            }

            try
            {
                using Stream stream = Open(method, plain, size, crc);
                for (int read = 1; read > 0;)
                {
                    sink.Tick();
                    read = stream.Read(part);
                }

                return new ReservedStream(memory, Open(method, plain, size, crc));
            }
            catch (ArchiveException e) when (e.Fault is ArchiveFault.Corrupt or ArchiveFault.Truncated)
            {
                // A wrong password gives noise.
            }
        }

        memory.Dispose();
        throw new ArchiveException(ArchiveFault.Encrypted, "arj member", at, "no known password fits");
    }

    /// <summary>A basic header with its checksum, and how long it is with what comes behind it.</summary>
    private static bool TryHeader(ReadOnlySpan<byte> content, out ReadOnlySpan<byte> header, out int bytes)
    {
        header = default;
        bytes = 0;
        if (content.Length < 8 + SmallestHeader || content[0] != 0x60 || content[1] != 0xEA)
        {
            return false;
        }

        int size = BinaryPrimitives.ReadUInt16LittleEndian(content[2..]);
        if (size is < SmallestHeader or > MostHeader || content.Length < 10 + size || Crc32.Of(content.Slice(4, size)) != BinaryPrimitives.ReadUInt32LittleEndian(content[(4 + size)..]))
        {
            return false;
        }

        header = content.Slice(4, size);
        bytes = 8 + size;
        for (int more = 1; more > 0;)
        {
            if (content.Length - bytes < 2)
            {
                return false;
            }

            more = BinaryPrimitives.ReadUInt16LittleEndian(content[bytes..]);
            bytes += 2 + (more > 0 ? more + 4 : 0);
            if (bytes > content.Length)
            {
                return false;
            }
        }

        return true;
    }
}
