using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Iso9660;

/// <summary>
/// An opened disc. The tree that Linux shows is walked first: Rock Ridge, else Joliet, else the plain one. What only another tree has,
/// which other systems show, follows below a folder of its own.
/// </summary>
internal sealed class IsoFileSystem : IFileSystem
{
    /// <summary>ECMA-119, 6.2.1: sectors 0 to 15, free for boot code and partition tables.</summary>
    private const int SystemAreaBytes = IsoDescriptors.FirstSector * IsoDescriptors.SectorBytes;

    private readonly IBlockSource _volume;
    private readonly IsoDescriptors _descriptors;
    private readonly ReadContext _context;
    private readonly IsoTree _tree;
    private readonly IsoTree[] _others;
    private readonly IBlockSource[] _sources;

    public IsoFileSystem(IBlockSource volume, ReadContext context)
    {
        _volume = volume;
        _context = context;
        _sources = [volume];
        _descriptors = IsoDescriptors.Read(volume, context);
        IsoTree primary = _descriptors.PrimaryTree;
        bool hasRock = new IsoWalk(volume, primary, new GuestFolder(null, []), context).HasRockRidge();
        primary = hasRock ? primary with { Naming = IsoNaming.RockRidge } : primary;
        _tree = hasRock || _descriptors.Joliet is null ? primary : _descriptors.Joliet;
        _others = [.. new[] { primary, _descriptors.Joliet, _descriptors.Enhanced }.OfType<IsoTree>().Where(t => t != _tree && t.RootBlock != _tree.RootBlock)];
        string names = _tree.Naming switch { IsoNaming.RockRidge => "Rock Ridge", IsoNaming.Joliet => "Joliet", _ => "" };
        Facts = new FileSystemFacts("iso9660", _tree.Label, _descriptors.Id, _tree.BlockBytes, _descriptors.VolumeBytes, names.Length > 0 ? [names] : []);
        if (Facts.SizeBytes > volume.Length)
        {
            context.Gaps.Add(new CoverageGap(
                Fault.Truncated, "", IsoDescriptors.Structure, 80, Facts.SizeBytes - volume.Length, $"the file system has {Facts.SizeBytes} bytes, the volume {volume.Length}"));
        }
    }

    public FileSystemFacts Facts { get; }

    public IEnumerable<GuestFile> Walk()
    {
        var root = new GuestFolder(null, []);
        yield return SystemFile(root, "$SystemArea"u8, Math.Min(SystemAreaBytes, _volume.Length));
        if (_descriptors.BootCatalog != 0)
        {
            foreach (GuestFile image in ElTorito.Read(_volume, _descriptors.BootCatalog, IsoDescriptors.SectorBytes, root, _context))
            {
                yield return image;
            }
        }

        HashSet<(long, long)>? seen = _others.Length > 0 ? [] : null;
        foreach (IsoFile file in new IsoWalk(_volume, _tree, root, _context).Walk())
        {
            seen?.Add((file.FirstByte, file.StoredBytes));
            yield return file;
        }

        foreach (IsoTree other in _others)
        {
            byte[] name = other.Naming switch { IsoNaming.Joliet => "$Joliet"u8.ToArray(), IsoNaming.Enhanced => "$Enhanced"u8.ToArray(), _ => "$Primary"u8.ToArray() };
            foreach (IsoFile file in new IsoWalk(_volume, other, new GuestFolder(root, name), _context).Walk())
            {
                if (file.StoredBytes > 0 && seen!.Add((file.FirstByte, file.StoredBytes)))
                {
                    yield return file;
                }
            }
        }
    }

    public IBlockSource OpenContent(GuestFile file)
    {
        if (file is not IsoFile ours)
        {
            throw new ArgumentException("not a file of this volume", nameof(file));
        }

        if (ours.Fault is not null)
        {
            throw ours.Fault;
        }

        if (ours.SizeBytes == 0)
        {
            return MemorySource.Empty;
        }

        if (ours.Target is not null)
        {
            return new MemorySource(ours.Target);
        }

        var stored = new MappedSource(new FilePieceMap(ours.Extents, ours.StoredBytes, _volume.Length, "ISO 9660 file"), _sources);
        if (ours.Packed is not { } form)
        {
            return stored;
        }

        var map = new ZisofsMap(stored, form, _context);
        return new MappedSource(map, [], _context, unpacker: map, owned: map);
    }

    public void Dispose()
    {
    }

    private static IsoFile SystemFile(GuestFolder root, ReadOnlySpan<byte> name, long length) => new()
    {
        Kind = GuestFileKind.System,
        Id = 0,
        SizeBytes = length,
        StoredBytes = length,
        FirstByte = 0,
        Links = [new GuestLink(root, name.ToArray())],
        Extents = [new FilePiece(0, length, 0)],
    };
}
