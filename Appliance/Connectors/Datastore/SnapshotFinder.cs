using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Connectors.Datastore;

/// <summary>
/// Finds the earlier states that a VM's files keep: those its configuration tells of, else the layers below its disks' top images; and
/// those inside the top images themselves.
/// </summary>
internal static class SnapshotFinder
{
    /// <summary>A VM with its snapshots; what cannot be listed is a gap.</summary>
    /// <param name="vm">The VM.</param>
    /// <param name="path">Host path of its configuration or of its only image.</param>
    /// <param name="bases">Folders of declared bases.</param>
    public static Vm With(Vm vm, string path, IReadOnlyList<string> bases)
    {
        string folder = Path.GetDirectoryName(path)!;
        List<GapReport> gaps = [];
        List<VmSnapshot> found = [.. vm.Snapshots.Count > 0 ? vm.Snapshots : Configured(path, folder, bases, gaps) ?? Layers(vm, folder)];
        found.AddRange(Internal(vm, folder, gaps));
        return vm with { Snapshots = Sound(found), Gaps = [.. vm.Gaps, .. gaps] };
    }

    /// <summary>Gives each name of a configuration the file it may open.</summary>
    public static VmSnapshot Resolved(NamedSnapshot snapshot, string configuration, string folder, IReadOnlyList<string> bases)
    {
        var policy = new FolderPolicy(folder, bases);
        return new VmSnapshot(snapshot.Id, snapshot.Name, snapshot.Created, snapshot.ParentId, snapshot.IsCurrent, [.. snapshot.Disks.Select(Disk)]) { Memory = Memory() };

        // VMware writes a state for every snapshot, with memory or without.
        VmMemory? Memory() =>
            snapshot.StateFile.Length > 0 && policy.Resolve(configuration, new ImageReference(ReferenceKind.Parent, [snapshot.StateFile])).Path is { } path && VmMemory.Of(path) is { } memory
                ? memory with { Plan = memory.Plan with { MayBeEmpty = memory.Plan.Files.Count == 1 } }
                : null;

        SnapshotDisk Disk(ImageReference image)
        {
            ReferenceAnswer answer = policy.Resolve(configuration, image);
            return new SnapshotDisk(image.Display, folder, answer.Path, Fault: answer.Fault, Detail: answer.Detail ?? "");
        }
    }

    private static List<VmSnapshot>? Configured(string path, string folder, IReadOnlyList<string> bases, List<GapReport> gaps)
    {
        string tree = Path.ChangeExtension(path, ".vmsd");
        if (!path.EndsWith(".vmx", StringComparison.OrdinalIgnoreCase) || HostFile.KindOf(tree) != HostFileKind.Regular)
        {
            return null;
        }

        try
        {
            return [.. VmsdFile.Read(tree).Select(s => Resolved(s, tree, folder, bases))];
        }
        catch (InvalidDataException e)
        {
            gaps.Add(new CoverageGap(Fault.Corrupt, tree, "snapshot tree", 0, 0, e.Message).ToReport());
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            gaps.Add(new CoverageGap(Fault.Transport, tree, "snapshot tree", -1, 0, e.Message).ToReport());
        }

        return null;
    }

    /// <summary>Each image below a disk's top image has not changed since the one above it was made.</summary>
    private static IEnumerable<VmSnapshot> Layers(Vm vm, string folder)
    {
        foreach (VmDisk disk in vm.Disks)
        {
            List<(string Path, string? Format)> lineage = Lineage(disk.Plan);
            for (int i = lineage.Count - 1; i >= 0; i--)
            {
                (string path, string? format) = lineage[i];
                string? parent = i + 1 < lineage.Count ? lineage[i + 1].Path : null;
                yield return new VmSnapshot(path, Path.GetFileName(path), null, parent, i == 0, [new SnapshotDisk(path, folder, path, Declared: format)]);
            }
        }
    }

    /// <summary>The images below the top image, the nearest first.</summary>
    private static List<(string Path, string? Format)> Lineage(ChainPlan plan)
    {
        List<(string Path, string? Format)> lineage = [];
        var seen = new HashSet<int> { 0 };
        for (int at = 0; ;)
        {
            PlannedReference? parent = plan.References.FirstOrDefault(r => r.From == at && r.Kind == ReferenceKind.Parent && r.To >= 0);
            if (parent is null || !seen.Add(parent.To))
            {
                return lineage;
            }

            at = parent.To;
            lineage.Add((plan.Files[at].Path, parent.Format));
        }
    }

