using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Connectors.Datastore;

/// <summary>
/// The VMs inside packages: OVF descriptors with files beside them, OVA archives (and Vagrant boxes, which are built alike), and exports that
/// hold all disks of a VM in one file.
/// </summary>
/// <param name="bases">Folders whose images may be parents of any disk.</param>
internal sealed class PackageFinder(IReadOnlyList<string> bases, CancellationToken cancellation = default)
{
    /// <summary>Most members of an archive: a package has a dozen, a VMDK in 2 GB extents some thousands.</summary>
    public const int MostMembers = 20_000;

    private static readonly string[] Archives = [".ova", ".box"];

    /// <summary>True when a file is a package: by its name, or an export by its first bytes.</summary>
    public static bool IsPackage(string path)
    {
        string extension = Path.GetExtension(path);
        return IsDescriptor(path) || IsArchive(extension) || ContainerFormats.Declared(path) is { } declared && ContainerFormats.IsBundle(declared);
    }

    /// <summary>True for an export whose name does not tell, by its first bytes.</summary>
    public static bool IsUnnamedBundle(string path)
    {
        if (ContainerFormats.Declared(path) is not null)
        {
            return false;
        }

        using var bytes = new FileSource(path);
        var file = new ImageFile(path, 0, bytes);
        return ContainerFormats.Readable.OfType<IBundleFormat>().Any(f => f.Probe(file));
    }

    public static bool IsDescriptor(string path) => Path.GetExtension(path).Equals(".ovf", StringComparison.OrdinalIgnoreCase);

    /// <exception cref="InvalidDataException">The descriptor is none.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    /// <exception cref="UnauthorizedAccessException">The file may not be read.</exception>
    public List<Vm> Find(string target, string path)
    {
        cancellation.ThrowIfCancellationRequested();
        try
        {
            return IsDescriptor(path) ? Descriptor(target, path)
                : IsArchive(Path.GetExtension(path)) ? Archive(target, path)
                : Bundle(target, path);
        }
        catch (DiskFormatException e)
        {
            return [Unread(target, path, new CoverageGap(e, path, LengthOf(path)))];
        }
    }

    private static bool IsArchive(string extension) => Archives.Contains(extension, StringComparer.OrdinalIgnoreCase);

    private static long LengthOf(string path) => new FileInfo(path).Length;

    private static Vm Unread(string target, string path, CoverageGap gap) =>
        new(target, new VmReport(path, Path.GetFileName(path), "unknown", ""), [], [gap.ToReport()]);

    private List<Vm> Descriptor(string target, string path)
    {
        if (LengthOf(path) > OvfFile.MostBytes)
        {
            throw new InvalidDataException($"{path}: larger than {OvfFile.MostBytes} bytes, so no OVF descriptor");
        }

        OvfFile ovf = OvfFile.Parse(File.ReadAllBytes(path), path);
        var policy = new FolderPolicy(Path.GetDirectoryName(path)!, bases);
        List<Vm> vms = new OvfPackage(path, ovf, policy, () => [.. policy.Refused.Select(r => r.Name)]).Vms(target);
        string manifest = Path.ChangeExtension(path, ".mf");
        if (HostFile.KindOf(manifest) == HostFileKind.Regular)
        {
            vms[0] = WithManifest(vms[0], path, policy, new PlannedFile(0, manifest, manifest));
        }

        return vms;
    }

