using System.Buffers.Binary;
using Vmsweep.Signatures.Archives.Decoders;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Signatures.Archives.Formats;

/// <summary>7z. Spec: 7zFormat.txt of the LZMA SDK (public domain). Little-endian. Own, because the library takes memory as headers ask for it.</summary>
internal sealed class SevenZipFormat : IArchiveFormat
{
    public const int StartBytes = 32;

    /// <summary>A header of a packed header, and so on: nobody writes more than one.</summary>
    private const int MostPackings = 4;

    public string Name => "7z";

    /// <summary>The start header's checksum is right.</summary>
    public IReadOnlyList<FileType> Types { get; } = [FileTypes.SevenZip];

    public bool Fits(ReadOnlySpan<byte> content) =>
        content.Length >= StartBytes && FileTypes.SevenZip.Fits(content) && Crc32.Of(content[12..StartBytes]) == BinaryPrimitives.ReadUInt32LittleEndian(content[8..]);

    public void Read(ReadOnlyMemory<byte> content, IMemberSink sink)
    {
        ReadOnlySpan<byte> start = content.Span;
        ulong offset = BinaryPrimitives.ReadUInt64LittleEndian(start[12..]);
        ulong size = BinaryPrimitives.ReadUInt64LittleEndian(start[20..]);
        ulong room = (ulong)(content.Length - StartBytes);
        if (offset > room || size > room - offset)
        {
            throw ArchiveException.Truncated("7z header", (long)Math.Min(offset, long.MaxValue));
        }

        if (size == 0)
        {
            return;
        }

        ReadOnlyMemory<byte> bytes = content.Slice(StartBytes + (int)offset, (int)size);
        if (Crc32.Of(bytes.Span) != BinaryPrimitives.ReadUInt32LittleEndian(start[28..]))
        {
            throw ArchiveException.Corrupt("7z header", StartBytes + (long)offset, "its checksum is wrong");
        }

        ReadOnlyMemory<byte> packed = content[StartBytes..];
        using TableMemory tables = new(sink, "7z header");
        var header = SevenZipHeader.Read(bytes, tables);
        List<IDisposable> memory = [];
        try
        {
            for (int i = 0; header.IsPacked; i++)
            {
                if (i == MostPackings || header.Folders.Count != 1)
                {
                    throw ArchiveException.Corrupt("7z header", StartBytes + (long)offset, "it is packed in itself");
                }

                header = SevenZipHeader.Read(Unpack(packed, header, sink, memory), tables);
            }

            ReadFolders(packed, header, sink);
        }
        finally
        {
            memory.ForEach(m => m.Dispose());
        }
    }

    private static byte[] Unpack(ReadOnlyMemory<byte> packed, SevenZipHeader header, IMemberSink sink, List<IDisposable> memory)
    {
        var decoder = new SevenZipDecoder(packed, header, sink);
        SevenZipFolder folder = header.Folders[0];
        string password = PasswordOf(decoder, folder, sink) ?? throw new ArchiveException(ArchiveFault.Encrypted, "7z header", -1, "names and members are encrypted, and no known password fits");
        long size = folder.Sizes[folder.MainOutput];
        memory.Add(sink.Reserve(2 * size, "7z header"));
        byte[] bytes = new byte[size];
        using Stream stream = new CheckedStream(decoder.Open(folder, password), "7z header", -1, null);
        int filled = 0;
        for (int read = 1; filled < bytes.Length && read > 0; filled += read)
        {
            sink.Tick();
            read = stream.Read(bytes.AsSpan(filled, Math.Min(bytes.Length - filled, 64 << 10)));
        }

        return folder.Crc is { } crc && crc != Crc32.Of(bytes) ? throw ArchiveException.Corrupt("7z header", -1, "its unpacked checksum is wrong") : bytes[..filled];
    }

