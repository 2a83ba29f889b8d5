using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Volumes.Luks;

namespace Vmsweep.DiskReaders.Inspection;

/// <summary>Opens the images of a <see cref="ChainPlan"/>, and nothing else. Owns the files it opened.</summary>
/// <param name="firstFileId">Added to file numbers in <see cref="StoredExtent.File"/>, so that those of several disks differ.</param>
public sealed class ChainOpener(ChainPlan plan, ReadContext context, int firstFileId = 0) : IChainOpener, IDisposable
{
    /// <summary>Longest chain: products recommend at most 32 snapshots; linked clones of clones add some.</summary>
    public const int MostLayers = 256;

    private readonly Dictionary<int, ImageFile> _files = [];
    private readonly List<int> _opening = [];

    /// <summary>The disk's top image.</summary>
    public ImageFile Top => Open(0);

    /// <summary>What the top image's bytes say when they contradict the declared format; null when they agree.</summary>
    public string? Disagreement { get; private set; }

    /// <summary>Opens the whole disk.</summary>
    /// <exception cref="DiskFormatException">The image or its chain cannot be read.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public VirtualDisk OpenDisk()
    {
        ImageFile top = Top;
        if (top.Bytes.Length == 0)
        {
            throw new DiskFormatException(Fault.Truncated, "image", 0, "the file is empty");
        }

        IContainerFormat format = ContainerFormats.Choose(top, plan.Declared);
        Disagreement = ContainerFormats.Disagreement(top, format);
        _opening.Add(top.Id);
        return (plan.Member, plan.Snapshot, format) switch
        {
            (null, null, _) => format.Open(top, this, context),
            ({ } member, null, IBundleFormat bundle) => bundle.OpenDisk(top, member, this, context),
            (null, { } snapshot, ISnapshotFormat keeper) => keeper.OpenSnapshot(top, snapshot, this, context),
            ({ } member, _, _) => throw new DiskFormatException(Fault.Corrupt, "image", 0, $"it holds one disk, and not one of the name \"{member}\""),
            _ => throw new DiskFormatException(Fault.Unsupported, "image", 0, $"{format.Name} keeps no snapshots inside an image"),
        };
    }

    public ImageFile OpenExtent(ImageFile from, ImageReference reference) => Resolve(from, reference);

    public VirtualDisk OpenParent(ImageFile from, ImageReference reference)
    {
        ImageFile parent = Resolve(from, reference);
        if (_opening.Contains(parent.Id))
        {
            throw new DiskFormatException(Fault.Corrupt, "image chain", -1, $"{parent.Name} is its own ancestor");
        }

        if (_opening.Count >= MostLayers)
        {
            throw new DiskFormatException(Fault.Limit, "image chain", -1, $"more than {MostLayers} layers");
        }

        _opening.Add(parent.Id);
        // Its own parent, if any, is opened meanwhile: the count says how deep this one is.
        int depth = _opening.Count - 1;
        VirtualDisk opened = ContainerFormats.Choose(parent, reference.Format ?? ContainerFormats.Declared(parent.Name)).Open(parent, this, context);
        return opened with { Content = new LayerSource(opened.Content, depth, parent.Id) };
    }

    public IBlockSource OpenLuks(IBlockSource header, IBlockSource? payload) => LuksFormat.OpenPayload(header, payload, context);

    public void Dispose()
    {
        foreach (ImageFile file in _files.Values)
        {
            file.Bytes.Dispose();
        }

        _files.Clear();
    }

    private ImageFile Resolve(ImageFile from, ImageReference reference)
    {
        PlannedReference planned = plan.References.FirstOrDefault(r => r.From == from.Id && r.Kind == reference.Kind && r.Candidates.SequenceEqual(reference.Candidates))
            ?? throw new DiskFormatException(Fault.Refused, "image reference", -1, $"{from.Name} names \"{reference.Display}\", which was not there when the chain was planned");
        return planned.To >= 0
            ? Open(planned.To)
            : throw new DiskFormatException(planned.Fault ?? Fault.MissingParent, "image reference", -1, planned.Detail);
    }

    private ImageFile Open(int id)
    {
        if (!_files.TryGetValue(id, out ImageFile? file))
        {
            PlannedFile planned = plan.Files[id];
            IBlockSource bytes = PlannedFiles.Open(planned, firstFileId + id, context);
            file = new ImageFile(planned.Name, id, bytes) { Modified = (((bytes as PacedSource)?.Inner ?? bytes) as FileSource)?.Modified };
            _files.Add(id, file);
        }

        return file;
    }
}
