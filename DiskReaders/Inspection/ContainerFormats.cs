using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Containers.Parallels;
using Vmsweep.DiskReaders.Containers.Qcow2;
using Vmsweep.DiskReaders.Containers.Raw;
using Vmsweep.DiskReaders.Containers.Vdi;
using Vmsweep.DiskReaders.Containers.Vhd;
using Vmsweep.DiskReaders.Containers.Vhdx;
using Vmsweep.DiskReaders.Containers.Vma;
using Vmsweep.DiskReaders.Containers.Vmdk;
using Vmsweep.DiskReaders.Containers.Xva;

namespace Vmsweep.DiskReaders.Inspection;

/// <summary>The virtual disk formats that are read, and which of them a file is.</summary>
public static class ContainerFormats
{
    public static readonly RawFormat Raw = new();

    /// <summary>Every format with a reader. Raw is no part of it: raw is declared or the last resort, never recognised.</summary>
    public static readonly IReadOnlyList<IContainerFormat> Readable = [new VmdkFormat(), new VhdxFormat(), new VhdFormat(), new Qcow2Format(), new VdiFormat(), new ParallelsFormat(), new XvaFormat(), new VmaFormat()];

    /// <summary>What holds images of these formats: packages of VMs, and images cut into pieces. For people.</summary>
    public static readonly IReadOnlyList<FormatSupport> Holders =
    [
        new(
            "OVF and OVA",
            "every VM and disk of a descriptor; of an archive (.ova, Vagrant's .box) read where it lies, members packed by gzip and disks in chunks too; digests of the manifest verified",
            "archives packed as a whole, files that are missing, digests that differ; certificates are not verified"),
        new("split image", "pieces of an image of any format here (.001 or .000 and on; Virtual PC's .v01 and on)", "missing pieces in the middle"),
    ];

    // Extensions that declare a format. Others (.img, .bin, none) leave it to the bytes.
    private static readonly Dictionary<string, string> ByExtension = new(StringComparer.OrdinalIgnoreCase)
    {
        [".vmdk"] = "vmdk",
        [".vhdx"] = "vhdx",
        [".avhdx"] = "vhdx",
        [".vhd"] = "vhd",
        [".avhd"] = "vhd",
        [".vud"] = "vhd",
        [".vdi"] = "vdi",
        [".qcow2"] = "qcow2",
        [".raw"] = "raw",
        [".dd"] = "raw",
        [".iso"] = "raw",
        [".xva"] = "xva",
        [".vma"] = "vma",
    };

    /// <summary>Extensions of files that are taken for virtual disks when a folder is searched.</summary>
    public static readonly IReadOnlyList<string> DiskExtensions =
        [.. ByExtension.Keys, ".img", ".qcow", ".qed", ".hdd", ".hds", ".ova", ".box", ".e01", ".001", ".000"];

    /// <summary>The format that a file's name declares; null when it declares none.</summary>
    public static string? Declared(string name) =>
        IsFlatExtentName(name) ? "raw" : IsDescriptorName(name) ? "parallels" : ByExtension.GetValueOrDefault(Path.GetExtension(name));

    /// <summary>True for a format that holds all disks of a VM.</summary>
    public static bool IsBundle(string format) => Readable.Any(f => f.Name == format && f is IBundleFormat);

    /// <summary>The format of an image: as declared, otherwise as its bytes say, otherwise raw.</summary>
    /// <exception cref="DiskFormatException"><see cref="Fault.Unsupported"/>: a known format without a reader.</exception>
    public static IContainerFormat Choose(ImageFile file, string? declared)
    {
        if (declared == "raw")
        {
            return Raw;
        }

        if (Readable.FirstOrDefault(f => f.Name == declared) is { } chosen)
        {
            return chosen;
        }

        if (Readable.FirstOrDefault(f => f.Probe(file)) is { } probed)
        {
            return probed;
        }

        if (KnownContainers.Recognise(file.Bytes) is { } known)
        {
            throw new DiskFormatException(known.Fault, known.Name, 0, $"{known.Name} is recognised but not read{(known.Detail.Length > 0 ? ": " + known.Detail : "")}");
        }

        return Raw;
    }

    /// <summary>
    /// What the bytes of an image say when they contradict the format it was opened as; null when they agree. A tenant who writes
    /// another format's header into a raw disk hopes that somebody probes it.
    /// </summary>
    public static string? Disagreement(ImageFile file, IContainerFormat opened)
    {
        string? says = Readable.FirstOrDefault(f => f.Probe(file))?.Name ?? KnownContainers.Recognise(file.Bytes)?.Name;
        return says is null || says == opened.Name ? null : says;
    }

    /// <summary>The identity that a file's header says, by the format that its name declares; null when there is none to be had.</summary>
    /// <param name="path">Host path, which the appliance chose.</param>
    public static string? IdentityOf(string path)
    {
        try
        {
            using var bytes = new FileSource(path);
            var file = new ImageFile(path, 0, bytes);
            return Choose(file, Declared(path)) is IIdentifiedFormat format ? format.IdentityOf(file) : null;
        }
        catch (Exception e) when (e is DiskFormatException or IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>The one file of a Parallels disk's folder that is opened for it; no extension says so.</summary>
    public static bool IsDescriptorName(string name) => Path.GetFileName(name.AsSpan()).Equals(DiskDescriptor.FileName, StringComparison.OrdinalIgnoreCase);

    // "x-flat.vmdk", "x-f001.vmdk": the raw extents of a VMDK, under the extension of their descriptor.
    private static bool IsFlatExtentName(string name)
    {
        if (!name.EndsWith(".vmdk", StringComparison.OrdinalIgnoreCase))
        {
            return false;
        }

        int dash = name.LastIndexOf('-');
        ReadOnlySpan<char> tail = dash < 0 ? default : name.AsSpan(dash + 1, name.Length - dash - 1 - ".vmdk".Length);
        return tail.Equals("flat", StringComparison.OrdinalIgnoreCase)
            || (tail.Length == 4 && tail[0] is 'f' or 'F' && !tail[1..].ContainsAnyExceptInRange('0', '9'));
    }
}
