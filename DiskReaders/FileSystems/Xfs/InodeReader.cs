using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Xfs;

/// <summary>Turns inodes into files with all their names.</summary>
internal sealed class InodeReader(XfsVolume volume, XfsWalk walk)
{
    private const int MostLinks = 100_000;
    private const int MostStepsToFirstByte = 64;

    private readonly XfsSuperblock _sb = volume.Super;

    /// <summary>The file of an inode; null when it is not in use or not listed.</summary>
    public XfsFile? Read(ReadOnlySpan<byte> bytes, ulong number, long offset)
    {
        var inode = new XfsInode(bytes);
        uint entry = walk.Names.First(number);
        if (inode.Contradiction(_sb, number) is { } contradiction)
        {
            if (entry != 0)
            {
                Report(LinksOf(number, entry), offset, $"a name leads to inode {number}, which is none: {contradiction}");
            }

            return null;
        }

        if (inode.Links == 0 || inode.Mode == 0)
        {
            if (entry != 0)
            {
                Report(LinksOf(number, entry), offset, "a name leads to a deleted inode");
            }

            return null;
        }

        if (number == walk.RootInode || (entry == 0 && walk.IsInternal(number)) || walk.IsHidden(inode))
        {
            return null;
        }

        return Named(inode, number, offset, entry != 0 ? LinksOf(number, entry) : [new GuestLink(walk.Folders.Orphans, FolderTree.OrphanNameOf(number))]);
    }

    private XfsFile? Named(XfsInode inode, ulong number, long offset, GuestLink[] links)
    {
        GuestFileKind kind;
        switch (inode.Type)
        {
            case XfsInode.TypeRegular:
                kind = GuestFileKind.Regular;
                break;
            case XfsInode.TypeFolder:
                return Folder(inode, number, offset, links);
            case XfsInode.TypeLink:
                kind = GuestFileKind.Link;
                break;
            case XfsInode.TypeFifo or XfsInode.TypeCharacter or XfsInode.TypeBlock or XfsInode.TypeSocket:
                return Plain(GuestFileKind.Device, inode, number, links);
            default:
                Report(links, offset, $"di_mode 0x{inode.Mode:X4} is of no known type");
                return null;
        }

        if (!walk.ChecksumGood(inode, offset))
        {
            Report(links, offset, "bad di_crc");
        }

        return Describe(inode, number, offset, links, kind);
    }

    private XfsFile? Folder(XfsInode inode, ulong number, long offset, GuestLink[] links)
    {
        if (!walk.Folders.TryNumberOf(number, out int folder))
        {
            return null;
        }

        GuestFolder place = walk.Folders.PlaceOf(folder);
        if (links.Length > 1)
        {
            Report(links, offset, $"a folder with {links.Length} names; the others are not listed");
        }

        return Plain(GuestFileKind.Folder, inode, number, [new GuestLink(place.Parent!, place.Name)]);
    }

    private static XfsFile Plain(GuestFileKind kind, XfsInode inode, ulong number, GuestLink[] links) => new()
    {
        Kind = kind,
        Id = number,
        SizeBytes = 0,
        FirstByte = -1,
        Links = links,
        Content = XfsContent.None,
        Uid = inode.Uid,
    };

    private XfsFile Describe(XfsInode inode, ulong number, long offset, GuestLink[] links, GuestFileKind kind)
    {
        DiskFormatException? fault = null;
        var content = XfsContent.None;
        byte[] map = [];
        long first = -1;
        long size = 0;
        try
        {
            size = SizeOf(inode, offset, kind);
            if (kind == GuestFileKind.Regular && inode.IsRealtime && size > 0)
            {
                throw new DiskFormatException(Fault.Unsupported, "xfs_dinode", offset + 90, "the content lies on a realtime device");
            }

            (content, map, first) = ContentOf(inode, number, offset, size, kind);
        }
        catch (DiskFormatException e)
        {
            fault = e;
        }

        return new XfsFile
        {
            Kind = kind,
            Id = number,
            SizeBytes = size,
            FirstByte = first,
            Links = links,
            Content = content,
            Map = map,
            Uid = inode.Uid,
            Fault = fault,
        };
    }

