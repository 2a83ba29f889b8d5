using System.Buffers.Binary;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Signatures.Archives.Formats;

/// <summary>
/// Archives inside of Windows programs: self-extracting 7z, RAR and cabinets, wherever they lie, and what is appended behind the last section where it
/// is something known. (A ZIP is found by its own end.) Spec: PE format, Microsoft.
/// </summary>
internal sealed class ProgramFormat : IArchiveFormat
{
    private const int SmallestOverlay = 64;
    private const int SectionBytes = 40;
    private const int MostFound = 64;

    private static readonly InstallShieldFormat InstallShield = new();

    private static readonly IArchiveFormat[] Embedded = [new SevenZipFormat(), new RarFormat(), new CabFormat()];

    public string Name => "program";

    public IReadOnlyList<FileType> Types { get; } = [FileTypes.Program];

    public bool Fits(ReadOnlySpan<byte> content) =>
        content.Length > 0x100 && FileTypes.Program.Fits(content) && OverlayAt(content) is { } overlay && (HasOverlay(content, overlay) || Find(content, 1).Count > 0);

    public void Read(ReadOnlyMemory<byte> content, IMemberSink sink)
    {
        List<(int At, IArchiveFormat Format)> found = Find(content.Span, MostFound + 1);
        foreach ((int at, IArchiveFormat format) in found.Take(MostFound))
        {
            sink.Tick();
            try
            {
                // Its members are the program's own: the archive itself was matched with it. How far it says that it reaches is not believed: something
                // else may lie there, and one that is stored in another is merely met twice.
                format.Read(content[at..], sink);
            }
            catch (ArchiveException e)
            {
                sink.Gap(e.Fault, e.Structure, e.Offset < 0 ? at : e.Offset + at, 0, e.Detail);
            }
        }

        if (found.Count > MostFound)
        {
            sink.Gap(ArchiveFault.Limit, "program", found[MostFound].At, 0, $"more than {MostFound} archives in one program; the rest was not opened");
        }

        if (OverlayAt(content.Span) is { } overlay && HasOverlay(content.Span, overlay))
        {
            sink.Stored($"(overlay at {overlay})", content[overlay..]);
        }
    }

    private static List<(int At, IArchiveFormat Format)> Find(ReadOnlySpan<byte> content, int most)
    {
        List<(int, IArchiveFormat)> found = [];
        foreach (IArchiveFormat format in Embedded)
        {
            ReadOnlySpan<byte> magic = format.Types[0].Magic;
            for (int at = 0; found.Count < most;)
            {
                int next = content[at..].IndexOf(magic);
                if (next < 0)
                {
                    break;
                }

                at += next;
                if (format.Fits(content[at..]))
                {
                    found.Add((at, format));
                }

                at++;
            }
        }

        found.Sort((a, b) => a.Item1.CompareTo(b.Item1));
        return found;
    }

    private static bool HasOverlay(ReadOnlySpan<byte> content, int overlay) =>
        content.Length - overlay >= SmallestOverlay && (InstallShield.Fits(content[overlay..]) || IsKnown(content[overlay..]));

    private static bool IsKnown(ReadOnlySpan<byte> overlay) =>
        FileTypes.Find(overlay) is { } type && type != FileTypes.Zip && type != FileTypes.NsisData && !Array.Exists(Embedded, f => f.Types[0] == type);

    /// <summary>Where the last section ends; null where it is no program.</summary>
    private static int? OverlayAt(ReadOnlySpan<byte> content)
    {
        uint at = BinaryPrimitives.ReadUInt32LittleEndian(content[0x3C..]);
        if (at > content.Length - 0x18 || !content[(int)at..].StartsWith("PE\0\0"u8))
        {
            return null;
        }

        ReadOnlySpan<byte> header = content[(int)at..];
        int sections = BinaryPrimitives.ReadUInt16LittleEndian(header[6..]);
        int table = 24 + BinaryPrimitives.ReadUInt16LittleEndian(header[20..]);
        long end = 0;
        for (int i = 0; i < sections && table + SectionBytes <= header.Length; i++, table += SectionBytes)
        {
            long size = BinaryPrimitives.ReadUInt32LittleEndian(header[(table + 16)..]);
            long offset = BinaryPrimitives.ReadUInt32LittleEndian(header[(table + 20)..]);
            end = size > 0 ? Math.Max(end, offset + size) : end;
        }

        return (int)Math.Min(end == 0 ? content.Length : end, content.Length);
    }
}
