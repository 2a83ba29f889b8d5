namespace Vmsweep.Signatures.Matching;

/// <summary>
/// The one table of what contents are by their first bytes. From it come the text of YARA's external variable <c>filetype</c>, in the words that LOKI and
/// THOR rules expect, the choice of the archive formats that are asked, and the kinds of contents that rules are routed by.
/// </summary>
public static class FileTypes
{
    /// <summary>No entry of the table looks further than this.</summary>
    public const int HeadBytes = 264;

    internal static readonly FileType Program = new("EXE", "MZ"u8);
    internal static readonly FileType Elf = new("ELF", "\u007FELF"u8);
    internal static readonly FileType Cabinet = new("CAB", "MSCF\0\0\0\0"u8);
    internal static readonly FileType Rar = new("RAR", "Rar!\u001A\u0007"u8);
    internal static readonly FileType SevenZip = new("7Z", [0x37, 0x7A, 0xBC, 0xAF, 0x27, 0x1C]);
    internal static readonly FileType Zip = new("ZIP", "PK"u8, also: head => head.Length >= 4 && (head[2], head[3]) is (3, 4) or (5, 6));
    internal static readonly FileType Gzip = new("GZIP", [0x1F, 0x8B]);
    internal static readonly FileType Bzip2 = new("BZIP2", "BZh"u8);
    internal static readonly FileType Xz = new("XZ", [0xFD, 0x37, 0x7A, 0x58, 0x5A, 0]);
    internal static readonly FileType Zstd = new("ZSTD", [0x28, 0xB5, 0x2F, 0xFD]);
    internal static readonly FileType ZstdSkippable = new("ZSTD", [0x2A, 0x4D, 0x18], at: 1, also: head => head[0] >> 4 == 5);
    internal static readonly FileType Lz4 = new("LZ4", [0x04, 0x22, 0x4D, 0x18]);
    internal static readonly FileType Lzip = new("LZIP", "LZIP\u0001"u8);
    internal static readonly FileType Compress = new("COMPRESS", [0x1F, 0x9D]);
    internal static readonly FileType Szdd = new("SZDD", [0x53, 0x5A, 0x44, 0x44, 0x88, 0xF0, 0x27, 0x33]);
    internal static readonly FileType Ole = new("OLE", [0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1]);
    internal static readonly FileType CompiledHelp = new("CHM", "ITSF"u8);
    internal static readonly FileType Tnef = new("TNEF", [0x78, 0x9F, 0x3E, 0x22]);
    internal static readonly FileType Ar = new("AR", "!<arch>\n"u8);
    internal static readonly FileType CpioText = new("CPIO", "07070"u8);
    internal static readonly FileType CpioLittle = new("CPIO", [0xC7, 0x71]);
    internal static readonly FileType CpioBig = new("CPIO", [0x71, 0xC7]);
    internal static readonly FileType Rpm = new("RPM", [0xED, 0xAB, 0xEE, 0xDB]);
    internal static readonly FileType NsisData = new("NSIS", [0xEF, 0xBE, 0xAD, 0xDE, 0x4E, 0x75, 0x6C, 0x6C, 0x73, 0x6F, 0x66, 0x74, 0x49, 0x6E, 0x73, 0x74], at: 4);

    /// <summary>Of those that fit, the first one counts; what does not begin at the first byte is asked last.</summary>
    private static readonly FileType[] All =
    [
        Program, Cabinet, new("MDMP", "MDMP"u8), Elf, Zip, Rar,
        new("WAV", "RIFF"u8, also: head => head[8..].StartsWith("WAVE"u8), least: 12),
        new("AVI", "RIFF"u8, also: head => head[8..].StartsWith("AVI "u8), least: 12),
        new("REGF", "regf"u8), new("PDF", "%PDF"u8), new("RTF", "{\\rtf"u8), new("GIF", "GIF8"u8), Bzip2, new("EVTX", "ElfFile\0"u8),
        new("LNK", [0x4C, 0, 0, 0, 0x01, 0x14, 0x02, 0]), SevenZip, CompiledHelp, new("SCRIPT", "#!"u8), new("PHP", "<?php"u8), new("XML", "<?xml"u8),
        new("HTML", "<"u8, also: head => Begins(head, "<!doctype html"u8) || Begins(head, "<html"u8)),
        Gzip, Zstd, new("PNG", [0x89, 0x50, 0x4E, 0x47]),

        // A universal Mach-O holds a handful of architectures where a class file holds its version, 45 or more.
        new("MACHO", [0xCA, 0xFE, 0xBA, 0xBE, 0, 0, 0], also: head => head[7] < 40, least: 8), new("CLASS", [0xCA, 0xFE, 0xBA, 0xBE]),
        new("MACHO", [0xCE, 0xFA, 0xED, 0xFE]), new("MACHO", [0xCF, 0xFA, 0xED, 0xFE]),
        Ole, Xz, new("JPG", [0xFF, 0xD8, 0xFF]), new("DEX", "dex\n"u8), Lz4, Lzip, Compress, Szdd, Tnef, Ar, CpioText, CpioLittle, CpioBig, Rpm,
        ZstdSkippable, NsisData, new("TAR", "ustar"u8, at: 257),
    ];

    /// <summary>Plain text, the common case, is at most looked up.</summary>
    private static readonly FileType[][] ByFirstByte = [.. Enumerable.Range(0, 256).Select(first => All.Where(t => t.At == 0 && t.Magic[0] == first).ToArray())];

    private static readonly FileType[] Elsewhere = [.. All.Where(t => t.At > 0)];

    /// <summary>The type's name; empty when no entry fits.</summary>
    public static string Of(ReadOnlySpan<byte> head) => Find(head)?.Name ?? "";

    internal static FileType? Find(ReadOnlySpan<byte> head)
    {
        if (head.IsEmpty)
        {
            return null;
        }

        foreach (FileType type in ByFirstByte[head[0]])
        {
            if (type.Fits(head))
            {
                return type;
            }
        }

        foreach (FileType type in Elsewhere)
        {
            if (type.Fits(head))
            {
                return type;
            }
        }

        return null;
    }

    private static bool Begins(ReadOnlySpan<byte> head, ReadOnlySpan<byte> text) =>
        head.Length >= text.Length && System.Text.Ascii.EqualsIgnoreCase(head[..text.Length], text);
}
