using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Lvm2;

/// <summary>Where a metadata area lies on its physical volume.</summary>
internal readonly record struct LabelArea(long Offset, long Size);

/// <summary>
/// What a physical volume says of itself: <c>struct label_header</c> in one of the first four sectors of 512 bytes, and
/// <c>struct pv_header</c> with its extension behind it. Spec: libvslvm "Logical Volume Manager (LVM) format", "Physical Volume Label".
/// Little-endian.
/// </summary>
/// <param name="Id">The PV's UUID, 32 characters.</param>
/// <param name="LabelOffset">Where the label's sector lies.</param>
/// <param name="MetadataAreas">In the label's order.</param>
/// <param name="IsUsed">The extension says that a group uses it; null without an extension.</param>
internal sealed record PhysicalVolume(string Id, long LabelOffset, IReadOnlyList<LabelArea> MetadataAreas, bool? IsUsed)
{
    private const int SectorBytes = 512;
    private const int LabelSectors = 4;

    // struct label_header: id 0, sector_xl 8, crc_xl 16, offset_xl 20, type 24. The CRC covers the sector from offset_xl on.
    private const int CrcAt = 16;
    private const int ContentAt = 20;
    private const int HeaderBytes = 32;

    private const string Structure = "LVM2 label";

    public static bool Probe(IBlockSource content)
    {
        for (int sector = 0; sector < LabelSectors; sector++)
        {
            if (IsLabel(content, sector))
            {
                return true;
            }
        }

        return false;
    }

    /// <exception cref="DiskFormatException">No label is sound.</exception>
    public static PhysicalVolume Read(VolumeMember member, ReadContext context)
    {
        DiskFormatException? first = null;
        Span<byte> bytes = stackalloc byte[SectorBytes];
        for (int sector = 0; sector < LabelSectors; sector++)
        {
            if (!IsLabel(member.Content, sector))
            {
                continue;
            }

            try
            {
                member.Content.Read(sector * SectorBytes, bytes);
                PhysicalVolume found = Parse(new LeView(bytes, Structure, sector * SectorBytes), sector);
                if (first is not null)
                {
                    context.Gaps.Add(new CoverageGap(first, member.Name, SectorBytes));
                }

                return found;
            }
            catch (DiskFormatException e)
            {
                first ??= e;
            }
        }

        throw first ?? new DiskFormatException(Fault.Corrupt, Structure, 0, "there is none");
    }

    private static bool IsLabel(IBlockSource content, int sector) =>
        content.HasAt(sector * SectorBytes, "LABELONE"u8) && content.HasAt((sector * SectorBytes) + 24, "LVM2 001"u8);

    private static PhysicalVolume Parse(LeView label, int sector)
    {
        label.Require(label.U32(CrcAt) == Lvm2Crc.Of(label.Bytes[ContentAt..]), CrcAt, "checksum");
        label.Require(label.U64(8) == (ulong)sector, 8, "sector_xl");
        uint header = label.U32(ContentAt);
        label.Require(header is >= HeaderBytes and <= SectorBytes - 40, ContentAt, "offset_xl");

        // struct pv_header: pv_uuid 0, device_size_xl 32, disk_areas_xl from 40: data areas, a blank one, metadata areas, a blank one.
        int at = (int)header;
        string id = Encoding.Latin1.GetString(label.Field(at, 32));
        at += 40;
        _ = Areas(label, ref at);
        List<LabelArea> metadata = Areas(label, ref at);

        // struct pv_header_extension: version, flags. LVM2 before 2.02.96 has none, and zeros there.
        bool? isUsed = at <= SectorBytes - 8 && label.U32(at) >= 2 ? (label.U32(at + 4) & 1) != 0 : null;
        return new PhysicalVolume(id, label.Offset, metadata, isUsed);
    }

    private static List<LabelArea> Areas(LeView label, ref int at)
    {
        List<LabelArea> areas = [];
        while (true)
        {
            long offset = label.NonNegative64(at, "disk_areas_xl");
            long size = label.NonNegative64(at + 8, "disk_areas_xl");
            at += 16;
            if (offset == 0)
            {
                return areas;
            }

            areas.Add(new LabelArea(offset, size));
            label.Require(areas.Count <= Lvm2Limits.MostAreas, at, "disk_areas_xl");
        }
    }
}