    private List<Vm> Archive(string target, string path)
    {
        using var file = new FileSource(path);
        if (!TarReader.Probe(file))
        {
            string what = KnownContainers.Recognise(file)?.Name ?? "";
            return [Unread(target, path, new CoverageGap(what.Length > 0 ? Fault.Unsupported : Fault.Corrupt, path, "archive", 0, file.Length, what.Length > 0 ? $"the archive is packed with {what}; unpack it first" : "no tar archive"))];
        }

        List<GapReport> gaps = [];
        List<TarMember> members = Members(path, file, gaps);
        var policy = new TarPolicy(path, members);
        List<TarMember> descriptors = [.. members.Where(m => m.Kind == TarMemberKind.Regular && IsDescriptor(m.Name))];
        List<Vm> vms = [];
        foreach (TarMember descriptor in descriptors)
        {
            vms.AddRange(FromDescriptor(target, path, file, policy, descriptor, gaps));
        }

        if (descriptors.Count != 1)
        {
            gaps.Add(new CoverageGap(descriptors.Count == 0 ? Fault.MissingParent : Fault.Corrupt, path, "archive", -1, 0, $"it has {(descriptors.Count == 0 ? "no" : descriptors.Count)} OVF descriptor{(descriptors.Count == 0 ? "" : "s")}; every disk image in it is read").ToReport());
        }

        if (vms.Count == 0)
        {
            vms.Add(new Vm(target, new VmReport(path, Path.GetFileName(path), "unknown", ""), [], []));
        }

        List<VmDisk> others = Others(policy, members, vms, gaps);
        if (vms.All(v => v.Disks.Count == 0) && others.Count == 0 && !vms.Any(v => v.Gaps.Count > 0) && gaps.Count == 0)
        {
            gaps.Add(new CoverageGap(Fault.MissingParent, path, "archive", -1, 0, "there is no disk image in it").ToReport());
        }

        vms[0] = vms[0] with { Disks = [.. vms[0].Disks, .. others], Gaps = [.. gaps, .. vms[0].Gaps] };
        return vms;
    }

    private static List<Vm> FromDescriptor(string target, string path, FileSource file, TarPolicy policy, TarMember descriptor, List<GapReport> gaps)
    {
        string name = policy.NameOf(TarPolicy.Plain(descriptor.Name) ?? "descriptor.ovf");
        try
        {
            if (descriptor.StoredBytes > OvfFile.MostBytes)
            {
                throw new InvalidDataException($"{name}: larger than {OvfFile.MostBytes} bytes, so no OVF descriptor");
            }

            byte[] bytes = new byte[descriptor.StoredBytes];
            file.Read(descriptor.OffsetBytes, bytes);
            List<Vm> vms = new OvfPackage(name, OvfFile.Parse(bytes, name), policy, () => policy.Refused).Vms(target);
            ReferenceAnswer manifest = policy.Resolve(name, new ImageReference(ReferenceKind.Extent, [Path.GetFileName(Path.ChangeExtension(name, ".mf"))]));
            if (manifest.File is { } found)
            {
                vms[0] = WithManifest(vms[0], name, policy, found);
            }

            return vms;
        }
        catch (InvalidDataException e)
        {
            gaps.Add(new CoverageGap(Fault.Corrupt, name, "OVF descriptor", -1, descriptor.SizeBytes, e.Message).ToReport());
            return [];
        }
    }

    private List<TarMember> Members(string path, FileSource file, List<GapReport> gaps)
    {
        List<TarMember> members = [];
        HashSet<string> names = new(StringComparer.Ordinal);
        var reader = new TarReader(file, cancellation);
        while (reader.Next() is { } member)
        {
            if (members.Count >= MostMembers)
            {
                gaps.Add(new CoverageGap(Fault.Limit, path, "tar archive", member.OffsetBytes, file.Length - member.OffsetBytes, $"more than {MostMembers} members; the rest is not looked at").ToReport());
                return members;
            }

            string? plain = TarPolicy.Plain(member.Name);
            if (member.Kind == TarMemberKind.Regular && plain is null)
            {
                gaps.Add(new CoverageGap(Fault.Refused, path, "tar archive", member.OffsetBytes, member.SizeBytes, $"member \"{member.Name}\" is named to land outside the archive; it is not read").ToReport());
                continue;
            }

            if (member.Kind != TarMemberKind.Other && !names.Add(plain ?? member.Name))
            {
                gaps.Add(new CoverageGap(Fault.Corrupt, path, "tar archive", member.OffsetBytes, 0, $"a second member is named \"{member.Name}\"; programs differ in which they take").ToReport());
            }

            if (member.Kind == TarMemberKind.Sparse && IsDiskName(member.Name))
            {
                gaps.Add(new CoverageGap(Fault.Unsupported, path, "tar archive", member.OffsetBytes, member.SizeBytes, $"\"{member.Name}\" is stored as a sparse file").ToReport());
            }

            members.Add(member);
        }

        if (reader.Ended is { } ended)
        {
            gaps.Add(new CoverageGap(ended, path, 0).ToReport());
        }

        return members;
    }

