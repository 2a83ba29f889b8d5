using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.GuestMemory;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Inventory;

/// <summary>A file of a datastore that may belong to a VM.</summary>
internal sealed record FoundFile(string Path, FileKind Kind, long SizeBytes);

/// <summary>What a file is by its name.</summary>
internal enum FileKind
{
    /// <summary>A VM's configuration.</summary>
    Configuration,

    /// <summary>XML, which may be a VM's configuration.</summary>
    Xml,

    /// <summary>OVF, OVA and exports with all disks of a VM.</summary>
    Package,

    /// <summary>A layer, an extent or a whole disk.</summary>
    Disk,

    /// <summary>An optical disc.</summary>
    Disc,

    /// <summary>Memory or the state of a suspended VM.</summary>
    Memory,

    /// <summary>What keeps others from opening a file.</summary>
    Lock,

    /// <summary>Lies beside a configuration or a disk and holds nothing of a guest.</summary>
    Sidecar,

    /// <summary>Without a telling name: its first bytes may say that it is a disk or memory.</summary>
    Unnamed,
}

/// <summary>
/// Walks a datastore's folder once. Links are not followed, nothing is opened, and only what may belong to a VM is kept, so that a folder with a
/// million other files costs their names alone.
/// </summary>
internal sealed class FolderWalk(string root, CancellationToken cancellation)
{
    private const string LockExtension = ".lck";

    private static readonly string[] Sidecars = [".vmsd", ".vmxf", ".nvram", ".vswp", ".pvp", ".vmgs", ".vhds"];

    public string Root => root;

    /// <summary>In the order of their paths.</summary>
    public List<FoundFile> Files { get; } = [];

    /// <summary>What may hide a disk but is not opened, in the order of paths.</summary>
    public List<Vm> NotOpened { get; } = [];

    /// <summary>Files that belong to no VM as far as their names and sizes tell.</summary>
    public long OtherFiles { get; private set; }

    public long OtherBytes { get; private set; }

    /// <exception cref="TargetException">The folder itself cannot be listed.</exception>
    public static FolderWalk Of(string root, CancellationToken cancellation)
    {
        var walk = new FolderWalk(root, cancellation);
        walk.Look();
        walk.Files.Sort((a, b) => string.CompareOrdinal(a.Path, b.Path));
        walk.NotOpened.Sort((a, b) => string.CompareOrdinal(a.Target, b.Target));
        return walk;
    }

    private void Look()
    {
        var folders = new Stack<string>([root]);
        while (folders.TryPop(out string? folder))
        {
            try
            {
                foreach (string path in Directory.EnumerateFileSystemEntries(folder))
                {
                    cancellation.ThrowIfCancellationRequested();
                    if (Entry(path))
                    {
                        folders.Push(path);
                    }
                }
            }
            catch (Exception e) when (folder != root && e is (IOException or UnauthorizedAccessException))
            {
                NotOpened.Add(VmReader.Unreadable(folder, folder, new CoverageGap(Fault.Transport, folder, "folder", -1, 0, e.Message)));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw new TargetException(e.Message);
            }
        }
    }

    /// <summary>True for a folder. What has gone since its folder was listed is passed over.</summary>
    private bool Entry(string path)
    {
        switch (HostFile.Look(path, out long size))
        {
            case HostFileKind.Regular:
                Add(path, size);
                break;
            case HostFileKind.Folder:
                // VMware Workstation's locks are folders.
                if (path.EndsWith(LockExtension, StringComparison.OrdinalIgnoreCase))
                {
                    Files.Add(new FoundFile(path, FileKind.Lock, 0));
                }

                return true;
            case HostFileKind.Link when DiskFiles.HasDiskExtension(path) || HostFile.KindOf(path, follow: true) == HostFileKind.Folder:
                NotOpen(path, "a link; links are not followed, so name what it leads to as a target");
                break;
            case HostFileKind.Missing when path.Contains('\uFFFD', StringComparison.Ordinal):
                NotOpen(path, "its name is no valid text, so that it cannot be opened; rename it");
                break;
            case HostFileKind.BlockDevice or HostFileKind.Other when DiskFiles.HasDiskExtension(path):
                NotOpen(path, "no regular file");
                break;
        }

        return false;
    }

    private void Add(string path, long size)
    {
        if (KindOf(path, size) is { } kind)
        {
            Files.Add(new FoundFile(path, kind, size));
        }
        else
        {
            OtherFiles++;
            OtherBytes += size;
        }
    }

    private static FileKind? KindOf(string path, long size)
    {
        string extension = Path.GetExtension(path).ToLowerInvariant();
        return extension switch
        {
            ".vmx" or ".vbox" or ".vmc" or ".vmcx" => FileKind.Configuration,
            ".xml" => ContainerFormats.IsDescriptorName(path) ? FileKind.Disk : FileKind.Xml,
            ".iso" => FileKind.Disc,
            ".lok" => FileKind.Lock,
            ".save" => FileKind.Unnamed,
            ".bin" when HostFile.KindOf(Path.ChangeExtension(path, ".vsv")) == HostFileKind.Regular => FileKind.Memory,
            _ when MemoryFormats.Extensions.Contains(extension) => FileKind.Memory,
            _ when Sidecars.Contains(extension) => FileKind.Sidecar,
            _ when PackageFinder.IsPackage(path) => FileKind.Package,
            _ when DiskFiles.HasDiskExtension(path) => FileKind.Disk,
            _ when Path.GetFileName(path.AsSpan()).StartsWith(".lck-", StringComparison.Ordinal) => FileKind.Lock,
            _ when size >= DiskFiles.SmallestUnnamed => FileKind.Unnamed,
            _ => null,
        };
    }

    private void NotOpen(string path, string why) =>
        NotOpened.Add(VmReader.Unreadable(path, path, new CoverageGap(Fault.Refused, path, "file", -1, 0, why)));
}
