using System.Buffers.Binary;
using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems.Btrfs.Content;
using Vmsweep.DiskReaders.FileSystems.Btrfs.Trees;
using Vmsweep.DiskReaders.FileSystems.Btrfs.Walking;

namespace Vmsweep.DiskReaders.FileSystems.Btrfs.Logs;

/// <summary>
/// Replays one log tree over its subvolume, in three rounds as a mount does: inodes, and names that are gone from logged folders; then names
/// that logged folders have; then names and extents that logged inodes have.
/// </summary>
internal sealed class SubvolumeReplay(BtrfsVolume volume, Subvolume subvolume, List<LogItem> items) : IDisposable
{
    private const string InodeStructure = "btrfs_inode_item";

    private readonly BaseTree _base = new(volume, subvolume.Root);
    private readonly Dictionary<ulong, LoggedInode> _inodes = [];
    private readonly Dictionary<(ulong Folder, string Name), ulong> _added = [];
    private readonly HashSet<ulong> _ignored = [];
    private readonly HashSet<(ulong Folder, ulong Index, string Name)> _loggedEntries = [];
    private readonly HashSet<(ulong Inode, ulong Folder, string Name)> _loggedNames = [];
    private readonly int _sectorBytes = volume.Super.SectorBytes;

    public LoggedChanges Run()
    {
        Prepare();
        ForEach(ItemType.Inode, ReplayInode);
        ForEach(ItemType.DirLogIndex, ReplayRange);
        ForEach(ItemType.DirIndex, ReplayEntry);
        ForEach(ItemType.InodeRef, ReplayNames);
        ForEach(ItemType.InodeExtRef, ReplayNames);
        ForEach(ItemType.ExtentData, ReplayExtent);
        RemoveBelowGoneFolders();
        return new LoggedChanges(_inodes);
    }

    public void Dispose() => _base.Dispose();

    private static string Text(ReadOnlySpan<byte> name) => Encoding.Latin1.GetString(name);

    private void Prepare()
    {
        foreach (LogItem item in items)
        {
            if (item.Key.Type == ItemType.Inode && new InodeItem(new LeView(item.Data, InodeStructure, item.At)).Links == 0)
            {
                // Synced after its last name was removed: nothing of it is replayed.
                _ignored.Add(item.Key.Id);
            }
            else if (item.Key.Type == ItemType.DirIndex)
            {
                _loggedEntries.Add((item.Key.Id, item.Key.Offset, Text(new DirItem(new LeView(item.Data, "btrfs_dir_item", item.At)).Name)));
            }
            else if (item.Key.Type is ItemType.InodeRef or ItemType.InodeExtRef)
            {
                foreach (LoggedName name in BaseTree.Names(item.Key, item.Data, item.At))
                {
                    _loggedNames.Add((item.Key.Id, name.Folder, Text(name.Name)));
                }
            }
        }
    }

    private void ForEach(byte type, Action<LogItem> replay)
    {
        foreach (LogItem item in items)
        {
            if (item.Key.Type == type && !_ignored.Contains(item.Key.Id))
            {
                volume.Context.ThrowIfCancelled();
                replay(item);
            }
        }
    }

    /// <summary>An inode as it is so far; null when there is none.</summary>
    private LoggedInode? Of(ulong number)
    {
        if (!_inodes.TryGetValue(number, out LoggedInode? inode))
        {
            inode = _base.Read(number);
            if (inode is not null)
            {
                _inodes.Add(number, inode);
            }
        }

        return inode?.Inode is null ? null : inode;
    }

    private bool Exists(ulong number) => _inodes.TryGetValue(number, out LoggedInode? inode) ? inode.Inode is not null : _base.Exists(number);

    private void ReplayInode(LogItem item)
    {
        ulong number = item.Key.Id;
        var logged = new InodeItem(new LeView(item.Data, InodeStructure, item.At));
        LoggedInode? inode = Of(number);
        if (inode is null)
        {
            _inodes[number] = inode = new LoggedInode(number) { Inode = logged };
        }
        else if (logged.Generation == 0)
        {
            // Logged only to say that it exists, perhaps with the size it has.
            InodeItem there = inode.Inode!.Value;
            if (there.IsRegular && logged.IsRegular && logged.SizeBytes != 0)
            {
                inode.Inode = there with { SizeBytes = logged.SizeBytes };
            }
        }
        else
        {
            inode.Inode = logged;
        }

        if (inode.Inode is { IsRegular: true } regular && regular.SizeBytes <= long.MaxValue / 2)
        {
            inode.Drop(((long)regular.SizeBytes + _sectorBytes - 1) / _sectorBytes * _sectorBytes, long.MaxValue);
        }
    }

