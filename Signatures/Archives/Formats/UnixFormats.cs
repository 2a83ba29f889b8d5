using System.Globalization;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Signatures.Archives.Formats;

/// <summary>ar: static libraries and Debian packages. Spec: ar(5), GNU and BSD long names.</summary>
internal sealed class ArFormat : IArchiveFormat
{
    private const int HeaderBytes = 60;

    public string Name => "ar";

    public IReadOnlyList<FileType> Types { get; } = [FileTypes.Ar];

    public bool Fits(ReadOnlySpan<byte> content) => content.Length >= 8 + HeaderBytes && FileTypes.Ar.Fits(content) && content.Slice(66, 2).SequenceEqual("`\n"u8);

    public void Read(ReadOnlyMemory<byte> content, IMemberSink sink)
    {
        ReadOnlyMemory<byte> names = default;
        for (int at = 8; at < content.Length;)
        {
            sink.Tick();
            if (content.Length - at < HeaderBytes)
            {
                throw ArchiveException.Truncated("ar header", at);
            }

            ReadOnlySpan<byte> header = content.Span.Slice(at, HeaderBytes);
            if (!header[58..].SequenceEqual("`\n"u8) || !long.TryParse(header.Slice(48, 10).TrimEnd((byte)' '), NumberStyles.None, CultureInfo.InvariantCulture, out long size))
            {
                throw ArchiveException.Corrupt("ar header", at, "no member where one must begin");
            }

            string name = MemberNames.Of(header[..16].TrimEnd((byte)' '));
            at += HeaderBytes;
            int there = (int)Math.Min(size, content.Length - at);
            ReadOnlyMemory<byte> data = content.Slice(at, there);
            at += there + (there & 1);
            if (name == "//")
            {
                names = data;
                continue;
            }

            if (name.StartsWith("#1/", StringComparison.Ordinal) && int.TryParse(name.AsSpan(3), NumberStyles.None, CultureInfo.InvariantCulture, out int length) && length <= data.Length)
            {
                name = MemberNames.OfField(data.Span[..length]);
                data = data[length..];
            }
            else if (name.Length > 1 && name[0] == '/' && int.TryParse(name.AsSpan(1), NumberStyles.None, CultureInfo.InvariantCulture, out int offset) && offset < names.Length)
            {
                ReadOnlySpan<byte> rest = names.Span[offset..];
                int end = rest.IndexOf((byte)'\n');
                name = MemberNames.Of((end < 0 ? rest : rest[..end]).TrimEnd((byte)'/'));
            }

            if (there < size)
            {
                sink.Gap(ArchiveFault.Truncated, "ar member", at, size - there, "the archive ends in the middle of it", name);
            }

            sink.Stored(name.TrimEnd('/'), data);
        }
    }
}

/// <summary>cpio with headers in ASCII ("new" and old) and in binary of both byte orders: initial RAM disks, which are several after another, and the payload of RPM packages.</summary>
internal sealed class CpioFormat : IArchiveFormat
{
    private const int NewBytes = 110;
    private const int OldBytes = 76;
    private const int BinaryBytes = 26;

    public string Name => "cpio";

    public IReadOnlyList<FileType> Types { get; } = [FileTypes.CpioText, FileTypes.CpioLittle, FileTypes.CpioBig];

    public bool Fits(ReadOnlySpan<byte> content) =>
        content.Length >= NewBytes && TryHeader(content, out _, out _, out string name)
        && !name.AsSpan().ContainsAnyInRange('\0', '\u001F');

    public void Read(ReadOnlyMemory<byte> content, IMemberSink sink)
    {
        for (int at = 0; at < content.Length;)
        {
            sink.Tick();
            ReadOnlySpan<byte> rest = content.Span[at..];
            if (rest[0] == 0)
            {
                // Padding behind a trailer, then perhaps the next archive, which may be a packed one.
                int next = rest.IndexOfAnyExcept((byte)0);
                if (next < 0)
                {
                    return;
                }

                at += next;
                continue;
            }

            if (!TryHeader(rest, out int dataAt, out long size, out string name))
            {
                if (rest.StartsWith("0707"u8))
                {
                    throw ArchiveException.Corrupt("cpio header", at, "it is cut off or no header");
                }

                // An initial RAM disk: plain archives first, then a packed one.
                sink.Stored("(rest)", content[at..]);
                return;
            }

            if (name == "TRAILER!!!")
            {
                at += Math.Min(rest.Length, dataAt);
                continue;
            }

            int there = (int)Math.Min(size, rest.Length - dataAt);
            if (there < size)
            {
                sink.Gap(ArchiveFault.Truncated, "cpio member", at, size - there, "the archive ends in the middle of it", name);
            }

            if (size > 0)
            {
                sink.Stored(name, content.Slice(at + dataAt, there));
            }

            int padded = rest.StartsWith("070707"u8) ? there : rest[0] != '0' ? (there + 1) & ~1 : (there + 3) & ~3;
            at += Math.Min(rest.Length, dataAt + padded);
        }
    }

