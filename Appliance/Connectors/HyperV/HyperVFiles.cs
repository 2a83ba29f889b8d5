using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Connectors.HyperV;

/// <summary>
/// VMs of Hyper-V by their files: <c>ROOT/Virtual Machines/GUID.vmcx</c> (or <c>.xml</c>), checkpoints in <c>ROOT/Snapshots</c>, disks wherever below the root
/// their paths end. Which checkpoint came from which is in no configuration that is read: it is what their disks lie over.
/// </summary>
internal sealed class HyperVFiles(IReadOnlyList<string> bases, KnownImages known)
{
    public const string SnapshotFolder = "Snapshots";

    public const string MachineFolder = "Virtual Machines";

    /// <summary>Hyper-V ends at 50 of a VM; a folder may hold those of many.</summary>
    private const int MostCheckpoints = 16_384;

    private static readonly string[] DiskExtensions = [".vhd", ".vhdx", ".avhd", ".avhdx"];

    /// <summary>True for a configuration that is a checkpoint's by its place.</summary>
    public static bool IsCheckpoint(string path) =>
        Path.GetFileName(Path.GetDirectoryName(path)) == SnapshotFolder && Path.GetExtension(path).ToLowerInvariant() is ".vmcx" or ".xml";

    /// <summary>The VM's folder: the one above that of configurations or checkpoints.</summary>
    public static string RootOf(string path)
    {
        string folder = Path.GetDirectoryName(path)!;
        return Path.GetFileName(folder) is MachineFolder or SnapshotFolder && Path.GetDirectoryName(folder) is { } above ? above : folder;
    }

    /// <exception cref="InvalidDataException">The file is no configuration.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public Vm Read(string target, string path)
    {
        var configuration = HyperVConfiguration.Read(path);
        List<GapReport> gaps = [];
        List<VmDisk> disks = [];
        foreach (SnapshotDisk disk in DisksOf(configuration, gaps))
        {
            if (disk.Path is not { } image)
            {
                gaps.Add(new CoverageGap(disk.Fault, disk.Name, "VM configuration", -1, 0, $"{disk.Detail}; where its folder may be read, declare it with --base").ToReport());
                continue;
            }

            try
            {
                disks.Add(VmDisk.Of(image, disk.Folder, bases, known: known));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                gaps.Add(ChainLimitException.Gap(e, image));
            }
        }

        (VmMemory? memory, IReadOnlyList<string> sidecars) = StateOf(path);
        var identity = new VmReport(
            configuration.Id.Length > 0 ? configuration.Id : path,
            configuration.Name.Length > 0 ? configuration.Name : Path.GetFileNameWithoutExtension(path),
            memory is null ? "unknown" : "suspended",
            "");
        return new Vm(target, identity, disks, gaps)
        {
            Generation = configuration.Generation,
            Memory = memory,
            Sidecars = sidecars,
            Discs = [.. configuration.Drives.Where(d => d.Type == "ISO").Select(d => d.Pathname)],
            Snapshots = IsCheckpoint(path) ? [] : Checkpoints(configuration, disks, gaps),
        };
    }

    private IEnumerable<SnapshotDisk> DisksOf(HyperVConfiguration configuration, List<GapReport> gaps)
    {
        string root = RootOf(configuration.Path);
        foreach (HyperVDrive drive in configuration.Drives.Where(d => d.Type is not ("ISO" or "VFD")))
        {
            if (VhdSet.Is(drive.Pathname))
            {
                foreach (SnapshotDisk disk in DisksOfSet(configuration.Path, root, drive.Pathname, gaps))
                {
                    yield return disk;
                }

                continue;
            }

            if (!DiskExtensions.Contains(Path.GetExtension(drive.Pathname), StringComparer.OrdinalIgnoreCase))
            {
                gaps.Add(new CoverageGap(Fault.Unsupported, drive.Pathname, "VM configuration", -1, 0, $"a drive of the type {(drive.Type.Length > 0 ? drive.Type : "(none)")} is no image; name an image of it").ToReport());
                continue;
            }

            ReferenceAnswer answer = Resolve(configuration.Path, root, drive.Pathname);
            yield return new SnapshotDisk(drive.Pathname, root, answer.Path, Fault: answer.Fault, Detail: answer.Detail ?? "");
        }
    }

