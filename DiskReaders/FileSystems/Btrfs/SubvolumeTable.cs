using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems.Btrfs.Trees;
using Vmsweep.DiskReaders.FileSystems.Btrfs.Walking;

namespace Vmsweep.DiskReaders.FileSystems.Btrfs;

/// <summary>Where a subvolume stands in another: <c>ROOT_REF</c>.</summary>
internal sealed record SubvolumePlace(ulong Parent, ulong Folder, byte[] Name, ulong Child);

/// <summary>A tree of files: the top level, a subvolume or a snapshot.</summary>
internal sealed class Subvolume(TreeRoot root, ulong rootFolder)
{
    public TreeRoot Root { get; } = root;

    public ulong Id => Root.Id;

    /// <summary><c>root_dirid</c>: the inode of its own topmost folder.</summary>
    public ulong RootFolder { get; } = rootFolder;

    /// <summary>What a log tree changes in it; null when nothing.</summary>
    public Logs.LoggedChanges? Changes { get; set; }
}

/// <summary>What the root tree says: subvolumes and where they stand, and the checksum tree.</summary>
internal sealed class SubvolumeTable
{
    private const string Structure = "btrfs_root_item";
    private const int LeastItemBytes = 0xEF;
    private const int RefHeaderBytes = 18;

    private readonly Dictionary<ulong, Subvolume> _byId = [];
    private readonly List<SubvolumePlace> _places = [];

    private SubvolumeTable()
    {
    }

    public TreeRoot? CsumTree { get; private set; }

    /// <summary>The subvolume that a mount shows where none is named; the top level unless another was chosen.</summary>
    public ulong Default { get; private set; } = ObjectId.FsTree;

    public IReadOnlyDictionary<ulong, Subvolume> ById => _byId;

    public IReadOnlyList<SubvolumePlace> Places => _places;

    /// <param name="most">How many subvolumes and places there may be.</param>
    public static SubvolumeTable Read(BtrfsVolume volume, TreeRoot root, int most)
    {
        var table = new SubvolumeTable();
        ReadContext context = volume.Context;
        using TreeCursor cursor = volume.Open(root, bulk: true);
        bool isLost = false;
        DiskFormatException? fault = null;
        cursor.Lost = (from, below, e) =>
        {
            isLost = true;
            fault ??= e;
            context.Gaps.Add(new CoverageGap(e, "", 0) { Detail = $"{e.Detail}; trees from {from.Id} to {below.Id} may be missing" });
        };
        if (!cursor.Seek(BtrfsKey.Least, out _))
        {
            throw fault ?? new DiskFormatException(Fault.Corrupt, "root tree", root.Logical, "it is empty");
        }

        do
        {
            Node leaf = cursor.Leaf;
            for (int i = 0; i < leaf.Count; i++)
            {
                try
                {
                    table.Add(leaf, i, most);
                }
                catch (DiskFormatException e)
                {
                    context.Gaps.Add(new CoverageGap(e, $"tree {leaf.Key(i).Id}", 0));
                }
            }
        }
        while (cursor.NextLeaf());

        if (!table._byId.ContainsKey(ObjectId.FsTree) && !isLost)
        {
            context.Gaps.Add(new CoverageGap(Fault.Corrupt, "", "root tree", root.Logical, 0, "there is no top-level subvolume"));
        }

        return table;
    }

    /// <summary>Reads where a tree begins. Of several roots of one tree the last is the newest.</summary>
    public static TreeRoot RootOf(ulong id, LeView v)
    {
        v.Require(v.Length >= LeastItemBytes, 0, "size");
        long logical = v.NonNegative64(0xB0, "bytenr");
        int level = v.U8(0xEE);
        v.Require(logical <= BtrfsSuperblock.MostAddress, 0xB0, "bytenr");
        v.Require(level <= 7, 0xEE, "level");
        return new TreeRoot(id, logical, level, v.U64(0xA0));
    }

    private void Add(Node leaf, int index, int most)
    {
        BtrfsKey key = leaf.Key(index);
        if (key.Type == ItemType.Root && (ObjectId.IsSubvolume(key.Id) || key.Id == ObjectId.CsumTree))
        {
            var view = new LeView(leaf.Data(index), Structure, (long)leaf.Logical);
            TreeRoot root = RootOf(key.Id, view);
            if (key.Id == ObjectId.CsumTree)
            {
                CsumTree = root;
            }
            else if (view.U32(0xD8) > 0)
            {
                Check(most);
                _byId[key.Id] = new Subvolume(root, view.U64(0xA8));
            }
        }
        else if (key.Type == ItemType.RootRef && ObjectId.IsSubvolume(key.Id) && ObjectId.IsSubvolume(key.Offset))
        {
            Check(most);
            var view = new LeView(leaf.Data(index), "btrfs_root_ref", (long)leaf.Logical);
            int length = view.U16(16);
            _places.Add(new SubvolumePlace(key.Id, view.U64(0), view.Field(RefHeaderBytes, length).ToArray(), key.Offset));
        }
        else if (key is { Id: ObjectId.RootTreeFolder, Type: ItemType.DirItem })
        {
            ReadDefault(new LeView(leaf.Data(index), "btrfs_dir_item", (long)leaf.Logical));
        }
    }

    // The root tree has one folder, and this the one name in it.
    private void ReadDefault(LeView view)
    {
        for (int at = 0; at < view.Length;)
        {
            var item = new DirItem(view.Inner(at, view.Length - at, "btrfs_dir_item"));
            if (item.Name.SequenceEqual("default"u8))
            {
                Default = item.Location.Id;
            }

            at += item.Bytes;
        }
    }

    private void Check(int most)
    {
        if (_byId.Count + _places.Count >= most)
        {
            throw new DiskFormatException(Fault.Limit, Structure, -1, $"more than {most} subvolumes");
        }
    }
}
