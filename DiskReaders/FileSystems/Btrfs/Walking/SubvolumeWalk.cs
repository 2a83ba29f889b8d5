using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems.Btrfs.Logs;
using Vmsweep.DiskReaders.FileSystems.Btrfs.Trees;

namespace Vmsweep.DiskReaders.FileSystems.Btrfs.Walking;

/// <summary>
/// Lists one subvolume: a first pass over its leaves finds the folders, a second one the files, whose inode, names and extents lie beside
/// each other.
/// </summary>
internal sealed class SubvolumeWalk
{
    private const ulong EmptyFolderInode = 2;      // BTRFS_EMPTY_SUBVOL_DIR_OBJECTID
    private const int MostOrphans = 1 << 20;

    private readonly BtrfsVolume _volume;
    private readonly Subvolume _subvolume;
    private readonly HashSet<ulong> _orphans = [];
    private readonly HashSet<(ulong Folder, string Name)> _subvolumes;
    private BtrfsKey _lostFrom;
    private BtrfsKey _lostBelow;
    private DiskFormatException? _lost;

    /// <param name="place">Where the subvolume's root folder stands.</param>
    public SubvolumeWalk(BtrfsVolume volume, Subvolume subvolume, GuestFolder place)
    {
        _volume = volume;
        _subvolume = subvolume;
        Folders = new FolderTable(place, subvolume.RootFolder, volume.Context);
        _subvolumes = [.. volume.Roots.Places.Where(p => p.Parent == subvolume.Id).Select(p => (p.Folder, System.Text.Encoding.Latin1.GetString(p.Name)))];
    }

    public FolderTable Folders { get; }

    /// <summary>The first pass.</summary>
    public void FindFolders()
    {
        LoggedChanges? changes = _subvolume.Changes;
        using TreeCursor cursor = _volume.Open(_subvolume.Root, bulk: true);
        bool isWhole = true;
        cursor.Lost = (_, _, _) => isWhole = false;
        ulong names = 0, entries = 0;
        if (cursor.Seek(new BtrfsKey(ObjectId.FirstFree, 0, 0), out int index))
        {
            index = Math.Max(0, index);
            do
            {
                Node leaf = cursor.Leaf;
                for (; index < leaf.Count; index++)
                {
                    BtrfsKey key = leaf.Key(index);
                    if (key.Type > ItemType.DirIndex || changes?.Covers(key.Id) == true)
                    {
                        continue;
                    }

                    try
                    {
                        First(key, new LeView(leaf.Data(index), "folders", (long)leaf.Logical + leaf.DataAt(index)), ref names, ref entries);
                    }
                    catch (DiskFormatException e) when (e.Fault != Fault.Limit)
                    {
                        // The second pass meets the item again and reports it.
                        isWhole = false;
                    }
                }

                index = 0;
            }
            while (cursor.NextLeaf());
        }

        if (isWhole && changes is null && names != entries)
        {
            _volume.Context.Gaps.Add(new CoverageGap(Fault.Corrupt, "", "btrfs_dir_item", -1, 0, $"the names in the folders of subvolume {_subvolume.Id} are not those of its files: paths may be others than the guest sees"));
        }

        changes?.AddFolders(Folders);
    }

    /// <summary>The second pass.</summary>
    public IEnumerable<BtrfsFile> Files()
    {
        LoggedChanges? changes = _subvolume.Changes;
        var inode = new InodeAssembler(_volume, _subvolume, Folders, _orphans);
        inode.Begin(0);
        List<BtrfsFile> found = [];
        using TreeCursor cursor = _volume.Open(_subvolume.Root, bulk: true);
        cursor.Lost = Lose;
        if (cursor.Seek(new BtrfsKey(ObjectId.FirstFree, 0, 0), out int index))
        {
            index = Math.Max(0, index);
            do
            {
                Second(cursor.Leaf, index, inode, changes, found);
                index = 0;
                foreach (BtrfsFile file in found)
                {
                    yield return file;
                }

                found.Clear();
            }
            while (cursor.NextLeaf());
        }

        if (End(inode) is { } last)
        {
            yield return last;
        }

        if (changes is not null)
        {
            foreach (BtrfsFile file in changes.Files(inode))
            {
                yield return file;
            }
        }
    }

