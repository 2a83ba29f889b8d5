using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs.Vss;

/// <summary>The shadow copies that Windows' own provider keeps on the volume they are of.</summary>
internal static class ShadowCopies
{
    private const int StoreInformationBytes = 64;

    /// <summary>The oldest first. Costs one small read where there are none; what is damaged is a gap.</summary>
    public static IReadOnlyList<VolumeSnapshot> List(IBlockSource volume, ReadContext context) =>
        Snapshots(volume, ShadowCatalog.Read(volume, context), context);

    /// <summary>The volume as it was when the shadow copy was made. Dispose it before the volume.</summary>
    /// <exception cref="DiskFormatException">There is no such shadow copy, or its blocks cannot be told.</exception>
    public static IBlockSource Open(IBlockSource volume, Guid id, ReadContext context)
    {
        // Their list has said already what is damaged in it.
        ReadContext quiet = context with { Gaps = new GapList(0) };
        List<CatalogEntry> entries = ShadowCatalog.Read(volume, quiet);
        int chosen = Snapshots(volume, entries, quiet).FindIndex(s => s.Id == id);
        if (chosen < 0)
        {
            throw new DiskFormatException(Fault.Corrupt, "VSS catalog", ShadowCatalog.HeaderOffset, $"there is no shadow copy {id}");
        }

        CatalogEntry entry = entries[chosen];
        long length = entry.VolumeSize;
        if (length <= 0 || length > volume.Length)
        {
            // Seen in the wild: an entry whose size is wrong, beside others that have it right.
            context.Gaps.Add(new CoverageGap(Fault.Corrupt, "", "VSS catalog entry", -1, 0, $"a shadow copy of a volume of {length} bytes is read as one of {volume.Length}"));
            length = volume.Length;
        }

        List<ShadowStore> stores = [];
        UnusedBlocks? unused = null;
        try
        {
            foreach (CatalogEntry newer in entries[chosen..])
            {
                stores.Add(ShadowStore.Read(volume, newer, context));
            }

            unused = stores.Count == 1 ? UnusedBlocks.Read(volume, entry, length, context) : null;
            var map = new ShadowMap(stores, unused, length);
            return new MappedSource(map, [volume], owned: map);
        }
        catch
        {
            stores.ForEach(s => s.Dispose());
            unused?.Dispose();
            throw;
        }
    }

    private static List<VolumeSnapshot> Snapshots(IBlockSource volume, List<CatalogEntry> entries, ReadContext context)
    {
        var taken = new HashSet<Guid>();
        List<VolumeSnapshot> snapshots = [];
        foreach (CatalogEntry entry in entries)
        {
            Guid id = IdOf(volume, entry, context);
            if (!taken.Add(id))
            {
                context.Gaps.Add(new CoverageGap(Fault.Corrupt, "", "VSS store header", entry.StoreHeaderOffset, 0, $"a second shadow copy is named {id}; it is shown as {entry.StoreId}"));
                id = entry.StoreId;
                taken.Add(id);
            }

            snapshots.Add(new VolumeSnapshot(id, new DateTimeOffset(DateTime.FromFileTimeUtc((long)entry.CreationTime)), entry.VolumeSize));
        }

        return snapshots;
    }

    /// <summary>
    /// "Store information" has the identifier that Windows' tools show. Where it cannot be read, the store's own stands for it.
    /// </summary>
    private static Guid IdOf(IBlockSource volume, CatalogEntry entry, ReadContext context)
    {
        try
        {
            Span<byte> header = stackalloc byte[VssBlock.HeaderBytes + StoreInformationBytes];
            return VssBlock.Read(volume, entry.StoreHeaderOffset, VssRecord.StoreHeader, "VSS store header", header).MixedGuid(VssBlock.HeaderBytes + 16);
        }
        catch (DiskFormatException e)
        {
            context.Gaps.Add(new CoverageGap(e, "", 0));
            return entry.StoreId;
        }
    }
}
