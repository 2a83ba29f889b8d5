using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Volumes.Raid;

namespace Vmsweep.DiskReaders.Volumes.Lvm2;

/// <content>Segments that are devices of their own to the kernel.</content>
internal sealed partial class GroupVolumes
{
    private OpenedVolume OpenRaid(LogicalText logical, SegmentText segment, long bytes)
    {
        List<(string? Metadata, string Data)> members = RaidSegments.Members(segment);
        RaidGeometry geometry = RaidSegments.Geometry(segment, bytes, members.Count);
        List<RaidSuperblock?> superblocks = [.. members.Select(m => m.Metadata is null ? null : ReadSuperblock(m.Metadata))];
        RaidSuperblock? newest = superblocks.OfType<RaidSuperblock>().MaxBy(s => s.Events);
        if (newest is { IsReshaping: true })
        {
            throw new DiskFormatException(Fault.Unsupported, "dm-raid superblock", 60, "the volume is in the middle of a reshape");
        }

        if (newest is null && segment.Section.Has("reshape_count"))
        {
            throw new DiskFormatException(Fault.Unsupported, "dm-raid superblock", 0, "the volume has room for reshapes, and no member says where its data begin");
        }

        var below = new List<OpenedVolume>();
        var devices = new IBlockSource?[members.Count];
        var suspects = new IBlockSource?[members.Count];
        var distrusted = new IReadOnlyList<DistrustedRange>?[members.Count];
        DiskFormatException? first = null;
        for (int i = 0; i < members.Count; i++)
        {
            try
            {
                if (i < 64 && newest is not null && (newest.FailedDevices & (1UL << i)) != 0 && RaidSegments.IsRedundant(geometry))
                {
                    throw new DiskFormatException(Fault.MissingParent, "dm-raid superblock", 24, $"{members[i].Data} had failed");
                }

                OpenedVolume opened = Open(members[i].Data);
                IBlockSource source = new SliceSource(opened.Source, (superblocks[i] ?? newest)?.DataOffset ?? 0, geometry.DeviceBytes, members[i].Data);
                (opened.IsSuspect && RaidSegments.IsRedundant(geometry) ? suspects : devices)[i] = source;
                below.Add(opened);
                if (superblocks[i] is { } superblock && superblock.RecoveryBytes < geometry.DeviceBytes)
                {
                    distrusted[i] = [new DistrustedRange(superblock.RecoveryBytes, geometry.DeviceBytes - superblock.RecoveryBytes)];
                }
            }
            catch (DiskFormatException e) when (RaidSegments.IsRedundant(geometry))
            {
                first ??= e;
            }
        }

        return Assembled(logical, segment, geometry, devices, suspects, distrusted, below, first, newest);
    }

    private OpenedVolume Assembled(
        LogicalText logical,
        SegmentText segment,
        RaidGeometry geometry,
        IBlockSource?[] devices,
        IBlockSource?[] suspects,
        IReadOnlyList<DistrustedRange>?[] distrusted,
        List<OpenedVolume> below,
        DiskFormatException? first,
        RaidSuperblock? newest)
    {
        IBlockSource source;
        try
        {
            source = Own(RaidSource.Open(geometry, devices, context, distrusted));
        }
        catch (DiskFormatException e) when (e.Fault == Fault.MissingParent)
        {
            // A member that was given up once is better than none.
            if (!Array.Exists(suspects, s => s is not null))
            {
                throw first ?? e;
            }

            for (int i = 0; i < devices.Length; i++)
            {
                devices[i] ??= suspects[i];
            }

            source = Own(RaidSource.Open(geometry, devices, context, distrusted));
        }

        string layout = RaidSegments.Layout(segment, geometry);
        bool isDegraded = Array.Exists(devices, d => d is null) || Array.Exists(distrusted, d => d is not null);
        OpenedVolume opened = OpenedVolume.Of(source, isDegraded ? layout + ", degraded" : layout, [.. below]);
        if (!isDegraded)
        {
            return opened;
        }

        if (newest is { IsInSync: false })
        {
            context.Gaps.Add(new CoverageGap(
                Fault.Corrupt, $"{group.Name}/{logical.Name}", "dm-raid superblock", 40, 0, "members are missing and what stands in for them was not fully made yet; some bytes may be wrong"));
        }

        return opened with { Notes = [$"degraded: {first?.Detail ?? "a member is not fully rebuilt"}", .. opened.Notes] };
    }

    private RaidSuperblock? ReadSuperblock(string name)
    {
        try
        {
            return RaidSuperblock.Read(OpenPart(name).Source);
        }
        catch (DiskFormatException)
        {
            // Its data volume is on the same physical volume, and says then what is wrong.
            return null;
        }
    }

    private OpenedVolume OpenThin(SegmentText segment, long bytes)
    {
        string poolName = segment.Section.Text("thin_pool");
        long device = segment.Section.Number("device_id", 0, (1 << 24) - 1);
        SegmentText text = PoolSegment(segment, poolName, "thin-pool");
        OpenedVolume data = Open(text.Section.Text("pool"));
        OpenedVolume metadata = OpenPart(text.Section.Text("metadata"));
        _content.Add(poolName);
        if (!_pools.TryGetValue(poolName, out ThinPool? pool))
        {
            long transaction = text.Section.OptionalNumber("transaction_id", 0, long.MaxValue, 0);
            pool = new ThinPool(metadata.Source, data.Source, 512 * text.Section.Number("chunk_size", 1, int.MaxValue), transaction, $"{group.Name}/{poolName}", context);
            _owned.Add(pool);
            _pools.Add(poolName, pool);
        }

        string? originName = segment.Section.OptionalText("external_origin");
        OpenedVolume? origin = originName is null ? null : Open(originName);
        IBlockSource source = Own(pool.Open(device, bytes, origin?.Source));
        string layout = "thin in " + poolName;
        return origin is null ? OpenedVolume.Of(source, layout, data, metadata) : OpenedVolume.Of(source, layout + ", over " + originName, data, metadata, origin);
    }

