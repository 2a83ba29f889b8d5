using System.Buffers.Binary;
using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Connectors.Datastore;

/// <summary>Turns what an operator names into VMs: an image, a configuration file, or a folder with both below it.</summary>
/// <param name="bases">Folders whose images may be parents of any disk.</param>
internal sealed class TargetFinder(IReadOnlyList<string> bases)
{
    /// <summary>Configurations of VMs that are known by name but not read yet: their disks are scanned one by one.</summary>
    private static readonly string[] UnreadConfigurations = [".vmcx", ".vbox", ".vmc", ".ovf"];

    /// <summary>No virtual disk is smaller; smaller files without a disk's extension are not looked at.</summary>
    private const long SmallestUnnamedDisk = 64 << 10;

    /// <exception cref="TargetException">The target is not there or is nothing that can be scanned.</exception>
    public IEnumerable<Vm> Find(string target)
    {
        switch (HostFile.KindOf(target, follow: true))
        {
            case HostFileKind.Missing:
                throw new TargetException($"{target}: not found");
            case HostFileKind.BlockDevice:
                throw new TargetException($"{target}: block devices are not read; make an image of it, or name the image behind it");
            case HostFileKind.Other:
                throw new TargetException($"{target}: not a regular file or a folder");
            case HostFileKind.Folder:
                return InFolder(target);
            default:
                return [One(target, Path.GetFullPath(target))];
        }
    }

    private Vm One(string target, string path)
    {
        string extension = Path.GetExtension(path);
        try
        {
            if (extension.Equals(".vmx", StringComparison.OrdinalIgnoreCase))
            {
                return FromVmx(target, path);
            }

            if (UnreadConfigurations.Contains(extension, StringComparer.OrdinalIgnoreCase))
            {
                var unread = new CoverageGap(Fault.Unsupported, path, "configuration", -1, 0, $"{extension} configurations are not read; name the VM's disk images or its folder");
                return new Vm(target, new VmReport(path, Path.GetFileNameWithoutExtension(path), "unknown", ""), [], [unread.ToReport()]);
            }

            return new Vm(target, new VmReport(path, Path.GetFileName(path), "unknown", ""), [Disk(path, Path.GetDirectoryName(path)!)], []);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or InvalidDataException)
        {
            throw new TargetException(e.Message);
        }
    }

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

        return new Vm(target, Identity(), disks, gaps);

        VmReport Identity() => new(
            vmx.Uuid.Length > 0 ? vmx.Uuid : path,
            vmx.DisplayName.Length > 0 ? vmx.DisplayName : Path.GetFileNameWithoutExtension(path),
            power,
            vmx.GuestOs);
    }

    /// <summary>Every VM below a folder, then every image that no VM's disk is made of. Links are not followed.</summary>
    private IEnumerable<Vm> InFolder(string root)
    {
        var options = new EnumerationOptions { RecurseSubdirectories = true, IgnoreInaccessible = false, AttributesToSkip = FileAttributes.ReparsePoint };
        List<string> files;
        try
        {
            files = [.. Directory.EnumerateFiles(Path.GetFullPath(root), "*", options).Order(StringComparer.Ordinal)];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new TargetException(e.Message);
        }

        var used = new HashSet<string>(StringComparer.Ordinal);
        foreach (string path in files.Where(f => f.EndsWith(".vmx", StringComparison.OrdinalIgnoreCase)))
        {
            Vm vm = Guarded(path);
            used.UnionWith(vm.Disks.SelectMany(d => d.Plan.Files).Select(f => f.Path));
            yield return vm;
        }

        // A parent or extent that another image names is no disk of its own. Two passes: names lead both ways in the order of files.
        List<Vm> orphans = [.. files.Where(f => !used.Contains(f) && IsDisk(f)).Select(Guarded)];
        foreach (VmDisk disk in orphans.SelectMany(o => o.Disks))
        {
            used.UnionWith(disk.Plan.Files.Skip(1).Select(f => f.Path));
        }

        foreach (Vm orphan in orphans)
        {
            if (!used.Contains(orphan.Target))
            {
                yield return orphan;
            }
        }
    }

    /// <summary>One of many: what fails is its own gap.</summary>
    private Vm Guarded(string path)
    {
        try
        {
            return One(path, path);
        }
        catch (TargetException e)
        {
            var gap = new CoverageGap(Fault.Transport, path, "file", -1, 0, e.Message);
            return new Vm(path, new VmReport(path, Path.GetFileName(path), "unknown", ""), [], [gap.ToReport()]);
        }
    }

    private VmDisk Disk(string path, string folder)
    {
        var policy = new FolderPolicy(folder, bases);
        ChainPlan plan = ChainPlanner.Plan(path, policy);
        return new VmDisk(path, plan, [.. policy.Refused.Select(r => r.Name)]);
    }

    private static string PowerOf(VmxFile vmx, string path)
    {
        if (Directory.Exists(path + ".lck") && Directory.EnumerateFileSystemEntries(path + ".lck").Any())
        {
            return "running";
        }

        return vmx.SuspendState.Length > 0 ? "suspended" : "off";
    }

    /// <summary>Taken for a disk by its extension, or without a telling one by its first bytes.</summary>
    private static bool IsDisk(string path)
    {
        if (HostFile.KindOf(path) != HostFileKind.Regular)
        {
            return false;
        }

        string extension = Path.GetExtension(path);
        if (ContainerFormats.DiskExtensions.Contains(extension, StringComparer.OrdinalIgnoreCase) || UnreadConfigurations.Contains(extension, StringComparer.OrdinalIgnoreCase))
        {
            return true;
        }

        try
        {
            return new FileInfo(path).Length >= SmallestUnnamedDisk && LooksLikeDisk(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Whoever may not read it learns so when it is opened.
            return extension.Length == 0;
        }
    }

    private static bool LooksLikeDisk(string path)
    {
        Span<byte> head = stackalloc byte[2048];
        using FileStream file = File.OpenRead(path);
        if (file.ReadAtLeast(head, head.Length, throwOnEndOfStream: false) < head.Length)
        {
            return false;
        }

        bool isContainer = head.StartsWith("KDMV"u8) || head.StartsWith("vhdxfile"u8) || head.StartsWith("QFI\xFB"u8) || head.StartsWith("COWD"u8) || head.StartsWith("conectix"u8);
        bool hasBootSignature = file.Length % 512 == 0 && head[510] == 0x55 && head[511] == 0xAA;
        bool isExt = file.Length % 1024 == 0 && BinaryPrimitives.ReadUInt16LittleEndian(head[0x438..]) == 0xEF53;
        return isContainer || hasBootSignature || isExt;
    }
}

/// <summary>A target that cannot be scanned at all; the message is for the operator.</summary>
internal sealed class TargetException(string message) : Exception(message);
