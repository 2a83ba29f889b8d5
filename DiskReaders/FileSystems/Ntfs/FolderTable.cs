using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs;

/// <summary>What part of the volume a folder is, as far as its files are treated differently.</summary>
internal enum FolderPlace : byte
{
    Ordinary,

    /// <summary><c>$Extend</c> itself.</summary>
    Extend,

    /// <summary><c>$Extend\$RmMetadata</c>.</summary>
    RmMetadata,

    /// <summary><c>$Extend\$RmMetadata\$TxfLog</c>.</summary>
    TxfLog,

    /// <summary>Another folder of the file system's own, which guest files come into: <c>$Deleted</c>, <c>$Txf</c>.</summary>
    Reserved,
}

/// <summary>A folder as the parent of names.</summary>
/// <param name="Folder">The folder.</param>
/// <param name="Sequence">Its record's sequence number; a reference with another leads to a folder that is gone.</param>
/// <param name="PathChars">Bytes of the path down to it.</param>
/// <param name="Place">What it is.</param>
internal sealed record FolderNode(GuestFolder Folder, ushort Sequence, int PathChars, FolderPlace Place);

/// <summary>
/// The folders of the volume by record number. Folders are learnt as the walk meets them; one that a name leads to before is
/// read out of turn, so that one pass over the <c>$MFT</c> is enough.
/// </summary>
internal sealed class FolderTable : IDisposable
{
    public const long RootNumber = 5;
    public const long ExtendNumber = 11;

    /// <summary>Windows has no path of more than 32,767 characters; each has at most three bytes here.</summary>
    private const int MaxPathBytes = 3 * 32767;

    private readonly NtfsVolume _volume;
    private readonly MasterFileTable _table;
    private readonly Dictionary<long, FolderNode?> _nodes = [];
    private readonly FileAssembler _assembler;
    private readonly RentedBuffer _record;
    private readonly FolderNode _root;
    private FolderNode? _orphans;

    public FolderTable(NtfsVolume volume, MasterFileTable table)
    {
        _volume = volume;
        _table = table;
        _assembler = new FileAssembler(volume, table);
        try
        {
            _record = volume.Context.Budget.Rent(volume.RecordBytes);
        }
        catch
        {
            _assembler.Dispose();
            throw;
        }

        _root = new FolderNode(new GuestFolder(null, []), 0, 0, FolderPlace.Ordinary);
        _nodes[RootNumber] = _root;
    }

    /// <summary>The records that the attribute lists of folders read out of turn led to.</summary>
    public IReadOnlySet<long> Claimed => _assembler.Claimed;

    public GuestFolder Root => _root.Folder;

    /// <summary>Where names go whose folder is gone.</summary>
    public FolderNode Orphans => _orphans ??= new FolderNode(new GuestFolder(Root, "$OrphanFiles"u8.ToArray()), 0, 13, FolderPlace.Ordinary);

    /// <summary>The folder a name lies in.</summary>
    public FolderNode Resolve(FileReference reference) => Find(reference) ?? Orphans;

    /// <summary>As <see cref="Resolve"/>, null when the folder is gone. A reference without a sequence number is to any folder.</summary>
    public GuestFolder? TryResolve(FileReference reference) => Find(reference)?.Folder;

    /// <summary>Learns a folder that the walk has met.</summary>
    public FolderNode Learn(AssembledFile folder)
    {
        if (_nodes.TryGetValue(folder.Number, out FolderNode? known) && known is not null)
        {
            return known;
        }

        AssembledName? name = NameOf(folder);
        FolderNode parent = name is { } n && n.Parent.Number != folder.Number ? Resolve(n.Parent) : Orphans;
        return _nodes.TryGetValue(folder.Number, out known) && known is not null
            ? known
            : _nodes[folder.Number] = Node(parent, folder.Number, folder.Sequence, name);
    }

    public void Dispose()
    {
        _assembler.Dispose();
        _record.Dispose();
    }

