using System.Globalization;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Volumes.Raid;

namespace Vmsweep.DiskReaders.Volumes.Lvm2;

/// <summary>
/// Opens the logical volumes of a group, each once, with all that they are made of. Owns what it opened until its last user is gone.
/// Segment types: lvmraid(7), lvmthin(7), lvmcache(7), and what vgcfgbackup(8) shows of them.
/// </summary>
/// <param name="group">The group's text.</param>
/// <param name="present">The physical volumes that are there, by what segments call them.</param>
/// <param name="context">Memory, and where to report.</param>
internal sealed partial class GroupVolumes(GroupText group, IReadOnlyDictionary<string, IBlockSource> present, ReadContext context) : IDisposable
{
    private readonly Dictionary<string, OpenedVolume> _opened = new(StringComparer.Ordinal);
    private readonly Dictionary<string, DiskFormatException> _failed = new(StringComparer.Ordinal);
    private readonly Dictionary<string, ThinPool> _pools = new(StringComparer.Ordinal);
    private readonly HashSet<string> _opening = new(StringComparer.Ordinal);
    private readonly HashSet<string> _content = new(StringComparer.Ordinal);
    private readonly List<IDisposable> _owned = [];
    private int _users = 1;

    /// <summary>Above zero while what is opened shows in no volume.</summary>
    private int _parts;

    /// <summary>True for a volume whose bytes show in a visible one, or would if that could be read.</summary>
    public bool IsContent(string name) => _content.Contains(name);

    /// <summary>Keeps what was opened until this is disposed once more.</summary>
    public IDisposable Share()
    {
        Interlocked.Increment(ref _users);
        return this;
    }

    public void Dispose()
    {
        if (Interlocked.Decrement(ref _users) == 0)
        {
            foreach (IDisposable owned in Enumerable.Reverse(_owned))
            {
                owned.Dispose();
            }
        }
    }

    /// <summary>Opens a volume by its name, as content.</summary>
    /// <exception cref="DiskFormatException">Its text or what it lies on is faulty, or is missing and nothing stands in.</exception>
    public OpenedVolume Open(string name)
    {
        if (_parts == 0)
        {
            _content.Add(name);
        }

        if (_opened.TryGetValue(name, out OpenedVolume? opened))
        {
            return opened;
        }

        if (_failed.TryGetValue(name, out DiskFormatException? failure))
        {
            throw failure;
        }

        if (_opening.Count >= Lvm2Limits.MostDepth)
        {
            throw new DiskFormatException(Fault.Limit, ConfigText.Structure, -1, $"{name}: a volume made of volumes more than {Lvm2Limits.MostDepth} deep");
        }

        if (!_opening.Add(name))
        {
            throw new DiskFormatException(Fault.Corrupt, ConfigText.Structure, -1, $"{name} is made of itself");
        }

        try
        {
            context.ThrowIfCancelled();
            LogicalText logical = group.Logical(name) ?? throw new DiskFormatException(Fault.Corrupt, ConfigText.Structure, -1, $"there is no volume {name}");
            opened = OpenSegments(logical);
            _opened.Add(name, opened);
            return opened;
        }
        catch (DiskFormatException e)
        {
            _failed.TryAdd(name, e);
            throw;
        }
        finally
        {
            _opening.Remove(name);
        }
    }

    /// <summary>What a snapshot shows: its origin, and what the store has in its place.</summary>
    public OpenedVolume OpenSnapshot(SegmentText segment, string storeKey)
    {
        string origin = segment.Section.Text("origin");
        OpenedVolume below = Open(origin);
        OpenedVolume store = OpenPart(segment.Section.Text(storeKey));
        IBlockSource source = Own(SnapshotStore.Open(store.Source, below.Source, group.Bytes(segment.ExtentCount, origin), context));
        return OpenedVolume.Of(source, $"snapshot of {origin}", below, store);
    }

