using System.Globalization;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems.Btrfs.Trees;

namespace Vmsweep.DiskReaders.FileSystems.Btrfs.Logs;

/// <summary>
/// The log trees: what fsync made durable after the last commit. A mount replays them; so does this, in memory. A log tree holds items as the
/// subvolume's tree would, for the inodes that were synced, and for folders the ranges of indexes in which it holds all names there are.
/// </summary>
internal static class LogReplay
{
    public static void Replay(BtrfsVolume volume, List<string> notes)
    {
        BtrfsSuperblock super = volume.Super;
        if (super.LogRoot == 0)
        {
            return;
        }

        try
        {
            int inodes = 0;
            SortedList<long, byte[]> sums = [];
            foreach (TreeRoot log in Logs(volume))
            {
                if (volume.Roots.ById.GetValueOrDefault(log.Id) is not { } subvolume)
                {
                    continue;
                }

                var items = LogItems.Read(volume, log, sums);
                using var replay = new SubvolumeReplay(volume, subvolume, items);
                subvolume.Changes = replay.Run();
                inodes += subvolume.Changes.Count;
            }

            volume.Sums.Overlay(sums);
            notes.Add(string.Create(CultureInfo.InvariantCulture, $"log tree replayed: {inodes} inodes"));
        }
        catch (DiskFormatException e)
        {
            volume.Context.Gaps.Add(new CoverageGap(e, "", 0) { Detail = $"{e.Detail}; the log tree was not replayed in full: what was written last may be missing" });
        }
    }

    // The tree of log trees: a root for each subvolume, under the subvolume's id. It is one generation ahead of the superblock.
    private static List<TreeRoot> Logs(BtrfsVolume volume)
    {
        BtrfsSuperblock super = volume.Super;
        List<TreeRoot> logs = [];
        ulong generation = unchecked(super.Generation + 1);
        using TreeCursor cursor = volume.Open(new TreeRoot(ObjectId.TreeLog, super.LogRoot, super.LogRootLevel, generation));
        if (!cursor.Seek(new BtrfsKey(ObjectId.TreeLog, 0, 0), out int index))
        {
            return logs;
        }

        index = Math.Max(0, index);
        do
        {
            Node leaf = cursor.Leaf;
            for (; index < leaf.Count; index++)
            {
                BtrfsKey key = leaf.Key(index);
                if (key is { Id: ObjectId.TreeLog, Type: ItemType.Root })
                {
                    logs.Add(SubvolumeTable.RootOf(key.Offset, new LeView(leaf.Data(index), "btrfs_root_item", (long)leaf.Logical)));
                }
            }

            index = 0;
        }
        while (cursor.NextLeaf());

        return logs;
    }
}

/// <summary>One item of a log tree.</summary>
internal readonly record struct LogItem(BtrfsKey Key, byte[] Data, long At);

/// <summary>All items of a log tree that matter, in order.</summary>
internal static class LogItems
{
    private const long MostBytes = 64 << 20;
    private const int BytesPerItem = 96;

    /// <param name="sums">Filled with the log's checksums of data.</param>
    public static List<LogItem> Read(BtrfsVolume volume, TreeRoot log, SortedList<long, byte[]> sums)
    {
        List<LogItem> items = [];
        long bytes = 0;
        using TreeCursor cursor = volume.Open(log, bulk: true);
        if (!cursor.Seek(BtrfsKey.Least, out _))
        {
            return items;
        }

        do
        {
            Node leaf = cursor.Leaf;
            for (int i = 0; i < leaf.Count; i++)
            {
                BtrfsKey key = leaf.Key(i);
                bytes += leaf.RawDataBytes(i) + BytesPerItem;
                if (bytes > Math.Min(MostBytes, volume.Context.Budget.CeilingBytes))
                {
                    throw new DiskFormatException(Fault.Limit, "log tree", (long)leaf.Logical, $"more than {MostBytes} bytes of items");
                }

                if (key is { Id: ObjectId.ExtentCsum, Type: ItemType.ExtentCsum } && key.Offset <= (ulong)BtrfsSuperblock.MostAddress)
                {
                    sums[(long)key.Offset] = leaf.Data(i).ToArray();
                }
                else if (key.Type is ItemType.Inode or ItemType.InodeRef or ItemType.InodeExtRef or ItemType.DirLogIndex or ItemType.DirIndex or ItemType.ExtentData)
                {
                    items.Add(new LogItem(key, leaf.Data(i).ToArray(), (long)leaf.Logical + leaf.DataAt(i)));
                }
            }
        }
        while (cursor.NextLeaf());

        return items;
    }
}
