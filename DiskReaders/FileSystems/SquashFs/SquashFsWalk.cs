using System.Globalization;
using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.SquashFs;

/// <summary>
/// Walks the folders from the root. Inodes and listings are stored in the order of the folders, so that a few unpacked metadata blocks serve
/// the whole walk. A file with several names is given once, when all its names are found or at the end.
/// </summary>
internal sealed class SquashFsWalk(SquashFsVolume volume)
{
    private const string Structure = "squashfs directory";

    // Deeper nesting restarts a path below $OrphanFiles: each level costs its length in every path below it.
    private const int MostDepth = 1000;
    private const int MostNameBytes = 256;
    private const int HeaderBytes = 12;
    private const int EntryBytes = 8;
    private const int MostEntriesOfHeader = 256;
    private const int MostKeptSizes = 16;
    private const int BytesPerKept = 256;
    private const int SizeOfDots = 3;

    private static readonly byte[] OrphanName = "$OrphanFiles"u8.ToArray();

    private readonly ReadContext _context = volume.Context;
    private readonly HashSet<long> _seen = [];
    private readonly Dictionary<long, (SquashFsFile File, uint Missing)> _linked = [];
    private readonly Stack<(GuestFolder Place, int Depth, SquashFsInode Inode)> _waiting = new();
    private readonly int _mostKept = (int)Math.Min(int.MaxValue, volume.Context.Budget.CeilingBytes / BytesPerKept);
    private readonly GuestFolder _root = new(null, []);
    private GuestFolder? _orphans;
    private long _listingBytes = volume.Directories.MostBytes;

    /// <exception cref="DiskFormatException">There is no root folder.</exception>
    public IEnumerable<SquashFsFile> Files()
    {
        long root = AddressOf(volume.Super.RootInode);
        var inode = new SquashFsInode(volume.Inodes, root);
        if (!inode.IsFolder)
        {
            throw new DiskFormatException(Fault.Corrupt, "squashfs inode", volume.Inodes.PositionOf(root), "the root is no folder");
        }

        _seen.Add(root);
        _waiting.Push((_root, 0, inode));
        byte[] name = new byte[MostNameBytes];
        while (_waiting.TryPop(out (GuestFolder Place, int Depth, SquashFsInode Inode) folder))
        {
            var listing = new Listing(volume, folder.Inode);
            while (true)
            {
                _context.ThrowIfCancelled();
                SquashFsFile? file = null;
                try
                {
                    if (!listing.Next(name, ref _listingBytes, out long block, out int offset, out int nameBytes))
                    {
                        break;
                    }

                    file = Read(folder.Place, folder.Depth, name.AsSpan(0, nameBytes), block, offset);
                }
                catch (DiskFormatException e)
                {
                    _context.Gaps.Add(new CoverageGap(e, Text(folder.Place, []), 0));
                    break;
                }

                if (file is not null)
                {
                    yield return file;
                }
            }
        }

        foreach ((SquashFsFile file, uint _) in _linked.Values)
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

    private long AddressOf(ulong reference) => (reference >> 48) == 0
        ? volume.Inodes.AddressOf((long)(reference >> 16), (int)(reference & 0xFFFF))
        : throw new DiskFormatException(Fault.Corrupt, "squashfs superblock", 32, "bad root_inode");

    // An entry that cannot be read is a gap of its own; the rest of the listing is sound.
    private SquashFsFile? Read(GuestFolder place, int depth, ReadOnlySpan<byte> name, long block, int offset)
    {
        try
        {
            long address = volume.Inodes.AddressOf(block, offset);
            if (_linked.TryGetValue(address, out (SquashFsFile File, uint Missing) known))
            {
                ((List<GuestLink>)known.File.Links).Add(new GuestLink(place, Clean(name)));
                if (known.Missing > 1)
                {
                    _linked[address] = (known.File, known.Missing - 1);
                    return null;
                }

                _linked.Remove(address);
                return known.File;
            }

            var inode = new SquashFsInode(volume.Inodes, address);
            SquashFsFile file = Describe(inode, place, name, address);
            if (inode.IsFolder)
            {
                return EnterFolder(file, inode, depth, address);
            }

            if (inode.LinkCount > 1 && _linked.Count < _mostKept)
            {
                _linked.Add(address, (file, inode.LinkCount - 1));
                return null;
            }

            return file;
        }
        catch (DiskFormatException e)
        {
            _context.Gaps.Add(new CoverageGap(e, Text(place, name), 0));
            return null;
        }
    }

    private SquashFsFile EnterFolder(SquashFsFile file, SquashFsInode inode, int depth, long address)
    {
        if (_seen.Count >= _mostKept)
        {
            throw new DiskFormatException(Fault.Limit, Structure, volume.Inodes.PositionOf(address), $"more than {_mostKept} folders");
        }

        if (!_seen.Add(address))
        {
            throw new DiskFormatException(Fault.Corrupt, Structure, volume.Inodes.PositionOf(address), "a folder that another name leads to already");
        }

        if (depth + 1 >= MostDepth)
        {
            byte[] name = Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"#{inode.Number}"));
            file = Describe(inode, _orphans ??= new GuestFolder(_root, OrphanName), name, address);
            depth = 0;
        }

