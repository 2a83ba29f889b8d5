using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems.Erofs.Compressed;

namespace Vmsweep.DiskReaders.FileSystems.Erofs;

/// <summary>
/// Walks the folders from the root. A folder's blocks each hold entries and then their names (<c>struct erofs_dirent</c>). A file with
/// several names is given once, when all its names are found or at the end.
/// </summary>
internal sealed class ErofsWalk(ErofsVolume volume)
{
    private const string Structure = "erofs_dirent";
    private const int EntryBytes = 12;
    private const int MostNameBytes = 255;
    private const int BytesPerKept = 256;

    // Deeper nesting restarts a path below $OrphanFiles: each level costs its length in every path below it.
    private const int MostDepth = 1000;

    // Listings are not packed, so that all together have no more bytes than the volume; mkfs.erofs could share blocks between them some day.
    private const int ListingShare = 4;

    private static readonly byte[] OrphanName = "$OrphanFiles"u8.ToArray();

    private readonly ReadContext _context = volume.Context;
    private readonly HashSet<ulong> _seen = [];
    private readonly Dictionary<ulong, (ErofsFile File, uint Missing)> _linked = [];
    private readonly Stack<(GuestFolder Place, int Depth, ErofsInode Inode)> _waiting = new();
    private readonly int _mostKept = (int)Math.Min(int.MaxValue, volume.Context.Budget.CeilingBytes / BytesPerKept);
    private GuestFolder? _orphans;
    private long _listingBytes = volume.Source.Length > long.MaxValue / ListingShare ? long.MaxValue : volume.Source.Length * ListingShare;

    public GuestFolder Root { get; } = new(null, []);

    /// <exception cref="DiskFormatException">There is no root folder.</exception>
    public IEnumerable<ErofsFile> Files()
    {
        ErofsInode root = volume.ReadInode(volume.Super.RootNid);
        if (root.Kind != GuestFileKind.Folder)
        {
            throw new DiskFormatException(Fault.Corrupt, "erofs inode", root.Position, "the root is no folder");
        }

        _seen.Add(root.Nid);
        _waiting.Push((Root, 0, root));
        using RentedBuffer block = _context.Budget.Rent(volume.Super.BlockBytes);
        while (_waiting.TryPop(out (GuestFolder Place, int Depth, ErofsInode Inode) folder))
        {
            using IBlockSource? listing = Open(folder.Place, folder.Inode);
            for (long at = 0; listing is not null && at < listing.Length; at += block.Length)
            {
                int bytes = (int)Math.Min(block.Length, listing.Length - at);
                int entries = ReadBlock(folder.Place, listing, at, block.Span[..bytes]);
                for (int i = 0; i < entries; i++)
                {
                    _context.ThrowIfCancelled();
                    if (Read(folder.Place, folder.Depth, block.Span[..bytes], i, entries) is { } file)
                    {
                        yield return file;
                    }
                }
            }
        }

        foreach ((ErofsFile file, uint _) in _linked.Values)
        {
            yield return file;
        }

        _linked.Clear();
    }

    private static byte[] Clean(ReadOnlySpan<byte> name) => name.IndexOfAny((byte)'/', (byte)0) < 0
        ? name.ToArray()
        : [.. name.ToArray().SelectMany(b => b switch { (byte)'/' => "%2F"u8.ToArray(), 0 => "%00"u8.ToArray(), _ => [b] })];

    private static string Text(GuestFolder place, ReadOnlySpan<byte> name) =>
        place.Parent is null && name.IsEmpty ? "" : GuestName.Escape(name.IsEmpty ? new GuestLink(place.Parent!, place.Name).Path() : new GuestLink(place, Clean(name)).Path(), controls: false);

    private IBlockSource? Open(GuestFolder place, ErofsInode inode)
    {
        try
        {
            return volume.Open(inode);
        }
        catch (DiskFormatException e)
        {
            _context.Gaps.Add(new CoverageGap(e, Text(place, []), 0));
            return null;
        }
    }

    // The number of entries in a block; 0 when it cannot be read, which is a gap.
    private int ReadBlock(GuestFolder place, IBlockSource listing, long at, Span<byte> block)
    {
        try
        {
            _listingBytes -= block.Length;
            if (_listingBytes < 0)
            {
                throw new DiskFormatException(Fault.Limit, Structure, -1, "the listings have more bytes than the volume");
            }

            listing.Read(at, block);
            int first = block.Length >= EntryBytes ? BinaryPrimitives.ReadUInt16LittleEndian(block[8..]) : 0;
            return first >= EntryBytes && first <= block.Length && first % EntryBytes == 0
                ? first / EntryBytes
                : throw new DiskFormatException(Fault.Corrupt, Structure, -1, $"nameoff {first} of the first entry at {at} of the listing");
        }
        catch (DiskFormatException e)
        {
            _context.Gaps.Add(new CoverageGap(e, Text(place, []), 0));
            return 0;
        }
    }

