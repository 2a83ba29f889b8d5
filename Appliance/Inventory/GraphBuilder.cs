using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Connectors.HyperV;
using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Inventory;

/// <summary>Joins files, chains and machines: who uses what, what lies over what, and what nobody uses.</summary>
internal sealed class GraphBuilder(FolderWalk walk, IReadOnlyList<GraphMachine> machines, IReadOnlyList<string> bases, KnownImages known, CancellationToken cancellation)
{
    private readonly Dictionary<string, GraphFile> _files = new(StringComparer.Ordinal);
    private readonly List<MissingFile> _missing = [];
    private readonly Dictionary<GraphFile, bool> _overOwned = new(ReferenceEqualityComparer.Instance);
    private ILookup<string, FoundFile> _byName = Enumerable.Empty<FoundFile>().ToLookup(f => f.Path);

    public OwnershipGraph Build(string root)
    {
        _byName = walk.Files.Where(f => f.Kind is FileKind.Disk or FileKind.Disc).ToLookup(f => Path.GetFileName(f.Path), StringComparer.OrdinalIgnoreCase);
        foreach (FoundFile file in walk.Files.Where(f => f.Kind is not (FileKind.Xml or FileKind.Unnamed)))
        {
            _files.Add(file.Path, new GraphFile(file.Path, file.Kind, file.SizeBytes));
        }

        for (int i = 0; i < machines.Count; i++)
        {
            cancellation.ThrowIfCancellationRequested();
            Join(i, machines[i]);
        }

        foreach (GraphFile file in _files.Values)
        {
            file.State = StateOf(file);
            file.Format = known.Heads.FormatOf(file.Path) ?? "";
        }

        MarkStale();
        return new OwnershipGraph(
            Path.GetFullPath(root),
            machines,
            [.. _files.Values.OrderBy(f => f.Path, StringComparer.Ordinal)],
            _missing,
            walk.NotOpened,
            walk.OtherFiles,
            walk.OtherBytes);
    }

    private void Join(int index, GraphMachine machine)
    {
        Vm vm = machine.Vm;
        var mine = new HashSet<GraphFile>(ReferenceEqualityComparer.Instance);
        if (machine.IsVm)
        {
            Use(index, Node(vm.Target, FileKind.Configuration), FileRole.Configuration, mine);
            JoinSidecars(index, vm, mine);
        }

        foreach (VmDisk disk in vm.Disks.Concat(vm.Held))
        {
            JoinChain(index, disk.Plan, mine, asSnapshot: false);
        }

        if (vm.Held.Count > 0 && _files.TryGetValue(Path.ChangeExtension(vm.Target, ".vmem"), out GraphFile? live))
        {
            Use(index, live, FileRole.Memory, mine);
        }

        JoinMemory(index, vm.Memory, mine);
        foreach (VmSnapshot snapshot in vm.Snapshots)
        {
            JoinMemory(index, snapshot.Memory, mine);
            foreach (SnapshotDisk disk in snapshot.Disks.Where(d => d.Path is not null && !(_files.TryGetValue(d.Path, out GraphFile? node) && mine.Contains(node))))
            {
                JoinEarlier(index, disk, mine);
            }
        }

        foreach (string disc in vm.Discs)
        {
            if (Named(disc) is { } path)
            {
                Use(index, Node(path, FileKind.Disc), FileRole.Disc, mine);
            }
        }

        _missing.AddRange(vm.Gaps
            .Where(MissingFile.IsTold)
            .Select(g => new MissingFile(index, vm.Target, g.Path, g.Fault == "refused" ? Fault.Refused : Fault.MissingParent, g.Detail, Candidate(g.Path))));
    }

