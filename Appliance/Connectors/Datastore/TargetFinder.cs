using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Connectors.Datastore;

/// <summary>Turns what an operator names into VMs: an image, a configuration file, or a folder with both below it.</summary>
/// <param name="bases">Folders whose images may be parents of any disk.</param>
/// <param name="cancellation">Ends the search of a large folder.</param>
internal sealed class TargetFinder(IReadOnlyList<string> bases, CancellationToken cancellation = default)
{
    /// <exception cref="TargetException">The target is not there or is nothing that can be scanned.</exception>
    public IEnumerable<Vm> Find(string target)
    {
        switch (HostFile.KindOf(target, follow: true))
        {
            case HostFileKind.Missing when InPackage(target) is { } vm:
                return [vm];
            case HostFileKind.Missing:
                throw new TargetException($"{target}: not found");
            case HostFileKind.BlockDevice:
                throw new TargetException($"{target}: block devices are not read; make an image of it, or name the image behind it");
            case HostFileKind.Other:
                throw new TargetException($"{target}: not a regular file or a folder");
            case HostFileKind.Folder:
                return InFolder(target);
            default:
                return Many(target, Path.GetFullPath(target));
        }
    }

    /// <summary>What a file is: a package of VMs, or one VM or image.</summary>
    private List<Vm> Many(string target, string path)
    {
        try
        {
            return PackageFinder.IsPackage(path) || PackageFinder.IsUnnamedBundle(path)
                ? new PackageFinder(bases, cancellation).Find(target, path)
                : [One(target, path)];
        }
        catch (InvalidDataException e)
        {
            return [Unreadable(target, path, new CoverageGap(Fault.Corrupt, path, "VM configuration", 0, 0, e.Message))];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return [Unreadable(target, path, new CoverageGap(Fault.Transport, path, "file", -1, 0, e.Message))];
        }
    }

    /// <summary>One disk of a package, named as reports name it: the package's path and its own; null where there is none.</summary>
    private Vm? InPackage(string target)
    {
        string path = Path.GetFullPath(target);
        string? package = path;
        do
        {
            package = Path.GetDirectoryName(package);
        }
        while (package is not null && HostFile.KindOf(package, follow: true) == HostFileKind.Missing);

        if (package is null || HostFile.KindOf(package, follow: true) != HostFileKind.Regular || !PackageFinder.IsPackage(package))
        {
            return null;
        }

        Vm? vm = Many(target, package).FirstOrDefault(v => v.Disks.Any(d => d.Path == path));
        return vm is null ? null : vm with { Disks = [.. vm.Disks.Where(d => d.Path == path)], Manifest = [] };
    }

    /// <summary>One of perhaps many: what fails is its own gap, and the others are still scanned.</summary>
    private Vm One(string target, string path) => SnapshotFinder.With(Current(target, path), path, bases);

    private Vm Current(string target, string path)
    {
        cancellation.ThrowIfCancellationRequested();
        string extension = Path.GetExtension(path);
        try
        {
            if (extension.Equals(".vmx", StringComparison.OrdinalIgnoreCase))
            {
                return FromVmx(target, path);
            }

            if (new Configurations(bases).Read(target, path) is { } configured)
            {
                return configured;
            }

            if (DiskFiles.IsUnreadConfiguration(path))
            {
                var unread = new CoverageGap(Fault.Unsupported, path, "configuration", -1, 0, $"{extension} configurations are not read; name the VM's disk images or its folder");
                return new Vm(target, new VmReport(path, Path.GetFileNameWithoutExtension(path), "unknown", ""), [], [unread.ToReport()]);
            }

            if (VmMemory.Is(path))
            {
                return MemoryTarget.Of(target, path);
            }

            return new Vm(target, new VmReport(path, Path.GetFileName(path), "unknown", ""), [Disk(path, FolderOf(path))], [.. MissingPieces(path)]);
        }
        catch (InvalidDataException e)
        {
            return Unreadable(target, path, new CoverageGap(Fault.Corrupt, path, "VM configuration", 0, 0, e.Message));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return Unreadable(target, path, new CoverageGap(Fault.Transport, path, "file", -1, 0, e.Message));
        }
    }