    private ErofsFile? Read(GuestFolder place, int depth, ReadOnlySpan<byte> block, int number, int entries)
    {
        ReadOnlySpan<byte> name = [];
        try
        {
            ReadOnlySpan<byte> entry = block[(number * EntryBytes)..];
            ulong nid = BinaryPrimitives.ReadUInt64LittleEndian(entry);
            int start = BinaryPrimitives.ReadUInt16LittleEndian(entry[8..]);
            int end = number + 1 < entries ? BinaryPrimitives.ReadUInt16LittleEndian(entry[(EntryBytes + 8)..]) : block.Length;
            if (start < entries * EntryBytes || end <= start || end > block.Length)
            {
                throw new DiskFormatException(Fault.Corrupt, Structure, -1, $"a name from {start} to {end} of a block");
            }

            // The last name ends with its block or with a zero.
            name = block[start..end];
            int zero = number + 1 < entries ? -1 : name.IndexOf((byte)0);
            name = zero < 0 ? name : name[..zero];
            if (name.IsEmpty || name.Length > MostNameBytes)
            {
                throw new DiskFormatException(Fault.Corrupt, Structure, -1, $"a name of {name.Length} bytes");
            }

            return name.SequenceEqual("."u8) || name.SequenceEqual(".."u8) ? null : Enter(place, depth, name, nid);
        }
        catch (DiskFormatException e)
        {
            _context.Gaps.Add(new CoverageGap(e, Text(place, name), 0));
            return null;
        }
    }

    private ErofsFile? Enter(GuestFolder place, int depth, ReadOnlySpan<byte> name, ulong nid)
    {
        if (_linked.TryGetValue(nid, out (ErofsFile File, uint Missing) known))
        {
            ((List<GuestLink>)known.File.Links).Add(new GuestLink(place, Clean(name)));
            if (known.Missing > 1)
            {
                _linked[nid] = (known.File, known.Missing - 1);
                return null;
            }

            _linked.Remove(nid);
            return known.File;
        }

        ErofsInode inode = volume.ReadInode(nid);
        if (inode.Kind == GuestFileKind.Folder)
        {
            return EnterFolder(place, depth, name, inode);
        }

        ErofsFile file = Describe(inode, place, name);
        if (inode.LinkCount > 1 && _linked.Count < _mostKept)
        {
            _linked.Add(nid, (file, inode.LinkCount - 1));
            return null;
        }

        return file;
    }

    private ErofsFile EnterFolder(GuestFolder place, int depth, ReadOnlySpan<byte> name, ErofsInode inode)
    {
        if (_seen.Count >= _mostKept)
        {
            throw new DiskFormatException(Fault.Limit, "erofs inode", inode.Position, $"more than {_mostKept} folders");
        }

        if (!_seen.Add(inode.Nid))
        {
            throw new DiskFormatException(Fault.Corrupt, "erofs inode", inode.Position, "a folder that another name leads to already");
        }

        ErofsFile file;
        if (depth + 1 < MostDepth)
        {
            file = Describe(inode, place, name);
        }
        else
        {
            file = Describe(inode, _orphans ??= new GuestFolder(Root, OrphanName), Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"#{inode.Nid}")));
            depth = 0;
        }

        _waiting.Push((new GuestFolder(file.Links[0].Folder, file.Links[0].Name), depth + 1, inode));
        return file;
    }

    private ErofsFile Describe(ErofsInode inode, GuestFolder place, ReadOnlySpan<byte> name)
    {
        var link = new GuestLink(place, Clean(name));
        GuestFileKind kind = inode.Kind;
        DiskFormatException? fault = null;
        long first = -1;
        if (kind is GuestFileKind.Regular or GuestFileKind.Link && inode.SizeBytes > 0)
        {
            try
            {
                first = FirstByte(inode);
            }
            catch (DiskFormatException e)
            {
                fault = e;
                _context.Gaps.Add(new CoverageGap(e, Text(place, name), inode.SizeBytes));
            }
        }

        return new ErofsFile
        {
            Kind = kind,
            Id = inode.Nid,
            SizeBytes = kind is GuestFileKind.Regular or GuestFileKind.Link ? inode.SizeBytes : 0,
            FirstByte = first,
            Links = inode.LinkCount > 1 && kind != GuestFileKind.Folder ? new List<GuestLink> { link } : [link],
            Fault = fault,
            Inode = inode,
        };
    }

    private long FirstByte(ErofsInode inode) => inode.Layout switch
    {
        ErofsLayout.FlatPlain => (long)inode.Union << volume.Super.BlockShift,
        ErofsLayout.FlatInline => inode.SizeBytes > volume.Super.BlockBytes ? (long)inode.Union << volume.Super.BlockShift : inode.End,
        ErofsLayout.ChunkBased => new ChunkMap(volume, inode).FirstByte,
        _ => ClusterIndex.FirstByte(volume, inode),
    };
}
