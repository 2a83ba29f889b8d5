using System.Buffers.Binary;
using Vmsweep.Signatures.Archives.Decoders;

namespace Vmsweep.Signatures.Archives.Formats;

/// <summary>
/// ZIP, and what is made of it: JAR, APK, Office documents, self-extracting programs. Spec: PKWARE APPNOTE. Members come from the central directory;
/// then what local headers have that it does not name, since programs that read from the front find those, and others hide there.
/// </summary>
internal sealed class ZipFormat : IArchiveFormat
{
    private const uint EndMagic = 0x0605_4B50;
    private const uint Zip64EndMagic = 0x0606_4B50;
    private const uint Zip64LocatorMagic = 0x0706_4B50;
    private const int EndBytes = 22;
    private const int MostComment = ushort.MaxValue;
    private const ushort StrongEncryption = 0x0040;

    /// <summary>A member that no directory names.</summary>
    private const string ByHeader = "by its header";

    public string Name => "zip";

    public bool Fits(ReadOnlySpan<byte> content) =>
        content.Length >= EndBytes && ((content[0] == 'P' && ZipEntry.Local(content, out _) is { } first && IsPlausible(first)) || FindEnd(content) >= 0);

    public void Read(ReadOnlyMemory<byte> content, IMemberSink sink)
    {
        ReadOnlySpan<byte> bytes = content.Span;
        int end = FindEnd(bytes);
        List<(long From, long To)> covered = [];
        if (end >= 0)
        {
            ReadDirectory(content, end, sink, covered);
        }
        else
        {
            sink.Gap(ArchiveFault.Truncated, "zip directory", -1, 0, "there is none; members are read by their own headers");
        }

        ReadLocal(content, sink, covered, isHidden: end >= 0);
    }

    /// <summary>The last end record whose directory is there; -1 where none is.</summary>
    private static int FindEnd(ReadOnlySpan<byte> content)
    {
        int start = Math.Max(0, content.Length - EndBytes - MostComment);
        ReadOnlySpan<byte> tail = content[start..];
        while (tail.Length >= EndBytes)
        {
            int at = tail[..^(EndBytes - 4)].LastIndexOf("PK\u0005\u0006"u8);
            if (at < 0)
            {
                return -1;
            }

            ReadOnlySpan<byte> record = tail[at..];
            uint size = BinaryPrimitives.ReadUInt32LittleEndian(record[12..]);
            long directory = start + at - (long)size;
            bool isEmpty = size == 0 && BinaryPrimitives.ReadUInt16LittleEndian(record[10..]) == 0;
            if (isEmpty || size == uint.MaxValue || Zip64(content, start + at) is not null
                || (directory >= 0 && BinaryPrimitives.ReadUInt32LittleEndian(content[(int)directory..]) == ZipEntry.CentralMagic)
                || Declared(content, record) is not null)
            {
                return start + at;
            }

            tail = content.Slice(start, Math.Min(content.Length - start, at + EndBytes - 1));
        }

        return -1;
    }

    /// <summary>Where the record says that the directory is, if it is there.</summary>
    private static int? Declared(ReadOnlySpan<byte> content, ReadOnlySpan<byte> record)
    {
        uint offset = BinaryPrimitives.ReadUInt32LittleEndian(record[16..]);
        return offset <= content.Length - 4 && BinaryPrimitives.ReadUInt32LittleEndian(content[(int)offset..]) == ZipEntry.CentralMagic ? (int)offset : null;
    }

    private static (long Size, long Offset, int At)? Zip64(ReadOnlySpan<byte> content, int end)
    {
        int locator = end - 20;
        if (locator < 0 || BinaryPrimitives.ReadUInt32LittleEndian(content[locator..]) != Zip64LocatorMagic)
        {
            return null;
        }

        // Where it says, or right before: something may stand before the archive.
        ulong said = BinaryPrimitives.ReadUInt64LittleEndian(content[(locator + 8)..]);
        foreach (long at in (ReadOnlySpan<long>)[(long)Math.Min(said, long.MaxValue), locator - 56])
        {
            if (at >= 0 && at <= content.Length - 56 && BinaryPrimitives.ReadUInt32LittleEndian(content[(int)at..]) == Zip64EndMagic)
            {
                ReadOnlySpan<byte> record = content[(int)at..];
                return ((long)Math.Min(BinaryPrimitives.ReadUInt64LittleEndian(record[40..]), long.MaxValue),
                    (long)Math.Min(BinaryPrimitives.ReadUInt64LittleEndian(record[48..]), long.MaxValue), (int)at);
            }
        }

        return null;
    }

