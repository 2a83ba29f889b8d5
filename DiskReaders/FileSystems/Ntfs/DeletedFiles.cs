using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs;

/// <summary>
/// Files whose FILE records are no longer in use but were not used again: deleting leaves names and runs in them. They are listed below
/// <c>$Deleted</c>, in the folder they were in where that can still be told.
/// </summary>
internal sealed class DeletedFiles : IDisposable
{
    /// <summary>Deeper folders of deleted folders are not followed; Windows has no path of more names.</summary>
    private const int MaxDepth = 16_384;

    private const long LastReserved = 23;

    private readonly MasterFileTable _table;
    private readonly FolderTable _folders;
    private readonly FileAssembler _assembler;
    private readonly FileAssembler _parents;
    private readonly RentedBuffer _record;
    private readonly GuestFolder _root;
    private readonly GuestFolder _orphans;

    // The counterparts below $Deleted of folders that are still there, and the folders that are not, by record number.
    private readonly Dictionary<GuestFolder, GuestFolder> _living = new(ReferenceEqualityComparer.Instance);
    private readonly Dictionary<long, (ushort Sequence, GuestFolder Folder)> _gone = [];

    public DeletedFiles(NtfsVolume volume, MasterFileTable table, FolderTable folders)
    {
        _table = table;
        _folders = folders;
        _root = new GuestFolder(folders.Root, "$Deleted"u8.ToArray());
        _orphans = new GuestFolder(_root, folders.Orphans.Folder.Name);
        var rented = new List<IDisposable>();
        try
        {
            rented.Add(_assembler = new FileAssembler(volume, table) { OfDeleted = true });
            rented.Add(_parents = new FileAssembler(volume, table) { OfDeleted = true });
            rented.Add(_record = volume.Context.Budget.Rent(volume.RecordBytes));
        }
        catch
        {
            rented.ForEach(r => r.Dispose());
            throw;
        }
    }

    /// <summary>Adds what a free record still says. What it no longer says is no gap: the guest gave it up.</summary>
    public void Make(ReadOnlySpan<byte> bytes, long number, GuestFileMaker maker, List<GuestFile> made)
    {
        if (number <= LastReserved || !TryAssemble(_assembler, bytes, number) || _assembler.File.IsFolder)
        {
            return;
        }

        AssembledFile file = _assembler.File;
        file.Streams.RemoveAll(s => s.Fault is not null);
        if (file.Streams.Count > 0)
        {
            AssembledName? name = FolderTable.NameOf(file);
            maker.MakeDeleted(file, [new GuestLink(name is { } n ? Below(n.Parent) : _orphans, name?.Name ?? NtfsWalk.Unnamed(number))], made);
        }
    }

    public void Dispose()
    {
        _assembler.Dispose();
        _parents.Dispose();
        _record.Dispose();
    }

    private bool TryAssemble(FileAssembler assembler, ReadOnlySpan<byte> bytes, long number)
    {
        try
        {
            if (new FileRecord(bytes, _table.OffsetOf(number)).Base.Value != 0)
            {
                return false;
            }
        }
        catch (DiskFormatException)
        {
            // Remains of a record that say nothing.
            return false;
        }

        assembler.Assemble(bytes, number);
        return true;
    }

    /// <summary>The folder below <c>$Deleted</c> for a name whose parent this is. No recursion: the depth is the image's.</summary>
    private GuestFolder Below(FileReference parent)
    {
        var below = new List<(long Number, ushort Sequence, byte[] Name)>();
        var visited = new HashSet<long>();
        GuestFolder folder;
        while (true)
        {
            if (_folders.TryResolve(parent) is { } living)
            {
                folder = Counterpart(living);
                break;
            }

            if (_gone.TryGetValue(parent.Number, out (ushort Sequence, GuestFolder Folder) known) && parent.MatchesFreed(known.Sequence))
            {
                folder = known.Folder;
                break;
            }

            if (below.Count == MaxDepth || !visited.Add(parent.Number) || !TryReadFolder(parent, out AssembledName name))
            {
                folder = _orphans;
                break;
            }

            below.Add((parent.Number, _parents.File.Sequence, name.Name));
            parent = name.Parent;
        }

        for (int i = below.Count - 1; i >= 0; i--)
        {
            folder = new GuestFolder(folder, below[i].Name);
            _gone[below[i].Number] = (below[i].Sequence, folder);
        }

        return folder;
    }

    private bool TryReadFolder(FileReference reference, out AssembledName name)
    {
        name = default;
        try
        {
            if (reference.Number >= _table.Records || _table.Load(reference.Number, _record.Span) != RecordState.Free || !_record.Span.StartsWith(FileRecord.Signature))
            {
                return false;
            }
        }
        catch (DiskFormatException)
        {
            // The walk meets the record in its turn and reports it.
            return false;
        }

        if (!TryAssemble(_parents, _record.Span, reference.Number)
            || !_parents.File.IsFolder
            || !reference.MatchesFreed(_parents.File.Sequence)
            || FolderTable.NameOf(_parents.File) is not { } found)
        {
            return false;
        }

        name = found;
        return true;
    }

    private GuestFolder Counterpart(GuestFolder living)
    {
        var below = new List<GuestFolder>();
        GuestFolder? known = null;
        for (GuestFolder at = living; at.Parent is not null && !_living.TryGetValue(at, out known); at = at.Parent)
        {
            below.Add(at);
        }

        GuestFolder folder = known ?? _root;
        for (int i = below.Count - 1; i >= 0; i--)
        {
            _living[below[i]] = folder = new GuestFolder(folder, below[i].Name);
        }

        return folder;
    }
}