    private void JoinChain(int index, ChainPlan plan, HashSet<GraphFile> mine, bool asSnapshot)
    {
        var nodes = new GraphFile[plan.Files.Count];
        var roles = new FileRole[plan.Files.Count];
        Array.Fill(roles, FileRole.Extent);
        roles[0] = FileRole.Top;
        for (int i = 0; i < nodes.Length; i++)
        {
            nodes[i] = Node(plan.Files[i].Path, FileKind.Disk);
        }

        foreach (PlannedReference reference in plan.References)
        {
            if (reference.To < 0)
            {
                string name = reference.Candidates.Count > 0 ? reference.Candidates[0] : "";
                _missing.Add(new MissingFile(index, plan.Files[reference.From].Name, name, reference.Fault ?? Fault.MissingParent, reference.Detail, Candidate(name)));
            }
            else if (reference.Kind == ReferenceKind.Parent)
            {
                roles[reference.To] = reference.To == 0 ? FileRole.Top : FileRole.Layer;
                Over(nodes[reference.From], nodes[reference.To]);
            }
        }

        for (int i = 0; i < nodes.Length; i++)
        {
            Use(index, nodes[i], asSnapshot ? FileRole.Snapshot : roles[i], mine);
            foreach (FilePiece piece in plan.Files[i].More)
            {
                Use(index, Node(piece.Path, FileKind.Disk), asSnapshot ? FileRole.Snapshot : FileRole.Extent, mine);
            }
        }
    }