    private IReadOnlyList<SnapshotDisk> DisksOfSet(string path, string root, string pathname, List<GapReport> gaps)
    {
        ReferenceAnswer set = Resolve(path, root, pathname);
        if (set.Path is not { } at)
        {
            return [new SnapshotDisk(pathname, root, null, Fault: set.Fault, Detail: set.Detail ?? "")];
        }

        try
        {
            IReadOnlyList<string> tops = VhdSet.Tops(at, root, bases, known);
            if (tops.Count > 1)
            {
                gaps.Add(new CoverageGap(Fault.Unsupported, pathname, "VM configuration", -1, 0, $"which of the set's {tops.Count} files is the present one stands in a form that is not published; each is scanned").ToReport());
            }

            return tops.Count > 0 ? [.. tops.Select(t => new SnapshotDisk(pathname, root, t))] : [new SnapshotDisk(pathname, root, null, Fault: Fault.MissingParent, Detail: "no .avhdx of this set lies beside it")];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return [new SnapshotDisk(pathname, root, null, Fault: Fault.Transport, Detail: e.Message)];
        }
    }

    /// <summary>
    /// A path of the host, of which only the end means something here: the longest end that lies below the VM's folder, then what lies where Hyper-V keeps
    /// disks, then a declared base.
    /// </summary>
    private ReferenceAnswer Resolve(string path, string root, string pathname)
    {
        var policy = new FolderPolicy(root, bases, known);
        string[] parts = pathname.Replace('\\', '/').Split('/', StringSplitOptions.RemoveEmptyEntries);
        if (parts.Length > 0 && !parts.Contains(".."))
        {
            List<string> ends = [.. Enumerable.Range(0, parts.Length).Select(i => string.Join('/', parts[i..])).Where(e => !e.Contains(':', StringComparison.Ordinal)).TakeLast(8)];
            ends.AddRange([$"Virtual Hard Disks/{parts[^1]}", $"{SnapshotFolder}/{parts[^1]}"]);

            // As if the root named them: an end that is not there is just not there.
            ReferenceAnswer inside = policy.Resolve(Path.Combine(root, "x"), new ImageReference(ReferenceKind.Extent, ends));
            if (inside.Path is not null)
            {
                return inside;
            }
        }

        return policy.Resolve(path, new ImageReference(ReferenceKind.Parent, [pathname]));
    }

    /// <summary>The memory of a suspended VM or of a checkpoint, and files of its state that hold none.</summary>
    private static (VmMemory? Memory, IReadOnlyList<string> Sidecars) StateOf(string path)
    {
        string stem = path[..^Path.GetExtension(path).Length];
        string within = Path.Combine(stem, Path.GetFileName(stem));
        foreach (string state in (string[])[stem + ".vmrs", stem + ".VMRS", within + ".vmrs", within + ".VMRS"])
        {
            if (HostFile.KindOf(state) == HostFileKind.Regular)
            {
                return HyperVConfiguration.HasSavedState(state) ? (VmMemory.Of(state), []) : (null, [state]);
            }
        }

        // Before 2016 two files, in a folder of the VM's GUID.
        foreach (string state in (string[])[within + ".vsv", stem + ".vsv"])
        {
            if (HostFile.KindOf(state) == HostFileKind.Regular)
            {
                return (VmMemory.Of(state), []);
            }
        }

        return (null, []);
    }

