using Vmsweep.Appliance.Connectors.HyperV;
using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Connectors.Datastore;

/// <summary>Reads one file as a VM: its configuration, a package, an image of a disk or of memory. What fails is a gap of that VM.</summary>
/// <param name="bases">Folders whose images may be parents of any disk.</param>
/// <param name="known">What was read of other images of the same datastore; null where there is one file only.</param>
/// <param name="cancellation">Ends the reading of many.</param>
internal sealed class VmReader(IReadOnlyList<string> bases, KnownImages? known = null, CancellationToken cancellation = default)
{
    private const string NfsLocks = ".lck-*";

    private readonly KnownImages _known = known ?? new KnownImages();

    /// <summary>What a file is: a package of VMs, or one VM or image.</summary>
    public List<Vm> Many(string target, string path)
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

    /// <summary>One of perhaps many: what fails is its own gap, and the others are still scanned.</summary>
    public Vm One(string target, string path) => SnapshotFinder.With(Current(target, path), path, bases);

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

            if (new Configurations(bases, _known).Read(target, path) is { } configured)
            {
                return configured;
            }

            if (VmMemory.Is(path))
            {
                return MemoryTarget.Of(target, path);
            }

            return new Vm(target, new VmReport(path, Path.GetFileName(path), "unknown", ""), [Disk(path, FolderOf(path))], [.. MissingPieces(path)]);
        }
        catch (ChainLimitException e)
        {
            return Unreadable(target, path, new CoverageGap(Fault.Limit, path, "storage", -1, 0, e.Message));
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

    /// <summary>The VM's folder of an image: its own, or where it lies in the folder of snapshots of VirtualBox or Hyper-V, the one above.</summary>
    public string FolderOf(string path)
    {
        string folder = Path.GetDirectoryName(path)!;
        return Path.GetFileName(folder) == VboxFile.SnapshotFolder && Path.GetDirectoryName(folder) is { } above && (_known.Has(above, "*.vbox") || Directory.Exists(Path.Combine(above, HyperVFiles.MachineFolder))) ? above : folder;
    }

    public static Vm Unreadable(string target, string path, CoverageGap gap) =>
        new(target, new VmReport(path, Path.GetFileName(path), "unknown", ""), [], [gap.ToReport()]);

    private Vm FromVmx(string target, string path)
    {
        VmxFile vmx = VmxFile.Read(path);
        string folder = Path.GetDirectoryName(path)!;
        List<GapReport> gaps = [];
        List<VmDisk> disks = [];
        string? held = LockOf(path);
        string power = held is not null ? "running" : vmx.SuspendState.Length > 0 ? "suspended" : "off";
        if (vmx.IsEncrypted)
        {
            gaps.Add(new CoverageGap(Fault.Encrypted, path, "VM configuration", 0, 0, "the configuration is encrypted; which disks the VM has is not known").ToReport());
        }

        var policy = new FolderPolicy(folder, bases, _known);
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
                gaps.Add(ChainLimitException.Gap(e, disk));
            }
        }

        if (held is not null)
        {
            // The files change while they are read: only a point-in-time view may be scanned.
            var runs = new CoverageGap(Fault.Refused, path, "VM", -1, 0, $"the VM runs (its lock {held} is held); a live disk is never read");
            return new Vm(target, Identity(), [], [runs.ToReport()]) { Held = disks, Discs = vmx.Discs };
        }

        return new Vm(target, Identity(), disks, gaps)
        {
            Discs = vmx.Discs,
            Memory = power == "suspended" ? VmMemory.Named(path, vmx.SuspendState, policy, gaps) : null,
        };

        VmReport Identity() => new(
            vmx.Uuid.Length > 0 ? vmx.Uuid : path,
            vmx.DisplayName.Length > 0 ? vmx.DisplayName : Path.GetFileNameWithoutExtension(path),
            power,
            vmx.GuestOs);
    }

    private VmDisk Disk(string path, string folder) => VmDisk.Of(path, folder, bases, known: _known);

    private IEnumerable<GapReport> MissingPieces(string path)
    {
        var policy = new FolderPolicy(Path.GetDirectoryName(path)!, bases);
        return SplitImage.Missing(SplitImage.Of(path, policy), policy) is { } gap ? [gap.ToReport()] : [];
    }

    /// <summary>The lock that says that a VM runs; null where there is none. ESXi keeps one for each open file beside it where a datastore is NFS.</summary>
    private string? LockOf(string path)
    {
        if (Directory.Exists(path + ".lck") && Directory.EnumerateFileSystemEntries(path + ".lck").Any())
        {
            return Path.GetFileName(path) + ".lck";
        }

        return _known.Has(Path.GetDirectoryName(path)!, NfsLocks) ? NfsLocks : null;
    }
}