    /// <summary>An earlier state that the present one does not lie over: its own branch of the tree.</summary>
    private void JoinEarlier(int index, SnapshotDisk disk, HashSet<GraphFile> mine)
    {
        try
        {
            JoinChain(index, VmDisk.Of(disk.Path!, disk.Folder, bases, disk.Declared, known).Plan, mine, asSnapshot: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            _missing.Add(new MissingFile(index, disk.Name, disk.Path!, e is ChainLimitException ? Fault.Limit : Fault.Transport, e.Message, null));
        }
    }

    private void JoinMemory(int index, VmMemory? memory, HashSet<GraphFile> mine)
    {
        foreach (PlannedFile file in memory?.Plan.Files ?? [])
        {
            Use(index, Node(file.Path, FileKind.Memory), FileRole.Memory, mine);
        }
    }

    /// <summary>What VMware and others keep beside a configuration under its name.</summary>
    private void JoinSidecars(int index, Vm vm, HashSet<GraphFile> mine)
    {
        string stem = vm.Target[..^Path.GetExtension(vm.Target).Length];
        foreach (string path in (string[])[stem + ".vmsd", stem + ".vmxf", stem + ".nvram", stem + ".vmgs", vm.Target + ".lck", .. vm.Sidecars])
        {
            if (_files.TryGetValue(path, out GraphFile? file))
            {
                Use(index, file, FileRole.Sidecar, mine);
            }
        }

        foreach (VmSnapshot snapshot in vm.Snapshots.Where(s => s.Configuration.Length > 0))
        {
            Use(index, Node(snapshot.Configuration, FileKind.Configuration), FileRole.Configuration, mine);
        }
    }

    private GraphFile Node(string path, FileKind kind)
    {
        if (!_files.TryGetValue(path, out GraphFile? file))
        {
            bool isThere = HostFile.Look(path, out long size) == HostFileKind.Regular;
            _files.Add(path, file = new GraphFile(path, kind, isThere ? size : -1) { Note = IsBelowRoot(path) ? "" : "below a declared base" });
        }

        if (file.Note.Length == 0)
        {
            file.Note = VhdSet.SetOf(path) is { } set && HostFile.KindOf(set) == HostFileKind.Regular ? "data of a set that VMs share" : ProvisionedStores.NoteOf(path);
        }

        return file;
    }

    private bool IsBelowRoot(string path) => walk.Root == "/" || path.StartsWith(walk.Root + "/", StringComparison.Ordinal);

    private static void Over(GraphFile child, GraphFile parent)
    {
        if (child.Parent is null && child != parent)
        {
            child.Parent = parent;
            parent.Children++;
        }
    }

    private static void Use(int machine, GraphFile file, FileRole role, HashSet<GraphFile> mine)
    {
        if (mine.Add(file))
        {
            file.Uses.Add(new FileUse(machine, role));
        }
    }

    /// <summary>The file that a configuration's name of a disc means, by its last two parts; a disc lies in a library for all VMs, and is not opened for this one.</summary>
    private string? Named(string name)
    {
        string[] parts = name.Replace('\\', '/').Split('/', StringSplitOptions.RemoveEmptyEntries);
        if (parts.Length == 0)
        {
            return null;
        }

        List<FoundFile> found = [.. _byName[parts[^1]]];
        if (found.Count > 1 && parts.Length > 1)
        {
            found = [.. found.Where(f => f.Path.EndsWith("/" + parts[^2] + "/" + parts[^1], StringComparison.OrdinalIgnoreCase))];
        }

        return found.Count == 1 ? found[0].Path : null;
    }

    private string? Candidate(string name)
    {
        string path = name.Replace('\\', '/');
        List<FoundFile> found = [.. _byName[path[(path.LastIndexOf('/') + 1)..]].Take(2)];
        return found.Count == 1 ? found[0].Path : null;
    }

    private FileState StateOf(GraphFile file)
    {
        int tops = 0;
        int owners = 0;
        bool isInDrive = false;
        foreach (FileUse use in file.Uses.Where(u => machines[u.Machine].IsVm))
        {
            isInDrive |= use.Role is FileRole.Disc;
            owners += use.Role is FileRole.Disc ? 0 : 1;
            tops += use.Role is FileRole.Top ? 1 : 0;
        }

        return owners == 0 && isInDrive ? FileState.Owned
            : owners == 0 ? FileState.Orphan
            : tops > 1 ? FileState.Claimed
            : owners > 1 ? FileState.Shared
            : FileState.Owned;
    }

    /// <summary>What nobody has but was a VM's once: an image over one that a VM has, memory or a lock under its name, a lock of a file that is gone.</summary>
    private void MarkStale()
    {
        var stems = new HashSet<string>(
            machines.Where(m => m.IsVm).Select(m => m.Vm.Target[..^Path.GetExtension(m.Vm.Target).Length]), StringComparer.Ordinal);
        foreach (GraphFile file in _files.Values.Where(f => f.State == FileState.Orphan))
        {
            switch (file.Kind)
            {
                case FileKind.Disk when LiesOverOwned(file):
                    (file.State, file.Note) = (FileState.Stale, "over an image of a VM, and no state of a VM has it");
                    break;
                case FileKind.Memory or FileKind.Sidecar when HasStem(file.Path, stems):
                    (file.State, file.Note) = (FileState.Stale, "under the name of a VM, whose configuration does not name it");
                    break;
                case FileKind.Sidecar when file.Path.EndsWith(".pvp", StringComparison.OrdinalIgnoreCase):
                    (file.State, file.Note) = (FileState.Owned, "properties of a vDisk");
                    break;
                case FileKind.Sidecar when VhdSet.Is(file.Path):
                    (file.State, file.Note) = (FileState.Owned, "which files a set of shared disks has");
                    break;
                case FileKind.Lock:
                    MarkLock(file);
                    break;
            }
        }
    }

    /// <summary>Chains may be long and lie over each other: each file is gone down from once.</summary>
    private bool LiesOverOwned(GraphFile file)
    {
        List<GraphFile> line = [];
        bool isOver = false;
        for (GraphFile? at = file; at is not null && _overOwned.TryAdd(at, false); at = at.Parent)
        {
            line.Add(at);
            if (at.Parent is { } parent && (parent.State is FileState.Owned or FileState.Shared or FileState.Claimed || _overOwned.GetValueOrDefault(parent)))
            {
                isOver = true;
                break;
            }
        }

        line.ForEach(f => _overOwned[f] = isOver);
        return _overOwned[file];
    }

    /// <summary><c>web.vmss</c> and <c>web-Snapshot3.vmsn</c> go with <c>web.vmx</c>.</summary>
    private static bool HasStem(string path, HashSet<string> stems)
    {
        string stem = path[..^Path.GetExtension(path).Length];
        int dash = stem.LastIndexOf('-');
        return stems.Contains(stem) || (dash > stem.LastIndexOf('/') && stems.Contains(stem[..dash]));
    }

    private void MarkLock(GraphFile file)
    {
        if (!file.Path.EndsWith(".lck", StringComparison.OrdinalIgnoreCase))
        {
            // A vDisk's lock lies beside it for good; ESXi's names no file.
            file.State = FileState.Owned;
            return;
        }

        string locked = file.Path[..^".lck".Length];
        if (!_files.TryGetValue(locked, out GraphFile? subject))
        {
            (file.State, file.Note) = (FileState.Stale, "a lock of a file that is not there");
            return;
        }

        file.Uses.AddRange(subject.Uses.Select(u => u with { Role = FileRole.Sidecar }));
        bool runs = subject.Uses.Exists(u => machines[u.Machine].Vm.Held.Count > 0);
        (file.State, file.Note) = runs || subject.Uses.Count == 0 ? (FileState.Owned, "held") : (FileState.Stale, "a lock of a VM that does not run");
    }
}