    private static void ReadDirectory(ReadOnlyMemory<byte> content, int end, IMemberSink sink, List<(long From, long To)> covered)
    {
        ReadOnlySpan<byte> bytes = content.Span;
        ReadOnlySpan<byte> record = bytes[end..];
        long count = BinaryPrimitives.ReadUInt16LittleEndian(record[10..]);
        long size = BinaryPrimitives.ReadUInt32LittleEndian(record[12..]);
        long offset = BinaryPrimitives.ReadUInt32LittleEndian(record[16..]);
        long stop = end;
        if (Zip64(bytes, end) is { } wide)
        {
            (size, offset, stop) = (wide.Size, wide.Offset, wide.At);
        }

        // Offsets count from where the archive began; something may have been put before it.
        long at = stop - size;
        long shift = at - offset;
        if (at < 0 || at > stop - 4 || BinaryPrimitives.ReadUInt32LittleEndian(bytes[(int)at..]) != ZipEntry.CentralMagic)
        {
            at = Declared(bytes, record) ?? stop;
            shift = 0;
        }

        covered.Add((at, bytes.Length));
        long seen = 0;
        while (at < stop && ZipEntry.Central(bytes[(int)at..], out int length) is { } entry)
        {
            sink.Tick();
            at += length;
            seen++;
            ReadMember(content, entry, shift, sink, covered);
        }

        if (size > 0 && (seen & 0xFFFF) != count && count != ushort.MaxValue)
        {
            sink.Gap(ArchiveFault.Corrupt, "zip directory", end, 0, $"it declares {count} members and holds {seen}");
        }
    }

    private static void ReadMember(ReadOnlyMemory<byte> content, ZipEntry entry, long shift, IMemberSink sink, List<(long From, long To)> covered)
    {
        long at = entry.Offset + shift;
        ZipEntry? local = null;
        int header = 0;
        foreach (long place in (ReadOnlySpan<long>)[at, entry.Offset])
        {
            if (local is null && place >= 0 && place < content.Length)
            {
                local = ZipEntry.Local(content.Span[(int)place..], out header);
                at = place;
            }
        }

        if (local is null)
        {
            sink.Gap(ArchiveFault.Corrupt, "zip local header", at, entry.PackedBytes, "there is none where the directory says", entry.Name);
            return;
        }

        long data = at + header;
        long packed = Math.Min(entry.PackedBytes, content.Length - data);
        covered.Add((at, data + packed));
        if (entry.IsFolder)
        {
            return;
        }

        // The directory rules; where the header differs in how the data is packed, programs that go by it see something else.
        ReadOnlyMemory<byte> bytes = content.Slice((int)data, (int)packed);
        Give(entry, bytes, entry.PackedBytes > packed, data, sink);
        if (local.Method != entry.Method && local.IsEncrypted == entry.IsEncrypted)
        {
            Give(local with { Name = $"({local.Name} by its local header)", SizeBytes = -1, HasCrc = false }, bytes, false, data, sink);
        }
    }

    /// <summary>Reads members by their local headers, where nothing else is known to lie.</summary>
    private static void ReadLocal(ReadOnlyMemory<byte> content, IMemberSink sink, List<(long From, long To)> covered, bool isHidden)
    {
        covered.Sort();
        covered.Add((content.Length, content.Length));
        long at = 0;
        foreach ((long from, long to) in covered)
        {
            while (at < from)
            {
                sink.Tick();
                int next = content.Span[(int)at..(int)from].IndexOf("PK\u0003\u0004"u8);
                if (next < 0)
                {
                    break;
                }

                at += next;
                at = ReadLocalMember(content, (int)at, (int)from, sink, isHidden);
            }

            at = Math.Max(at, to);
        }
    }

    private static long ReadLocalMember(ReadOnlyMemory<byte> content, int at, int stop, IMemberSink sink, bool isHidden)
    {
        if (ZipEntry.Local(content.Span[at..], out int header) is not { } entry || !IsPlausible(entry) || at + header > stop)
        {
            return at + 4;
        }

        long data = at + header;
        bool isOpenEnded = entry.HasDescriptor && entry.PackedBytes == 0;
        long packed = isOpenEnded ? stop - data : Math.Min(entry.PackedBytes, stop - data);
        if (entry.IsFolder)
        {
            return data;
        }

        ReadOnlyMemory<byte> bytes = content.Slice((int)data, (int)packed);
        string name = isHidden ? $"({entry.Name} not in the directory)" : entry.Name;
        if (isOpenEnded)
        {
            // Only a decoder knows where such data ends.
            if (entry.Method is not (8 or 9) || entry.IsEncrypted)
            {
                int next = bytes.Span.IndexOf("PK\u0007\u0008"u8);
                bytes = next >= 0 ? bytes[..next] : bytes;
                Give(entry with { Name = name, PackedBytes = bytes.Length, SizeBytes = -1, HasCrc = false }, bytes, next < 0, data, sink, ByHeader);
                return data + bytes.Length;
            }

            InflateStream? inflate = null;
            sink.Packed(name, -1, () => inflate = new InflateStream(bytes, entry.Method == 9), packing: ByHeader);
            return data + Math.Max(1, inflate!.Consumed);
        }

        Give(entry with { Name = name }, bytes, entry.PackedBytes > packed, data, sink, ByHeader);
        return data + packed;
    }

