using Vmsweep.Appliance.Connectors.HyperV;
using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Connectors.Datastore;

/// <summary>VMs by the configurations of VirtualBox, Virtual PC, Hyper-V and libvirt.</summary>
/// <param name="bases">Folders of declared bases.</param>
/// <param name="known">What was read of other images of the same datastore.</param>
internal sealed class Configurations(IReadOnlyList<string> bases, KnownImages? known = null)
{
    private readonly KnownImages _known = known ?? new KnownImages();

    /// <summary>True for a file that is read as such a configuration.</summary>
    public static bool Is(string path) => Path.GetExtension(path).ToLowerInvariant() switch
    {
        ".vbox" or ".vmc" or ".vmcx" => true,
        ".xml" => !ContainerFormats.IsDescriptorName(path) && ConfigurationXml.RootOf(path) is var root && (LibvirtXml.IsRoot(root) || (HyperVConfiguration.IsRoot(root) && HyperVConfiguration.IsName(path))),
        _ => false,
    };

    /// <summary>The VM; null when the extension is none of these.</summary>
    /// <exception cref="InvalidDataException">The file is no configuration.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public Vm? Read(string target, string path) => Path.GetExtension(path).ToLowerInvariant() switch
    {
        ".vbox" => Vbox(target, path),
        ".vmc" => VirtualPc(target, path),
        ".vmcx" => new HyperVFiles(bases, _known).Read(target, path),
        ".xml" when !ContainerFormats.IsDescriptorName(path) && HyperVConfiguration.IsRoot(ConfigurationXml.RootOf(path)) => new HyperVFiles(bases, _known).Read(target, path),
        ".xml" when !ContainerFormats.IsDescriptorName(path) => Libvirt(target, path),
        _ => null,
    };

    private Vm Vbox(string target, string path)
    {
        VboxFile vbox = VboxFile.Read(path);
        string folder = Path.GetDirectoryName(path)!;
        List<GapReport> gaps = [];
        if (vbox.IsEncrypted)
        {
            gaps.Add(new CoverageGap(Fault.Encrypted, path, "VM configuration", 0, 0, "the configuration is encrypted; which disks the VM has is not known").ToReport());
        }

        List<VmDisk> disks = Disks(path, vbox.Disks.Select(d => (d, (string?)null)), gaps);
        return new Vm(target, Identity(path, vbox.Uuid, vbox.Name, vbox.IsSuspended ? "suspended" : "unknown", vbox.GuestOs), disks, gaps)
        {
            Discs = vbox.Discs,
            Snapshots = [.. vbox.Snapshots.Select(s => SnapshotFinder.Resolved(s, path, folder, bases))],
            Memory = vbox.StateFile.Length > 0 ? VmMemory.Named(path, vbox.StateFile, new FolderPolicy(folder, bases), gaps) : null,
        };
    }

    /// <summary>An undo disk holds what the guest wrote since it was begun: where one is, it is the disk, over the image that it names as its parent.</summary>
    private Vm VirtualPc(string target, string path)
    {
        var policy = new FolderPolicy(Path.GetDirectoryName(path)!, bases);
        List<GapReport> gaps = [];
        List<(ImageReference Image, string? Declared)> images = [];
        foreach ((ImageReference? disk, ImageReference? undo) in VmcFile.Read(path).Disks)
        {
            ReferenceAnswer answer = undo is null ? new ReferenceAnswer(null, Fault.MissingParent) : policy.Resolve(path, undo);
            if (answer.Path is null && answer.Fault != Fault.MissingParent)
            {
                gaps.Add(new CoverageGap(answer.Fault, undo!.Display, "VM configuration", -1, 0, answer.Detail + "; the disk below is read without it").ToReport());
            }

            if ((answer.Path is null ? disk : undo) is { } image)
            {
                images.Add((image, null));
            }
        }

        // The state of a suspended VM lies beside its configuration.
        string state = Path.ChangeExtension(path, ".vsv");
        bool isSuspended = HostFile.KindOf(state) == HostFileKind.Regular;
        return new Vm(target, Identity(path, "", "", isSuspended ? "suspended" : "unknown", ""), Disks(path, images, gaps), gaps)
        {
            Memory = isSuspended ? VmMemory.Of(state) : null,
        };
    }

    private Vm Libvirt(string target, string path)
    {
        LibvirtXml domain = LibvirtXml.Read(path);
        VmReport identity = Identity(path, domain.Uuid, domain.Name, domain.Power, domain.GuestOs);
        if (domain.Power == "running")
        {
            List<GapReport> unseen = [];
            return new Vm(target, identity, [], [new CoverageGap(Fault.Refused, path, "VM", -1, 0, "the VM runs; a live disk is never read").ToReport()])
            {
                Held = Disks(path, ImagesOf(domain), unseen),
                Discs = domain.Discs,
            };
        }

        List<GapReport> gaps =
        [
            .. domain.Disks.Where(d => d.Type != "file")
                .Select(d => new CoverageGap(Fault.Unsupported, d.Source, "VM configuration", -1, 0, $"a disk of the type {d.Type} is no file; name an image of it").ToReport()),
        ];
        // Managed save: the image has the domain's name.
        string? saved = new FolderPolicy(Path.GetDirectoryName(path)!, bases).Resolve(path, new ImageReference(ReferenceKind.Parent, [domain.Name + ".save"])).Path;
        VmMemory? memory = saved is null ? null : VmMemory.Of(saved);
        identity = memory is null ? identity : identity with { Power = "suspended" };
        return new Vm(target, identity, Disks(path, ImagesOf(domain), gaps), gaps) { Memory = memory, Discs = domain.Discs };
    }

    private static IEnumerable<(ImageReference Image, string? Declared)> ImagesOf(LibvirtXml domain) =>
        domain.Disks.Where(d => d.Type == "file").Select(d => (new ImageReference(ReferenceKind.Parent, [d.Source]), (string?)d.Format));

    private List<VmDisk> Disks(string path, IEnumerable<(ImageReference Image, string? Declared)> images, List<GapReport> gaps)
    {
        string folder = Path.GetDirectoryName(path)!;
        var policy = new FolderPolicy(folder, bases, _known);
        List<VmDisk> disks = [];
        foreach ((ImageReference image, string? declared) in images)
        {
            ReferenceAnswer answer = policy.Resolve(path, image);
            if (answer.Path is not { } disk)
            {
                string detail = $"{answer.Detail}; where its folder may be read, declare it with --base";
                gaps.Add(new CoverageGap(answer.Fault, image.Display, "VM configuration", -1, 0, detail).ToReport());
                continue;
            }

            try
            {
                disks.Add(VmDisk.Of(disk, folder, bases, declared, _known));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                gaps.Add(ChainLimitException.Gap(e, disk));
            }
        }

        return disks;
    }

    private static VmReport Identity(string path, string uuid, string name, string power, string guestOs) =>
        new(uuid.Length > 0 ? uuid : path, name.Length > 0 ? name : Path.GetFileNameWithoutExtension(path), power, guestOs);
}
