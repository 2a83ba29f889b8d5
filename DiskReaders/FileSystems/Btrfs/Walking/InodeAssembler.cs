using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems.Btrfs.Content;
using Vmsweep.DiskReaders.FileSystems.Btrfs.Trees;

namespace Vmsweep.DiskReaders.FileSystems.Btrfs.Walking;

/// <summary>Puts the items of one inode together to a file. They follow each other: the inode, its names, its extents.</summary>
internal sealed class InodeAssembler(BtrfsVolume volume, Subvolume subvolume, FolderTable folders, HashSet<ulong> orphans)
{
    private const int MostKeptExtents = 4;
    private const int MostLinks = 1_000_000;

    private readonly List<GuestLink> _links = [];
    private readonly List<FileExtent> _extents = [];
    private ulong _number;
    private InodeItem? _inode;
    private DiskFormatException? _fault;
    private long _firstByte;
    private bool _isEmpty = true;
    private bool _isKept;
    private long _at;

    public ulong Number => _number;

    public void Begin(ulong number)
    {
        _number = number;
        _links.Clear();
        _extents.Clear();
        _inode = null;
        _fault = null;
        _firstByte = -1;
        _isKept = true;
        _isEmpty = true;
        _at = -1;
    }

    /// <summary>The inode cannot be read in full.</summary>
    public void Spoil(DiskFormatException fault) => _fault ??= fault;

    /// <summary>Adds an item of the inode.</summary>
    /// <param name="offset">Logical address of the item's data.</param>
    public void Add(BtrfsKey key, ReadOnlySpan<byte> data, long offset)
    {
        _isEmpty = false;
        try
        {
            switch (key.Type)
            {
                case ItemType.Inode:
                    _at = offset;
                    _inode = new InodeItem(new LeView(data, "btrfs_inode_item", offset));
                    break;
                case ItemType.InodeRef or ItemType.InodeExtRef:
                    AddNames(key, new LeView(data, "btrfs_inode_ref", offset));
                    break;
                case ItemType.ExtentData:
                    AddExtent(key, new LeView(data, "btrfs_file_extent_item", offset));
                    break;
                default:
                    break;
            }
        }
        catch (DiskFormatException e)
        {
            _fault ??= e;
        }
    }

    /// <summary>Sets an inode that is known already.</summary>
    public void Set(InodeItem inode, long offset)
    {
        _isEmpty = false;
        _inode = inode;
        _at = offset;
    }

    /// <summary>Adds a name that is known already.</summary>
    public void AddName(ulong folder, ReadOnlySpan<byte> name, long offset)
    {
        if (_links.Count >= MostLinks)
        {
            throw new DiskFormatException(Fault.Limit, "btrfs_inode_ref", offset, $"more than {MostLinks} names");
        }

        if (!FolderTable.IsClean(name))
        {
            _fault ??= new DiskFormatException(Fault.Corrupt, "btrfs_inode_ref", offset, "a name that holds a separator");
        }

        GuestFolder place = folders.PlaceOf(folder) ?? new GuestFolder(folders.Orphans, FolderTable.OrphanNameOf(folder));
        _links.Add(new GuestLink(place, FolderTable.Clean(name)));
    }

    /// <summary>The file; null when it is not listed.</summary>
    public BtrfsFile? End()
    {
        if (_isEmpty || _number == subvolume.RootFolder)
        {
            return null;
        }

        if (_inode is not { } inode)
        {
            return _fault is not null || _links.Count > 0 || _extents.Count > 0 ? Make(default, GuestFileKind.Regular, 0, _fault ?? Broken("it has no btrfs_inode_item")) : null;
        }

        if (_links.Count == 0 && orphans.Contains(_number))
        {
            // Deleted while it was open: its space is freed at the next mount.
            return null;
        }

        switch (inode.Mode & InodeItem.TypeMask)
        {
            case 0x8000:
                return MakeWithContent(inode, GuestFileKind.Regular);
            case 0xA000:
                return MakeWithContent(inode, GuestFileKind.Link);
            case InodeItem.TypeFolder:
                return Folder(inode);
            case 0x1000 or 0x2000 or 0x6000 or 0xC000:
                ReportFault();
                return Make(inode, GuestFileKind.Device, 0, null);
            default:
                return Make(inode, GuestFileKind.Regular, 0, _fault ?? Broken($"mode 0x{inode.Mode:X} is of no known type"));
        }
    }