    private static void ReadFolders(ReadOnlyMemory<byte> packed, SevenZipHeader header, IMemberSink sink)
    {
        var decoder = new SevenZipDecoder(packed, header, sink);
        Queue<string> names = new(header.Names.Where((_, i) => i >= header.HasStream.Length || header.HasStream[i]));
        foreach (SevenZipFolder folder in header.Folders)
        {
            sink.Tick();
            List<(string Name, long Size, uint? Crc)> files = [.. folder.Files.Select((f, i) => (names.TryDequeue(out string? name) ? name : $"(member {i + 1})", f.Size, f.Crc))];
            try
            {
                ReadFolder(decoder, folder, files, sink);
            }
            catch (ArchiveException e)
            {
                // The next folder stands for itself.
                sink.Gap(e.Fault, e.Structure, e.Offset, 0, e.Detail + Others(files.Count - 1), files.Count > 0 ? files[0].Name : null);
            }
        }
    }

    private static void ReadFolder(SevenZipDecoder decoder, SevenZipFolder folder, List<(string Name, long Size, uint? Crc)> files, IMemberSink sink)
    {
        if (files.Count == 0)
        {
            return;
        }

        string password = PasswordOf(decoder, folder, sink) ?? throw new ArchiveException(ArchiveFault.Encrypted, "7z folder", -1, "no known password fits");
        string packing = SevenZipDecoder.PackingOf(folder);
        using var stream = new TellingStream(decoder.Open(folder, password));
        for (int i = 0; i < files.Count; i++)
        {
            (string name, long size, uint? crc) = files[i];
            var part = new PartStream(stream, size);
            sink.Packed(name, size, () => new CheckedStream(part, "7z member", size, crc), packing: packing);
            if (stream.HasThrown)
            {
                // The member's own gap says why; those behind it share its fate.
                if (i + 1 < files.Count)
                {
                    sink.Gap(ArchiveFault.Corrupt, "7z folder", -1, 0, "what comes before it in the same block cannot be read" + Others(files.Count - i - 2), files[i + 1].Name);
                }

                return;
            }

            part.Skip(sink.Tick);
        }
    }

    private static string Others(int count) => count > 0 ? $"; {count} more members in the same block" : "";

    /// <summary>The password that gives the first member's checksum; empty where none is needed, null where none fits.</summary>
    private static string? PasswordOf(SevenZipDecoder decoder, SevenZipFolder folder, IMemberSink sink)
    {
        if (!SevenZipDecoder.IsEncrypted(folder))
        {
            return "";
        }

        byte[] part = new byte[64 << 10];
        (long size, uint? crc) = folder.Files.Count > 0 ? folder.Files[0] : (folder.Sizes[folder.MainOutput], folder.Crc);
        foreach (string password in sink.Passwords)
        {
            try
            {
                using Stream stream = new CheckedStream(new PartStream(decoder.Open(folder, password), size), "7z member", size, crc);
                for (int read = 1; read > 0;)
                {
                    sink.Tick();
                    read = stream.Read(part);
                }

                return password;
            }
            catch (Exception e) when (e is ArchiveException { Fault: ArchiveFault.Corrupt or ArchiveFault.Truncated } or IOException or InvalidOperationException or SharpCompress.Common.SharpCompressException)
            {
                // A wrong key gives noise, and noise does not unpack.
            }
        }

        return null;
    }

    /// <summary>Remembers that it failed: a block is one stream for all its members.</summary>
    private sealed class TellingStream(Stream inner) : ReadOnlyStream
    {
        public bool HasThrown { get; private set; }

        public override int Read(Span<byte> buffer)
        {
            bool isSound = false;
            try
            {
                int read = inner.Read(buffer);
                isSound = true;
                HasThrown |= read == 0 && !buffer.IsEmpty;
                return read;
            }
            finally
            {
                HasThrown |= !isSound;
            }
        }

        protected override void Dispose(bool disposing)
        {
            inner.Dispose();
            base.Dispose(disposing);
        }
    }
}
