using System.Buffers.Binary;
using SharpCompress.Archives.Rar;
using SharpCompress.Common;
using SharpCompress.Readers;
using SharpCompress.Readers.Rar;
using Vmsweep.Signatures.Archives.Decoders;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Signatures.Archives.Formats;

/// <summary>RAR 4 and 5, by SharpCompress. What its headers ask for in memory and key cycles is looked at before the library runs.</summary>
internal sealed class RarFormat : IArchiveFormat
{
    /// <summary>2 to this many rounds of HMAC for a key.</summary>
    private const int MostKeyCycles = 20;

    private const int Rar4WindowBytes = 4 << 20;

    public string Name => "rar";

    /// <summary>The first header's checksum is right.</summary>
    public IReadOnlyList<FileType> Types { get; } = [FileTypes.Rar];

    public bool Fits(ReadOnlySpan<byte> content)
    {
        if (content.Length < 20 || !FileTypes.Rar.Fits(content))
        {
            return false;
        }

        if (content[6] == 0)
        {
            // RAR 4: the main header, whose checksum is the low half of a CRC-32.
            int size = BinaryPrimitives.ReadUInt16LittleEndian(content[12..]);
            return content[9] == 0x73 && size is >= 13 and < 64 && content.Length >= 7 + size
                && (ushort)Crc32.Of(content.Slice(9, size - 2)) == BinaryPrimitives.ReadUInt16LittleEndian(content[7..]);
        }

        return content[6] == 1 && content[7] == 0 && Rar5Header.Read(content, 8) is not null;
    }

    public void Read(ReadOnlyMemory<byte> content, IMemberSink sink)
    {
        (long window, bool isEncrypted) = content.Span[6] == 0 ? (Rar4WindowBytes, false) : Inspect(content.Span);
        using IDisposable memory = sink.Reserve((2 * window) + (4 << 20), "rar window");
        if (isEncrypted)
        {
            ReadEncrypted(content, sink, "rar headers");
            return;
        }

        using RarReading reading = new(content, null);
        ReadAll(reading, content, sink, null);
    }

    /// <summary>With headers encrypted, a password is right when they can be read.</summary>
    private static void ReadEncrypted(ReadOnlyMemory<byte> content, IMemberSink sink, string structure)
    {
        foreach (string password in sink.Passwords)
        {
            sink.Tick();
            try
            {
                using RarReading trial = new(content, password);
                if (!trial.Reader.MoveToNextEntry())
                {
                    continue;
                }
            }
            catch (Exception e) when (e is not (OperationCanceledException or ArchiveException or ArchiveBudgetException))
            {
                // Noise instead of headers.
                continue;
            }

            using RarReading reading = new(content, password);
            ReadAll(reading, content, sink, password);
            return;
        }

        throw new ArchiveException(ArchiveFault.Encrypted, structure, -1, "no known password fits");
    }

    private static void ReadAll(RarReading reading, ReadOnlyMemory<byte> content, IMemberSink sink, string? password)
    {
        int number = 0;
        while (reading.Reader.MoveToNextEntry())
        {
            sink.Tick();
            IEntry entry = reading.Reader.Entry;
            int index = number++;
            string name = entry.Key ?? $"(member {number})";
            if (entry.IsDirectory)
            {
                continue;
            }

            if (entry.IsSplitAfter)
            {
                sink.Gap(ArchiveFault.Truncated, "rar member", -1, 0, "it goes on in another volume", name);
            }

            if (!entry.IsEncrypted || password is not null)
            {
                sink.Packed(name, entry.Size, () => new PartOfReader(reading.Reader.OpenEntryStream()));
                continue;
            }

            ReadEncryptedMember(content, index, name, entry.Size, sink);
        }
    }

    private static void ReadEncryptedMember(ReadOnlyMemory<byte> content, int index, string name, long size, IMemberSink sink)
    {
        byte[] part = new byte[64 << 10];
        foreach (string password in sink.Passwords)
        {
            sink.Tick();
            try
            {
                using RarReading trial = new(content, password);
                using Stream stream = trial.Seek(index).OpenEntryStream();
                for (int read = 1; read > 0;)
                {
                    sink.Tick();
                    read = stream.Read(part);
                }
            }
            catch (Exception e) when (e is not (OperationCanceledException or ArchiveException or ArchiveBudgetException))
            {
                continue;
            }

            sink.Packed(name, size, () =>
            {
                var reading = new RarReading(content, password);
                return new PartOfReader(reading.Seek(index).OpenEntryStream(), reading);
            });
            return;
        }

        sink.Gap(ArchiveFault.Encrypted, "rar member", -1, size, "no known password fits", name);
    }

    /// <summary>The largest dictionary of RAR 5 members, and whether the headers are encrypted.</summary>
    private static (long Window, bool IsEncrypted) Inspect(ReadOnlySpan<byte> content)
    {
        long window = 0;
        for (long at = 8; at < content.Length && Rar5Header.Read(content, at) is { } header; at = header.Next)
        {
            if (header.Cycles > MostKeyCycles)
            {
                throw ArchiveException.Unsupported("rar encryption", at, $"2^{header.Cycles} cycles for a key");
            }

            if (header.Kind == Rar5Header.EncryptionKind)
            {
                return (4 << 20, true);
            }

            if (header.Kind is Rar5Header.FileKind or Rar5Header.ServiceKind)
            {
                window = Math.Max(window, header.WindowBytes);
            }
        }

        return (window, false);
    }