    private static long SizeOf(XfsInode inode, long offset, GuestFileKind kind) =>
        inode.Size <= (kind == GuestFileKind.Link ? RemoteLink.MostBytes : (ulong)long.MaxValue)
            ? (long)inode.Size
            : throw new DiskFormatException(Fault.Corrupt, "xfs_dinode", offset + 56, $"bad di_size {inode.Size}");

    private (XfsContent Content, byte[] Map, long First) ContentOf(XfsInode inode, ulong number, long offset, long size, GuestFileKind kind)
    {
        if (size == 0)
        {
            return (XfsContent.None, [], -1);
        }

        switch (inode.Format)
        {
            case XfsForkFormat.Local:
                return size <= inode.DataFork(offset).Length
                    ? (XfsContent.Inode, [], offset + inode.ForkOffset)
                    : throw new DiskFormatException(Fault.Corrupt, "xfs_dinode", offset + 56, $"{size} bytes do not fit the inode");
            case XfsForkFormat.Extents:
                ReadOnlySpan<byte> list = inode.ExtentList(offset);
                return (kind == GuestFileKind.Link && _sb.IsV5 ? XfsContent.RemoteLink : XfsContent.Extents, list.ToArray(), FirstOf(list, offset));
            case XfsForkFormat.Btree:
                byte[] fork = inode.DataFork(offset).ToArray();
                return (XfsContent.Tree, fork, FirstByte(ForkMap.OfTree(volume, fork, number, size)));
            default:
                throw new DiskFormatException(Fault.Corrupt, "xfs_dinode", offset + 5, $"bad di_format {(int)inode.Format}");
        }
    }

    private long FirstOf(ReadOnlySpan<byte> list, long offset)
    {
        for (int at = 0; at < list.Length; at += BmbtRecord.Size)
        {
            var record = new BmbtRecord(list[at..]);
            if (!record.Unwritten)
            {
                return volume.ByteOf(record.FsBlock, record.Count, "xfs_bmbt_rec", offset);
            }
        }

        return -1;
    }

    // The first stored byte; of a file that begins with very many holes, none is looked for.
    private static long FirstByte(ForkMap map)
    {
        using ForkMap owned = map;
        long at = 0;
        for (int steps = 0; at < map.Length && steps < MostStepsToFirstByte; steps++)
        {
            Extent extent = map.Map(at, map.Length - at);
            if (extent.Kind == ExtentKind.Data)
            {
                return extent.Location;
            }

            at += extent.Length;
        }

        return -1;
    }

    private GuestLink[] LinksOf(ulong number, uint entry)
    {
        uint second = walk.Names.Read(entry, out uint folder, out ReadOnlySpan<byte> name);
        GuestLink first = Link(folder, name, number);
        if (second == 0)
        {
            return [first];
        }

        List<GuestLink> links = [first];
        for (uint at = second; at != 0;)
        {
            if (links.Count == MostLinks)
            {
                volume.Context.Gaps.Add(new CoverageGap(Fault.Limit, PathOf(first), "xfs_dir2_data_entry", -1, 0, $"inode {number} has more than {MostLinks} names; the others are not listed"));
                break;
            }

            at = walk.Names.Read(at, out folder, out name);
            links.Add(Link(folder, name, number));
        }

        return [.. links];
    }

    private GuestLink Link(uint folder, ReadOnlySpan<byte> name, ulong number)
    {
        var link = new GuestLink(walk.Folders.PlaceOf((int)folder), FolderTree.Clean(name));
        if (link.Name.Length != name.Length)
        {
            volume.Context.Gaps.Add(new CoverageGap(Fault.Corrupt, PathOf(link), "xfs_dir2_data_entry", -1, 0, $"the name of inode {number} holds a separator or ends early"));
        }

        return link;
    }

    private void Report(GuestLink[] links, long offset, string detail) =>
        volume.Context.Gaps.Add(new CoverageGap(Fault.Corrupt, PathOf(links[0]), "xfs_dinode", offset, 0, detail));

    private static string PathOf(GuestLink link) => GuestName.Escape(link.Path(), controls: false);
}
