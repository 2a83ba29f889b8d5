using System.Buffers.Binary;
using System.Numerics;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Appliance.Pipeline.Detections;

/// <summary>
/// Executables at sector borders of an area: PE, ELF and Mach-O whose headers hold together. Magic numbers alone come by chance and in every
/// remnant of a file system.
/// </summary>
internal static class Executables
{
    private const int SectorBytes = 512;

    /// <summary>Told of one by one; the rest is counted.</summary>
    private const int MostListed = 16;

    public static void Add(ReadOnlySpan<byte> bytes, long offset, List<Detection> found)
    {
        List<StringMatch> matches = [];
        long more = 0;
        for (long at = (SectorBytes - (offset % SectorBytes)) % SectorBytes; at < bytes.Length; at += SectorBytes)
        {
            if (KindOf(bytes[(int)at..]) is not { } kind)
            {
                continue;
            }

            if (matches.Count < MostListed)
            {
                matches.Add(new StringMatch(kind, offset + at, SectorBytes));
            }
            else
            {
                more++;
            }
        }

        if (matches.Count > 0)
        {
            found.Add(BuiltinDetection.ExecutableOutsideFiles.Found(string.Join(", ", matches.Select(m => m.Id[1..]).Distinct()), matches, more));
        }
    }

    /// <summary>The identifier of a match; null for what is no executable.</summary>
    internal static string? KindOf(ReadOnlySpan<byte> bytes) => bytes.Length < 64 ? null : bytes[0] switch
    {
        (byte)'M' when IsPe(bytes) => "$pe",
        0x7F when IsElf(bytes) => "$elf",
        0xCE or 0xCF or 0xFE when IsMachO(bytes) => "$macho",
        _ => null,
    };

    /// <summary>Microsoft "PE Format": MS-DOS stub, COFF file header, optional header, section table.</summary>
    private static bool IsPe(ReadOnlySpan<byte> b)
    {
        if (!b.StartsWith("MZ"u8))
        {
            return false;
        }

        uint at = U32(b, 0x3C);
        if (at is < 4 or > 4096 || at > (uint)b.Length - 26 || !b[(int)at..].StartsWith("PE\0\0"u8))
        {
            return false;
        }

        ReadOnlySpan<byte> coff = b[((int)at + 4)..];
        int sections = U16(coff, 2);
        int optionalBytes = U16(coff, 16);
        bool isKnownMachine = U16(coff, 0) is 0x14C or 0x8664 or 0xAA64 or 0x1C0 or 0x1C4 or 0x200 or 0xEBC or 0x5064;
        if (!isKnownMachine || sections is < 1 or > 96 || coff.Length < 20 + 96 || optionalBytes < 96 || (U16(coff, 18) & 2) == 0)
        {
            return false;
        }

        ReadOnlySpan<byte> optional = coff[20..];
        uint sectionAlignment = U32(optional, 32);
        uint fileAlignment = U32(optional, 36);
        uint imageBytes = U32(optional, 56);
        return U16(optional, 0) is 0x10B or 0x20B
            && BitOperations.IsPow2(fileAlignment) && BitOperations.IsPow2(sectionAlignment) && fileAlignment <= 65536 && sectionAlignment >= fileAlignment
            && U32(optional, 16) < imageBytes && U32(optional, 60) is > 0 and var headers && headers <= imageBytes;
    }

    /// <summary>System V ABI, "ELF Header", both classes and byte orders.</summary>
    private static bool IsElf(ReadOnlySpan<byte> b)
    {
        if (!b.StartsWith("\u007FELF"u8) || b[4] is not (1 or 2) || b[5] is not (1 or 2) || b[6] != 1)
        {
            return false;
        }

        bool is64 = b[4] == 2;
        bool isBig = b[5] == 2;
        int tail = is64 ? 52 : 40;
        int headerBytes = E16(b, tail, isBig);
        int programBytes = E16(b, tail + 2, isBig);
        int programs = E16(b, tail + 4, isBig);
        return E16(b, 16, isBig) is >= 1 and <= 4 && E16(b, 18, isBig) is > 0 and < 1024 && E32(b, 20, isBig) == 1
            && headerBytes == (is64 ? 64 : 52) && (programs == 0 ? E16(b, 16, isBig) == 1 : programBytes == (is64 ? 56 : 32));
    }

    /// <summary>Mach-O "mach_header" and "mach_header_64".</summary>
    private static bool IsMachO(ReadOnlySpan<byte> b)
    {
        uint magic = U32(b, 0);
        bool isBig = magic is 0xCEFA_EDFE or 0xCFFA_EDFE;
        if (!isBig && magic is not (0xFEED_FACE or 0xFEED_FACF))
        {
            return false;
        }

        bool is64 = b[isBig ? 3 : 0] == 0xCF;
        uint commands = E32(b, 16, isBig);
        uint commandBytes = E32(b, 20, isBig);
        uint firstBytes = E32(b, (is64 ? 32 : 28) + 4, isBig);
        return (E32(b, 4, isBig) & 0x00FF_FFFF) is 7 or 12 or 18 && E32(b, 12, isBig) is >= 1 and <= 12
            && commands is >= 1 and <= 1000 && commandBytes >= commands * 8 && commandBytes <= 1 << 20 && firstBytes is >= 8 && firstBytes <= commandBytes && firstBytes % 4 == 0;
    }

    private static int U16(ReadOnlySpan<byte> b, int at) => BinaryPrimitives.ReadUInt16LittleEndian(b[at..]);

    private static uint U32(ReadOnlySpan<byte> b, int at) => BinaryPrimitives.ReadUInt32LittleEndian(b[at..]);

    private static int E16(ReadOnlySpan<byte> b, int at, bool isBig) => isBig ? BinaryPrimitives.ReadUInt16BigEndian(b[at..]) : U16(b, at);

    private static uint E32(ReadOnlySpan<byte> b, int at, bool isBig) => isBig ? BinaryPrimitives.ReadUInt32BigEndian(b[at..]) : U32(b, at);
}
