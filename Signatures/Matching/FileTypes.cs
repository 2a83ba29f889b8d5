namespace Vmsweep.Signatures.Matching;

/// <summary>
/// The text of YARA's external variable <c>filetype</c> by the first bytes of content, in the words that LOKI and THOR rules expect.
/// </summary>
public static class FileTypes
{
    /// <summary>No entry of the table looks further than this.</summary>
    public const int HeadBytes = 264;

    /// <summary>The type's name; empty when no entry fits.</summary>
    public static string Of(ReadOnlySpan<byte> head)
    {
        if (head.Length < 2)
        {
            return "";
        }

        // One switch on the first byte keeps the common case, plain text, at a single comparison.
        return head[0] switch
        {
            (byte)'M' when Is(head, "MZ"u8) => "EXE",
            (byte)'M' when Is(head, "MSCF"u8) => "CAB",
            (byte)'M' when Is(head, "MDMP"u8) => "MDMP",
            0x7F when Is(head, "\u007FELF"u8) => "ELF",
            (byte)'P' when Is(head, "PK\u0003\u0004"u8) || Is(head, "PK\u0005\u0006"u8) => "ZIP",
            (byte)'R' when Is(head, "Rar!\u001A\u0007"u8) => "RAR",
            (byte)'R' when Is(head, "RIFF"u8) && Is(head, "WAVE"u8, 8) => "WAV",
            (byte)'R' when Is(head, "RIFF"u8) && Is(head, "AVI "u8, 8) => "AVI",
            (byte)'r' when Is(head, "regf"u8) => "REGF",
            (byte)'%' when Is(head, "%PDF"u8) => "PDF",
            (byte)'{' when Is(head, "{\\rtf"u8) => "RTF",
            (byte)'G' when Is(head, "GIF8"u8) => "GIF",
            (byte)'B' when Is(head, "BZh"u8) => "BZIP2",
            (byte)'E' when Is(head, "ElfFile\0"u8) => "EVTX",
            (byte)'L' when Is(head, [0x4C, 0, 0, 0, 0x01, 0x14, 0x02, 0]) => "LNK",
            (byte)'7' when Is(head, [0x37, 0x7A, 0xBC, 0xAF, 0x27, 0x1C]) => "7Z",
            (byte)'I' when Is(head, "ITSF"u8) => "CHM",
            (byte)'#' when Is(head, "#!"u8) => "SCRIPT",
            (byte)'<' when Is(head, "<?php"u8) => "PHP",
            (byte)'<' when Is(head, "<?xml"u8) => "XML",
            (byte)'<' when IsIgnoringCase(head, "<!doctype html"u8) || IsIgnoringCase(head, "<html"u8) => "HTML",
            0x1F when Is(head, [0x1F, 0x8B]) => "GZIP",
            0x28 when Is(head, [0x28, 0xB5, 0x2F, 0xFD]) => "ZSTD",
            0x89 when Is(head, [0x89, 0x50, 0x4E, 0x47]) => "PNG",
            0xCA when Is(head, [0xCA, 0xFE, 0xBA, 0xBE]) => JavaOrMachO(head),
            0xCE when Is(head, [0xCE, 0xFA, 0xED, 0xFE]) => "MACHO",
            0xCF when Is(head, [0xCF, 0xFA, 0xED, 0xFE]) => "MACHO",
            0xD0 when Is(head, [0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1]) => "OLE",
            0xFD when Is(head, [0xFD, 0x37, 0x7A, 0x58, 0x5A, 0]) => "XZ",
            0xFF when Is(head, [0xFF, 0xD8, 0xFF]) => "JPG",
            (byte)'d' when Is(head, "dex\n"u8) => "DEX",
            _ => Is(head, "ustar"u8, 257) ? "TAR" : "",
        };
    }

    /// <summary>A universal Mach-O holds a handful of architectures where a class file holds its version, 45 or more.</summary>
    private static string JavaOrMachO(ReadOnlySpan<byte> head) =>
        head.Length >= 8 && head[4] == 0 && head[5] == 0 && head[6] == 0 && head[7] < 40 ? "MACHO" : "CLASS";

    private static bool Is(ReadOnlySpan<byte> head, ReadOnlySpan<byte> magic, int at = 0) =>
        head.Length >= at + magic.Length && head.Slice(at, magic.Length).SequenceEqual(magic);

    private static bool IsIgnoringCase(ReadOnlySpan<byte> head, ReadOnlySpan<byte> magic) =>
        head.Length >= magic.Length && System.Text.Ascii.EqualsIgnoreCase(head[..magic.Length], magic);
}