    /// <summary>A reader over the whole archive.</summary>
    private sealed class RarReading : IDisposable
    {
        public RarReading(ReadOnlyMemory<byte> content, string? password) =>
            Reader = RarReader.OpenReader(new SpanStream(content), new ReaderOptions { Password = password, LeaveStreamOpen = false });

        public IReader Reader { get; }

        public IReader Seek(int index)
        {
            for (int i = 0; i <= index; i++)
            {
                if (!Reader.MoveToNextEntry())
                {
                    throw new EndOfStreamException("the member is gone");
                }
            }

            return Reader;
        }

        public void Dispose() => (Reader as IDisposable)?.Dispose();
    }

    private sealed class PartOfReader(Stream inner, IDisposable? owner = null) : ReadOnlyStream
    {
        public override int Read(Span<byte> buffer) => inner.Read(buffer);

        protected override void Dispose(bool disposing)
        {
            inner.Dispose();
            owner?.Dispose();
            base.Dispose(disposing);
        }
    }
}

/// <summary>A header of RAR 5: only what decides about memory and time. Spec: "RAR 5.0 archive format".</summary>
/// <param name="Kind">1 main, 2 file, 3 service, 4 encryption, 5 end.</param>
/// <param name="Next">Where the next header is.</param>
/// <param name="WindowBytes">The dictionary that a file's data needs.</param>
/// <param name="Cycles">Binary logarithm of a key's rounds.</param>
internal sealed record Rar5Header(int Kind, long Next, long WindowBytes, int Cycles)
{
    public const int FileKind = 2;
    public const int ServiceKind = 3;
    public const int EncryptionKind = 4;

    private const int MostHeaderBytes = 2 << 20;

    /// <summary>Reads one; null where there is none.</summary>
    public static Rar5Header? Read(ReadOnlySpan<byte> content, long at)
    {
        if (at > content.Length - 7)
        {
            return null;
        }

        ReadOnlySpan<byte> bytes = content[(int)at..];
        int position = 4;
        if (Number(bytes, ref position) is not { } size || size is 0 or > MostHeaderBytes || size > (ulong)(bytes.Length - position))
        {
            return null;
        }

        int end = position + (int)size;
        if (Crc32.Of(bytes[4..end]) != BinaryPrimitives.ReadUInt32LittleEndian(bytes))
        {
            return null;
        }

        ReadOnlySpan<byte> header = bytes[..end];
        ulong? kind = Number(header, ref position);
        ulong? flags = Number(header, ref position);
        ulong? extra = (flags & 1) != 0 ? Number(header, ref position) : 0;
        ulong? data = (flags & 2) != 0 ? Number(header, ref position) : 0;
        if (kind is null || flags is null || extra is null || data is null)
        {
            return null;
        }

        long next = at + end + (long)Math.Min(data.Value, int.MaxValue);
        return kind switch
        {
            FileKind or ServiceKind => File(header, position, (int)kind, next, (int)Math.Min(extra.Value, (ulong)header.Length)),
            EncryptionKind => new Rar5Header(EncryptionKind, next, 0, CyclesAt(header, position)),
            _ => new Rar5Header((int)Math.Min(kind.Value, 255), next, 0, 0),
        };
    }

    private static Rar5Header? File(ReadOnlySpan<byte> header, int at, int kind, long next, int extraBytes)
    {
        ulong? flags = Number(header, ref at);
        Number(header, ref at);
        Number(header, ref at);
        at += (flags & 2) != 0 ? 4 : 0;
        at += (flags & 4) != 0 ? 4 : 0;
        if (flags is null || at > header.Length || Number(header, ref at) is not { } compression)
        {
            return null;
        }

        // Version 0 has four bits of size, RAR 7's version 1 five and a fraction.
        bool isLarge = (compression & 0x3F) > 0;
        long window = 128L << 10 << (int)((compression >> 10) & (isLarge ? 0x1Fu : 15u));
        window += isLarge ? window / 32 * (long)((compression >> 15) & 31) : 0;
        return new Rar5Header(kind, next, ((compression >> 7) & 7) == 0 ? 0 : window, ExtraCycles(header[Math.Max(0, header.Length - extraBytes)..]));
    }

    private static int ExtraCycles(ReadOnlySpan<byte> extra)
    {
        int at = 0;
        while (at < extra.Length && Number(extra, ref at) is { } size && size > 0 && size <= (ulong)(extra.Length - at))
        {
            int next = at + (int)size;
            if (Number(extra, ref at) == 1)
            {
                return CyclesAt(extra, at);
            }

            at = next;
        }

        return 0;
    }

    /// <summary>Version and flags, each a number, then a byte.</summary>
    private static int CyclesAt(ReadOnlySpan<byte> bytes, int at)
    {
        Number(bytes, ref at);
        Number(bytes, ref at);
        return at < bytes.Length ? bytes[at] : 0;
    }

    private static ulong? Number(ReadOnlySpan<byte> bytes, ref int at)
    {
        ulong value = 0;
        for (int shift = 0; shift < 63; shift += 7)
        {
            if (at >= bytes.Length)
            {
                return null;
            }

            byte b = bytes[at++];
            value |= (ulong)(b & 0x7F) << shift;
            if (b < 0x80)
            {
                return value;
            }
        }

        return null;
    }
}
