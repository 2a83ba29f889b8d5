using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ext;

/// <summary>Turns inodes into files with all their names.</summary>
internal sealed class InodeReader(ExtVolume volume, ExtWalk walk)
{
    private const uint BootLoaderInode = 5;
    private const int MostLinks = 100_000;         // EXT4_LINK_MAX is 65,000
    private const int MostStepsToFirstByte = 64;
    private const ushort ExtentMagic = 0xF30A;
    private const int MostInodeExtents = 4;
    private const int SectorBytes = 512;

    private static readonly byte[] BootLoaderName = "$BootLoader"u8.ToArray();
    private static readonly byte[] AttributesName = "$ExtendedAttributes"u8.ToArray();
    private static readonly byte[] LostAndFound = "lost+found"u8.ToArray();

    private readonly ExtSuperblock _sb = volume.Super;
    private readonly GuestFolder _attributes = new(walk.Folders.Root, AttributesName);

    /// <summary>The file of an inode; null when it is not in use or not listed.</summary>
    public ExtFile? Read(ReadOnlySpan<byte> bytes, ExtGroup group, uint number, long offset)
    {
        var inode = new ExtInode(bytes);
        uint entry = walk.Names.First(number);
        if (inode.LinksCount == 0 || inode.Mode == 0)
        {
            if (entry != 0)
            {
                Report(Fault.Corrupt, LinksOf(number, entry), offset, "a name leads to a deleted inode");
            }

            return null;
        }

        if (number < _sb.FirstIno)
        {
            // Of the reserved inodes only the boot loader's holds content that runs; the root is the listing's own start.
            return number == BootLoaderInode && inode.Type == ExtInode.TypeRegular && inode.Size > 0
                ? Describe(inode, number, offset, [new GuestLink(walk.Folders.Root, BootLoaderName)], GuestFileKind.System)
                : null;
        }

        if (entry != 0)
        {
            return Named(inode, number, offset, LinksOf(number, entry));
        }

        if (inode.Flags.HasFlag(ExtInodeFlags.EaInode))
        {
            return Describe(inode, number, offset, [new GuestLink(_attributes, FolderTree.OrphanNameOf(number))], GuestFileKind.System);
        }

        if (volume.Changes?.WasUnlinked(number) == true || number == _sb.JournalInum || number == _sb.OrphanFileInum || number == _sb.UserQuotaInum || number == _sb.GroupQuotaInum || number == _sb.ProjectQuotaInum)
        {
            return null;
        }

        return InUse(inode, group, number, offset)
            ? Named(inode, number, offset, [new GuestLink(walk.Folders.Orphans, FolderTree.OrphanNameOf(number))])
            : null;
    }

    private bool InUse(ExtInode inode, ExtGroup group, uint number, long offset)
    {
        try
        {
            return inode.DeletionTime == 0 && volume.InodeInUse(group, (number - 1) % _sb.InodesPerGroup);
        }
        catch (DiskFormatException e)
        {
            volume.Context.Gaps.Add(new CoverageGap(e, $"inode {number}", 0) { Offset = offset });
            return false;
        }
    }

    private ExtFile? Named(ExtInode inode, uint number, long offset, GuestLink[] links)
    {
        GuestFileKind kind;
        switch (inode.Type)
        {
            case ExtInode.TypeRegular:
                kind = GuestFileKind.Regular;
                break;
            case ExtInode.TypeFolder:
                return Folder(inode, number, offset, links);
            case ExtInode.TypeLink:
                kind = GuestFileKind.Link;
                break;
            case ExtInode.TypeFifo or ExtInode.TypeCharacter or ExtInode.TypeBlock or ExtInode.TypeSocket:
                return Plain(GuestFileKind.Device, inode, number, links);
            default:
                Report(Fault.Corrupt, links, offset, $"i_mode 0x{inode.Mode:X4} is of no known type");
                return null;
        }

        if (_sb.HasMetadataChecksum && !inode.ChecksumGood(_sb.ChecksumSeed, number))
        {
            Report(Fault.Corrupt, links, offset, "bad checksum of the inode");
        }

        return Describe(inode, number, offset, links, kind);
    }

    private ExtFile? Folder(ExtInode inode, uint number, long offset, GuestLink[] links)
    {
        if (!walk.Folders.TryNumberOf(number, out int folder))
        {
            return null;
        }

        GuestFolder place = walk.Folders.PlaceOf(folder);
        if (links.Length > 1)
        {
            Report(Fault.Corrupt, links, offset, $"a folder with {links.Length} names; the others are not listed");
        }

        return place.Parent == walk.Folders.Root && place.Name.AsSpan().SequenceEqual(LostAndFound)
            ? null
            : Plain(GuestFileKind.Folder, inode, number, [new GuestLink(place.Parent!, place.Name)]);
    }

    private static ExtFile Plain(GuestFileKind kind, ExtInode inode, uint number, GuestLink[] links) => new()
    {
        Kind = kind,
        Id = number,
        SizeBytes = 0,
        FirstByte = -1,
        Links = links,
        Content = ExtContent.None,
        Uid = inode.Uid,
    };

