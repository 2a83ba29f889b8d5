using System.Globalization;
using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Connectors.Datastore;

/// <summary>The VMs of an OVF descriptor, with the files of their disks as a policy finds them: beside the descriptor, or in its archive.</summary>
/// <param name="name">The descriptor's name as reports show it.</param>
/// <param name="ovf">What it says.</param>
/// <param name="policy">Where its files are, and which it may not name.</param>
/// <param name="refused">The policy's list of names that it refused.</param>
internal sealed class OvfPackage(string name, OvfFile ovf, IReferencePolicy policy, Func<IReadOnlyList<string>> refused)
{
    // DSP0243 9.1: the chunks of a file are its name with nine digits.
    private const int MostChunks = ChainPlanner.MostFiles;

    // Real packages have a few VMs with a few disks; a descriptor of 8 MiB could name 200,000.
    private const int MostDisks = 1024;

    private static readonly string[] HttpSchemes = ["http://", "https://"];

    private readonly Dictionary<string, OvfReference> _files = FirstOf(ovf.Files, f => f.Id);
    private readonly Dictionary<string, OvfDisk> _disks = FirstOf(ovf.Disks, d => d.Id);
    private readonly HashSet<string> _used = new(StringComparer.Ordinal);
    private readonly List<string> _forbidden = [];

    // A file that several disks or VMs name is read once, for the first.
    private readonly HashSet<string> _added = new(StringComparer.Ordinal);
    private int _looked;

    /// <param name="target">How the operator named it.</param>
    public List<Vm> Vms(string target)
    {
        List<Vm> vms = [];
        foreach (OvfSystem system in ovf.Systems)
        {
            vms.Add(Of(target, system, system.Resources));
        }

        // A disk that no system uses would be scanned by nobody.
        List<string> rest = [.. ovf.Disks.Where(d => !_used.Contains(d.Id)).Select(d => "ovf:/disk/" + d.Id)];
        if (vms.Count == 0)
        {
            vms.Add(Of(target, new OvfSystem(Path.GetFileNameWithoutExtension(name)), rest));
        }
        else if (rest.Count > 0)
        {
            Vm more = Of(target, ovf.Systems[0], rest);
            vms[0] = vms[0] with { Disks = [.. vms[0].Disks, .. more.Disks], Gaps = [.. vms[0].Gaps, .. more.Gaps], Refused = [.. vms[0].Refused, .. more.Refused] };
        }

        return vms;
    }

    private Vm Of(string target, OvfSystem system, IReadOnlyList<string> resources)
    {
        List<VmDisk> disks = [];
        List<GapReport> gaps = [];
        int refusedBefore = refused().Count;
        int forbiddenBefore = _forbidden.Count;
        foreach (string resource in resources)
        {
            // 0.9 wrote ovf://disk/ID, some programs write /disk/ID.
            string path = resource.StartsWith("ovf:", StringComparison.OrdinalIgnoreCase) ? resource[4..] : resource;
            path = "/" + path.TrimStart('/');
            OvfDisk? disk = null;
            OvfReference? file = null;
            if (path.StartsWith("/disk/", StringComparison.Ordinal))
            {
                disk = _disks.GetValueOrDefault(path["/disk/".Length..]);
                if (disk is null)
                {
                    gaps.Add(Gap(Fault.Corrupt, $"\"{resource}\" names no disk of the package"));
                    continue;
                }

                _used.Add(disk.Id);
                if (disk.FileRef.Length == 0)
                {
                    // Made empty when the package is deployed: it has no bytes.
                    continue;
                }

                file = _files.GetValueOrDefault(disk.FileRef);
            }
            else if (path.StartsWith("/file/", StringComparison.Ordinal))
            {
                file = _files.GetValueOrDefault(path["/file/".Length..]);
            }
            else
            {
                // oVirt names its own storage here.
                continue;
            }

            if (file is null)
            {
                gaps.Add(Gap(Fault.Corrupt, $"\"{resource}\" names no file of the package"));
                continue;
            }

            if (++_looked > MostDisks)
            {
                gaps.Add(Gap(Fault.Limit, $"the package has more than {MostDisks} disks; the rest is not looked at"));
                break;
            }

            Add(disk, file, disks, gaps);
        }

        string id = ovf.Systems.Count > 1 ? $"{name}#{system.Id}" : name;
        return new Vm(target, new VmReport(id, system.Name.Length > 0 ? system.Name : system.Id, "off", system.GuestOs), disks, gaps)
        {
            Refused = [.. refused().Skip(refusedBefore).Except(disks.SelectMany(d => d.Refused)), .. _forbidden.Skip(forbiddenBefore)],
        };
    }

    private void Add(OvfDisk? disk, OvfReference file, List<VmDisk> disks, List<GapReport> gaps)
    {
        string? declared = disk is null ? null : DeclaredBy(disk);
        string? byName = ContainerFormats.Declared(file.Href);
        if (declared is not null && byName is not null && declared != byName && disk is { VolumeFormat.Length: 0 })
        {
            gaps.Add(Gap(Fault.Corrupt, $"the disk of file \"{file.Href}\" is declared as {declared}; it is read as its name says"));
            declared = byName;
        }

        try
        {
            if (Find(file, gaps) is not { } planned || !_added.Add(planned.Name))
            {
                return;
            }

            int before = refused().Count;
            ChainPlan plan = ChainPlanner.Plan(planned, policy, declared ?? byName);
            if (disk is { ParentRef.Length: > 0 } && !plan.References.Any(r => r.Kind == ReferenceKind.Parent))
            {
                gaps.Add(Gap(Fault.MissingParent, $"disk \"{disk.Id}\" holds only the changes to disk \"{disk.ParentRef}\", and its image does not name that one", planned.Name));
                return;
            }

            disks.Add(new VmDisk(planned.Name, plan, [.. refused().Skip(before)]));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            gaps.Add(Gap(Fault.Transport, e.Message, file.Href));
        }
    }