    // DIR_LOG_INDEX: from its key's offset to the index it holds, the log has all names of the folder.
    private void ReplayRange(LogItem item)
    {
        if (item.Data.Length < 8)
        {
            throw new DiskFormatException(Fault.Corrupt, "btrfs_dir_log_item", item.At, "bad size");
        }

        foreach ((LoggedName name, ulong child) in _base.Entries(item.Key.Id, item.Key.Offset, BinaryPrimitives.ReadUInt64LittleEndian(item.Data)))
        {
            if (!_loggedEntries.Contains((name.Folder, name.Index, Text(name.Name))))
            {
                Unlink(child, name.Folder, name.Name);
            }
        }
    }

    private void ReplayEntry(LogItem item)
    {
        var entry = new DirItem(new LeView(item.Data, "btrfs_dir_item", item.At));
        ulong child = entry.Location.Id;
        string text = Text(entry.Name);

        // Names that the child's own items bring come with those.
        if (entry.Location.Type == ItemType.Inode && Exists(item.Key.Id) && Exists(child) && !_loggedNames.Contains((child, item.Key.Id, text)))
        {
            Link(child, new LoggedName(item.Key.Id, item.Key.Offset, entry.Name.ToArray()));
        }
    }

    private void ReplayNames(LogItem item)
    {
        if (item.Key.Id == subvolume.RootFolder || Of(item.Key.Id) is not { } inode)
        {
            return;
        }

        List<LoggedName> names = BaseTree.Names(item.Key, item.Data, item.At);
        foreach (ulong folder in names.Select(n => n.Folder).Distinct().ToList())
        {
            // All names in one folder stand in one item, but for those that did not fit.
            if (item.Key.Type == ItemType.InodeRef)
            {
                foreach (LoggedName old in inode.Names.Where(n => n.Folder == folder && !_loggedNames.Contains((inode.Number, folder, Text(n.Name)))).ToList())
                {
                    Unlink(inode.Number, folder, old.Name);
                }
            }
        }

        foreach (LoggedName name in names)
        {
            if (Exists(name.Folder))
            {
                Link(inode.Number, name);
            }
        }
    }

    private void ReplayExtent(LogItem item)
    {
        if (Of(item.Key.Id) is not { } inode)
        {
            return;
        }

        FileExtent extent = FileExtent.Read(new LeView(item.Data, "btrfs_file_extent_item", item.At), item.Key.Offset, _sectorBytes);
        inode.Put(extent, _sectorBytes);
        if (extent.Kind == FileExtentKind.Inline)
        {
            inode.Inline = item.Data;
            inode.InlineAt = item.At + FileExtent.InlineHeaderBytes;
        }
    }

    private void Link(ulong child, LoggedName name)
    {
        ulong holder = HolderOf(name.Folder, name.Name);
        if (holder == child)
        {
            return;
        }

        if (holder != 0)
        {
            Unlink(holder, name.Folder, name.Name);
        }

        foreach ((LoggedName old, ulong other) in _base.Entries(name.Folder, name.Index, name.Index))
        {
            if (HolderOf(name.Folder, old.Name) == other && Of(other)?.Names.Exists(n => n.Index == name.Index && n.Is(old.Folder, old.Name)) == true)
            {
                Unlink(other, old.Folder, old.Name);
            }
        }

        if (Of(child) is { } inode)
        {
            inode.Names.Add(name);
            _added[(name.Folder, Text(name.Name))] = child;
        }
    }

    private ulong HolderOf(ulong folder, byte[] name)
    {
        if (_added.TryGetValue((folder, Text(name)), out ulong added))
        {
            return added;
        }

        ulong holder = _base.Find(folder, name);
        return holder != 0 && _inodes.TryGetValue(holder, out LoggedInode? inode) && !inode.Names.Exists(n => n.Is(folder, name)) ? 0 : holder;
    }

    private void Unlink(ulong child, ulong folder, byte[] name)
    {
        if (Of(child) is { } inode)
        {
            inode.Names.RemoveAll(n => n.Is(folder, name));
        }

        if (_added.TryGetValue((folder, Text(name)), out ulong added) && added == child)
        {
            _added.Remove((folder, Text(name)));
        }
    }

    // A folder without a name is removed with all it holds.
    private void RemoveBelowGoneFolders()
    {
        HashSet<ulong> done = [subvolume.RootFolder];
        var gone = new Queue<LoggedInode>(_inodes.Values.Where(i => i is { Inode.IsFolder: true, Names.Count: 0 }));
        while (gone.TryDequeue(out LoggedInode? folder))
        {
            volume.Context.ThrowIfCancelled();
            if (!done.Add(folder.Number))
            {
                continue;
            }

            foreach ((LoggedName name, ulong child) in _base.Entries(folder.Number, 0, ulong.MaxValue))
            {
                Unlink(child, folder.Number, name.Name);
                if (_inodes.GetValueOrDefault(child) is { Inode.IsFolder: true, Names.Count: 0 } below)
                {
                    gone.Enqueue(below);
                }
            }
        }
    }
}