    private ExtFile Describe(ExtInode inode, uint number, long offset, GuestLink[] links, GuestFileKind kind)
    {
        DiskFormatException? fault = null;
        var content = ExtContent.None;
        byte[] map = [];
        long first = -1;
        long size = 0;
        uint seed = 0;
        try
        {
            size = SizeOf(inode, offset);
            content = ContentOf(inode, kind, size);
            switch (content)
            {
                case ExtContent.Inode:
                    first = offset + ExtInode.BlockFieldOffset;
                    break;
                case ExtContent.Extents or ExtContent.ExtentTree:
                    (content, map, first) = Extents(inode, number, size);
                    seed = content == ExtContent.ExtentTree ? inode.NodeSeed(_sb.ChecksumSeed, number) : 0;
                    break;
                case ExtContent.Pointers:
                    map = inode.BlockField.ToArray();
                    uint direct = BinaryPrimitives.ReadUInt32LittleEndian(map);
                    first = direct != 0 ? (long)direct << _sb.BlockShift : FirstByte(volume.BlockMap(inode, number, size));
                    break;
                default:
                    break;
            }

            if (inode.Flags.HasFlag(ExtInodeFlags.Encrypted) && size > 0)
            {
                fault = new DiskFormatException(Fault.Encrypted, "ext4_inode", offset, "the content is encrypted (fscrypt)");
            }
        }
        catch (DiskFormatException e)
        {
            fault = e;
        }

        return new ExtFile
        {
            Kind = kind,
            Id = number,
            SizeBytes = size,
            FirstByte = first,
            Links = links,
            Content = content,
            Map = map,
            Uid = inode.Uid,
            NodeSeed = seed,
            Fault = fault,
        };
    }

    private static long SizeOf(ExtInode inode, long offset) => inode.Size <= long.MaxValue
        ? (long)inode.Size
        : throw new DiskFormatException(Fault.Corrupt, "ext4_inode", offset + 4, $"bad i_size {inode.Size}");

    private ExtContent ContentOf(ExtInode inode, GuestFileKind kind, long size)
    {
        if (size == 0)
        {
            return ExtContent.None;
        }

        if (inode.Flags.HasFlag(ExtInodeFlags.InlineData))
        {
            return ExtContent.Inode;
        }

        if (inode.Flags.HasFlag(ExtInodeFlags.Extents))
        {
            return ExtContent.Extents;
        }

        if (kind != GuestFileKind.Link || size >= ExtInode.BlockFieldBytes)
        {
            return ExtContent.Pointers;
        }

        // A short target lies in i_block unless the link has a block beside the one of its attributes; with ea_inode the count says nothing.
        ulong ofAttributes = inode.FileAcl != 0 ? (ulong)(_sb.ClusterBytes / SectorBytes) : 0;
        return _sb.Incompat.HasFlag(ExtIncompat.EaInode) || inode.Blocks <= ofAttributes ? ExtContent.Inode : ExtContent.Pointers;
    }

    private (ExtContent Content, byte[] Map, long First) Extents(ExtInode inode, uint number, long size)
    {
        ReadOnlySpan<byte> root = inode.BlockField;
        int entries = BinaryPrimitives.ReadUInt16LittleEndian(root[2..]);
        bool flat = BinaryPrimitives.ReadUInt16LittleEndian(root) == ExtentMagic && entries <= MostInodeExtents && BinaryPrimitives.ReadUInt16LittleEndian(root[6..]) == 0;
        if (!flat || volume.Changes?.HasRanges(number) == true)
        {
            return (ExtContent.ExtentTree, root.ToArray(), FirstByte(volume.BlockMap(inode, number, size)));
        }

        byte[] map = root.Slice(ExtentTreeMap.HeaderBytes, entries * ExtentTreeMap.EntryBytes).ToArray();
        for (int at = 0; at < map.Length; at += ExtentTreeMap.EntryBytes)
        {
            ReadOnlySpan<byte> extent = map.AsSpan(at, ExtentTreeMap.EntryBytes);
            if (BinaryPrimitives.ReadUInt16LittleEndian(extent[4..]) <= 0x8000)
            {
                long start = BinaryPrimitives.ReadUInt32LittleEndian(extent[8..]) | ((long)BinaryPrimitives.ReadUInt16LittleEndian(extent[6..]) << 32);
                return (ExtContent.Extents, map, start < _sb.BlocksCount ? start << _sb.BlockShift : -1);
            }
        }

        return (ExtContent.Extents, map, -1);
    }

    // The first stored byte; of a file that begins with very many holes, none is looked for.
    private static long FirstByte(IExtentMap map)
    {
        using var owned = map as IDisposable;
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

    private GuestLink[] LinksOf(uint number, uint entry)
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
                volume.Context.Gaps.Add(new CoverageGap(Fault.Limit, PathOf(first), "ext4_dir_entry", -1, 0, $"inode {number} has more than {MostLinks} names; the others are not listed"));
                break;
            }

            at = walk.Names.Read(at, out folder, out name);
            links.Add(Link(folder, name, number));
        }

        return [.. links];
    }

    private GuestLink Link(uint folder, ReadOnlySpan<byte> name, uint number)
    {
        var link = new GuestLink(walk.Folders.PlaceOf((int)folder), FolderTree.Clean(name));
        if (link.Name.Length != name.Length && !walk.IsEncrypted((int)folder))
        {
            volume.Context.Gaps.Add(new CoverageGap(Fault.Corrupt, PathOf(link), "ext4_dir_entry", -1, 0, $"the name of inode {number} holds a separator or ends early"));
        }

        return link;
    }

    private void Report(Fault fault, GuestLink[] links, long offset, string detail) =>
        volume.Context.Gaps.Add(new CoverageGap(fault, PathOf(links[0]), "ext4_inode", offset, 0, detail));

    private static string PathOf(GuestLink link) => GuestName.Escape(link.Path(), controls: false);
}
