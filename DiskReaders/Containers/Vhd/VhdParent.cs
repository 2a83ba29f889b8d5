using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Vhd;

/// <summary>
/// The parent of a differencing VHD. Spec: "Dynamic Disk Header Format" (Parent Unique ID, Parent Unicode Name, Parent Locator
/// Entries) and "Identification of the Parent Hard Disk Image".
/// </summary>
internal sealed class VhdParent
{
    private const int UniqueIdAt = 40;
    private const int TimeStampAt = 56;
    private const int UnicodeNameAt = 64;
    private const int UnicodeNameBytes = 512;
    private const int LocatorsAt = 576;
    private const int Locators = 8;
    private const int LocatorBytes = 24;

    /// <summary>A Windows path has at most 32,767 UTF-16 units.</summary>
    private const int MostDataBytes = 65_534;

    private const int StackBytes = 1024;
    private const string Scheme = "file://";

    // Inside Macintosh: Files, "Alias Record", version 2: the target's name as a Pascal string of up to 63 characters.
    private const int AliasVersionAt = 6;
    private const int AliasNameAt = 50;
    private const int MostAliasName = 63;

    public VhdParent(BeView header, VhdFooter footer, IBlockSource file)
    {
        UniqueId = header.Uuid(UniqueIdAt);
        TimeStamp = header.U32(TimeStampAt);
        IsRaw = footer.IsByXen && UniqueId == Guid.Empty;
        List<string> names = [];
        Span<byte> small = stackalloc byte[StackBytes];
        for (int i = 0; i < Locators; i++)
        {
            BeView locator = header.Inner(LocatorsAt + (i * LocatorBytes), LocatorBytes, "VHD Parent Locator Entry");
            uint code = locator.U32(0);
            if (IsKnown(code))
            {
                // Platform Data Space counts sectors with some writers and bytes with others; the length is all that is needed.
                uint length = locator.U32(8);
                long at = locator.NonNegative64(16, "Platform Data Offset");
                locator.Require(length <= MostDataBytes, 8, "Platform Data Length");
                Bounds.Check(at, length, file.Length, "VHD Parent Locator");
                Span<byte> data = length <= StackBytes ? small[..(int)length] : new byte[length];
                file.Read(at, data);
                names.Add(Path(code, data));
            }
        }

        names.Add(Text(Encoding.BigEndianUnicode, header.Field(UnicodeNameAt, UnicodeNameBytes)));

        // What is relative still holds where the files were moved together.
        Names = [.. names.Where(n => n.Length > 0).Distinct(StringComparer.Ordinal).OrderBy(IsAbsolute)];
        header.Require(Names.Count > 0, LocatorsAt, "Parent Locator Entry: no parent is named");
    }

    public Guid UniqueId { get; }

    /// <summary>Parent Time Stamp: when the parent was last written to, in seconds since 2000; 0 when that was not noted.</summary>
    public uint TimeStamp { get; }

    /// <summary>The parent is a raw disk, as libvhd marks it.</summary>
    public bool IsRaw { get; }

    /// <summary>The parent's names as found, at least one, relative ones first. Guest-controlled text.</summary>
    public IReadOnlyList<string> Names { get; }

    private static bool IsKnown(uint code) => code is Code.W2ru or Code.W2ku or Code.Wi2r or Code.Wi2k or Code.Mac or Code.MacX;

    private static string Path(uint code, ReadOnlySpan<byte> data) => code switch
    {
        Code.W2ru or Code.W2ku => Text(Encoding.Unicode, data),
        Code.MacX => FromUrl(Text(Encoding.UTF8, data)),
        Code.Mac => FromAlias(data),
        _ => Text(Encoding.Latin1, data),
    };

    private static string Text(Encoding encoding, ReadOnlySpan<byte> data)
    {
        string text = encoding.GetString(data);
        int end = text.IndexOf('\0', StringComparison.Ordinal);
        return end < 0 ? text : text[..end];
    }

    /// <summary>
    /// A file URL of RFC 2396. Xen writes relative ones (<c>file://./base.vhd</c>), which become paths; one of a host's own tree stays a
    /// URL, so that nobody takes it for a path of this machine.
    /// </summary>
    private static string FromUrl(string url)
    {
        string text = Uri.UnescapeDataString(url);
        return text.StartsWith(Scheme + ".", StringComparison.OrdinalIgnoreCase) ? text[Scheme.Length..] : text;
    }

    private static string FromAlias(ReadOnlySpan<byte> alias)
    {
        if (alias.Length <= AliasNameAt || alias[AliasVersionAt] != 0 || alias[AliasVersionAt + 1] != 2)
        {
            return "";
        }

        int length = alias[AliasNameAt];
        return length <= MostAliasName && AliasNameAt + 1 + length <= alias.Length ? Text(Encoding.Latin1, alias.Slice(AliasNameAt + 1, length)) : "";
    }

    private static bool IsAbsolute(string name) =>
        name[0] is '/' or '\\' || (name.Length > 1 && name[1] == ':') || name.StartsWith(Scheme, StringComparison.OrdinalIgnoreCase);

    /// <summary>Platform Code: four characters, as a big-endian number.</summary>
    private static class Code
    {
        public const uint Wi2r = 0x5769_3272, Wi2k = 0x5769_326B, W2ru = 0x5732_7275, W2ku = 0x5732_6B75, Mac = 0x4D61_6320, MacX = 0x4D61_6358;
    }
}
