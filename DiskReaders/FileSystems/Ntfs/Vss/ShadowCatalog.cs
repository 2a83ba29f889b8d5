using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs.Vss;

/// <summary>A shadow copy as the catalog has it: entries of the types 2 and 3 with one store identifier.</summary>
internal sealed record CatalogEntry(Guid StoreId)
{
    /// <summary>Of type 2.</summary>
    public long VolumeSize { get; set; }

    public ulong CreationTime { get; set; }

    /// <summary>Of type 3; byte offsets on the volume.</summary>
    public long BlockListOffset { get; set; }

    public long StoreHeaderOffset { get; set; }

    public long BitmapOffset { get; set; }

    /// <summary>0 when there is none.</summary>
    public long PreviousBitmapOffset { get; set; }

    public bool HasInformation { get; set; }

    public bool HasLocation { get; set; }
}

/// <summary>
/// The VSS volume header at 0x1E00 and the catalog it leads to. Spec: J. Metz, "Volume Shadow Snapshot (VSS) format", "Volume header"
/// and "Catalog". Little-endian; header of 100 bytes in a sector, entries of 128 bytes.
/// </summary>
internal static class ShadowCatalog
{
    public const long HeaderOffset = 0x1E00;
    private const int HeaderBytes = 512;
    private const int EntryBytes = 128;

    /// <summary>Windows keeps at most 512 shadow copies of a volume; each has two entries.</summary>
    private const int MaxShadowCopies = 4096;
    private const int MaxCatalogBlocks = 1 + (2 * MaxShadowCopies * EntryBytes / (VssBlock.Size - VssBlock.HeaderBytes));

    /// <summary>FILETIME of the year 10000, behind which there is no date.</summary>
    private const ulong MaxCreationTime = 2_650_467_744_000_000_000;

    /// <summary>The shadow copies, the oldest first. What is damaged is a gap.</summary>
    public static List<CatalogEntry> Read(IBlockSource volume, ReadContext context)
    {
        Dictionary<Guid, CatalogEntry> entries = [];
        try
        {
            long first = CatalogOffset(volume);
            VssBlock.ForEach(volume, first, VssRecord.Catalog, "VSS catalog", MaxCatalogBlocks, context, (block, _) =>
            {
                for (int at = VssBlock.HeaderBytes; at + EntryBytes <= block.Length; at += EntryBytes)
                {
                    ReadEntry(block.Inner(at, EntryBytes, "VSS catalog entry"), entries, context);
                }

                return true;
            });
        }
        catch (DiskFormatException e)
        {
            context.Gaps.Add(new CoverageGap(e, "", 0));
        }

        return [.. entries.Values.Where(e => IsWhole(e, context)).OrderBy(e => e.CreationTime)];
    }

    /// <summary>Byte offset of the catalog; 0 when the volume has none.</summary>
    private static long CatalogOffset(IBlockSource volume)
    {
        if (volume.Length < HeaderOffset + HeaderBytes)
        {
            return 0;
        }

        Span<byte> header = stackalloc byte[HeaderBytes];
        volume.Read(HeaderOffset, header);
        var v = new LeView(header, "VSS volume header", HeaderOffset);
        if (v.MixedGuid(0) != VssBlock.Identifier)
        {
            return 0;
        }

        v.Require(v.U32(20) == (uint)VssRecord.VolumeHeader, 20, "record type");
        v.Require(v.U64(24) == HeaderOffset, 24, "current offset");
        return VssBlock.IsKnownVersion(v.U32(16)) ? v.NonNegative64(48, "catalog offset") : throw v.Unsupported(16, "version");
    }

    private static void ReadEntry(LeView v, Dictionary<Guid, CatalogEntry> entries, ReadContext context)
    {
        try
        {
            switch (v.U64(0))
            {
                case 0 or 1:
                    break;
                case 2:
                    CatalogEntry told = Of(v, entries);
                    v.Require(!told.HasInformation, 16, "store identifier: a second entry has it");
                    v.Require(v.U64(48) <= MaxCreationTime, 48, "shadow copy creation time");
                    told.VolumeSize = v.NonNegative64(8, "volume size");
                    told.CreationTime = v.U64(48);
                    told.HasInformation = true;
                    break;
                case 3:
                    CatalogEntry placed = Of(v, entries);
                    v.Require(!placed.HasLocation, 16, "store identifier: a second entry has it");
                    placed.BlockListOffset = v.NonNegative64(8, "store block list offset");
                    placed.StoreHeaderOffset = v.NonNegative64(32, "store header offset");
                    placed.BitmapOffset = v.NonNegative64(48, "store bitmap offset");
                    placed.PreviousBitmapOffset = v.NonNegative64(72, "store previous bitmap offset");
                    placed.HasLocation = true;
                    break;
                default:
                    throw v.Corrupt(0, "catalog entry type");
            }
        }
        catch (DiskFormatException e)
        {
            context.Gaps.Add(new CoverageGap(e, "", 0));
        }
    }

    private static CatalogEntry Of(LeView v, Dictionary<Guid, CatalogEntry> entries)
    {
        var id = v.MixedGuid(16);
        if (!entries.TryGetValue(id, out CatalogEntry? entry))
        {
            entries.Add(id, entry = new CatalogEntry(id));
        }

        return entry;
    }

    private static bool IsWhole(CatalogEntry entry, ReadContext context)
    {
        if (entry.HasInformation && entry.HasLocation)
        {
            return true;
        }

        context.Gaps.Add(entry.HasInformation
            ? new CoverageGap(Fault.Unsupported, "", "VSS catalog entry", -1, 0, $"the store {entry.StoreId} of a shadow copy is not on this volume")
            : new CoverageGap(Fault.Corrupt, "", "VSS catalog entry", -1, 0, $"the store {entry.StoreId} belongs to no shadow copy"));
        return false;
    }
}