    /// <summary>The VM's folder of an image: its own, or where it lies in VirtualBox's folder of snapshots, the one with the configuration.</summary>
    private static string FolderOf(string path)
    {
        string folder = Path.GetDirectoryName(path)!;
        return Path.GetFileName(folder) == VboxFile.SnapshotFolder && Path.GetDirectoryName(folder) is { } above && Directory.EnumerateFiles(above, "*.vbox").Any() ? above : folder;
    }

    private static Vm Unreadable(string target, string path, CoverageGap gap) =>
        new(target, new VmReport(path, Path.GetFileName(path), "unknown", ""), [], [gap.ToReport()]);

    private Vm FromVmx(string target, string path)
    {
        VmxFile vmx = VmxFile.Read(path);
        string folder = Path.GetDirectoryName(path)!;
        List<GapReport> gaps = [];
        List<VmDisk> disks = [];
        string power = PowerOf(vmx, path);
        if (vmx.IsEncrypted)
        {
            gaps.Add(new CoverageGap(Fault.Encrypted, path, "VM configuration", 0, 0, "the configuration is encrypted; which disks the VM has is not known").ToReport());
        }

        if (power == "running")
        {
            // The files change while they are read: only a point-in-time view may be scanned.
            gaps.Add(new CoverageGap(Fault.Refused, path, "VM", -1, 0, $"the VM runs (its lock {Path.GetFileName(path)}.lck is held); a live disk is never read").ToReport());
            return new Vm(target, Identity(), disks, gaps);
        }

        var policy = new FolderPolicy(folder, bases);
        foreach (string name in vmx.Disks)
        {
            ReferenceAnswer answer = policy.Resolve(path, new ImageReference(ReferenceKind.Parent, [name]));
            if (answer.Path is not { } disk)
            {
                gaps.Add(new CoverageGap(answer.Fault, name, "VM configuration", -1, 0, answer.Detail).ToReport());
                continue;
            }

            try
            {
                disks.Add(Disk(disk, folder));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                gaps.Add(new CoverageGap(Fault.Transport, disk, "storage", -1, 0, e.Message).ToReport());
            }
        }

        return new Vm(target, Identity(), disks, gaps)
        {
            Memory = power == "suspended" ? VmMemory.Named(path, vmx.SuspendState, policy, gaps) : null,
        };

        VmReport Identity() => new(
            vmx.Uuid.Length > 0 ? vmx.Uuid : path,
            vmx.DisplayName.Length > 0 ? vmx.DisplayName : Path.GetFileNameWithoutExtension(path),
            power,
            vmx.GuestOs);
    }

    /// <summary>Every VM below a folder, then every image that no VM's disk is made of. Links are not followed, but told of.</summary>
    private List<Vm> InFolder(string root)
    {
        (List<string> files, List<Vm> found) = Look(Path.GetFullPath(root));
        var used = new HashSet<string>(StringComparer.Ordinal);
        foreach (string path in files.Where(f => f.EndsWith(".vmx", StringComparison.OrdinalIgnoreCase) || Configurations.Is(f)))
        {
            found.Add(Use(One(path, path), used));
        }

        foreach (string path in files.Where(f => PackageFinder.IsPackage(f) && !used.Contains(f)))
        {
            used.Add(path);
            found.AddRange(Many(path, path).Select(v => Use(v, used)));
        }

        // A parent or extent that another image names is no disk of its own. Two passes: names lead both ways in the order of files.
        List<Vm> orphans = [.. files.Where(f => !used.Contains(f) && (DiskFiles.IsDisk(f) || VmMemory.Is(f))).Select(f => One(f, f))];
        HashSet<string> named = [.. orphans.SelectMany(o => o.Disks).SelectMany(d => d.Plan.Files.Skip(1)).Select(f => f.Path)];
        named.UnionWith(orphans.SelectMany(o => o.Disks).SelectMany(d => d.Plan.Files).SelectMany(f => f.More).Select(m => m.Path));
        named.UnionWith(orphans.SelectMany(o => o.Memory?.Plan.Files.Skip(1) ?? []).Select(f => f.Path));
        foreach (Vm orphan in orphans.Where(o => !named.Contains(o.Target)))
        {
            found.Add(Use(orphan, used));
        }

        // Images that name each other in a circle are all named, and would hide each other.
        foreach (Vm orphan in orphans.Where(o => named.Contains(o.Target)))
        {
            if (!used.Contains(orphan.Target))
            {
                found.Add(Use(orphan, used));
            }
        }

        return found.Count > 0 ? found : throw new TargetException($"{root}: neither a VM nor an image of a disk or of memory lies in this folder");
    }

