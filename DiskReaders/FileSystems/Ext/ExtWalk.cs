using System.Buffers.Binary;
using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ext;

/// <summary>
/// Collects the folders and all names: one pass over the inode tables finds the folders, then their blocks are read in the order they lie
/// on the disk. Inodes in parts of a table that the group descriptors call unused are read where a name leads to them.
/// </summary>
internal sealed class ExtWalk : IDisposable
{
    private const int WindowBytes = 512 << 10;
    private const int PassOverBytes = 64 << 10;    // reading through a small gap costs less than another read
    private const int BytesPerRun = 64;
    private const int MostDelayed = 10_000;

    /// <summary>EXT4_ROOT_INO.</summary>
    private const uint RootInode = 2;

    private readonly ExtVolume _volume;
    private readonly ExtSuperblock _sb;
    private readonly ReadContext _context;
    private readonly uint[] _scanned;
    private readonly uint[] _wanted;
    private readonly List<(uint Seed, bool Encrypted)> _folderFacts = [];   // by folder number
    private readonly List<Run> _runs = [];
    private readonly List<(int Folder, CoverageGap Gap)> _delayed = [];
    private readonly long _mostSteps;
    private long _steps;
    private long _blocks;
    private readonly HashSet<(uint, string)> _settled = [];
    private bool _more = true;
    private bool _full;

    public ExtWalk(ExtVolume volume)
    {
        _volume = volume;
        _sb = volume.Super;
        _context = volume.Context;
        _scanned = new uint[volume.Groups.All.Count];
        _wanted = [.. volume.Groups.All.Select(g => g.UsedInodes)];
        _mostSteps = _context.Budget.CeilingBytes / BytesPerRun;
        Names = new NameTable(_context.Budget);
        Folders = new FolderTree(_context, RootInode);
    }

    private readonly record struct Run(long Block, int Count, int Folder);

    public NameTable Names { get; }

    public FolderTree Folders { get; }

    /// <summary>True when the names in a folder are encrypted.</summary>
    public bool IsEncrypted(int folder) => _folderFacts[folder].Encrypted;

    /// <summary>How many inodes of a group, by its index, may be in use.</summary>
    public uint EndOf(int groupIndex) => _scanned[groupIndex];

    public void Collect()
    {
        while (_more && !_full)
        {
            _more = false;
            FindFolders();
            ReadFolders();
            AddChangedNames();
        }

        Folders.Resolve(Names);
        foreach ((int folder, CoverageGap gap) in _delayed)
        {
            _context.Gaps.Add(gap with { Path = PathOf(Folders.PlaceOf(folder)) });
        }

        _delayed.Clear();
    }

    public void Dispose() => Names.Dispose();

    /// <summary>A folder's path as messages have it.</summary>
    public static string PathOf(GuestFolder folder) =>
        folder.Parent is null ? "/" : GuestName.Escape(new GuestLink(folder.Parent, folder.Name).Path(), controls: false);

    private void FindFolders()
    {
        using var scan = new InodeScan(_volume, report: true);
        for (int i = 0; i < _scanned.Length && !_full; i++)
        {
            ExtGroup group = _volume.Groups.All[i];
            scan.Begin(group, _scanned[i], _wanted[i]);
            _scanned[i] = _wanted[i];
            while (!_full && scan.Next())
            {
                for (int at = 0; at < scan.Piece.Count; at++)
                {
                    var inode = new ExtInode(scan.BytesOf(at));
                    if (inode.Type == ExtInode.TypeFolder && inode.LinksCount != 0)
                    {
                        AddFolder(inode, scan.NumberOf(at), scan.OffsetOf(at));
                    }
                }
            }
        }
    }

    private void AddFolder(ExtInode inode, uint number, long offset)
    {
        if (number < _sb.FirstIno && number != RootInode)
        {
            return;
        }

        int folder;
        uint seed = inode.NodeSeed(_sb.ChecksumSeed, number);
        try
        {
            folder = Folders.Add(number);
            _folderFacts.Add((seed, inode.Flags.HasFlag(ExtInodeFlags.Encrypted)));
        }
        catch (DiskFormatException e)
        {
            Stop(e);
            return;
        }

        if (_sb.HasMetadataChecksum && !inode.ChecksumGood(_sb.ChecksumSeed, number))
        {
            Delay(folder, new CoverageGap(Fault.Corrupt, "", "ext4_inode", offset, 0, "bad checksum of the folder's inode"));
        }

        try
        {
            if (inode.Flags.HasFlag(ExtInodeFlags.InlineData))
            {
                AddInline(inode, folder, offset);
            }
            else
            {
                AddRuns(inode, folder, number, offset);
            }
        }
        catch (DiskFormatException e)
        {
            Delay(folder, new CoverageGap(e, "", 0));
        }
    }