    private void First(BtrfsKey key, LeView data, ref ulong names, ref ulong entries)
    {
        switch (key.Type)
        {
            case ItemType.Inode:
                if (new InodeItem(data).IsFolder)
                {
                    Folders.Add(key.Id);
                }

                break;
            case ItemType.InodeRef or ItemType.InodeExtRef when key.Id != _subvolume.RootFolder:
                var items = new NameItems(data, key);
                while (items.Next())
                {
                    Folders.Name(key.Id, items.Folder, items.Name);
                    names = unchecked(names + NameSum.Of(items.Folder, items.Index, key.Id, items.Name));
                }

                break;
            case ItemType.DirIndex:
                var entry = new DirItem(data);
                if (entry.Location.Type == ItemType.Inode)
                {
                    entries = unchecked(entries + NameSum.Of(key.Id, key.Offset, entry.Location.Id, entry.Name));
                }

                break;
            case ItemType.Orphan when key.Id == ObjectId.Orphan && _orphans.Count < MostOrphans:
                _orphans.Add(key.Offset);
                break;
            default:
                break;
        }
    }

    private void Second(Node leaf, int index, InodeAssembler inode, LoggedChanges? changes, List<BtrfsFile> found)
    {
        for (; index < leaf.Count; index++)
        {
            BtrfsKey key = leaf.Key(index);
            if (key.Id is < ObjectId.FirstFree or > ObjectId.LastFree)
            {
                continue;
            }

            long at = (long)leaf.Logical + leaf.DataAt(index);
            if (key.Type == ItemType.DirIndex)
            {
                if (NestedSubvolume(key, new LeView(leaf.Data(index), "btrfs_dir_item", at)) is { } nested)
                {
                    found.Add(nested);
                }

                continue;
            }

            if (changes?.Covers(key.Id) == true)
            {
                continue;
            }

            if (key.Id != inode.Number)
            {
                if (End(inode) is { } file)
                {
                    found.Add(file);
                }

                inode.Begin(key.Id);
            }

            if (key.Type is ItemType.Inode or ItemType.InodeRef or ItemType.InodeExtRef or ItemType.ExtentData)
            {
                inode.Add(key, leaf.Data(index), at);
            }
        }
    }

    private BtrfsFile? End(InodeAssembler inode)
    {
        if (_lost is not null && _lostFrom <= new BtrfsKey(inode.Number, byte.MaxValue, ulong.MaxValue) && _lostBelow > new BtrfsKey(inode.Number, 0, 0))
        {
            inode.Spoil(_lost);
        }

        return inode.End();
    }

    // A snapshot keeps the names of subvolumes that its original holds, but not what they lead to: Linux shows an empty folder.
    private BtrfsFile? NestedSubvolume(BtrfsKey key, LeView data)
    {
        try
        {
            var entry = new DirItem(data);
            if (entry.Location.Type != ItemType.Root || _subvolumes.Contains((key.Id, System.Text.Encoding.Latin1.GetString(entry.Name))))
            {
                return null;
            }

            GuestFolder? place = Folders.PlaceOf(key.Id);
            return place is null ? null : new BtrfsFile
            {
                Kind = GuestFileKind.Folder,
                Id = EmptyFolderInode,
                SizeBytes = 0,
                FirstByte = -1,
                Links = [new GuestLink(place, FolderTable.Clean(entry.Name))],
                Subvolume = _subvolume,
            };
        }
        catch (DiskFormatException e)
        {
            _volume.Context.Gaps.Add(new CoverageGap(e, $"inode {key.Id}", 0));
            return null;
        }
    }

    private void Lose(BtrfsKey from, BtrfsKey below, DiskFormatException e)
    {
        _lostFrom = _lost is not null && _lostBelow == from ? _lostFrom : from;
        _lostBelow = below;
        _lost = e;
        _volume.Context.Gaps.Add(new CoverageGap(e, "", 0) { Detail = $"{e.Detail}; of subvolume {_subvolume.Id} inodes {from.Id} to {below.Id} may be missing" });
    }
}