    /// <summary>What chance makes of the four bytes of magic is mostly not this.</summary>
    private static bool IsPlausible(ZipEntry entry) =>
        entry.Name.Length > 0 && !entry.Name.Contains('\0', StringComparison.Ordinal) && entry.Method is <= 20 or (>= 93 and <= 99)
        && (entry.Method != 0 || entry.PackedBytes == entry.SizeBytes || entry.IsEncrypted || entry.HasDescriptor);

    private static void Give(ZipEntry entry, ReadOnlyMemory<byte> bytes, bool isCut, long at, IMemberSink sink, string packing = "")
    {
        packing = entry.IsEncrypted ? "encrypted" : packing.Length > 0 || entry.Method is 0 or 8 ? packing : FormattableString.Invariant($"method {entry.Method}");
        if (isCut)
        {
            sink.Gap(ArchiveFault.Truncated, "zip member", at, entry.PackedBytes - bytes.Length, "its data ends with the archive", entry.Name);
        }

        if (entry.IsEncrypted)
        {
            sink.Packed(entry.Name, entry.SizeBytes, () => OpenEncrypted(entry, bytes, at, sink), packing: packing);
        }
        else if (entry.Method == 0)
        {
            if (entry.HasCrc && !isCut && Crc32.Of(bytes.Span) != entry.Crc)
            {
                sink.Gap(ArchiveFault.Corrupt, "zip member", at, 0, "its checksum is wrong", entry.Name);
            }

            sink.Stored(entry.Name, bytes, packing);
        }
        else
        {
            sink.Packed(entry.Name, entry.SizeBytes, () => Open(entry, bytes, at, sink), packing: packing);
        }
    }

    private static ReservedStream OpenEncrypted(ZipEntry entry, ReadOnlyMemory<byte> bytes, long at, IMemberSink sink)
    {
        IDisposable memory = sink.Reserve(2L * bytes.Length, "zip member");
        if ((entry.Flags & StrongEncryption) == 0)
        {
            foreach (string password in sink.Passwords)
            {
                sink.Tick();
                if (ZipCrypto.Decrypt(entry, bytes.Span, password) is { } plain && IsSound(entry, plain, at, sink))
                {
                    return new ReservedStream(memory, Open(entry, plain, at, sink));
                }
            }
        }

        memory.Dispose();
        throw new ArchiveException(ArchiveFault.Encrypted, "zip member", at, "no known password fits");
    }

    /// <summary>A wrong password passes its check once in some hundreds of times; what it gives unpacks to no checksum.</summary>
    private static bool IsSound(ZipEntry entry, byte[] plain, long at, IMemberSink sink)
    {
        if (!entry.HasCrc)
        {
            return true;
        }

        byte[] part = new byte[64 << 10];
        try
        {
            using Stream stream = Open(entry, plain, at, sink);
            for (int read = 1; read > 0;)
            {
                sink.Tick();
                read = stream.Read(part);
            }

            return true;
        }
        catch (Exception e) when (e is ArchiveException { Fault: not ArchiveFault.Limit } or IOException or InvalidOperationException or SharpCompress.Common.SharpCompressException)
        {
            return false;
        }
    }

    private static CheckedStream Open(ZipEntry entry, ReadOnlyMemory<byte> bytes, long at, IMemberSink sink) =>
        new(OpenMethod(entry, bytes, at, sink), "zip member", entry.SizeBytes, entry.HasCrc ? entry.Crc : null);

    private static Stream OpenMethod(ZipEntry entry, ReadOnlyMemory<byte> bytes, long at, IMemberSink sink)
    {
        switch (entry.Method)
        {
            case 0:
                return new SpanStream(bytes);
            case 8:
                return new InflateStream(bytes);
            case 9:
                return new InflateStream(bytes, is64: true);
            case 12:
                return new ReservedStream(sink.Reserve(4_000_000, "bzip2"), new Bzip2Stream(bytes));
            case 14:
                // Two bytes of version and two of length come before the properties.
                return bytes.Length >= 9 && bytes.Span[2] == LzmaStream.PropertyBytes
                    ? new LzmaStream(bytes[9..], bytes.Span.Slice(4, LzmaStream.PropertyBytes), (entry.Flags & 2) != 0 ? -1 : entry.SizeBytes, sink)
                    : throw ArchiveException.Corrupt("zip lzma header", at, "properties are missing");
            case 20 or 93:
                return ZstdFormat.Decode(bytes, sink);
            case 95:
                return new XzStream(bytes, sink);
            case 98:
                return Ppmd.OpenZip(bytes, sink);
            default:
                throw ArchiveException.Unsupported("zip member", at, $"method {entry.Method}");
        }
    }
}
