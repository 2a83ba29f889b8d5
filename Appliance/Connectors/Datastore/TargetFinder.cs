using Vmsweep.Appliance.Inventory;

namespace Vmsweep.Appliance.Connectors.Datastore;

/// <summary>Turns what an operator names into VMs: an image, a configuration file, or a folder with both below it.</summary>
/// <param name="bases">Folders whose images may be parents of any disk.</param>
/// <param name="cancellation">Ends the search of a large folder.</param>
internal sealed class TargetFinder(IReadOnlyList<string> bases, CancellationToken cancellation = default)
{
    /// <summary>Keeps what heads of images say, for whoever asks further; null where nobody does.</summary>
    public KnownImages? Known { get; init; }

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
                return new DatastoreReader(bases, cancellation).Read(target).Targets;
            default:
                return new VmReader(bases, Known, cancellation).Many(target, Path.GetFullPath(target));
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

        Vm? vm = new VmReader(bases, Known, cancellation).Many(target, package).FirstOrDefault(v => v.Disks.Any(d => d.Path == path));
        return vm is null ? null : vm with { Disks = [.. vm.Disks.Where(d => d.Path == path)], Manifest = [] };
    }
}

/// <summary>A target that cannot be scanned at all; the message is for the operator.</summary>
internal sealed class TargetException(string message) : Exception(message);
