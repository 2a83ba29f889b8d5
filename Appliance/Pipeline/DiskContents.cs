using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.Inspection;
using Vmsweep.DiskReaders.Inspection.Guest;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>Everything on a VM's disks that is to be matched, in the order in which it lies there.</summary>
internal sealed class DiskContents
{
    private readonly List<ContentItem> _items = [];

    private DiskContents()
    {
    }

    /// <summary>By volume id; a disk's prefix is what lies outside its volumes.</summary>
    public Dictionary<string, Coverage> Coverage { get; } = new(StringComparer.Ordinal);

    public IReadOnlyList<ContentItem> Items => _items;

    public long TotalBytes { get; private set; }

    /// <param name="onStep">Called for each entry, so that a supervisor sees work.</param>
    /// <param name="guest">Told of every file.</param>
    public static DiskContents Collect(InspectedVm vm, ReadContext context, Action onStep, GuestInspector guest)
    {
        var contents = new DiskContents();
        foreach (InspectedDisk disk in vm.Disks)
        {
            var outside = new Coverage(disk.Opened.Prefix);
            contents.Coverage.Add(outside.Id, outside);
            foreach (InspectedArea area in disk.Areas)
            {
                contents.AddStored(area.Path, area.Content, outside);
            }
        }

        foreach (InspectedVolume volume in vm.Volumes)
        {
            var coverage = new Coverage(volume.Id);
            contents.Coverage.Add(volume.Id, coverage);
            if (volume.FileSystem is { } fileSystem)
            {
                contents.AddFiles(volume, fileSystem, coverage, context, onStep, guest);
            }
            else if (volume.Kind == "unknown")
            {
                contents.AddStored($"{volume.Id}/content", volume.Content, coverage);
            }
        }

        contents._items.Sort((a, b) => a.Order.CompareTo(b.Order));
        Dictionary<long, ContentItem> bySize = [];
        foreach (ContentItem item in contents._items.Where(i => i.SizeBytes > 0 && !bySize.TryAdd(i.SizeBytes, i)))
        {
            bySize[item.SizeBytes].MayHaveTwin = true;
            item.MayHaveTwin = true;
        }

        return contents;
    }

    public static GuestContent ItemOf(InspectedVolume volume, GuestFile file, Coverage coverage) =>
        new(volume, file) { Coverage = coverage, SizeBytes = file.SizeBytes, Order = OrderOf(volume.Content, file.FirstByte) };

    private void AddFiles(InspectedVolume volume, IFileSystem fileSystem, Coverage coverage, ReadContext context, Action onStep, GuestInspector guest)
    {
        try
        {
            foreach (GuestFile file in fileSystem.Walk())
            {
                context.ThrowIfCancelled();
                onStep();
                guest.Look(volume, file);
                if (file.Kind is GuestFileKind.Regular or GuestFileKind.System)
                {
                    Add(ItemOf(volume, file, coverage));
                }
            }
        }
        catch (Exception e) when (e is DiskFormatException or IOException)
        {
            context.Gaps.Add(e is DiskFormatException fault
                ? new CoverageGap(fault, volume.Id, volume.Content.Length)
                : new CoverageGap(Fault.Transport, volume.Id, "storage", -1, volume.Content.Length, e.Message));
        }

        long end = fileSystem.Facts.SizeBytes;
        if (end > 0 && end < volume.Content.Length)
        {
            AddStored($"{volume.Id}/slack@{end}", new SliceSource(volume.Content, end, volume.Content.Length - end), coverage);
        }
    }

    /// <summary>Adds an area unless nothing of it is stored.</summary>
    private void AddStored(string path, IBlockSource area, Coverage coverage)
    {
        if (area.Length > 0 && area.HoleLength(0, area.Length) < area.Length)
        {
            Add(new AreaContent(path, area) { Coverage = coverage, SizeBytes = area.Length, Order = OrderOf(area, 0) });
        }
    }

    private void Add(ContentItem item)
    {
        item.Coverage.See(item.SizeBytes);
        TotalBytes = Saturating.Add(TotalBytes, item.SizeBytes);
        _items.Add(item);
    }

    private static (int File, long Position) OrderOf(IBlockSource source, long offset)
    {
        if (offset < 0 || offset >= source.Length)
        {
            return (int.MaxValue, offset);
        }

        try
        {
            StoredExtent at = source.Locate(offset, 1);
            return (at.File, at.Position);
        }
        catch (Exception e) when (e is DiskFormatException or IOException)
        {
            // The order is only for speed; reading the content meets the fault and reports it.
            return (int.MaxValue, offset);
        }
    }
}