    /// <summary>States inside the top images. One of a name in several disks is one state of the VM: that is how hypervisors take them.</summary>
    private static List<VmSnapshot> Internal(Vm vm, string folder, List<GapReport> gaps)
    {
        List<VmSnapshot> found = [];
        foreach (VmDisk disk in vm.Disks)
        {
            var met = new HashSet<VmSnapshot>(ReferenceEqualityComparer.Instance);
            foreach (ImageSnapshot snapshot in InternalOf(disk, gaps))
            {
                var part = new SnapshotDisk(disk.Path, folder, disk.Path, snapshot.Id, disk.Plan.Declared);
                int same = snapshot.Name.Length == 0 ? -1 : found.FindIndex(s => s.Name == snapshot.Name && !met.Contains(s));
                if (same >= 0)
                {
                    found[same] = found[same] with { Disks = [.. found[same].Disks, part] };
                }
                else
                {
                    same = found.Count;
                    found.Add(new VmSnapshot(snapshot.Id, snapshot.Name.Length > 0 ? snapshot.Name : snapshot.Id, snapshot.Created, null, false, [part]));
                }

                met.Add(found[same]);
            }
        }

        return found;
    }

    private static IReadOnlyList<ImageSnapshot> InternalOf(VmDisk disk, List<GapReport> gaps)
    {
        try
        {
            using var bytes = new FileSource(disk.Path);
            var file = new ImageFile(disk.Path, 0, bytes);
            return Keeper(file, disk.Plan.Declared)?.Snapshots(file) ?? [];
        }
        catch (DiskFormatException e)
        {
            gaps.Add(new CoverageGap(e.Fault, disk.Path, e.Structure, e.Offset, 0, "its snapshots cannot be listed: " + e.Detail).ToReport());
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            gaps.Add(new CoverageGap(Fault.Transport, disk.Path, "storage", -1, 0, e.Message).ToReport());
        }

        return [];
    }

    /// <summary>The format of an image that may keep snapshots; null also where the image cannot be opened at all, which a worker reports.</summary>
    private static ISnapshotFormat? Keeper(ImageFile file, string? declared)
    {
        try
        {
            if (ContainerFormats.Choose(file, declared) is ISnapshotFormat keeper)
            {
                keeper.References(file);
                return keeper;
            }
        }
        catch (DiskFormatException)
        {
        }

        return null;
    }

    /// <summary>Ids made unique, and parents that are not there or lead round taken off: what shows a tree may rely on one.</summary>
    private static List<VmSnapshot> Sound(List<VmSnapshot> found)
    {
        var byId = new Dictionary<string, VmSnapshot>(StringComparer.Ordinal);
        for (int i = 0; i < found.Count; i++)
        {
            string id = found[i].Id;
            for (int copy = 2; !byId.TryAdd(id, found[i]); copy++)
            {
                id = $"{found[i].Id}~{copy}";
            }

            found[i] = found[i] with { Id = id };
        }

        for (int i = 0; i < found.Count; i++)
        {
            if (found[i].ParentId is { } parent && !byId.ContainsKey(parent))
            {
                found[i] = found[i] with { ParentId = null };
            }

            byId[found[i].Id] = found[i];
        }

        // A child is sound when its line of parents ends; those already known to end need no second look.
        var ends = new HashSet<string>(StringComparer.Ordinal);
        for (int i = 0; i < found.Count; i++)
        {
            var line = new HashSet<string>(StringComparer.Ordinal);
            string? at = found[i].Id;
            while (at is not null && !ends.Contains(at) && line.Add(at))
            {
                at = byId[at].ParentId;
            }

            bool isSound = at is null || ends.Contains(at);
            if (isSound)
            {
                ends.UnionWith(line);
            }
            else
            {
                found[i] = found[i] with { ParentId = null };
                byId[found[i].Id] = found[i];
                ends.Add(found[i].Id);
            }
        }

        return found;
    }
}
