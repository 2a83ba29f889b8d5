using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Xfs;

/// <summary>
/// Collects the folders and all names: one pass over the inodes finds the folders, then their blocks are read in the order they lie on the
/// disk. Where the inode tree of a group is damaged, inodes are read where a name leads to them.
/// </summary>
internal sealed class XfsWalk : IDisposable
{
    private const int WindowBytes = 512 << 10;
    private const int PassOverBytes = 64 << 10;    // reading through a small gap costs less than another read
    private const int BytesPerRun = 64;
    private const int MostDelayed = 10_000;
    private const long LeafOffset = 1L << 35;      // XFS_DIR2_LEAF_OFFSET: what begins there are hashes and free space, no entries

    private readonly XfsVolume _volume;
    private readonly XfsSuperblock _sb;
    private readonly ReadContext _context;
    private readonly int _blockBytes;
    private readonly List<Run> _runs = [];
    private readonly List<(int Folder, CoverageGap Gap)> _delayed = [];
    private readonly HashSet<ulong> _reportedChunks = [];
    private readonly long _mostSteps;
    private long _steps;
    private long _bytes;
    private readonly bool _isRootGuessed;
    private bool _full;

    public XfsWalk(XfsVolume volume)
    {
        _volume = volume;
        _sb = volume.Super;
        _context = volume.Context;
        _blockBytes = _sb.DirBlockBytes;
        _mostSteps = _context.Budget.CeilingBytes / BytesPerRun;
        // Only some copies of the superblock know the root; mkfs makes it the first inode there is.
        _isRootGuessed = volume.InodeOffset(_sb.RootInode) < 0 && volume.Chunks.All.Count > 0;
        RootInode = _isRootGuessed ? volume.Chunks.All[0].First : _sb.RootInode;
        Names = new NameTable(_context.Budget);
        Folders = new FolderTree(_context, RootInode);
    }

    /// <summary>Blocks of a folder that follow each other.</summary>
    private readonly record struct Run(long Offset, long Bytes, int Folder);

    public ulong RootInode { get; }

    public NameTable Names { get; }

    public FolderTree Folders { get; }

    public void Collect()
    {
        if (!_volume.Chunks.IsInUse(RootInode))
        {
            _ = _volume.Chunks.Guess(RootInode);
        }

        for (int from = 0; from < _volume.Chunks.All.Count && !_full;)
        {
            int end = _volume.Chunks.All.Count;
            FindFolders(from, end);
            ReadFolders();
            from = end;
        }

        if (!Folders.TryNumberOf(RootInode, out _) && !_full)
        {
            _context.Gaps.Add(new CoverageGap(Fault.Corrupt, "", "xfs_dinode", _volume.InodeOffset(RootInode), 0, $"the root folder, inode {RootInode}, is not there"));
        }

        Folders.Resolve(Names);
        foreach ((int folder, CoverageGap gap) in _delayed)
        {
            _context.Gaps.Add(gap with { Path = PathOf(Folders.PlaceOf(folder)) });
        }

        _delayed.Clear();
    }

    public void Dispose() => Names.Dispose();

    public bool ChecksumGood(XfsInode inode, long offset) =>
        !_sb.IsV5 || _volume.IsPatched(offset, inode.Bytes.Length) || XfsChecksum.Good(inode.Bytes, XfsInode.ChecksumField);

    /// <summary>True for the realtime device's own inodes and those of quotas, which have no names. A superblock without a root does not know them: mkfs makes them follow the root.</summary>
    public bool IsInternal(ulong inode) => _sb.IsInternal(inode) || (_isRootGuessed && inode > RootInode && inode - RootInode <= 2);

    /// <summary>True for what lies in the metadata directory tree.</summary>
    public bool IsHidden(XfsInode inode) => _sb.MetadataRoot != XfsSuperblock.NoInode && inode.IsMetadata;

    /// <summary>A folder's path as messages have it.</summary>
    public static string PathOf(GuestFolder folder) =>
        folder.Parent is null ? "/" : GuestName.Escape(new GuestLink(folder.Parent, folder.Name).Path(), controls: false);

    private void FindFolders(int from, int end)
    {
        using var scan = new InodeScan(_volume, from, end, report: true);
        while (!_full && scan.Next())
        {
            var inode = new XfsInode(scan.Bytes);
            if (inode.Contradiction(_sb, scan.Number) is { } contradiction)
            {
                if (!scan.Guessed && _reportedChunks.Add(scan.Number / InodeChunk.Inodes))
                {
                    _context.Gaps.Add(new CoverageGap(Fault.Corrupt, $"inode {scan.Number}", "xfs_dinode", scan.Offset, 0, $"{contradiction}; others near it may be damaged too"));
                }
            }
            else if (inode.Type == XfsInode.TypeFolder && inode.Links != 0 && !IsHidden(inode))
            {
                AddFolder(inode, scan.Number, scan.Offset);
            }
        }
    }

