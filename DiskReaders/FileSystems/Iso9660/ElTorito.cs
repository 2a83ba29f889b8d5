using System.Globalization;
using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Iso9660;

/// <summary>
/// Boot images. Spec: Phoenix and IBM, "El Torito" Bootable CD-ROM Format 1.0; UEFI 2.10, section 13.3.2.1; little-endian; entries of
/// 32 bytes.
/// </summary>
internal static class ElTorito
{
    private const string Structure = "El Torito boot catalog";
    private const int EntryBytes = 32;
    private const int VirtualSectorBytes = 512;
    private const byte Bootable = 0x88;
    private const byte Header = 0x90;
    private const byte LastHeader = 0x91;
    private const byte Extension = 0x44;

    /// <summary>Where each boot image lies, as far as the catalog says how long it is.</summary>
    public static List<GuestFile> Read(IBlockSource volume, uint catalog, int blockBytes, GuestFolder root, ReadContext context)
    {
        List<GuestFile> images = [];
        long offset = (long)catalog * IsoDescriptors.SectorBytes;
        Span<byte> entries = new byte[IsoDescriptors.SectorBytes];
        try
        {
            volume.Read(offset, entries);
        }
        catch (DiskFormatException fault)
        {
            context.Gaps.Add(new CoverageGap(fault, "", 0));
            return images;
        }

        var v = new LeView(entries, Structure, offset);
        if (v.U8(0) != 1 || v.U16(30) != 0xAA55)
        {
            context.Gaps.Add(new CoverageGap(v.Corrupt(0, "Validation Entry"), "", 0));
            return images;
        }

        for (int at = EntryBytes; at < entries.Length; at += EntryBytes)
        {
            byte kind = v.U8(at);
            if (at > EntryBytes && kind is not (Bootable or Header or LastHeader or Extension) && v.U32(at + 8) == 0)
            {
                break;
            }

            if (kind is not (Header or LastHeader or Extension) && v.U32(at + 8) != 0)
            {
                Add(v, at, volume, blockBytes, root, context, images);
            }
        }

        return images;
    }

    private static void Add(LeView v, int at, IBlockSource volume, int blockBytes, GuestFolder root, ReadContext context, List<GuestFile> images)
    {
        long start = v.U32(at + 8) * (long)blockBytes;

        // Media type: floppies have their sizes; everything else its count of sectors, of which there is at least one.
        long length = (v.U8(at + 1) & 0x0F) switch
        {
            1 => 1200 << 10,
            2 => 1440 << 10,
            3 => 2880 << 10,
            _ => Math.Max(1, (long)v.U16(at + 6)) * VirtualSectorBytes,
        };
        if (start >= volume.Length)
        {
            context.Gaps.Add(new CoverageGap(Fault.Truncated, "", Structure, v.Offset + at, length, $"a boot image lies beyond the volume's end at {volume.Length}"));
            return;
        }

        images.Add(new IsoFile
        {
            Kind = GuestFileKind.System,
            Id = (ulong)(v.Offset + at),
            SizeBytes = length,
            StoredBytes = length,
            FirstByte = start,
            Links = [new GuestLink(root, Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"$Boot{images.Count + 1}")))],
            Extents = [new FilePiece(0, length, start)],
        });
    }
}
