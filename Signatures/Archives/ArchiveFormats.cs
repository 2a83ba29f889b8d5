using Vmsweep.Signatures.Archives.Formats;

namespace Vmsweep.Signatures.Archives;

/// <summary>What is opened. Chosen by content: names play no part, and a content that is two things at once is opened as both.</summary>
public static class ArchiveFormats
{
    public static IReadOnlyList<IArchiveFormat> All { get; } =
    [
        new ZipFormat(), new GzipFormat(), new TarFormat(), new SevenZipFormat(), new RarFormat(), new XzFormat(), new Bzip2Format(), new ZstdFormat(), new Lz4Format(),
        new LzipFormat(), new CompressFormat(), new CabFormat(), new OleFormat(), new MailFormat(), new ArFormat(), new CpioFormat(), new RpmFormat(), new ProgramFormat(),
        new ChmFormat(), new PdfFormat(), new TnefFormat(), new SzddFormat(), new NsisFormat(),
        new RecognisedFormat(),
    ];
}