        _waiting.Push((new GuestFolder(file.Links[0].Folder, file.Links[0].Name), depth + 1, inode));
        return file;
    }

    private SquashFsFile Describe(SquashFsInode inode, GuestFolder place, ReadOnlySpan<byte> name, long address)
    {
        var link = new GuestLink(place, Clean(name));
        IReadOnlyList<GuestLink> links = inode is { LinkCount: > 1, IsFolder: false } ? new List<GuestLink> { link } : [link];
        uint[]? sizes = null;
        DiskFormatException? fault = null;
        long first = -1;
        if (inode.Kind == GuestFileKind.Regular && inode.SizeBytes > 0)
        {
            try
            {
                sizes = ReadSizes(inode);
                first = SquashFsMap.CountBlocks(inode.SizeBytes, inode.Fragment, volume.Super.BlockBytes) > 0 || inode.Fragment == SquashFsInode.NoFragment
                    ? sizes is not null && sizes.AsSpan().IndexOfAnyExcept(0u) < 0 ? -1 : inode.Start
                    : volume.Fragment(inode.Fragment).Start;
            }
            catch (DiskFormatException e)
            {
                fault = e;
                _context.Gaps.Add(new CoverageGap(e, Text(place, name), inode.SizeBytes));
            }
        }
        else if (inode.Kind == GuestFileKind.Link)
        {
            first = volume.Inodes.PositionOf(address);
        }

        return new SquashFsFile
        {
            Kind = inode.Kind,
            Id = inode.Number,
            SizeBytes = inode.Kind is GuestFileKind.Regular or GuestFileKind.Link ? inode.SizeBytes : 0,
            FirstByte = first,
            Links = links,
            Fault = fault,
            Start = inode.Start,
            Fragment = inode.Fragment,
            FragmentOffset = inode.Offset,
            BlockSizes = sizes,
            Tail = inode.Tail,
            Uid = volume.UidOf(inode.UidIndex),
        };
    }

    private uint[]? ReadSizes(SquashFsInode inode)
    {
        long blocks = SquashFsMap.CountBlocks(inode.SizeBytes, inode.Fragment, volume.Super.BlockBytes);
        if (blocks > MostKeptSizes)
        {
            return null;
        }

        if (blocks == 0)
        {
            return [];
        }

        Span<byte> bytes = stackalloc byte[(int)blocks * sizeof(uint)];
        volume.Inodes.Read(inode.Tail, bytes);
        uint[] sizes = new uint[blocks];
        for (int i = 0; i < sizes.Length; i++)
        {
            sizes[i] = System.Buffers.Binary.BinaryPrimitives.ReadUInt32LittleEndian(bytes[(i * sizeof(uint))..]);
        }

        return sizes;
    }

    /// <summary>The entries of one folder: runs of up to 256 behind a header. "SquashFS Binary Format", 5 "Directory Table".</summary>
    private sealed class Listing(SquashFsVolume volume, SquashFsInode inode)
    {
        private long _at = inode.SizeBytes > SizeOfDots ? volume.Directories.AddressOf(inode.Start, (int)inode.Offset) : 0;
        private long _left = Math.Max(0, inode.SizeBytes - SizeOfDots);
        private long _block;
        private uint _entries;

        /// <param name="name">Takes the name.</param>
        /// <param name="budget">Bytes that listings may still have: no byte of the table belongs to two of them.</param>
        public bool Next(Span<byte> name, ref long budget, out long block, out int offset, out int nameBytes)
        {
            Span<byte> bytes = stackalloc byte[HeaderBytes];
            (block, offset, nameBytes) = (0, 0, 0);
            if (_entries == 0)
            {
                if (_left <= 0)
                {
                    return false;
                }

                Take(HeaderBytes, bytes, ref budget);
                var header = new LeView(bytes, Structure, volume.Directories.PositionOf(_at - HeaderBytes));
                _entries = header.U32(0);
                header.Require(_entries < MostEntriesOfHeader, 0, "count");
                _entries++;
                _block = header.U32(4);
            }

            Take(EntryBytes, bytes, ref budget);
            var entry = new LeView(bytes, Structure, volume.Directories.PositionOf(_at - EntryBytes));
            offset = entry.U16(0);
            nameBytes = entry.U16(6) + 1;
            entry.Require(nameBytes <= MostNameBytes, 6, "name_size");
            Take(nameBytes, name, ref budget);
            block = _block;
            _entries--;
            return true;
        }

        private void Take(int count, Span<byte> bytes, ref long budget)
        {
            if (count > _left)
            {
                throw new DiskFormatException(Fault.Corrupt, Structure, -1, $"a listing ends within an entry, {_left} bytes before its end");
            }

            if (count > budget)
            {
                throw new DiskFormatException(Fault.Limit, Structure, -1, "the listings have more bytes than their table");
            }

            volume.Directories.Read(_at, bytes[..count]);
            _at += count;
            _left -= count;
            budget -= count;
        }
    }
}