    /// <summary>A file of the package: one, or its chunks in a row.</summary>
    private PlannedFile? Find(OvfReference file, List<GapReport> gaps)
    {
        bool isGzip = file.Compression.Equals("gzip", StringComparison.OrdinalIgnoreCase);
        if (!isGzip && file.Compression is not ("" or "identity"))
        {
            gaps.Add(Gap(Fault.Unsupported, $"compression \"{file.Compression}\"", file.Href));
            return null;
        }

        if (HttpSchemes.Any(s => file.Href.StartsWith(s, StringComparison.OrdinalIgnoreCase)))
        {
            gaps.Add(Gap(Fault.MissingParent, "the file lies on another machine", file.Href));
            return null;
        }

        if (file.Href.Contains("://", StringComparison.Ordinal))
        {
            _forbidden.Add(file.Href);
            gaps.Add(Gap(Fault.Refused, "a URI that leads outside the package; it is not opened", file.Href));
            return null;
        }

        if (file.ChunkBytes == 0)
        {
            ReferenceAnswer answer = Resolve(file.Href);
            if (PlannedOf(answer) is { } whole)
            {
                return whole with { IsGzip = isGzip };
            }

            gaps.Add(Gap(answer.Fault, answer.Detail, file.Href));
            return null;
        }

        List<PlannedFile> chunks = [];
        while (chunks.Count < MostChunks)
        {
            ReferenceAnswer answer = Resolve($"{file.Href}.{chunks.Count.ToString("D9", CultureInfo.InvariantCulture)}");
            if (PlannedOf(answer) is not { } chunk)
            {
                if (chunks.Count == 0 || answer.Fault != Fault.MissingParent)
                {
                    gaps.Add(Gap(answer.Fault, answer.Detail, file.Href));
                    return null;
                }

                break;
            }

            chunks.Add(chunk);
        }

        // A chunk that is not the last has its whole size: a missing one in the middle shows there, or by one that lies further on.
        PlannedFile first = chunks[0];
        if (PlannedOf(Resolve($"{file.Href}.{(chunks.Count + 1).ToString("D9", CultureInfo.InvariantCulture)}")) is not null || chunks.Count == MostChunks)
        {
            gaps.Add(Gap(Fault.MissingParent, $"chunk {chunks.Count} is not there, and a later one is", file.Href));
            return null;
        }

        return first with
        {
            Name = WithoutChunk(first.Name),
            IsGzip = isGzip,
            More = [.. chunks.Skip(1).Select(c => new FilePiece(c.Path, c.OffsetBytes, c.LengthBytes))],
        };
    }

    private static string WithoutChunk(string name) => name[..^".000000000".Length];

    /// <summary>By the name as it stands, then as the URI that it is.</summary>
    private ReferenceAnswer Resolve(string href)
    {
        string decoded = Uri.UnescapeDataString(href);
        ReferenceAnswer answer = policy.Resolve(name, new ImageReference(ReferenceKind.Extent, [href]));
        return PlannedOf(answer) is null && answer.Fault == Fault.MissingParent && decoded != href
            ? policy.Resolve(name, new ImageReference(ReferenceKind.Extent, [decoded]))
            : answer;
    }

    private static PlannedFile? PlannedOf(ReferenceAnswer answer) =>
        answer.File ?? (answer.Path is { } path ? new PlannedFile(0, path, path) : null);

    /// <summary>The format that a URI means. They name documents, and each producer has its own spelling.</summary>
    private static string? DeclaredBy(OvfDisk disk) => disk.VolumeFormat.ToUpperInvariant() switch
    {
        "RAW" => "raw",
        "COW" => "qcow2",
        _ => disk.Format.Contains("vmdk", StringComparison.OrdinalIgnoreCase) ? "vmdk"
            : disk.Format.Contains("qcow", StringComparison.OrdinalIgnoreCase) ? "qcow2"
            : disk.Format.Contains("vhdx", StringComparison.OrdinalIgnoreCase) ? "vhdx"
            : disk.Format.Contains("vhd", StringComparison.OrdinalIgnoreCase) || disk.Format.EndsWith("LinkId=137171", StringComparison.OrdinalIgnoreCase) ? "vhd"
            : disk.Format.Contains("Ecma-119", StringComparison.OrdinalIgnoreCase) ? "raw"
            : null,
    };

    private GapReport Gap(Fault fault, string detail, string? path = null) =>
        new CoverageGap(fault, path ?? name, "OVF descriptor", -1, 0, detail).ToReport();

    private static Dictionary<string, T> FirstOf<T>(IEnumerable<T> items, Func<T, string> key)
    {
        var found = new Dictionary<string, T>(StringComparer.Ordinal);
        foreach (T item in items)
        {
            found.TryAdd(key(item), item);
        }

        return found;
    }
}
