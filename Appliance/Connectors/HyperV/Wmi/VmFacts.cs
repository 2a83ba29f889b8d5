using System.Globalization;
using System.Xml.Linq;
using Vmsweep.Appliance.Connectors.VSphere;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Connectors.HyperV.Wmi;

/// <summary>A VM as its host tells of it.</summary>
/// <param name="Id">Its GUID, as the host writes it.</param>
/// <param name="Settings"><c>InstanceID</c> of its present settings.</param>
/// <param name="Operation">What the host is doing to it; null where nothing.</param>
internal sealed record VmFacts(
    HyperVHost Host,
    string Id,
    string Name,
    string Power,
    string Settings,
    string Notes,
    int? Generation,
    string ConfigurationRoot,
    string? Operation,
    IReadOnlyList<DiskFacts> Disks,
    IReadOnlyList<CheckpointFacts> Checkpoints)
{
    private const string Realized = "Microsoft:Hyper-V:System:Realized";
    private const string Snapshots = "Microsoft:Hyper-V:Snapshot:";
    private const string Recovery = "Microsoft:Hyper-V:Snapshot:Recovery";

    private static readonly Dictionary<string, string> Operations = new(StringComparer.Ordinal)
    {
        ["32768"] = "a checkpoint is being made",
        ["32769"] = "a checkpoint is being applied",
        ["32770"] = "a checkpoint is being deleted",
        ["32772"] = Merging,
        ["32773"] = "it is being exported",
        ["32774"] = "it is being migrated",
        ["32796"] = "it is being migrated",
    };

    public const string Merging = "its disks are being merged";

    public bool IsMerging => Operation == Merging;

    /// <param name="storage">Disks of settings by their <c>InstanceID</c>.</param>
    /// <param name="devices">Other devices, among them disks of the host.</param>
    public static VmFacts Of(HyperVHost host, XElement machine, IReadOnlyList<XElement> settings, Func<string, IReadOnlyList<XElement>> storage, Func<string, IReadOnlyList<XElement>> devices)
    {
        string id = machine.Text("Name");
        XElement? present = settings.FirstOrDefault(s => s.Text("VirtualSystemType") == Realized) ?? settings.FirstOrDefault(s => s.Text("InstanceID").Equals("Microsoft:" + id, StringComparison.OrdinalIgnoreCase));
        string instance = present?.Text("InstanceID") ?? "Microsoft:" + id;
        return new VmFacts(
            host,
            id,
            machine.Text("ElementName"),
            PowerOf(machine.Text("EnabledState").Trim()),
            instance,
            string.Join('\n', present?.Elements("Notes").Select(n => n.Value).Where(n => n.Length > 0) ?? []),
            present.Text("VirtualSystemSubType") switch { "Microsoft:Hyper-V:SubType:1" => 1, "Microsoft:Hyper-V:SubType:2" => 2, _ => null },
            present.Text("ConfigurationDataRoot"),
            machine.Elements("OperationalStatus").Select(s => Operations.GetValueOrDefault(s.Value.Trim())).FirstOrDefault(o => o is not null),
            DiskFacts.Of(storage(instance), devices(instance)),
            [
                .. settings.Where(s => s.Text("VirtualSystemType").StartsWith(Snapshots, StringComparison.Ordinal))
                    .Select(s => new CheckpointFacts(s.Text("InstanceID"), s.Text("ElementName"), s.Text("VirtualSystemType") == Recovery, TimeOf(s.Text("CreationTime")))),
            ]);
    }

    /// <summary>States of <c>EnabledState</c>: what is on its way from one to another is unknown.</summary>
    public static string PowerOf(string state) => state switch
    {
        "2" or "32781" => "running",
        "3" or "32782" => "off",
        "6" or "32769" or "32779" or "32784" or "32791" => "suspended",
        "9" or "32768" or "32785" => "paused",
        _ => "unknown",
    };

    /// <summary>The settings that an object belongs to: <c>Microsoft:GUID</c> of <c>Microsoft:GUID\...</c></summary>
    public static string OwnerOf(string instance) => instance.IndexOf('\\', StringComparison.Ordinal) is >= 0 and var slash ? instance[..slash] : instance;

    private static DateTimeOffset? TimeOf(string text) =>
        DateTimeOffset.TryParse(text.Trim(), CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out DateTimeOffset time) ? time : null;
}

/// <param name="Instance"><c>InstanceID</c> of its settings.</param>
/// <param name="IsRecovery">As backup products make them: without memory, and not among those that users see.</param>
internal sealed record CheckpointFacts(string Instance, string Name, bool IsRecovery, DateTimeOffset? Created);

/// <summary>A disk of a VM or of a checkpoint.</summary>
/// <param name="Key">Its place: controller and number.</param>
/// <param name="Source">As the host has it.</param>
/// <param name="Path">The same as a path; null where it is none.</param>
/// <param name="Obstacle">Why it cannot be read; null where it may be.</param>
internal sealed record DiskFacts(string Key, string Source, HostPath? Path, (Fault Fault, string Why)? Obstacle)
{
    private static readonly string[] Images = ["vhd", "vhdx", "avhd", "avhdx"];

    public static IReadOnlyList<DiskFacts> Of(IReadOnlyList<XElement> storage, IReadOnlyList<XElement> devices) =>
    [
        .. storage.Where(s => s.Text("ResourceSubType") is not ("Microsoft:Hyper-V:Virtual CD/DVD Disk" or "Microsoft:Hyper-V:Virtual Floppy Disk"))
            .SelectMany(s => s.Elements("HostResource").Where(h => h.Value.Length > 0).Take(1).Select(h => OfImage(KeyOf(s), h.Value)))
            .OrderBy(d => d.Key, StringComparer.OrdinalIgnoreCase),
        .. devices.Where(d => d.Text("ResourceSubType") == "Microsoft:Hyper-V:Physical Disk Drive" && d.Elements("HostResource").Any(h => h.Value.Trim().Length > 0))
            .Select(d => new DiskFacts(KeyOf(d), KeyOf(d), null, (Fault.Unsupported, "a disk of the host itself; no checkpoint holds it, and it has no file")))
            .OrderBy(d => d.Key, StringComparer.OrdinalIgnoreCase),
    ];

    private static DiskFacts OfImage(string key, string source)
    {
        var path = HostPath.Parse(source);
        return new DiskFacts(key, source, path, path is null ? (Fault.Refused, "its name is no path of a file")
            : Images.Contains(path.Extension) ? null
            : (Fault.Unsupported, path.Extension == "vhds" ? "a disk that several VMs share (.vhds)" : "no image of a kind that is read"));
    }

    private static string KeyOf(XElement part)
    {
        string instance = part.Text("InstanceID");
        return instance[Math.Min(instance.Length, VmFacts.OwnerOf(instance).Length + 1)..];
    }
}