    private static Vm Use(Vm vm, HashSet<string> used)
    {
        used.UnionWith(vm.Disks.SelectMany(d => d.Plan.Files).SelectMany(f => (string[])[f.Path, .. f.More.Select(m => m.Path)]));
        used.UnionWith(vm.Snapshots.Select(s => s.Memory).Append(vm.Memory).OfType<VmMemory>().SelectMany(m => m.Plan.Files).Select(f => f.Path));
        return vm;
    }

    /// <summary>The regular files below a folder, and a gap for each entry that may hide a disk but is not opened.</summary>
    private (List<string> Files, List<Vm> NotOpened) Look(string root)
    {
        List<string> files = [];
        List<Vm> notOpened = [];
        var folders = new Stack<string>([root]);
        while (folders.TryPop(out string? folder))
        {
            try
            {
                foreach (string path in Directory.EnumerateFileSystemEntries(folder))
                {
                    cancellation.ThrowIfCancellationRequested();
                    switch (HostFile.KindOf(path))
                    {
                        case HostFileKind.Regular:
                            files.Add(path);
                            break;
                        case HostFileKind.Folder:
                            folders.Push(path);
                            break;
                        case HostFileKind.Link when DiskFiles.HasDiskExtension(path) || HostFile.KindOf(path, follow: true) == HostFileKind.Folder:
                            NotOpened(path, "a link; links are not followed, so name what it leads to as a target");
                            break;
                        case HostFileKind.Missing when path.Contains('\uFFFD', StringComparison.Ordinal):
                            NotOpened(path, "its name is no valid text, so that it cannot be opened; rename it");
                            break;
                        case HostFileKind.BlockDevice or HostFileKind.Other when DiskFiles.HasDiskExtension(path):
                            NotOpened(path, "no regular file");
                            break;
                    }
                }
            }
            catch (Exception e) when (folder != root && e is (IOException or UnauthorizedAccessException))
            {
                notOpened.Add(Unreadable(folder, folder, new CoverageGap(Fault.Transport, folder, "folder", -1, 0, e.Message)));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw new TargetException(e.Message);
            }
        }

        files.Sort(StringComparer.Ordinal);
        notOpened.Sort((a, b) => string.CompareOrdinal(a.Target, b.Target));
        return (files, notOpened);

        void NotOpened(string path, string why) =>
            notOpened.Add(Unreadable(path, path, new CoverageGap(Fault.Refused, path, "file", -1, 0, why)));
    }

    private VmDisk Disk(string path, string folder) => VmDisk.Of(path, folder, bases);

    private IEnumerable<GapReport> MissingPieces(string path)
    {
        var policy = new FolderPolicy(Path.GetDirectoryName(path)!, bases);
        return SplitImage.Missing(SplitImage.Of(path, policy), policy) is { } gap ? [gap.ToReport()] : [];
    }

    private static string PowerOf(VmxFile vmx, string path)
    {
        if (Directory.Exists(path + ".lck") && Directory.EnumerateFileSystemEntries(path + ".lck").Any())
        {
            return "running";
        }

        return vmx.SuspendState.Length > 0 ? "suspended" : "off";
    }
}

/// <summary>A target that cannot be scanned at all; the message is for the operator.</summary>
internal sealed class TargetException(string message) : Exception(message);
