using System.Text;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs;

/// <summary>
/// Links and devices as Services for Unix keeps them and as ntfs-3g writes them by default: a system file that begins with a magic.
/// Spec: ntfs-3g(8), "special_files=interix". To Windows they are ordinary files, so their bytes are scanned as well.
/// </summary>
internal static class InterixFile
{
    public static ReadOnlySpan<byte> Link => "IntxLNK\x01"u8;

    private const uint SystemAttribute = 4;
    private const int MagicBytes = 8;

    /// <summary>True for content that is of this kind as a whole.</summary>
    public static bool Is(uint fileAttributes, ReadOnlySpan<byte> content)
    {
        if ((fileAttributes & SystemAttribute) == 0 || content.Length < MagicBytes)
        {
            return false;
        }

        ReadOnlySpan<byte> magic = content[..MagicBytes];
        return magic.SequenceEqual(Link)
            ? content.Length > MagicBytes && content.Length % 2 == 0
            : content.Length == MagicBytes + 16 && (magic.SequenceEqual("IntxCHR\0"u8) || magic.SequenceEqual("IntxBLK\0"u8));
    }

    public static bool IsLink(ReadOnlySpan<byte> content) => content.StartsWith(Link);

    /// <summary>What a link leads to, as guest bytes.</summary>
    public static byte[] Target(ReadOnlySpan<byte> content) =>
        GuestName.FromUtf16(Encoding.Unicode.GetChars(content[MagicBytes..].ToArray()));
}
