using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Volumes.Luks;

namespace Vmsweep.Golden;

/// <summary>
/// A chain opener over one folder, or over named bytes in memory: opens by exact file name, refuses every name with a separator,
/// bounds the depth, refuses cycles, and disposes what it opened with itself.
/// </summary>
public sealed class FolderChain : IChainOpener, IDisposable
{
    /// <summary>Longer chains are refused.</summary>
    public const int MostDepth = 32;

    private readonly Func<string, int, IBlockSource?> _open;
    private readonly IReadOnlyList<IContainerFormat> _formats;
    private readonly ReadContext _context;
    private readonly List<IBlockSource> _opened = [];
    private readonly HashSet<string> _opening = new(StringComparer.Ordinal);
    private int _nextId = 1;

    /// <param name="folder">Where the images lie.</param>
    /// <param name="formats">The formats a parent may have, in the order they are probed.</param>
    /// <param name="context">What the opened disks read with.</param>
    public FolderChain(string folder, IReadOnlyList<IContainerFormat> formats, ReadContext context)
        : this(
            (name, id) => File.Exists(Path.Combine(folder, name)) ? new FileSource(Path.Combine(folder, name), id) : null,
            formats,
            context)
    {
    }

    /// <param name="files">File name to bytes.</param>
    /// <param name="formats">The formats a parent may have, in the order they are probed.</param>
    /// <param name="context">What the opened disks read with.</param>
    public FolderChain(IReadOnlyDictionary<string, byte[]> files, IReadOnlyList<IContainerFormat> formats, ReadContext context)
        : this((name, _) => files.TryGetValue(name, out byte[]? bytes) ? new MemorySource(bytes) : null, formats, context)
    {
    }

    /// <param name="open">Gives the bytes of a file name under an id, or null where there is no such file.</param>
    /// <param name="formats">The formats a parent may have, in the order they are probed.</param>
    /// <param name="context">What the opened disks read with.</param>
    public FolderChain(Func<string, int, IBlockSource?> open, IReadOnlyList<IContainerFormat> formats, ReadContext context)
    {
        _open = open;
        _formats = formats;
        _context = context;
    }

    /// <summary>Every name that was asked for, in order, granted or not.</summary>
    public List<string> Asked { get; } = [];

    /// <summary>The deepest chain that was opened: 1 for an image without a parent.</summary>
    public int Depth { get; private set; }

    /// <summary>Opens an image of the folder by its name: the leaf of a chain.</summary>
    public VirtualDisk Open(string name) => Open(Image(name), null);

    /// <summary>A file of the folder by its name, without opening it as an image.</summary>
    public ImageFile Image(string name) =>
        Find(name) ?? throw new FileNotFoundException($"{name} is not in the folder");

    public ImageFile OpenExtent(ImageFile from, ImageReference reference) => Resolve(reference);

    public VirtualDisk OpenParent(ImageFile from, ImageReference reference) => Open(Resolve(reference), reference.Format);

    public IBlockSource OpenLuks(IBlockSource header, IBlockSource? payload) => LuksFormat.OpenPayload(header, payload, _context);

    public void Dispose()
    {
        _opened.ForEach(source => source.Dispose());
        _opened.Clear();
    }

    private VirtualDisk Open(ImageFile file, string? declared)
    {
        if (_opening.Count >= MostDepth)
        {
            throw new DiskFormatException(Fault.Limit, "image chain", -1, $"more than {MostDepth} images");
        }

        if (!_opening.Add(file.Name))
        {
            throw new DiskFormatException(Fault.Refused, "image chain", -1, $"{file.Name} is its own ancestor");
        }

        Depth = Math.Max(Depth, _opening.Count);
        try
        {
            IContainerFormat format = _formats.FirstOrDefault(f => f.Name == declared) ?? _formats.FirstOrDefault(f => f.Probe(file))
                ?? throw new DiskFormatException(Fault.Unsupported, "image chain", 0, $"{file.Name} is of no known format");
            return format.Open(file, this, _context);
        }
        finally
        {
            _opening.Remove(file.Name);
        }
    }

    private ImageFile Resolve(ImageReference reference)
    {
        foreach (string name in reference.Candidates)
        {
            Asked.Add(name);
            if (name.AsSpan().ContainsAny("/\\:\0") || name is "" or "." or "..")
            {
                throw new DiskFormatException(Fault.Refused, "image reference", -1, $"{name} is not a plain file name");
            }

            if (Find(name) is { } file)
            {
                return file;
            }
        }

        throw new DiskFormatException(Fault.MissingParent, "image reference", -1, $"{reference.Display} is not in the folder");
    }

    private ImageFile? Find(string name)
    {
        int id = _nextId++;
        if (_open(name, id) is not { } source)
        {
            return null;
        }

        _opened.Add(source);
        return new ImageFile(name, id, source);
    }
}
