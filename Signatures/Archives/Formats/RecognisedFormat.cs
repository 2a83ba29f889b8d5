namespace Vmsweep.Signatures.Archives.Formats;

/// <summary>Archives that are known and not opened: each is a gap, because members are in it that no rule has seen.</summary>
internal sealed class RecognisedFormat : IArchiveFormat
{
    public string Name => "recognised";

    public bool Fits(ReadOnlySpan<byte> content) => NameOf(content) is not null;

    public void Read(ReadOnlyMemory<byte> content, IMemberSink sink) =>
        sink.Gap(ArchiveFault.Unsupported, NameOf(content.Span)!, 0, content.Length, "this kind of archive is not opened; it was matched as it is");

    private static string? NameOf(ReadOnlySpan<byte> content)
    {
        if (content.Length < 64)
        {
            return null;
        }

        return content[0] switch
        {
            _ when content.Slice(7, 7).SequenceEqual("**ACE**"u8) => "ace",
            (byte)'I' when content.StartsWith("ISc("u8) => "InstallShield cabinet",
            _ => null,
        };
    }
}