    private void AddFolder(XfsInode inode, ulong number, long offset)
    {
        int folder;
        try
        {
            folder = Folders.Add(number);
        }
        catch (DiskFormatException e)
        {
            Stop(e);
            return;
        }

        if (!ChecksumGood(inode, offset))
        {
            Delay(folder, new CoverageGap(Fault.Corrupt, "", "xfs_dinode", offset, 0, "bad di_crc of the folder's inode"));
        }

        try
        {
            switch (inode.Format)
            {
                case XfsForkFormat.Local:
                    AddShortForm(inode, folder, offset);
                    break;
                case XfsForkFormat.Extents:
                    AddRuns(ForkMap.OfList(_volume, inode.ExtentList(offset).ToArray(), number, LeafOffset), folder, offset);
                    break;
                case XfsForkFormat.Btree:
                    AddRuns(ForkMap.OfTree(_volume, inode.DataFork(offset).ToArray(), number, LeafOffset), folder, offset);
                    break;
                default:
                    throw new DiskFormatException(Fault.Corrupt, "xfs_dinode", offset + 5, $"bad di_format {(int)inode.Format}");
            }
        }
        catch (DiskFormatException e)
        {
            Delay(folder, new CoverageGap(e, "", 0));
        }
    }

    private void AddShortForm(XfsInode inode, int folder, long offset)
    {
        ReadOnlySpan<byte> fork = inode.DataFork(offset);
        var entries = new ShortFormEntries(new BeView(fork, "xfs_dir2_sf", offset + inode.ForkOffset), _sb.HasFileType);
        Folders.SetParent(folder, entries.Parent);
        while (!_full && entries.Next())
        {
            AddName(entries.Inode, folder, entries.Name, offset);
        }
    }

    private void AddRuns(ForkMap map, int folder, long offset)
    {
        using ForkMap owned = map;
        for (long at = 0; at < map.Length;)
        {
            if (++_steps > _mostSteps)
            {
                throw new DiskFormatException(Fault.Limit, "folder blocks", offset, $"more than {_mostSteps} runs of blocks");
            }

            Extent extent = map.Map(at, map.Length - at);
            if (extent.Kind == ExtentKind.Data)
            {
                Account(Math.Max(extent.Length, _blockBytes), offset);
                if (extent.Length < _blockBytes)
                {
                    ReadScattered(map, at, extent.Location, folder);
                }
                else
                {
                    _runs.Add(new Run(extent.Location, extent.Length - (extent.Length % _blockBytes), folder));
                }
            }

            at += Math.Max(_blockBytes, extent.Length - (extent.Length % _blockBytes));
        }
    }

    private void Account(long bytes, long offset)
    {
        _bytes += bytes;
        if (_bytes > _sb.SizeBytes)
        {
            throw new DiskFormatException(Fault.Corrupt, "folder blocks", offset, "folders claim more blocks than there are");
        }
    }

    // A directory block may be made of several blocks of the file system, which need not lie together.
    private void ReadScattered(ForkMap map, long at, long location, int folder)
    {
        using RentedBuffer block = _context.Budget.Rent(_blockBytes);
        using var content = new MappedSource(map, [_volume.Source]);
        bool patched = false;
        for (int done = 0; done < _blockBytes;)
        {
            Extent part = map.Map(at + done, _blockBytes - done);
            patched |= part.Kind == ExtentKind.Data && _volume.IsPatched(part.Location, part.Length);
            done += (int)part.Length;
        }

        content.Read(at, block.Span);
        ReadBlock(new BeView(block.Span, "xfs_dir2_data", location), folder, patched);
    }

