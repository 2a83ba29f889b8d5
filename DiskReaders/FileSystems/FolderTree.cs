using System.Globalization;
using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems;

/// <summary>
/// The folders by number and by inode, and their paths once all names are known. A folder that no name leads to, or whose names lead in a
/// circle, stands below <c>$OrphanFiles</c>.
/// </summary>
internal sealed class FolderTree(ReadContext context, ulong rootInode)
{
    // Deeper nesting restarts a path below $OrphanFiles: each level costs its length in every path below it.
    private const int MostDepth = 1000;
    private const int BytesPerFolder = 256;

    private static readonly byte[] OrphanName = "$OrphanFiles"u8.ToArray();

    private readonly List<Node> _nodes = [];
    private readonly Dictionary<ulong, int> _byInode = [];
    private readonly int _most = (int)Math.Min(int.MaxValue, context.Budget.CeilingBytes / BytesPerFolder);
    private GuestFolder? _orphans;

    public GuestFolder Root { get; } = new(null, []);

    public GuestFolder Orphans => _orphans ??= new GuestFolder(Root, OrphanName);

    public int Count => _nodes.Count;

    /// <summary>Adds a folder; its number is <see cref="Count"/> before.</summary>
    /// <exception cref="DiskFormatException"><see cref="Fault.Limit"/>: too many folders for the memory there is.</exception>
    public int Add(ulong inode)
    {
        if (_nodes.Count >= _most)
        {
            throw new DiskFormatException(Fault.Limit, "folders", -1, $"more than {_most} folders");
        }

        _byInode.Add(inode, _nodes.Count);
        _nodes.Add(new Node(inode));
        return _nodes.Count - 1;
    }

    public ulong InodeOf(int folder) => _nodes[folder].Inode;

    public void SetParent(int folder, ulong parentInode) => _nodes[folder].ParentInode = parentInode;

    /// <summary>A folder's place, once resolved.</summary>
    public GuestFolder PlaceOf(int folder) => _nodes[folder].Place ?? Root;

    public bool TryNumberOf(ulong inode, out int folder) => _byInode.TryGetValue(inode, out folder);

    /// <summary>The name of a folder or file as a path can hold it: what separates or ends names is written as <c>%2F</c> and <c>%00</c>.</summary>
    public static byte[] Clean(ReadOnlySpan<byte> name) => name.IndexOfAny((byte)'/', (byte)0) < 0
        ? name.ToArray()
        : [.. name.ToArray().SelectMany(b => b switch { (byte)'/' => "%2F"u8.ToArray(), 0 => "%00"u8.ToArray(), _ => [b] })];

    /// <summary>The name of something that has none.</summary>
    public static byte[] OrphanNameOf(ulong inode) => Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"#{inode}"));

    /// <summary>Gives every folder its place.</summary>
    public void Resolve(NameTable names)
    {
        if (_byInode.TryGetValue(rootInode, out int root))
        {
            _nodes[root].Place = Root;
        }

        var path = new Stack<int>();
        for (int start = 0; start < _nodes.Count; start++)
        {
            context.ThrowIfCancelled();
            for (int at = start; _nodes[at].Place is null; )
            {
                Node node = _nodes[at];
                int parent = node.OnPath ? -1 : ParentOf(node, names, out node.NameEntry);
                if (parent >= 0 && path.Count < MostDepth)
                {
                    node.OnPath = true;
                    path.Push(at);
                    at = parent;
                    continue;
                }

                node.Place = new GuestFolder(Orphans, OrphanNameOf(node.Inode));
            }

            while (path.TryPop(out int below))
            {
                Node node = _nodes[below];
                node.OnPath = false;
                if (node.Place is null)
                {
                    _ = names.Read(node.NameEntry, out uint parent, out ReadOnlySpan<byte> name);
                    GuestFolder above = _nodes[(int)parent].Place!;
                    node.Depth = _nodes[(int)parent].Depth + 1;
                    node.Place = node.Depth < MostDepth ? new GuestFolder(above, Clean(name)) : new GuestFolder(Orphans, OrphanNameOf(node.Inode));
                    node.Depth = node.Depth < MostDepth ? node.Depth : 0;
                }
            }
        }
    }

    // The name whose folder is the one that ".." leads back to; the first there is when none agrees.
    private int ParentOf(Node node, NameTable names, out uint entry)
    {
        int parent = -1;
        entry = 0;
        int looked = 0;
        for (uint at = names.First(node.Inode); at != 0 && looked < MostDepth; looked++)
        {
            uint next = names.Read(at, out uint folder, out _);
            if (parent < 0 || _nodes[(int)folder].Inode == node.ParentInode)
            {
                parent = (int)folder;
                entry = at;
                if (_nodes[parent].Inode == node.ParentInode)
                {
                    break;
                }
            }

            at = next;
        }

        return parent;
    }

    private sealed class Node(ulong inode)
    {
        public readonly ulong Inode = inode;
        public ulong ParentInode;
        public uint NameEntry;
        public int Depth;
        public bool OnPath;
        public GuestFolder? Place;
    }
}
