using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Parallels;

/// <summary>
/// Disks of Parallels Desktop, Parallels Server and Virtuozzo: a single expanding image (<c>.hdd</c>), or a folder whose
/// <c>DiskDescriptor.xml</c> names expanding and plain images (<c>.hds</c>), split by ranges and stacked by states. Spec: QEMU
/// docs/interop/parallels and docs/interop/prl-xml. The format extension holds nothing that a reader needs.
/// </summary>
public sealed class ParallelsFormat : ISnapshotFormat
{
    private const int HeadBytes = 1024;
    private const string Expanding = "parallels/expanding";
    private const string Plain = "parallels/plain";

    public string Name => "parallels";

    public FormatSupport Support { get; } = new(
        "Parallels HDD",
        "expanding and plain images, DiskDescriptor.xml with its tree of states and split storages",
        "encrypted disks");

    public bool Probe(ImageFile file) => ParallelsHeader.IsThere(file.Bytes) || IsDescriptor(file);

    public IReadOnlyList<ImageReference> References(ImageFile file) => ParallelsHeader.IsThere(file.Bytes)
        ? []
        : [.. DiskDescriptor.Read(file).Storages.SelectMany(s => s.Images).Select(Reference)];

    public VirtualDisk Open(ImageFile file, IChainOpener chain, ReadContext context)
    {
        context.ThrowIfCancelled();
        if (ParallelsHeader.IsThere(file.Bytes))
        {
            if (file.Name.EndsWith(".hds", StringComparison.OrdinalIgnoreCase))
            {
                context.Gaps.Add(new CoverageGap(Fault.MissingParent, file.Name, ParallelsHeader.Name, 0, 0, $"only {DiskDescriptor.FileName} tells whether it lies over another image, and it was read without that"));
            }

            return Single(file, context);
        }

        DiskDescriptor descriptor = DiskDescriptor.Read(file);
        return Open(file, descriptor, descriptor.Top, chain, context);
    }

    public IReadOnlyList<ImageSnapshot> Snapshots(ImageFile file) => ParallelsHeader.IsThere(file.Bytes)
        ? []
        : [.. DiskDescriptor.Read(file).Shots.Select(s => new ImageSnapshot(s.ToString("D"), "", null))];

    public VirtualDisk OpenSnapshot(ImageFile file, string id, IChainOpener chain, ReadContext context)
    {
        context.ThrowIfCancelled();
        if (!ParallelsHeader.IsThere(file.Bytes) && Guid.TryParse(id, out Guid shot) && DiskDescriptor.Read(file) is var descriptor && descriptor.Shots.Contains(shot))
        {
            return Open(file, descriptor, shot, chain, context);
        }

        throw new DiskFormatException(Fault.MissingParent, DiskDescriptor.Name, 0, $"the disk keeps no state of the GUID \"{id}\"");
    }

    private static bool IsDescriptor(ImageFile file)
    {
        Span<byte> head = stackalloc byte[HeadBytes];
        head = head[..(int)Math.Min(HeadBytes, file.Bytes.Length)];
        return file.Bytes.Length <= DiskDescriptor.MostBytes && file.Bytes.TryRead(0, head) && head.IndexOf("<Parallels_disk_image"u8) >= 0;
    }

    private static VirtualDisk Single(ImageFile file, ReadContext context)
    {
        ParallelsMap map = MapOf(file, context);
        return new VirtualDisk
        {
            Format = Expanding,
            Content = new MappedSource(map, [file.Bytes]),
            Chain = [new ChainLink(file.Name, Expanding)],
            Owned = [map],
        };
    }

    private static VirtualDisk Open(ImageFile file, DiskDescriptor descriptor, Guid state, IChainOpener chain, ReadContext context)
    {
        IReadOnlyList<Guid> lineage = descriptor.Lineage(state);
        List<IDisposable> owned = [];
        List<IBlockSource> parts = [];
        List<ChainLink> links = [];
        try
        {
            foreach (DescribedStorage storage in descriptor.Storages)
            {
                (IBlockSource part, List<ChainLink> layers) = Stack(file, storage, lineage, chain, context, owned);
                parts.Add(part);
                links = links.Count == 0 ? layers : links;
            }
        }
        catch
        {
            owned.ForEach(o => o.Dispose());
            throw;
        }

        // What lies above is let go of before what lies below.
        owned.Reverse();
        return new VirtualDisk
        {
            Format = parts.Count > 1 ? "parallels/split" : links[0].Format,
            Content = parts.Count > 1 ? new MappedSource(new StorageMap(descriptor.Storages), parts) : parts[0],
            Chain = links,
            Owned = owned,
        };
    }

    /// <summary>The images of one storage from the root up.</summary>
    private static (IBlockSource Content, List<ChainLink> Links) Stack(
        ImageFile file, DescribedStorage storage, IReadOnlyList<Guid> lineage, IChainOpener chain, ReadContext context, List<IDisposable> owned)
    {
        IBlockSource? below = null;
        List<ChainLink> links = [];
        for (int i = lineage.Count - 1; i >= 0; i--)
        {
            context.ThrowIfCancelled();
            DescribedImage image = storage.Images.FirstOrDefault(s => s.Id == lineage[i])
                ?? throw new DiskFormatException(Fault.Corrupt, DiskDescriptor.Name, 0, $"a storage has no image of the GUID {lineage[i]:B}");
            ImageFile opened = chain.OpenExtent(file, Reference(image));
            if (image.IsPlain && below is not null)
            {
                throw new DiskFormatException(Fault.Corrupt, DiskDescriptor.Name, 0, $"the image {lineage[i]:B} is plain and lies over another");
            }

            links.Insert(0, new ChainLink(opened.Name, image.IsPlain ? Plain : Expanding));
            if (image.IsPlain)
            {
                below = opened.Bytes;
                continue;
            }

            ParallelsMap map = MapOf(opened, context);
            owned.Add(map);
            below = new MappedSource(map, [opened.Bytes], parent: below);
        }

        long bytes = (storage.EndSector - storage.StartSector) * DiskDescriptor.SectorBytes;
        return (new SliceSource(below!, 0, bytes, "Parallels storage"), links);
    }

    private static ParallelsMap MapOf(ImageFile file, ReadContext context)
    {
        var header = ParallelsHeader.Read(file.Bytes);
        if (header.WasOpen)
        {
            context.Gaps.Add(new CoverageGap(Fault.Corrupt, file.Name, ParallelsHeader.Name, 44, 0, "the image was not closed by who wrote to it last; its table may be behind its data"));
        }

        var map = new ParallelsMap(file.Bytes, header, context.Budget);
        try
        {
            if (header.IsCalledEmpty && !map.IsEmpty())
            {
                context.Gaps.Add(new CoverageGap(Fault.Corrupt, file.Name, ParallelsHeader.Name, 52, 0, "the header calls the image empty and its table does not; it is read by its table"));
            }

            return map;
        }
        catch
        {
            map.Dispose();
            throw;
        }
    }

    /// <summary>An absolute path is that of another machine; the file may lie beside the descriptor all the same.</summary>
    private static ImageReference Reference(DescribedImage image)
    {
        string last = image.File[(image.File.LastIndexOfAny(['/', '\\']) + 1)..];
        bool isAbsolute = image.File.StartsWith('/') || (image.File.Length > 1 && image.File[1] == ':');
        return new ImageReference(ReferenceKind.Extent, isAbsolute && last.Length > 0 ? [last, image.File] : [image.File]);
    }
}
