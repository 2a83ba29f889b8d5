using System.Globalization;
using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Btrfs.Walking;

/// <summary>
/// The folders of one subvolume by inode, and their places once all are known. One that no name leads to, or whose names lead in a circle,
/// stands below <c>$OrphanFiles</c>.
/// </summary>
internal sealed class FolderTable(GuestFolder root, ulong rootInode, ReadContext context)
{
    // Deeper nesting restarts a path below $OrphanFiles: each level costs its length in every path below it.
    private const int MostDepth = 1000;
    private const int BytesPerFolder = 256;

    private static readonly byte[] OrphanName = "$OrphanFiles"u8.ToArray();

    private readonly Dictionary<ulong, Folder> _byInode = [];
    private readonly int _most = (int)Math.Min(int.MaxValue, context.Budget.CeilingBytes / BytesPerFolder);
    private GuestFolder? _orphans;

    public GuestFolder Root => root;

    public GuestFolder Orphans => _orphans ??= new GuestFolder(root, OrphanName);

    public static byte[] OrphanNameOf(ulong inode) => Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"#{inode}"));

    /// <summary>A name as a path can hold it: what separates or ends names is written as <c>%2F</c> and <c>%00</c>.</summary>
    public static byte[] Clean(ReadOnlySpan<byte> name) => IsClean(name)
        ? name.ToArray()
        : [.. name.ToArray().SelectMany(b => b switch { (byte)'/' => "%2F"u8.ToArray(), 0 => "%00"u8.ToArray(), _ => [b] })];

    public static bool IsClean(ReadOnlySpan<byte> name) => name.IndexOfAny((byte)'/', (byte)0) < 0;

    /// <exception cref="DiskFormatException"><see cref="Fault.Limit"/>: too many folders for the memory there is.</exception>
    public void Add(ulong inode)
    {
        if (_byInode.Count >= _most)
        {
            throw new DiskFormatException(Fault.Limit, "folders", -1, $"more than {_most} folders");
        }

        _byInode.TryAdd(inode, new Folder());
    }

    /// <summary>Says where a folder stands; the first name counts, as a folder has one only.</summary>
    public void Name(ulong inode, ulong parent, ReadOnlySpan<byte> name)
    {
        if (_byInode.TryGetValue(inode, out Folder? folder) && folder.Name is null && inode != rootInode)
        {
            folder.Parent = parent;
            folder.Name = Clean(name);
        }
    }

    public bool Has(ulong inode) => inode == rootInode || _byInode.ContainsKey(inode);

    /// <summary>The place of a folder; null when there is no such folder.</summary>
    public GuestFolder? PlaceOf(ulong inode)
    {
        if (inode == rootInode)
        {
            return root;
        }

        if (!_byInode.TryGetValue(inode, out Folder? start))
        {
            return null;
        }

        if (start.Place is not null)
        {
            return start.Place;
        }

        var path = new Stack<(ulong Inode, Folder Folder)>();
        ulong number = inode;
        Folder? at = start;
        while (true)
        {
            if (number == rootInode)
            {
                Settle(path, root, 0);
                break;
            }

            if (at is null || at.OnPath || at.Name is null || path.Count >= MostDepth)
            {
                if (at is not null && !at.OnPath)
                {
                    at.Place = new GuestFolder(Orphans, OrphanNameOf(number));
                    Settle(path, at.Place, 0);
                }
                else
                {
                    // The topmost has a parent that is none, or is below itself.
                    (ulong top, Folder topmost) = path.Pop();
                    topmost.OnPath = false;
                    topmost.Place = new GuestFolder(Orphans, OrphanNameOf(top));
                    Settle(path, topmost.Place, 0);
                }

                break;
            }

            if (at.Place is not null)
            {
                Settle(path, at.Place, at.Depth);
                break;
            }

            at.OnPath = true;
            path.Push((number, at));
            number = at.Parent;
            at = _byInode.GetValueOrDefault(number);
        }

        return start.Place;
    }

    private void Settle(Stack<(ulong Inode, Folder Folder)> path, GuestFolder above, int depth)
    {
        while (path.TryPop(out (ulong Inode, Folder Folder) next))
        {
            bool isDeep = ++depth >= MostDepth;
            depth = isDeep ? 0 : depth;
            next.Folder.OnPath = false;
            next.Folder.Depth = depth;
            next.Folder.Place = above = isDeep ? new GuestFolder(Orphans, OrphanNameOf(next.Inode)) : new GuestFolder(above, next.Folder.Name!);
        }
    }

    private sealed class Folder
    {
        public ulong Parent;
        public byte[]? Name;
        public GuestFolder? Place;
        public int Depth;
        public bool OnPath;
    }
}