    private OpenedVolume OpenCache(LogicalText logical, SegmentText segment, long bytes)
    {
        string poolName = segment.Section.Text("cache_pool");
        string originName = segment.Section.Text("origin");
        OpenedVolume origin = Open(originName);
        LogicalText? pool = group.Logical(poolName);
        bool isPool = pool is { Segments: [{ Type: "cache-pool" }] };

        // With a volume instead of a pool the cached one's own segment has the settings.
        ConfigSection settings = isPool ? pool!.Segments[0].Section : segment.Section;
        string mode = settings.OptionalText("cache_mode") ?? segment.Section.OptionalText("cache_mode") ?? "writethrough";
        string layout = $"cache of {originName}, {mode}";
        _content.Add(poolName);
        if (mode == "passthrough")
        {
            return OpenedVolume.Of(origin.Source, layout, origin);
        }

        try
        {
            OpenedVolume data;
            OpenedVolume metadata;
            if (isPool)
            {
                data = Open(settings.Text("data"));
                metadata = OpenPart(settings.Text("metadata"));
            }
            else
            {
                OpenedVolume both = Open(poolName);
                data = both with { Source = Part(both.Source, settings, "data") };
                metadata = both with { Source = Part(both.Source, settings, "metadata") };
            }

            IBlockSource source = Own(CacheMetadata.Open(metadata.Source, data.Source, origin.Source, bytes, $"{group.Name}/{logical.Name}", context));
            return OpenedVolume.Of(source, layout, origin, data, metadata);
        }
        catch (DiskFormatException e)
        {
            return WithoutCache(logical, origin, layout, e, mode == "writethrough");
        }

        static SliceSource Part(IBlockSource both, ConfigSection settings, string part) => new(
            both,
            512 * settings.Number(part + "_start", 0, long.MaxValue / 1024),
            512 * settings.Number(part + "_len", 1, long.MaxValue / 1024),
            "cache volume");
    }

    private OpenedVolume OpenWriteCache(LogicalText logical, SegmentText segment, long bytes)
    {
        string originName = segment.Section.Text("origin");
        OpenedVolume origin = Open(originName);
        string layout = "writecache of " + originName;
        try
        {
            OpenedVolume cache = Open(segment.Section.Text("writecache"));
            return OpenedVolume.Of(Own(WriteCache.Open(cache.Source, origin.Source, bytes, context)), layout, origin, cache);
        }
        catch (DiskFormatException e)
        {
            return WithoutCache(logical, origin, layout, e, isClean: false);
        }
    }

    // With writethrough the origin has everything; else it may be out of date where the cache was written and not the origin.
    private OpenedVolume WithoutCache(LogicalText logical, OpenedVolume origin, string layout, DiskFormatException fault, bool isClean)
    {
        string detail = isClean ? "read without its cache: " : "read without its cache, so that what was last written may be missing: ";
        if (!isClean)
        {
            context.Gaps.Add(new CoverageGap(fault.Fault, $"{group.Name}/{logical.Name}", fault.Structure, fault.Offset, 0, detail + fault.Detail));
        }

        OpenedVolume opened = OpenedVolume.Of(origin.Source, layout, origin);
        return opened with { Notes = [detail + fault.Detail, .. opened.Notes] };
    }

    // Checksums lie in a volume of their own, so that the data lie as without (dm-integrity.rst, "meta_device").
    private OpenedVolume OpenIntegrity(LogicalText logical, SegmentText segment)
    {
        if (segment.Section.OptionalText("meta_dev") is null)
        {
            throw new DiskFormatException(Fault.Unsupported, ConfigText.Structure, segment.Section.Offset, $"{logical.Name}: integrity with checksums among the data is not read");
        }

        // In mode J writes go to a journal first. The kernel replays it when the volume is next used; what was written twice is the same.
        if (segment.Section.OptionalText("mode") == "J")
        {
            context.Gaps.Add(new CoverageGap(
                Fault.Unsupported, $"{group.Name}/{logical.Name}", "dm-integrity journal", -1, 0, "its journal is not replayed; without a clean shutdown the last seconds of writes may be missing"));
        }

        OpenedVolume origin = Open(segment.Section.Text("origin"));
        return OpenedVolume.Of(origin.Source, "integrity", origin);
    }

    private SegmentText PoolSegment(SegmentText user, string name, string type) =>
        group.Logical(name) is { Segments: [var segment] } && segment.Type == type
            ? segment
            : throw new DiskFormatException(Fault.Corrupt, ConfigText.Structure, user.Section.Offset, $"{name} is no {type}");

    /// <summary>Opens a volume whose bytes describe others and show in none.</summary>
    private OpenedVolume OpenPart(string name)
    {
        _parts++;
        try
        {
            return Open(name);
        }
        finally
        {
            _parts--;
        }
    }
}
