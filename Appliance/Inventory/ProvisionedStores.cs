using System.Globalization;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Inventory;

/// <summary>
/// Images of provisioned desktops by how Citrix names them. Provisioning (PVS): a vDisk <c>NAME.vhdx</c> with its properties <c>NAME.pvp</c>, versions
/// <c>NAME.N.avhdx</c> (or <c>.vhdx</c> where several were merged), a manifest <c>NAME.xml</c> with all of them where it was exported, write caches
/// <c>.vdiskcache</c>, <c>.vdiskdif</c>, <c>.vdiskdifx</c> and <c>vdiskdif.vhdx</c>. Machine Creation
/// Services (MCS): a base in a folder <c>...-baseDisk-...</c>, and for each VM differences, an identity disk and perhaps a cache.
/// </summary>
internal sealed class ProvisionedStores
{
    private static readonly string[] Images = [".vhd", ".vhdx", ".avhd", ".avhdx"];

    /// <summary>Of Citrix' own format.</summary>
    private static readonly string[] Caches = [".vdiskcache", ".vdiskdif", ".vdiskdifx"];

    private readonly HashSet<string> _vDisks = new(StringComparer.OrdinalIgnoreCase);
    private readonly Dictionary<string, ProvisionedManifest> _manifests = new(StringComparer.OrdinalIgnoreCase);
    private readonly HashSet<string> _found = new(StringComparer.OrdinalIgnoreCase);
    private readonly HashSet<string> _compared = new(StringComparer.OrdinalIgnoreCase);

    public ProvisionedStores(IEnumerable<FoundFile> files)
    {
        foreach (FoundFile file in files.Where(f => Path.GetExtension(f.Path).Equals(".pvp", StringComparison.OrdinalIgnoreCase)))
        {
            _vDisks.Add(Split(file.Path).VDisk);
        }

        HashSet<string> bases = new(StringComparer.OrdinalIgnoreCase);
        foreach (FoundFile file in files.Where(f => IsDisk(f.Path)))
        {
            _found.Add(file.Path);
            bases.Add(Split(file.Path).VDisk);
        }

        // Of all the XML of a datastore only what lies under the name of a disk is looked at.
        foreach (FoundFile file in files.Where(f => f.Kind == FileKind.Xml && bases.Contains(Split(f.Path).VDisk)))
        {
            if (ProvisionedManifest.Of(file.Path) is { } manifest)
            {
                _vDisks.Add(Split(file.Path).VDisk);
                _manifests[Split(file.Path).VDisk] = manifest;
            }
        }
    }

    /// <summary>True for the base or a version of a vDisk: desktops start from any that was promoted, and which were is not in these files.</summary>
    public bool IsVersion(string path) => IsDisk(path) && _vDisks.Contains(Split(path).VDisk);

    /// <summary>What an image of a store is; null for one of no store.</summary>
    public MachineKind? KindOf(string path) => IsCache(path) ? MachineKind.WriteCache : IsVersion(path) ? MachineKind.ProvisionedImage : null;

    /// <summary>A store's image under its own name, with a gap where its format is known to nobody, and one for each version that is not there.</summary>
    public Vm Described(Vm vm, MachineKind kind)
    {
        switch (kind)
        {
            case MachineKind.ProvisionedImage:
                (string vDisk, int version) = Split(vm.Target);
                ProvisionedManifest? manifest = _manifests.GetValueOrDefault(vDisk);
                string name = Path.GetFileName(vDisk) + (version > 0 ? FormattableString.Invariant($" version {version}") : "") + (manifest?.UseOf(version) is { } use ? $", {use}" : "");
                return vm with { Identity = vm.Identity with { Name = name }, Snapshots = [], Gaps = [.. vm.Gaps, .. _compared.Add(vDisk) ? Missing(vDisk, manifest) : []] };
            case MachineKind.WriteCache when Caches.Contains(Path.GetExtension(vm.Target), StringComparer.OrdinalIgnoreCase):
                var gap = new CoverageGap(Fault.Unsupported, vm.Target, "write cache", -1, 0, "a write cache of Citrix Provisioning, whose format is not published; its bytes are scanned as they lie");
                return vm with { Gaps = [.. vm.Gaps, gap.ToReport()] };
            default:
                return vm;
        }
    }

    /// <summary>What a VM's file is by its name, for people; empty where the name says nothing.</summary>
    public static string NoteOf(string path)
    {
        string name = Path.GetFileName(path);
        return name.Contains("-baseDisk-", StringComparison.OrdinalIgnoreCase) ? "base of provisioned desktops"
            : Has("_IdentityDisk") ? "identity disk of a provisioned desktop"
            : Has("_TemporaryStorage") ? "write-back cache of a provisioned desktop"
            : Has("-xd-delta") ? "differences of a provisioned desktop"
            : IsCache(path) ? "write cache of a streamed desktop"
            : "";

        bool Has(string part) => name.Contains(part, StringComparison.OrdinalIgnoreCase);
    }

    private static bool IsDisk(string path) => Images.Contains(Path.GetExtension(path), StringComparer.OrdinalIgnoreCase);

    private static bool IsCache(string path) =>
        Caches.Contains(Path.GetExtension(path), StringComparer.OrdinalIgnoreCase)
        || (IsDisk(path) && Path.GetFileNameWithoutExtension(path).Equals("vdiskdif", StringComparison.OrdinalIgnoreCase));

    /// <summary>Versions that a manifest names and that do not lie beside it.</summary>
    private IEnumerable<GapReport> Missing(string vDisk, ProvisionedManifest? manifest)
    {
        string folder = Path.GetDirectoryName(vDisk) ?? "";
        return (manifest?.Files ?? []).Where(f => !_found.Contains(Path.Combine(folder, Path.GetFileName(f.Replace('\\', '/')))))
            .Select(f => new CoverageGap(Fault.MissingParent, f, "VM configuration", -1, 0, "a version that the vDisk's manifest names is not there").ToReport());
    }

    /// <summary><c>folder/NAME.3.avhdx</c>: the vDisk <c>folder/NAME</c> and 3; 0 for the base.</summary>
    private static (string VDisk, int Version) Split(string path)
    {
        string whole = path[..^Path.GetExtension(path).Length];
        string number = Path.GetExtension(whole);
        return number.Length > 1 && int.TryParse(number.AsSpan(1), NumberStyles.None, CultureInfo.InvariantCulture, out int version)
            ? (whole[..^number.Length], version)
            : (whole, 0);
    }
}
