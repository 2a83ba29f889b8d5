using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems.Btrfs.Content;
using Vmsweep.DiskReaders.FileSystems.Btrfs.Trees;
using Vmsweep.DiskReaders.FileSystems.Btrfs.Walking;

namespace Vmsweep.DiskReaders.FileSystems.Btrfs.Logs;

/// <summary>The tree of a subvolume as the last commit left it, asked by item.</summary>
internal sealed class BaseTree(BtrfsVolume volume, TreeRoot root) : IDisposable
{
    // btrfs_name_hash: CRC-32C begun with ~1 and not inverted at the end.
    private const uint NameSeed = 0xFFFF_FFFE;
    private const int MostExtents = 1 << 20;

    private readonly TreeCursor _cursor = volume.Open(root);

    /// <summary>An inode with all its names and extents; null when there is none.</summary>
    public LoggedInode? Read(ulong number)
    {
        var inode = new LoggedInode(number);
        foreach ((BtrfsKey key, byte[] data, long at) in Items(new BtrfsKey(number, 0, 0), new BtrfsKey(number, ItemType.ExtentData, ulong.MaxValue), t => t is ItemType.Inode or ItemType.InodeRef or ItemType.InodeExtRef or ItemType.ExtentData))
        {
            switch (key.Type)
            {
                case ItemType.Inode:
                    inode.Inode = new InodeItem(new LeView(data, "btrfs_inode_item", at));
                    break;
                case ItemType.ExtentData:
                    FileExtent extent = FileExtent.Read(new LeView(data, "btrfs_file_extent_item", at), key.Offset, volume.Super.SectorBytes);
                    FileMap.RequireAfter(inode.Extents, extent);
                    if (inode.Extents.Count >= MostExtents)
                    {
                        throw new DiskFormatException(Fault.Limit, "btrfs_file_extent_item", at, $"more than {MostExtents} extents of a logged file");
                    }

                    inode.Extents.Add(extent);
                    if (extent.Kind == FileExtentKind.Inline)
                    {
                        inode.Inline = data;
                        inode.InlineAt = at + FileExtent.InlineHeaderBytes;
                    }

                    break;
                default:
                    inode.Names.AddRange(Names(key, data, at));
                    break;
            }
        }

        return inode.Inode is null ? null : inode;
    }

    public bool Exists(ulong number) => Items(new BtrfsKey(number, ItemType.Inode, 0), new BtrfsKey(number, ItemType.Inode, 0), _ => true).Any();

    /// <summary>What a name in a folder leads to; 0 for nothing or a subvolume.</summary>
    public ulong Find(ulong folder, ReadOnlySpan<byte> name)
    {
        var key = new BtrfsKey(folder, ItemType.DirItem, Crc32C.Update(NameSeed, name));
        foreach ((_, byte[] data, long at) in Items(key, key, _ => true))
        {
            // Names of the same hash follow each other in one item.
            var view = new LeView(data, "btrfs_dir_item", at);
            for (int from = 0; from < view.Length;)
            {
                var entry = new DirItem(view.Inner(from, view.Length - from, "btrfs_dir_item"));
                if (entry.Name.SequenceEqual(name))
                {
                    return entry.Location.Type == ItemType.Inode ? entry.Location.Id : 0;
                }

                from += entry.Bytes;
            }
        }

        return 0;
    }

    /// <summary>The names of a folder with indexes from one to another, and what they lead to.</summary>
    public List<(LoggedName Name, ulong Inode)> Entries(ulong folder, ulong from, ulong to)
    {
        List<(LoggedName, ulong)> entries = [];
        foreach ((BtrfsKey key, byte[] data, long at) in Items(new BtrfsKey(folder, ItemType.DirIndex, from), new BtrfsKey(folder, ItemType.DirIndex, to), _ => true))
        {
            var entry = new DirItem(new LeView(data, "btrfs_dir_item", at));
            if (entry.Location.Type == ItemType.Inode)
            {
                entries.Add((new LoggedName(folder, key.Offset, entry.Name.ToArray()), entry.Location.Id));
            }
        }

        return entries;
    }

    public static List<LoggedName> Names(BtrfsKey key, byte[] data, long at)
    {
        List<LoggedName> found = [];
        var names = new NameItems(new LeView(data, "btrfs_inode_ref", at), key);
        while (names.Next())
        {
            found.Add(new LoggedName(names.Folder, names.Index, names.Name.ToArray()));
        }

        return found;
    }

    public void Dispose() => _cursor.Dispose();

    private IEnumerable<(BtrfsKey Key, byte[] Data, long At)> Items(BtrfsKey from, BtrfsKey to, Func<byte, bool> wants)
    {
        if (!_cursor.Seek(from, out int index))
        {
            yield break;
        }

        index = Math.Max(0, index);
        do
        {
            for (; index < _cursor.Leaf.Count; index++)
            {
                BtrfsKey key = _cursor.Leaf.Key(index);
                if (key > to)
                {
                    yield break;
                }

                if (key >= from && wants(key.Type))
                {
                    yield return (key, _cursor.Leaf.Data(index).ToArray(), (long)_cursor.Leaf.Logical + _cursor.Leaf.DataAt(index));
                }
            }

            index = 0;
        }
        while (_cursor.NextLeaf());
    }
}
