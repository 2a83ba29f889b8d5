using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Connectors.HyperV;
using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Inventory;

/// <summary>
/// Reads a datastore's folder: every VM by its configuration, then every image of a disk or of memory that none of them has. Each head is read once,
/// and what an image names is opened only where the policy of its folder lets it.
/// </summary>
/// <param name="bases">Folders whose images may be parents of any disk.</param>
internal sealed class DatastoreReader(IReadOnlyList<string> bases, CancellationToken cancellation = default)
{
    private readonly KnownImages _known = new();
    private readonly HashSet<string> _used = new(StringComparer.Ordinal);
    private readonly List<GraphMachine> _machines = [];

    /// <exception cref="TargetException">The folder cannot be listed, or nothing in it can be scanned.</exception>
    public OwnershipGraph Read(string root)
    {
        var walk = FolderWalk.Of(Path.GetFullPath(root), cancellation);
        _known.Heads.ReadAhead(walk.Files.Where(f => f.Kind == FileKind.Disk && ContainerFormats.Declared(f.Path) is not (null or "raw")).Select(f => f.Path), cancellation);
        var reader = new VmReader(bases, _known, cancellation);
        // Checkpoints last: one that no VM has is a VM of its own.
        foreach (FoundFile file in walk.Files.Where(IsConfiguration).OrderBy(f => HyperVFiles.IsCheckpoint(f.Path)))
        {
            if (!_used.Contains(file.Path))
            {
                Add(reader.One(file.Path, file.Path), MachineKind.Vm);
            }
        }

        foreach (FoundFile file in walk.Files.Where(f => f.Kind == FileKind.Package && !_used.Contains(f.Path)))
        {
            _used.Add(file.Path);
            reader.Many(file.Path, file.Path).ForEach(vm => Add(vm, MachineKind.Vm));
        }

        AddOrphans(walk, reader);
        return _machines.Count > 0 || walk.NotOpened.Count > 0
            ? new GraphBuilder(walk, _machines, bases, _known, cancellation).Build(root)
            : throw new TargetException($"{root}: neither a VM nor an image of a disk or of memory lies in this folder");
    }

    /// <summary>The graph of what one file leads to.</summary>
    public static OwnershipGraph Of(string target, IReadOnlyList<string> bases, CancellationToken cancellation)
    {
        var known = new KnownImages();
        List<Vm> vms = [.. new TargetFinder(bases, cancellation) { Known = known }.Find(target)];

        MachineKind KindOf(Vm vm) =>
            vm.Memory is not null && vm.Disks.Count == 0 ? MachineKind.Memory
            : vm.Disks.Count == 1 && vm.Disks[0].Path == Path.GetFullPath(vm.Target) ? MachineKind.Image
            : MachineKind.Vm;
        string folder = Path.GetDirectoryName(Path.GetFullPath(target)) ?? "/";
        return new GraphBuilder(new FolderWalk(folder, cancellation), [.. vms.Select(v => new GraphMachine(v, KindOf(v)))], bases, known, cancellation).Build(folder);
    }

    private static bool IsConfiguration(FoundFile file) => file.Kind == FileKind.Configuration || (file.Kind == FileKind.Xml && Configurations.Is(file.Path));

    /// <summary>Images that nobody owns. A parent or extent that another one names is no disk of its own.</summary>
    private void AddOrphans(FolderWalk walk, VmReader reader)
    {
        List<FoundFile> orphans = [.. walk.Files.Where(f => !_used.Contains(f.Path) && IsImage(f))];
        var stores = new ProvisionedStores(walk.Files);
        var named = new HashSet<string>(StringComparer.Ordinal);
        foreach (FoundFile orphan in orphans)
        {
            cancellation.ThrowIfCancellationRequested();
            named.UnionWith(NamedBy(orphan, reader));
        }

        // Versions that desktops are started from: each is a disk of its own, though the next one lies over it.
        named.RemoveWhere(stores.IsVersion);
        foreach (FoundFile orphan in orphans.Where(o => !named.Contains(o.Path)))
        {
            AddOrphan(orphan, reader, stores);
        }

        // Images that name each other in a circle are all named, and would hide each other.
        foreach (FoundFile orphan in orphans.Where(o => named.Contains(o.Path) && !_used.Contains(o.Path)))
        {
            AddOrphan(orphan, reader, stores);
        }
    }

    private void AddOrphan(FoundFile orphan, VmReader reader, ProvisionedStores stores)
    {
        Vm vm = reader.One(orphan.Path, orphan.Path);
        MachineKind kind = stores.KindOf(orphan.Path)
            ?? (vm.Memory is not null ? MachineKind.Memory
            : orphan.Kind == FileKind.Disc ? MachineKind.Disc
            : vm.Disks.Count > 0 ? MachineKind.Image
            : MachineKind.Unread);
        Add(stores.Described(vm, kind), kind);
    }

    private static bool IsImage(FoundFile file) => file.Kind switch
    {
        FileKind.Disk or FileKind.Disc or FileKind.Memory => true,
        FileKind.Unnamed => DiskFiles.IsDisk(file.Path) || VmMemory.Is(file.Path),
        _ => false,
    };

    /// <summary>The files that one image leads to directly.</summary>
    private IEnumerable<string> NamedBy(FoundFile orphan, VmReader reader)
    {
        try
        {
            if (VmMemory.Is(orphan.Path))
            {
                // What belongs to a state is no target, by whichever of the two it is found.
                return VmMemory.Of(orphan.Path).Plan.Files.Skip(1).Select(f => f.Path);
            }

            var policy = new FolderPolicy(reader.FolderOf(orphan.Path), bases, _known);
            PlannedFile image = SplitImage.Of(orphan.Path, policy);
            IReadOnlyList<ImageReference> references = _known.Heads.Of(image, SplitImage.Declared(orphan.Path)).References;
            return [.. image.More.Select(m => m.Path), .. references.Select(r => policy.Resolve(orphan.Path, r).Path).OfType<string>().Where(p => p != orphan.Path)];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // It becomes a target that cannot be read, with its gap.
            return [];
        }
    }

    private void Add(Vm vm, MachineKind kind)
    {
        _machines.Add(new GraphMachine(vm, kind));
        _used.UnionWith(vm.Disks.Concat(vm.Held).SelectMany(d => d.Plan.Files).SelectMany(f => (string[])[f.Path, .. f.More.Select(m => m.Path)]));
        _used.UnionWith(vm.Snapshots.Select(s => s.Memory).Append(vm.Memory).OfType<VmMemory>().SelectMany(m => m.Plan.Files).Select(f => f.Path));
        _used.UnionWith(vm.Sidecars);
        _used.UnionWith(vm.Snapshots.Select(s => s.Configuration));
        if (vm.Held.Count > 0)
        {
            // The memory of a running VM of VMware Workstation lies beside it and changes too.
            _used.Add(Path.ChangeExtension(vm.Target, ".vmem"));
        }
    }
}