    // "Inline Directories": the parent's number, then entries to the end of i_block; more entries in the attribute system.data.
    private void AddInline(ExtInode inode, int folder, long offset)
    {
        ReadOnlySpan<byte> field = inode.BlockField;
        Folders.SetParent(folder, BinaryPrimitives.ReadUInt32LittleEndian(field));
        int within = (int)Math.Min(inode.SizeLow, ExtInode.BlockFieldBytes);
        if (within > 4)
        {
            AddEntries(new LeView(field[4..within], "ext4_dir_entry", offset + ExtInode.BlockFieldOffset + 4), folder);
        }

        if (inode.FindInlineValue(offset, out int value, out int length) && length > 0)
        {
            AddEntries(new LeView(inode.Bytes.Slice(value, length), "ext4_dir_entry", offset + value), folder);
        }
    }

    private void AddRuns(ExtInode inode, int folder, uint number, long offset)
    {
        ulong size = _sb.Incompat.HasFlag(ExtIncompat.LargeDir) ? inode.Size : inode.SizeLow;
        if (size > long.MaxValue - (ulong)_sb.BlockBytes)
        {
            throw new DiskFormatException(Fault.Corrupt, "ext4_inode", offset + 4, "bad i_size");
        }

        IExtentMap map = _volume.BlockMap(inode, number, (long)size);
        using var owned = map as IDisposable;
        for (long at = 0; at < map.Length;)
        {
            if (++_steps > _mostSteps)
            {
                throw new DiskFormatException(Fault.Limit, "folder blocks", offset, $"more than {_mostSteps} runs of blocks");
            }

            Extent extent = map.Map(at, map.Length - at);
            if (extent.Kind == ExtentKind.Data)
            {
                long blocks = (extent.Length + _sb.BlockBytes - 1) >> _sb.BlockShift;
                _blocks += blocks;
                if (_blocks > _sb.BlocksCount)
                {
                    throw new DiskFormatException(Fault.Corrupt, "folder blocks", offset, "folders claim more blocks than there are");
                }

                for (long block = extent.Location >> _sb.BlockShift; blocks > 0;)
                {
                    int count = (int)Math.Min(blocks, int.MaxValue);
                    _runs.Add(new Run(block, count, folder));
                    block += count;
                    blocks -= count;
                }
            }

            at += extent.Length;
        }
    }

    private void ReadFolders()
    {
        _runs.Sort((a, b) => a.Block.CompareTo(b.Block));
        using RentedBuffer window = _context.Budget.Rent(Math.Max(WindowBytes, _sb.BlockBytes));
        int most = window.Length >> _sb.BlockShift;
        long from = 0, to = 0, done = 0;
        for (int i = 0; i < _runs.Count && !_full; i++)
        {
            Run run = _runs[i];
            long end = run.Block + run.Count;
            if (run.Block < done)
            {
                Delay(run.Folder, new CoverageGap(Fault.Corrupt, "", "folder blocks", run.Block << _sb.BlockShift, 0, "blocks that belong to another folder too"));
            }

            for (long block = Math.Max(run.Block, done); block < end && !_full; block++)
            {
                if (block >= to)
                {
                    _context.ThrowIfCancelled();
                    if (SkipHole(ref block, end))
                    {
                        block--;
                        continue;
                    }

                    (from, to) = Fill(window, block, Ahead(i, block, most), run.Folder);
                    if (to == from)
                    {
                        continue;
                    }
                }

                ReadOnlySpan<byte> bytes = window.Span.Slice((int)(block - from) << _sb.BlockShift, _sb.BlockBytes);
                ReadBlock(new LeView(bytes, "ext4_dir_entry", block << _sb.BlockShift), run.Folder);
            }

            done = Math.Max(done, end);
        }

        _runs.Clear();
    }

