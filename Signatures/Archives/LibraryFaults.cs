using SharpCompress.Common;

namespace Vmsweep.Signatures.Archives;

/// <summary>What exceptions of other people's readers mean.</summary>
internal static class LibraryFaults
{
    private const int MostText = 200;

    public static (ArchiveFault Fault, string Detail) Of(Exception e) => (
        e switch
        {
            EndOfStreamException or IncompleteArchiveException => ArchiveFault.Truncated,
            CryptographicException or System.Security.Cryptography.CryptographicException => ArchiveFault.Encrypted,
            NotSupportedException or NotImplementedException or MultiVolumeExtractionException or MultipartStreamRequiredException => ArchiveFault.Unsupported,
            OutOfMemoryException => ArchiveFault.Limit,
            _ => ArchiveFault.Corrupt,
        },
        $"{e.GetType().Name}: {(e.Message.Length <= MostText ? e.Message : e.Message[..MostText])}");
}