    private OpenedVolume OpenSegments(LogicalText logical)
    {
        List<OpenedVolume> below = [];
        List<Piece> pieces = [];
        List<IBlockSource> sources = [];
        long extents = 0;
        if (logical.Fault is { } fault)
        {
            throw fault;
        }

        _ = group.Bytes(logical.ExtentCount, logical.Name);
        foreach (SegmentText segment in logical.Segments)
        {
            if (segment.StartExtent != extents)
            {
                throw new DiskFormatException(Fault.Corrupt, ConfigText.Structure, segment.Section.Offset, $"{logical.Name}: its segments leave a hole or overlap at extent {extents}");
            }

            long start = group.Bytes(extents, logical.Name);
            long bytes = group.Bytes(RaidSegments.IsRaid(segment.Type) ? RaidSegments.ShownExtents(segment) : segment.ExtentCount, logical.Name);
            if (logical.Segments.Count > 1 && bytes != group.Bytes(segment.ExtentCount, logical.Name))
            {
                throw segment.Section.Bad("reshape_count");
            }

            extents += segment.ExtentCount;
            OpenedVolume? whole = OpenWhole(logical, segment, bytes);
            if (whole is not null)
            {
                // A volume of one such segment is that segment.
                if (logical.Segments.Count == 1 && whole.Source.Length == bytes)
                {
                    return whole;
                }

                below.Add(whole);
                pieces.Add(new Piece(start, bytes, 0, [(AddSource(sources, whole.Source), 0)]));
                Bounds.Check(0, bytes, whole.Source.Length, logical.Name);
            }
            else
            {
                (Piece piece, OpenedVolume opened) = OpenAreas(segment, start, bytes, sources);
                pieces.Add(piece);
                below.Add(opened);
            }
        }

        if (pieces.Count == 0)
        {
            throw new DiskFormatException(Fault.Corrupt, ConfigText.Structure, -1, $"{logical.Name} has no segments");
        }

        string layout = string.Join(" + ", below.Select(b => b.Layout).Distinct());
        return OpenedVolume.Of(new MappedSource(new SegmentMap(pieces), sources), layout, [.. below]);
    }

    /// <summary>A segment that is a device of its own; null for one that only says where bytes lie.</summary>
    private OpenedVolume? OpenWhole(LogicalText logical, SegmentText segment, long bytes) => segment.Type switch
    {
        "striped" or "linear" or "zero" or "error" => null,
        "mirror" => OpenMirror(segment, bytes),
        "thin" => OpenThin(segment, bytes),
        "thin-pool" => throw new DiskFormatException(Fault.Corrupt, ConfigText.Structure, segment.Section.Offset, $"{logical.Name} is a pool and has no bytes of its own"),
        "cache" => OpenCache(logical, segment, bytes),
        "writecache" => OpenWriteCache(logical, segment, bytes),
        "integrity" => OpenIntegrity(logical, segment),
        var raid when RaidSegments.IsRaid(raid) => OpenRaid(logical, segment, bytes),
        var type => throw new DiskFormatException(Fault.Unsupported, ConfigText.Structure, segment.Section.Offset, $"{logical.Name}: segments of type {type} are not read"),
    };

    private (Piece Piece, OpenedVolume Opened) OpenAreas(SegmentText segment, long start, long bytes, List<IBlockSource> sources)
    {
        switch (segment.Type)
        {
            case "zero":
                return (new Piece(start, bytes, 0, []), OpenedVolume.Of(sources.FirstOrDefault() ?? Nothing, "zero"));
            case "error":
                throw new DiskFormatException(Fault.MissingParent, ConfigText.Structure, segment.Section.Offset, "a segment of type error stands where a physical volume was taken away");
        }

        List<AreaText> areas = GroupText.Areas(segment.Section, "stripes");
        if (areas.Count != segment.Section.OptionalNumber("stripe_count", 1, Lvm2Limits.MostAreasOfSegment, areas.Count) || segment.ExtentCount % areas.Count != 0)
        {
            throw segment.Section.Bad("stripe_count");
        }

        long stripe = areas.Count == 1 ? 0 : 512 * segment.Section.Number("stripe_size", 1, int.MaxValue);
        long areaBytes = bytes / areas.Count;
        if (areas.Count > 1 && areaBytes % stripe != 0)
        {
            throw segment.Section.Bad("stripe_size");
        }

        List<OpenedVolume> below = [];
        List<(int, long)> places = [];
        foreach (AreaText area in areas)
        {
            (OpenedVolume opened, long offset) = OpenArea(segment, area, areaBytes);
            below.Add(opened);
            places.Add((AddSource(sources, opened.Source), offset));
        }

        string layout = areas.Count == 1 ? "linear" : string.Create(CultureInfo.InvariantCulture, $"striped of {areas.Count}, stripes of {stripe / 1024.0:0.#} KiB");
        return (new Piece(start, bytes, stripe, places), OpenedVolume.Of(below[0].Source, layout, [.. below]));
    }

