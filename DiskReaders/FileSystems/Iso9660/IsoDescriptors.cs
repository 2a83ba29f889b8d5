using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Iso9660;

/// <summary>Which names a tree of folders has.</summary>
internal enum IsoNaming
{
    Plain,
    RockRidge,
    Joliet,

    /// <summary>ISO 9660:1999, the tree of an Enhanced Volume Descriptor.</summary>
    Enhanced,
}

/// <summary>A tree of folders: those of Joliet and of the primary descriptor describe the same files, or should.</summary>
internal sealed record IsoTree(IsoNaming Naming, uint RootBlock, uint RootBytes, int BlockBytes, string Label);

/// <summary>The volume descriptors. Spec: ECMA-119, section 8; Joliet Specification, section 2; both byte orders, the little-endian is read.</summary>
internal sealed class IsoDescriptors
{
    public const int SectorBytes = 2048;
    public const int FirstSector = 16;
    public const string Structure = "ISO 9660 volume descriptor";

    /// <summary>As many as Linux looks at.</summary>
    private const int MostDescriptors = 100;

    private const int BootRecord = 0;
    private const int Primary = 1;
    private const int Supplementary = 2;
    private const int Terminator = 255;

    private IsoDescriptors(IsoTree primary) => PrimaryTree = primary;

    public IsoTree PrimaryTree { get; }

    public IsoTree? Joliet { get; private set; }

    public IsoTree? Enhanced { get; private set; }

    /// <summary>Where the boot catalog of El Torito lies; 0 without.</summary>
    public uint BootCatalog { get; private set; }

    public long VolumeBytes { get; private set; }

    /// <summary>The time of the last change, as blkid prints it for an id.</summary>
    public string Id { get; private set; } = "";

    /// <exception cref="DiskFormatException">There is no sound primary volume descriptor.</exception>
    public static IsoDescriptors Read(IBlockSource volume, ReadContext context)
    {
        byte[] sector = new byte[SectorBytes];
        IsoDescriptors? found = null;
        IsoTree? joliet = null;
        IsoTree? enhanced = null;
        uint catalog = 0;
        for (int i = 0; i < MostDescriptors; i++)
        {
            long offset = (FirstSector + (long)i) * SectorBytes;
            if (offset > volume.Length - SectorBytes)
            {
                break;
            }

            volume.Read(offset, sector);
            var v = new LeView(sector, Structure, offset);
            if (!v.Field(1, 5).SequenceEqual("CD001"u8) || v.U8(0) == Terminator)
            {
                break;
            }

            switch (v.U8(0))
            {
                case BootRecord when v.Field(7, 23).SequenceEqual("EL TORITO SPECIFICATION"u8):
                    catalog = v.U32(71);
                    break;
                case Primary when found is null:
                    found = new IsoDescriptors(Tree(v, IsoNaming.Plain)) { VolumeBytes = (long)v.U32(80) * v.U16(128), Id = Time(v) };
                    break;
                case Supplementary:
                    bool isJoliet = v.Field(88, 2).SequenceEqual("%/"u8) && v.U8(90) is (byte)'@' or (byte)'C' or (byte)'E';
                    try
                    {
                        joliet ??= isJoliet ? Tree(v, IsoNaming.Joliet) : null;
                        enhanced ??= !isJoliet && v.U8(6) == 2 ? Tree(v, IsoNaming.Enhanced) : null;
                    }
                    catch (DiskFormatException fault)
                    {
                        context.Gaps.Add(new CoverageGap(fault, "", 0));
                    }

                    break;
            }
        }

        if (found is null)
        {
            throw new DiskFormatException(Fault.Corrupt, Structure, FirstSector * SectorBytes, "there is no primary volume descriptor");
        }

        found.Joliet = joliet;
        found.Enhanced = enhanced;
        found.BootCatalog = catalog;
        return found;
    }

    private static IsoTree Tree(LeView v, IsoNaming naming)
    {
        int blockBytes = v.U16(128);
        v.Require(blockBytes is 512 or 1024 or 2048, 128, "Logical Block Size");
        LeView root = v.Inner(156, 34, "ISO 9660 root directory record");
        v.Require(root.U8(0) >= 34, 156, "Length of Directory Record of the root");
        string label = naming == IsoNaming.Joliet ? Encoding.BigEndianUnicode.GetString(v.Field(40, 32)) : Encoding.Latin1.GetString(v.Field(40, 32));
        return new IsoTree(naming, root.U32(2), root.U32(10), blockBytes, label.TrimEnd(' ', '\0'));
    }

    // Volume Modification Date (8.4.27), or Volume Creation Date where there is none: sixteen digits and a zone.
    private static string Time(LeView v)
    {
        const int Digits = 16;
        ReadOnlySpan<byte> time = v.Field(830, Digits);
        time = time.ContainsAnyExcept((byte)'0') && IsDigits(time) ? time : v.Field(813, Digits);
        if (!IsDigits(time))
        {
            return "";
        }

        string text = Encoding.ASCII.GetString(time);
        return $"{text[..4]}-{text[4..6]}-{text[6..8]}-{text[8..10]}-{text[10..12]}-{text[12..14]}-{text[14..]}";
    }

    private static bool IsDigits(ReadOnlySpan<byte> text) => !text.ContainsAnyExceptInRange((byte)'0', (byte)'9');
}