    private FolderNode? Find(FileReference reference)
    {
        if (!_nodes.TryGetValue(reference.Number, out FolderNode? node))
        {
            ReadOutOfTurn(reference.Number);
            node = _nodes[reference.Number];
        }

        return node is not null && (reference.Number == RootNumber || reference.Matches(node.Sequence)) ? node : null;
    }

    /// <summary>The name without a folder's 8.3 one.</summary>
    internal static AssembledName? NameOf(AssembledFile folder)
    {
        AssembledName? dos = null;
        foreach (AssembledName name in folder.Names)
        {
            if (name.Space != NameSpace.Dos)
            {
                return name;
            }

            dos ??= name;
        }

        return dos;
    }

    /// <summary>Reads a folder and those above it until one is known. No recursion: the depth is the image's.</summary>
    private void ReadOutOfTurn(long number)
    {
        var below = new List<(long Number, ushort Sequence, AssembledName? Name)>();
        var visited = new HashSet<long>();
        FolderNode? parent = null;
        long at = number;
        while (true)
        {
            if (_nodes.TryGetValue(at, out FolderNode? known))
            {
                parent = known;
                break;
            }

            if (!visited.Add(at))
            {
                _volume.Context.Gaps.Add(new CoverageGap(Fault.Corrupt, $"record {at}", "FILE_NAME", _table.OffsetOfOrNone(at), 0, "folders lie in each other; they are listed below $OrphanFiles"));
                break;
            }

            if (!TryReadFolder(at))
            {
                _nodes[at] = null;
                break;
            }

            AssembledName? name = NameOf(_assembler.File);
            below.Add((at, _assembler.File.Sequence, name));
            if (name is null || name.Value.Parent.Number == at)
            {
                break;
            }

            at = name.Value.Parent.Number;
        }

        for (int i = below.Count - 1; i >= 0; i--)
        {
            (long folder, ushort sequence, AssembledName? name) = below[i];
            bool gone = parent is null || name is null || !(name.Value.Parent.Number == RootNumber || name.Value.Parent.Matches(parent.Sequence));
            parent = _nodes[folder] = Node(gone ? Orphans : parent!, folder, sequence, name);
        }

        _nodes.TryAdd(number, null);
    }

    private bool TryReadFolder(long number)
    {
        try
        {
            if (_table.Load(number, _record.Span) != RecordState.InUse)
            {
                return false;
            }

            var record = new FileRecord(_record.Span, _table.OffsetOf(number));
            if (!record.IsFolder || record.Base.Value != 0)
            {
                return false;
            }
        }
        catch (DiskFormatException)
        {
            // The walk meets the record in its turn and reports it.
            return false;
        }

        _assembler.Assemble(_record.Span, number);
        return true;
    }

    private FolderNode Node(FolderNode parent, long number, ushort sequence, AssembledName? name)
    {
        byte[] bytes = name?.Name ?? NtfsWalk.Unnamed(number);
        if (parent.PathChars + 1 + bytes.Length > MaxPathBytes)
        {
            _volume.Context.Gaps.Add(new CoverageGap(Fault.Limit, $"record {number}", "FILE_NAME", _table.OffsetOfOrNone(number), 0, "the path is longer than paths are; the folder is listed below $OrphanFiles"));
            parent = Orphans;
        }

        FolderPlace place = parent.Place switch
        {
            _ when number == ExtendNumber => FolderPlace.Extend,
            FolderPlace.Extend when bytes.AsSpan().SequenceEqual("$RmMetadata"u8) => FolderPlace.RmMetadata,
            FolderPlace.RmMetadata when bytes.AsSpan().SequenceEqual("$TxfLog"u8) => FolderPlace.TxfLog,
            FolderPlace.Extend when bytes.AsSpan().SequenceEqual("$Deleted"u8) => FolderPlace.Reserved,
            FolderPlace.RmMetadata when bytes.AsSpan().SequenceEqual("$Txf"u8) => FolderPlace.Reserved,
            _ => FolderPlace.Ordinary,
        };
        return new FolderNode(new GuestFolder(parent.Folder, bytes), sequence, parent.PathChars + 1 + bytes.Length, place);
    }
}