    private List<VmSnapshot> Checkpoints(HyperVConfiguration vm, List<VmDisk> disks, List<GapReport> gaps)
    {
        List<HashSet<string>> present = [.. disks.Select(d => d.Plan.Files.Select(f => f.Path).ToHashSet(StringComparer.Ordinal))];
        List<(VmSnapshot State, List<string> Line)> found = [];
        foreach (HyperVConfiguration checkpoint in All(Path.Combine(RootOf(vm.Path), SnapshotFolder), gaps))
        {
            List<SnapshotDisk> its = [.. DisksOf(checkpoint, [])];
            bool isOurs = checkpoint.Id.Length > 0 && vm.Id.Length > 0
                ? checkpoint.Id == vm.Id
                : its.Exists(d => d.Path is not null && present.Exists(p => p.Contains(d.Path)));
            if (isOurs)
            {
                found.Add((
                    new VmSnapshot(Path.GetFileNameWithoutExtension(checkpoint.Path), checkpoint.Name, checkpoint.Created, null, false, its)
                    {
                        Configuration = checkpoint.Path,
                        Memory = StateOf(checkpoint.Path).Memory,
                    },
                    LineOf(its)));
            }
        }

        return Tree(found, disks.Count > 0 ? [.. disks[0].Plan.Files.Select(f => f.Path)] : []);
    }

    /// <summary>The images of a checkpoint's first disk, its top first.</summary>
    private List<string> LineOf(List<SnapshotDisk> disks)
    {
        try
        {
            return disks is [{ Path: { } top, Folder: var folder }, ..] ? [.. VmDisk.Of(top, folder, bases, known: known).Plan.Files.Select(f => f.Path)] : [];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Whoever chooses the checkpoint learns why; only its place in the tree is not known.
            return [];
        }
    }

    /// <summary>A state came from the one whose disk is the nearest below its own.</summary>
    private static List<VmSnapshot> Tree(List<(VmSnapshot State, List<string> Line)> found, List<string> present)
    {
        var byTop = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach ((VmSnapshot state, List<string> line) in found.Where(f => f.Line.Count > 0))
        {
            byTop.TryAdd(line[0], state.Id);
        }

        string? current = present.Select(p => byTop.GetValueOrDefault(p)).FirstOrDefault(id => id is not null);
        return
        [
            .. found.OrderBy(f => f.State.Created ?? DateTimeOffset.MinValue).ThenBy(f => f.Line.Count).ThenBy(f => f.State.Id, StringComparer.Ordinal)
                .Select(f => f.State with
                {
                    ParentId = f.Line.Skip(1).Select(p => byTop.GetValueOrDefault(p)).FirstOrDefault(id => id is not null && id != f.State.Id),
                    IsCurrent = f.State.Id == current,
                }),
        ];
    }

    private IReadOnlyList<HyperVConfiguration> All(string folder, List<GapReport> gaps)
    {
        if (known.Checkpoints.TryGetValue(folder, out IReadOnlyList<HyperVConfiguration>? all))
        {
            return all;
        }

        List<HyperVConfiguration> read = [];
        known.Checkpoints.Add(folder, read);
        if (HostFile.KindOf(folder) != HostFileKind.Folder)
        {
            return read;
        }

        try
        {
            foreach ((int i, string path) in Directory.EnumerateFiles(folder).Where(IsCheckpoint).Order(StringComparer.Ordinal).Index())
            {
                if (i == MostCheckpoints)
                {
                    gaps.Add(new CoverageGap(Fault.Limit, folder, "checkpoints", -1, 0, $"more than {MostCheckpoints} checkpoints in one folder; the rest are not listed").ToReport());
                    break;
                }

                if (HostFile.KindOf(path) == HostFileKind.Regular && ReadCheckpoint(path, gaps) is { } checkpoint)
                {
                    read.Add(checkpoint);
                }
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            gaps.Add(new CoverageGap(Fault.Transport, folder, "checkpoints", -1, 0, e.Message).ToReport());
        }

        return read;
    }

    private static HyperVConfiguration? ReadCheckpoint(string path, List<GapReport> gaps)
    {
        try
        {
            return HyperVConfiguration.Read(path);
        }
        catch (Exception e) when (e is InvalidDataException or IOException or UnauthorizedAccessException)
        {
            gaps.Add(new CoverageGap(e is InvalidDataException ? Fault.Corrupt : Fault.Transport, path, "checkpoint", -1, 0, e.Message).ToReport());
            return null;
        }
    }
}
