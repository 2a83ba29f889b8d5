using System.Buffers;
using System.Globalization;
using System.Text;

namespace Vmsweep.Signatures.Archives.Formats;

/// <summary>
/// What InstallShield's starters carry behind their last section. The older ones: for each file its name, path, version and size as texts with a
/// zero behind each, then its bytes. The newer ones begin with their product's name and hide the bytes, and are not opened. Both as their files show it.
/// </summary>
internal sealed class InstallShieldFormat : IArchiveFormat
{
    private const int MostText = 260;
    private const int MostBefore = 512;

    private static readonly SearchValues<char> VersionDigits = SearchValues.Create("0123456789.");

    public string Name => "InstallShield";

    public bool Fits(ReadOnlySpan<byte> content) => TryEntry(content, out _, out _, out _) || HiddenAt(content) >= 0;

    public void Read(ReadOnlyMemory<byte> content, IMemberSink sink)
    {
        if (!TryEntry(content.Span, out _, out _, out _))
        {
            sink.Gap(ArchiveFault.Unsupported, "InstallShield setup", HiddenAt(content.Span), content.Length, "its files are hidden and not opened; they were matched as they are");
            return;
        }

        int at = 0;
        while (TryEntry(content.Span[at..], out string name, out int data, out int size))
        {
            sink.Tick();
            sink.Stored(name, content.Slice(at + data, size));
            at += data + size;
        }

        if (content.Span[at..].ContainsAnyExcept((byte)0) && content.Length - at > 2 * MostText)
        {
            sink.Gap(ArchiveFault.Corrupt, "InstallShield file", at, content.Length - at, "no file where one may begin; what follows was matched as it is");
        }
    }

    private static bool TryEntry(ReadOnlySpan<byte> content, out string name, out int data, out int size)
    {
        (name, data, size) = ("", 0, 0);
        if (content.Length < 16 || content[0] is < (byte)' ' or >= 0x7F
            || !TryText(content, ref data, out name) || !TryText(content, ref data, out string path) || !path.EndsWith(name, StringComparison.Ordinal)
            || !TryText(content, ref data, out string version) || version.AsSpan().ContainsAnyExcept(VersionDigits)
            || !TryText(content, ref data, out string length))
        {
            return false;
        }

        return int.TryParse(length, NumberStyles.None, CultureInfo.InvariantCulture, out size) && size <= content.Length - data;
    }

    private static bool TryText(ReadOnlySpan<byte> content, ref int at, out string text)
    {
        ReadOnlySpan<byte> rest = content.Slice(at, Math.Min(MostText, content.Length - at));
        int end = rest.IndexOf((byte)0);
        text = end > 0 && rest[..end].IndexOfAnyInRange((byte)0, (byte)0x1F) < 0 ? Encoding.Latin1.GetString(rest[..end]) : "";
        at += end + 1;
        return text.Length > 0;
    }

    /// <summary>Behind a debug record, or first; with a small number of files behind it.</summary>
    private static int HiddenAt(ReadOnlySpan<byte> content)
    {
        ReadOnlySpan<byte> mark = "InstallShield\0"u8;
        int at = content.StartsWith("NB10"u8) ? content[..Math.Min(MostBefore, content.Length)].IndexOf(mark) : content.StartsWith(mark) ? 0 : -1;
        return at >= 0 && content.Length >= at + 64 && content[at + 14] > 0 && content[(at + 16)..(at + 32)].IndexOfAnyExcept((byte)0) < 0 ? at : -1;
    }
}