    private DiskFormatException Broken(string why) => new(Fault.Corrupt, "btrfs_inode_item", _at, $"inode {_number}: {why}");

    private void AddNames(BtrfsKey key, LeView view)
    {
        var names = new NameItems(view, key);
        while (names.Next())
        {
            AddName(names.Folder, names.Name, view.Offset);
        }
    }

    private void AddExtent(BtrfsKey key, LeView view)
    {
        if (!_isKept && _firstByte >= 0)
        {
            return;
        }

        FileExtent extent = FileExtent.Read(view, key.Offset, volume.Super.SectorBytes);
        FileMap.RequireAfter(_extents, extent);
        Add(extent, view.Offset + FileExtent.InlineHeaderBytes);
    }

    /// <summary>Adds an extent that is known already.</summary>
    public void Add(FileExtent extent, long inlineAt)
    {
        _isEmpty = false;
        if (_firstByte < 0 && extent.Kind is FileExtentKind.Data or FileExtentKind.Packed or FileExtentKind.Inline)
        {
            _firstByte = extent.Kind switch
            {
                FileExtentKind.Inline => volume.PhysicalOf(inlineAt),
                FileExtentKind.Data => volume.PhysicalOf(extent.Logical + extent.Skip),
                _ => volume.PhysicalOf(extent.Logical),
            };
        }

        if (_isKept)
        {
            _extents.Add(extent);
            _isKept = _extents.Count <= MostKeptExtents && extent.Kind != FileExtentKind.Inline;
        }
    }

    private BtrfsFile MakeWithContent(InodeItem inode, GuestFileKind kind)
    {
        bool fits = inode.SizeBytes <= long.MaxValue;
        return Make(inode, kind, fits ? (long)inode.SizeBytes : 0, _fault ?? (fits ? null : Broken("bad size")));
    }

    private BtrfsFile Folder(InodeItem inode)
    {
        ReportFault();
        GuestFolder place = folders.PlaceOf(_number) ?? new GuestFolder(folders.Orphans, FolderTable.OrphanNameOf(_number));
        if (_links.Count > 1)
        {
            volume.Context.Gaps.Add(new CoverageGap(Fault.Corrupt, PathOf(place), "btrfs_inode_ref", _at, 0, $"a folder with {_links.Count} names; it is listed under one"));
        }

        _links.Clear();
        if (place.Parent is not null)
        {
            _links.Add(new GuestLink(place.Parent, place.Name));
        }

        return Make(inode, GuestFileKind.Folder, 0, null);
    }

    private BtrfsFile Make(InodeItem inode, GuestFileKind kind, long size, DiskFormatException? fault)
    {
        GuestLink[] links = _links.Count > 0 ? [.. _links] : [new GuestLink(folders.Orphans, FolderTable.OrphanNameOf(_number))];
        return new BtrfsFile
        {
            Kind = kind,
            Id = _number,
            SizeBytes = size,
            FirstByte = size > 0 ? _firstByte : -1,
            Links = links,
            Fault = fault,
            Subvolume = subvolume,
            Extents = _isKept ? [.. _extents] : null,
            HasSums = inode.HasSums,
            Uid = inode.Uid,
        };
    }

    // A folder or device is listed all the same.
    private void ReportFault()
    {
        if (_fault is not null)
        {
            string path = _links.Count > 0 ? GuestName.Escape(_links[0].Path(), controls: false) : $"inode {_number}";
            volume.Context.Gaps.Add(new CoverageGap(_fault, path, 0));
        }
    }

    private static string PathOf(GuestFolder folder) =>
        folder.Parent is null ? "/" : GuestName.Escape(new GuestLink(folder.Parent, folder.Name).Path(), controls: false);
}