    // A block that is not even stored has no entries; a hostile folder may claim terabytes of them.
    private bool SkipHole(ref long block, long end)
    {
        long offset = block << _sb.BlockShift;
        if (offset >= _volume.Source.Length)
        {
            return false;
        }

        StoredExtent stored = _volume.Source.Locate(offset, Math.Min((end - block) << _sb.BlockShift, _volume.Source.Length - offset));
        if (stored.IsStored || stored.Length < _sb.BlockBytes)
        {
            return false;
        }

        block += stored.Length >> _sb.BlockShift;
        return true;
    }

    // How many blocks to read at once from here, over small gaps between folders too.
    private int Ahead(int run, long block, int most)
    {
        long pass = Math.Max(1, PassOverBytes >> _sb.BlockShift);
        long end = _runs[run].Block + _runs[run].Count;
        for (int next = run + 1; next < _runs.Count && _runs[next].Block <= end + pass && end - block < most; next++)
        {
            end = Math.Max(end, _runs[next].Block + _runs[next].Count);
        }

        return (int)Math.Min(end - block, most);
    }

    private (long From, long To) Fill(RentedBuffer window, long block, int count, int folder)
    {
        for (int blocks = count; ; blocks = 1)
        {
            try
            {
                _volume.Source.Read(block << _sb.BlockShift, window.Span[..(blocks << _sb.BlockShift)]);
                return (block, block + blocks);
            }
            catch (DiskFormatException) when (blocks > 1)
            {
                // Something ahead is missing: this block alone may be there.
            }
            catch (DiskFormatException e)
            {
                Delay(folder, new CoverageGap(e, "", _sb.BlockBytes));
                return (block, block);
            }
        }
    }

    private void ReadBlock(LeView block, int folder)
    {
        if (_sb.HasMetadataChecksum && DirectoryBlock.HasBadChecksum(block.Bytes, _folderFacts[folder].Seed))
        {
            Delay(folder, new CoverageGap(Fault.Corrupt, "", "ext4_dir_entry_tail", block.Offset, 0, "bad checksum of a folder's block"));
        }

        try
        {
            AddEntries(block, folder);
        }
        catch (DiskFormatException e)
        {
            Delay(folder, new CoverageGap(e, "", 0));
        }
    }

    private void AddEntries(LeView view, int folder)
    {
        var entries = new DirectoryBlock(view);
        while (!_full && entries.Next())
        {
            uint inode = entries.Inode;
            ReadOnlySpan<byte> name = entries.Name;
            if (name[0] == '.' && (name.Length == 1 || (name.Length == 2 && name[1] == '.')))
            {
                if (name.Length == 2)
                {
                    Folders.SetParent(folder, inode);
                }

                continue;
            }

            if (_volume.Changes is null || !IsUnlinked(folder, inode, name))
            {
                AddName(inode, folder, name, view.Offset);
            }
        }
    }

    // A name that fast commits took away; one that they set stays what the folder says it is.
    private bool IsUnlinked(int folder, uint inode, ReadOnlySpan<byte> name)
    {
        (uint, string) key = ((uint)Folders.InodeOf(folder), Encoding.Latin1.GetString(name));
        if (!_volume.Changes!.Names.TryGetValue(key, out FastCommits.NameEdit? edit))
        {
            return false;
        }

        if (edit.Removed.Contains(inode))
        {
            return true;
        }

        _settled.Add(key);
        return false;
    }

    // Once a folder's own entries are read, the names that fast commits add to it.
    private void AddChangedNames()
    {
        if (_volume.Changes is null)
        {
            return;
        }

        foreach (((uint folderInode, string name), FastCommits.NameEdit edit) in _volume.Changes.Names)
        {
            if (edit.Inode != 0 && Folders.TryNumberOf(folderInode, out int folder) && _settled.Add((folderInode, name)))
            {
                AddName(edit.Inode, folder, Encoding.Latin1.GetBytes(name), -1);
            }
        }
    }

    private void AddName(uint inode, int folder, ReadOnlySpan<byte> name, long offset)
    {
        int group = _volume.Groups.IndexOf(inode);
        if (group < 0 || inode < _sb.FirstIno)
        {
            string why = group < 0 && inode <= _sb.InodesCount && inode != 0 ? "of a damaged group" : "that no file can have";
            Delay(folder, new CoverageGap(Fault.Corrupt, "", "ext4_dir_entry", offset, 0, $"a name leads to inode {inode} {why}"));
            return;
        }

        uint index = (inode - 1) % _sb.InodesPerGroup;
        if (index >= _scanned[group] && index >= _wanted[group])
        {
            _wanted[group] = index + 1;
            _more = true;
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