    /// <summary>The images that no descriptor names. A parent or extent of another is no disk of its own.</summary>
    private static List<VmDisk> Others(TarPolicy policy, List<TarMember> members, List<Vm> vms, List<GapReport> gaps)
    {
        HashSet<long> used = [.. vms.SelectMany(v => v.Disks).SelectMany(d => d.Plan.Files).SelectMany(f => (long[])[f.OffsetBytes, .. f.More.Select(m => m.OffsetBytes)])];
        List<VmDisk> others = [];
        HashSet<string> names = new(StringComparer.Ordinal);
        foreach (TarMember member in members.Where(m => m.Kind == TarMemberKind.Regular && !used.Contains(m.OffsetBytes) && IsDiskName(m.Name)))
        {
            string plain = TarPolicy.Plain(member.Name)!;
            bool isGzip = plain.EndsWith(".gz", StringComparison.OrdinalIgnoreCase);
            int before = policy.Refused.Count;
            PlannedFile file = policy.FileOf(policy.NameOf(names.Add(plain) ? plain : $"{plain}@{member.OffsetBytes}"), member) with { IsGzip = isGzip };
            try
            {
                ChainPlan plan = ChainPlanner.Plan(file, policy, ContainerFormats.Declared(isGzip ? plain[..^3] : plain));
                others.Add(new VmDisk(file.Name, plan, [.. policy.Refused.Skip(before)]));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                gaps.Add(new CoverageGap(Fault.Transport, file.Name, "storage", -1, member.SizeBytes, e.Message).ToReport());
            }
        }

        HashSet<long> named = [.. others.SelectMany(o => o.Plan.Files.Skip(1)).Select(f => f.OffsetBytes)];
        List<VmDisk> tops = [.. others.Where(o => !named.Contains(o.Plan.Files[0].OffsetBytes))];
        return tops.Count > 0 ? tops : others;
    }

    private static bool IsDiskName(string name)
    {
        string inner = name.EndsWith(".gz", StringComparison.OrdinalIgnoreCase) ? name[..^3] : name;
        return !IsPackage(inner) && ContainerFormats.DiskExtensions.Contains(Path.GetExtension(inner), StringComparer.OrdinalIgnoreCase);
    }

    /// <summary>One file with all disks of a VM: each becomes a disk of its own, under the file's name and its own.</summary>
    private static List<Vm> Bundle(string target, string path)
    {
        using var bytes = new FileSource(path);
        var file = new ImageFile(path, 0, bytes);
        if (ContainerFormats.Choose(file, ContainerFormats.Declared(path)) is not IBundleFormat format)
        {
            throw new DiskFormatException(Fault.Unsupported, "image", 0, "it is no export of a VM");
        }

        BundleHead head = format.Head(file);
        var plan = new ChainPlan(format.Name, [new PlannedFile(0, path, path)], []);
        return
        [
            new Vm(
                target,
                new VmReport(path, head.VmName.Length > 0 ? head.VmName : Path.GetFileName(path), "off", head.GuestOs),
                [.. head.Disks.Select(d => new VmDisk(path + "/" + d, plan with { Member = d }, []))],
                []),
        ];
    }

    private static Vm WithManifest(Vm vm, string ovf, IReferencePolicy policy, PlannedFile manifest)
    {
        using IBlockSource source = PlannedFiles.OpenStored(manifest);
        List<GapReport> gaps = [.. vm.Gaps];
        if (source.Length > ManifestFile.MostBytes)
        {
            gaps.Add(Gap(Fault.Limit, 0, $"larger than {ManifestFile.MostBytes} bytes; no digest is verified"));
            return vm with { Gaps = gaps };
        }

        byte[] bytes = new byte[source.Length];
        source.Read(0, bytes);
        List<ManifestEntry> entries = [];
        foreach (ManifestLine line in ManifestFile.Parse(bytes, number => gaps.Add(Gap(Fault.Corrupt, number, "no digest of a file"))))
        {
            ReferenceAnswer answer = policy.Resolve(ovf, new ImageReference(ReferenceKind.Extent, [line.Name]));
            if ((answer.File ?? (answer.Path is { } path ? new PlannedFile(0, path, path) : null)) is { } file)
            {
                entries.Add(new ManifestEntry(manifest.Name, line, file));
            }
            else
            {
                gaps.Add(Gap(answer.Fault, line.Line, answer.Detail));
            }
        }

        return vm with { Gaps = gaps, Manifest = entries };

        GapReport Gap(Fault fault, int line, string detail) =>
            new CoverageGap(fault, manifest.Name, "OVF manifest", -1, 0, line > 0 ? $"line {line}: {detail}" : detail).ToReport();
    }
}