    private static bool TryHeader(ReadOnlySpan<byte> bytes, out int dataAt, out long size, out string name)
    {
        (dataAt, size, name) = (0, 0, "");
        if (bytes.Length > BinaryBytes && bytes[0] is 0xC7 or 0x71)
        {
            return TryBinaryHeader(bytes, out dataAt, out size, out name);
        }

        bool isNew = bytes.StartsWith("070701"u8) || bytes.StartsWith("070702"u8);
        int header = isNew ? NewBytes : OldBytes;
        if (bytes.Length < header || !(isNew || bytes.StartsWith("070707"u8)))
        {
            return false;
        }

        long nameBytes;
        bool isSound = isNew
            ? long.TryParse(bytes.Slice(54, 8), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out size)
                & long.TryParse(bytes.Slice(94, 8), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out nameBytes)
            : TryOctal(bytes.Slice(65, 11), out size) & TryOctal(bytes.Slice(59, 6), out nameBytes);
        if (!isSound || nameBytes is < 1 or > 65536 || nameBytes > bytes.Length - header)
        {
            return false;
        }

        name = MemberNames.OfField(bytes.Slice(header, (int)nameBytes));
        dataAt = header + (int)nameBytes;
        dataAt = isNew ? (dataAt + 3) & ~3 : dataAt;
        return dataAt <= bytes.Length;
    }

    /// <summary>Words of 16 bits; of two words for one number the higher comes first.</summary>
    private static bool TryBinaryHeader(ReadOnlySpan<byte> bytes, out int dataAt, out long size, out string name)
    {
        bool isBig = bytes[0] == 0x71;
        int nameBytes = Word(bytes, 20, isBig);
        size = ((long)Word(bytes, 22, isBig) << 16) | (uint)Word(bytes, 24, isBig);
        dataAt = (BinaryBytes + nameBytes + 1) & ~1;
        name = "";
        if (Word(bytes, 0, isBig) != 0x71C7 || nameBytes is < 2 or > 4096 || dataAt > bytes.Length || bytes.Slice(BinaryBytes, nameBytes).IndexOf((byte)0) != nameBytes - 1)
        {
            return false;
        }

        name = MemberNames.OfField(bytes.Slice(BinaryBytes, nameBytes));
        return true;
    }

    private static int Word(ReadOnlySpan<byte> bytes, int at, bool isBig) => isBig ? (bytes[at] << 8) | bytes[at + 1] : (bytes[at + 1] << 8) | bytes[at];

    private static bool TryOctal(ReadOnlySpan<byte> digits, out long value)
    {
        value = 0;
        foreach (byte b in digits)
        {
            if (b is < (byte)'0' or > (byte)'7')
            {
                return false;
            }

            value = (value << 3) | (uint)(b - '0');
        }

        return true;
    }
}

/// <summary>RPM packages: a lead, two headers, then a packed cpio. Spec: "RPM Package File Structure". Big-endian.</summary>
internal sealed class RpmFormat : IArchiveFormat
{
    private const int LeadBytes = 96;
    private static ReadOnlySpan<byte> HeaderMagic => [0x8E, 0xAD, 0xE8, 0x01];

    public string Name => "rpm";

    public IReadOnlyList<FileType> Types { get; } = [FileTypes.Rpm];

    public bool Fits(ReadOnlySpan<byte> content) =>
        content.Length >= LeadBytes + 16 && FileTypes.Rpm.Fits(content) && content[LeadBytes..].StartsWith(HeaderMagic);

    public void Read(ReadOnlyMemory<byte> content, IMemberSink sink)
    {
        ReadOnlySpan<byte> bytes = content.Span;
        long at = LeadBytes;
        for (int header = 0; header < 2; header++)
        {
            at = (at + 7) & ~7L;
            if (at > bytes.Length - 16 || !bytes[(int)at..].StartsWith(HeaderMagic))
            {
                throw ArchiveException.Corrupt("rpm header", at, "there is none");
            }

            uint entries = System.Buffers.Binary.BinaryPrimitives.ReadUInt32BigEndian(bytes[(int)(at + 8)..]);
            uint store = System.Buffers.Binary.BinaryPrimitives.ReadUInt32BigEndian(bytes[(int)(at + 12)..]);
            at += 16 + (16L * entries) + store;
        }

        if (at >= bytes.Length)
        {
            throw ArchiveException.Truncated("rpm payload", at);
        }

        ReadOnlyMemory<byte> payload = content[(int)at..];
        sink.Stored("(payload)", payload);
        if (!ArchiveFormats.All.IsArchive(payload.Span))
        {
            sink.Gap(ArchiveFault.Unsupported, "rpm payload", at, payload.Length, "it is packed in a way that is not known; it was matched as it is");
        }
    }
}