    private void ReadFolders()
    {
        _runs.Sort((a, b) => a.Offset.CompareTo(b.Offset));
        using RentedBuffer window = _context.Budget.Rent(WindowBytes);
        long from = 0, to = 0, done = 0;
        for (int i = 0; i < _runs.Count && !_full; i++)
        {
            Run run = _runs[i];
            long end = run.Offset + run.Bytes;
            if (run.Offset < done)
            {
                Delay(run.Folder, new CoverageGap(Fault.Corrupt, "", "folder blocks", run.Offset, 0, "blocks that belong to another folder too"));
            }

            for (long at = run.Offset; at < end && !_full; at += _blockBytes)
            {
                if (at < done)
                {
                    continue;
                }

                if (at < from || at + _blockBytes > to)
                {
                    _context.ThrowIfCancelled();
                    if (Unstored(at, end) is > 0 and long hole)
                    {
                        Delay(run.Folder, new CoverageGap(Fault.Corrupt, "", "xfs_dir2_data", at, hole, "blocks of the folder that hold nothing"));
                        at += hole - _blockBytes;
                        continue;
                    }

                    (from, to) = Fill(window, at, Ahead(i, at, window.Length), run.Folder);
                    if (to == from)
                    {
                        continue;
                    }
                }

                var v = new BeView(window.Span.Slice((int)(at - from), _blockBytes), "xfs_dir2_data", at);
                ReadBlock(v, run.Folder, _volume.IsPatched(at, _blockBytes));
            }

            done = Math.Max(done, end);
        }

        _runs.Clear();
    }

    // A block that is not even stored has no entries; a hostile folder may claim terabytes of them.
    private long Unstored(long at, long end)
    {
        if (at >= _volume.Source.Length)
        {
            return 0;
        }

        StoredExtent stored = _volume.Source.Locate(at, Math.Min(end, _volume.Source.Length) - at);
        return stored.IsStored ? 0 : stored.Length - (stored.Length % _blockBytes);
    }

    // How many bytes to read at once from here, over small gaps between folders too.
    private int Ahead(int run, long at, int most)
    {
        long end = _runs[run].Offset + _runs[run].Bytes;
        for (int next = run + 1; next < _runs.Count && _runs[next].Offset <= end + PassOverBytes && end - at < most; next++)
        {
            end = Math.Max(end, _runs[next].Offset + _runs[next].Bytes);
        }

        return (int)Math.Min(end - at, most);
    }

    private (long From, long To) Fill(RentedBuffer window, long at, int count, int folder)
    {
        for (int bytes = count; ; bytes = _blockBytes)
        {
            try
            {
                _volume.Source.Read(at, window.Span[..bytes]);
                return (at, at + bytes);
            }
            catch (DiskFormatException) when (bytes > _blockBytes)
            {
                // Something ahead is missing: this block alone may be there.
            }
            catch (DiskFormatException e)
            {
                Delay(folder, new CoverageGap(e, "", _blockBytes));
                return (at, at);
            }
        }
    }

    private void ReadBlock(BeView block, int folder, bool patched)
    {
        if (_sb.IsV5 && !patched && !XfsChecksum.Good(block.Bytes, DirectoryEntries.ChecksumField))
        {
            Delay(folder, new CoverageGap(Fault.Corrupt, "", "xfs_dir3_data_hdr", block.Offset, 0, "bad checksum of a folder's block"));
        }

        try
        {
            var entries = new DirectoryEntries(block, _sb, Folders.InodeOf(folder));
            while (!_full && entries.Next())
            {
                ReadOnlySpan<byte> name = entries.Name;
                if (name[0] == '.' && (name.Length == 1 || (name.Length == 2 && name[1] == '.')))
                {
                    if (name.Length == 2)
                    {
                        Folders.SetParent(folder, entries.Inode);
                    }

                    continue;
                }

                AddName(entries.Inode, folder, name, block.Offset);
            }
        }
        catch (DiskFormatException e)
        {
            Delay(folder, new CoverageGap(e, "", 0));
        }
    }

    private void AddName(ulong inode, int folder, ReadOnlySpan<byte> name, long offset)
    {
        if (!_volume.Chunks.IsInUse(inode) && !_volume.Chunks.Guess(inode))
        {
            Delay(folder, new CoverageGap(Fault.Corrupt, "", "xfs_dir2_data_entry", offset, 0, $"a name leads to inode {inode}, which is not in use"));
            return;
        }

        try
        {
            Names.Add(inode, (uint)folder, name);
        }
        catch (DiskFormatException e)
        {
            Stop(e);
        }
    }

    private void Stop(DiskFormatException e)
    {
        _full = true;
        _context.Gaps.Add(new CoverageGap(e, "", 0) { Detail = $"{e.Detail}; not all names were read" });
    }

    // Gaps of a folder wait until its path is known.
    private void Delay(int folder, CoverageGap gap)
    {
        if (_delayed.Count < MostDelayed)
        {
            _delayed.Add((folder, gap));
        }
        else
        {
            _context.Gaps.Add(gap with { Path = $"inode {Folders.InodeOf(folder)}" });
        }
    }
}