    /// <summary>Where an area lies: its source, and its offset there.</summary>
    private (OpenedVolume Opened, long Offset) OpenArea(SegmentText segment, AreaText area, long bytes)
    {
        long offset = group.Bytes(area.Extent, area.Name);
        if (group.Physical(area.Name) is not { } physical)
        {
            OpenedVolume opened = Open(area.Name);
            Bounds.Check(offset, bytes, opened.Source.Length, area.Name);
            return (opened, offset);
        }

        if (offset > group.Bytes(physical.ExtentCount, area.Name) - bytes)
        {
            throw new DiskFormatException(Fault.Corrupt, ConfigText.Structure, segment.Section.Offset, $"an area lies behind the last extent of {area.Name}");
        }

        if (!present.TryGetValue(physical.Key, out IBlockSource? source))
        {
            throw new DiskFormatException(Fault.MissingParent, ConfigText.Structure, segment.Section.Offset, $"physical volume {physical.Key} ({physical.Id}) is missing");
        }

        string[] notes = physical.IsMarkedMissing ? [$"the group had given up physical volume {physical.Key}; what lies there may be out of date"] : [];
        return (new OpenedVolume(source, "linear", notes, physical.IsMarkedMissing), physical.StartBytes + offset);
    }

    // The log says which parts of the other mirrors are in step; the first has everything. So it is with pvmove's.
    private OpenedVolume OpenMirror(SegmentText segment, long bytes)
    {
        DiskFormatException? first = null;
        List<(OpenedVolume Opened, long Offset)> suspects = [];
        List<AreaText> areas = GroupText.Areas(segment.Section, "mirrors");
        string layout = string.Create(CultureInfo.InvariantCulture, $"mirror of {areas.Count}");
        foreach (AreaText area in areas)
        {
            try
            {
                (OpenedVolume Opened, long Offset) mirror = OpenArea(segment, area, bytes);
                if (mirror.Opened.IsSuspect)
                {
                    suspects.Add(mirror);
                    continue;
                }

                return Sliced(mirror);
            }
            catch (DiskFormatException e)
            {
                first ??= e;
            }
        }

        return suspects.Count > 0 ? Sliced(suspects[0]) : throw first!;

        OpenedVolume Sliced((OpenedVolume Opened, long Offset) mirror)
        {
            OpenedVolume opened = OpenedVolume.Of(new SliceSource(mirror.Opened.Source, mirror.Offset, bytes, "mirror"), first is null ? layout : layout + ", degraded", mirror.Opened);
            return first is null ? opened : opened with { Notes = [$"degraded: {first.Detail}", .. opened.Notes] };
        }
    }

    private IBlockSource Own(IBlockSource source)
    {
        _owned.Add(source);
        return source;
    }

    private static int AddSource(List<IBlockSource> sources, IBlockSource source)
    {
        int at = sources.IndexOf(source);
        if (at < 0)
        {
            at = sources.Count;
            sources.Add(source);
        }

        return at;
    }

    private static MemorySource Nothing { get; } = new(ReadOnlyMemory<byte>.Empty);
}
