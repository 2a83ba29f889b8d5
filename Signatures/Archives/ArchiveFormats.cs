using Vmsweep.Signatures.Archives.Formats;

namespace Vmsweep.Signatures.Archives;

/// <summary>What is opened. Chosen by content: names play no part, and a content that is two things at once is opened as both.</summary>
public sealed class ArchiveFormats
{
    private readonly IArchiveFormat[][] _byFirstByte;

    /// <param name="formats">In the order in which they are asked.</param>
    public ArchiveFormats(IReadOnlyList<IArchiveFormat> formats) =>
        _byFirstByte = [.. Enumerable.Range(0, 256).Select(first => formats.Where(f => f.Types.Count == 0 || f.Types.Any(t => t.At > 0 || t.Magic[0] == first)).ToArray())];

    public static IReadOnlyList<IArchiveFormat> BuiltIn { get; } =
    [
        new ZipFormat(), new GzipFormat(), new TarFormat(), new SevenZipFormat(), new RarFormat(), new XzFormat(), new Bzip2Format(), new ZstdFormat(), new Lz4Format(),
        new LzipFormat(), new CompressFormat(), new CabFormat(), new OleFormat(), new MailFormat(), new ArFormat(), new CpioFormat(), new RpmFormat(), new ProgramFormat(),
        new ChmFormat(), new PdfFormat(), new TnefFormat(), new SzddFormat(), new NsisFormat(), new LzmaFormat(), new LhaFormat(), new ArjFormat(), new XarFormat(), new InstallShieldFormat(),
        new RecognisedFormat(),
    ];

    public static ArchiveFormats All { get; } = new(BuiltIn);

    /// <summary>Whether any format would open the content.</summary>
    public bool IsArchive(ReadOnlySpan<byte> content)
    {
        foreach (IArchiveFormat format in Asked(content))
        {
            if (format.Fits(content))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Those that the content's first byte does not rule out.</summary>
    internal IReadOnlyList<IArchiveFormat> Asked(ReadOnlySpan<byte> content) => content.IsEmpty ? [] : _byFirstByte[content[0]];
}
