using System.Globalization;
using System.Xml.Linq;
using Vmsweep.DiskReaders.Containers;

namespace Vmsweep.Appliance.Connectors.Datastore;

/// <summary>
/// VirtualBox's machine configuration (<c>.vbox</c>). Spec: VirtualBox-settings.xsd. Media stand in a registry by UUID, each below its parent;
/// the machine and each of its snapshots attach them by UUID.
/// </summary>
internal sealed class VboxFile
{
    /// <summary>Where VirtualBox keeps the images of snapshots unless told otherwise.</summary>
    public const string SnapshotFolder = "Snapshots";

    private const int MostSnapshots = 4096;

    /// <summary>Settings version 1.19: of an encrypted machine only the UUID is to be read.</summary>
    private const string EncryptedMachine = "MachineEncrypted";

    private readonly Dictionary<Guid, string> _locations = [];

    private VboxFile(XElement machine)
    {
        IsEncrypted = machine.Name.LocalName == EncryptedMachine;
        Name = machine.Value("name");
        Uuid = Guid.TryParse(machine.Value("uuid"), out Guid uuid) ? uuid.ToString("N") : "";
        GuestOs = machine.Value("OSType");
        StateFile = machine.Value("stateFile");
        foreach (XElement disk in machine.Child("MediaRegistry")?.Child("HardDisks")?.Descendants().Where(e => e.Name.LocalName == "HardDisk") ?? [])
        {
            if (Guid.TryParse(disk.Value("uuid"), out Guid id) && disk.Value("location").Length > 0)
            {
                _locations.TryAdd(id, disk.Value("location"));
            }
        }

        Disks = Attached(machine);
        Discs = DiscsOf(machine);
        Snapshots = SnapshotsOf(machine);
    }

    public string Name { get; }

    /// <summary>Without separators; empty when there is none.</summary>
    public string Uuid { get; }

    public string GuestOs { get; }

    public bool IsSuspended => StateFile.Length > 0;

    /// <summary>The saved state of a suspended machine; empty where there is none.</summary>
    public string StateFile { get; }

    public bool IsEncrypted { get; }

    /// <summary>The image of each disk, in the order of controllers, ports and devices.</summary>
    public IReadOnlyList<ImageReference> Disks { get; }

    /// <summary>Images of optical discs in its drives, as the registry has them.</summary>
    public IReadOnlyList<string> Discs { get; }

    /// <summary>Oldest first.</summary>
    public IReadOnlyList<NamedSnapshot> Snapshots { get; }

    /// <exception cref="InvalidDataException">The file is no configuration.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public static VboxFile Read(string path) => Of(ConfigurationXml.Read(path), path);

    /// <exception cref="InvalidDataException">The XML is no configuration.</exception>
    public static VboxFile Of(XElement root, string name)
    {
        if (root.Name.LocalName != "VirtualBox")
        {
            throw new InvalidDataException($"{name}: no VirtualBox configuration (its root is {root.Name.LocalName})");
        }

        return new VboxFile(root.Child("Machine") ?? root.Child(EncryptedMachine) ?? throw new InvalidDataException($"{name}: no machine in it"));
    }

    // Beside the hardware until settings version 1.17, inside it since.
    private static XElement? Controllers(XElement state) => state.Child("StorageControllers") ?? state.Child("Hardware")?.Child("StorageControllers");

    private static List<string> DiscsOf(XElement machine)
    {
        List<XElement> images = [.. machine.Child("MediaRegistry")?.Child("DVDImages")?.Children("Image") ?? []];
        return
        [
            .. (Controllers(machine)?.Children("StorageController") ?? [])
                .SelectMany(c => c.Children("AttachedDevice").Where(d => d.Value("type") == "DVD"))
                .Select(d => d.Child("Image").Value("uuid"))
                .Where(uuid => uuid.Length > 0)
                .Select(uuid => images.FirstOrDefault(i => i.Value("uuid") == uuid).Value("location"))
                .Where(location => location.Length > 0),
        ];
    }

    private List<ImageReference> Attached(XElement state)
    {
        XElement? controllers = Controllers(state);
        return
        [
            .. (controllers?.Children("StorageController") ?? [])
                .SelectMany(c => c.Children("AttachedDevice").Where(d => d.Value("type") == "HardDisk").OrderBy(d => Number(d.Value("port"))).ThenBy(d => Number(d.Value("device"))))
                .Select(d => d.Child("Image").Value("uuid"))
                .Where(uuid => uuid.Length > 0)
                .Select(Reference),
        ];
    }

    /// <summary>
    /// Where the registry says the image lies, else by its identity. A location on another machine still ends in the image's name, perhaps
    /// within the folder of snapshots.
    /// </summary>
    private ImageReference Reference(string uuid)
    {
        if (!Guid.TryParse(uuid, out Guid id))
        {
            return new ImageReference(ReferenceKind.Parent, [uuid]);
        }

        string location = _locations.GetValueOrDefault(id, $"{SnapshotFolder}/{{{id:D}}}.vdi");
        string name = location[(location.LastIndexOfAny(['/', '\\']) + 1)..];
        return new ImageReference(ReferenceKind.Parent, name.Length > 0 ? [location, $"{SnapshotFolder}/{name}"] : [location]) { Identity = id.ToString("D") };
    }

    private List<NamedSnapshot> SnapshotsOf(XElement machine)
    {
        string current = machine.Value("currentSnapshot");
        List<NamedSnapshot> found = [];
        var left = new Stack<(XElement Snapshot, string? Parent)>(machine.Children("Snapshot").Select(s => (s, (string?)null)));
        while (left.TryPop(out (XElement Snapshot, string? Parent) next))
        {
            if (found.Count >= MostSnapshots)
            {
                throw new InvalidDataException($"more than {MostSnapshots} snapshots");
            }

            string id = next.Snapshot.Value("uuid");
            found.Add(new NamedSnapshot(
                id.Trim('{', '}'),
                next.Snapshot.Value("name"),
                DateTimeOffset.TryParse(next.Snapshot.Value("timeStamp"), CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out DateTimeOffset created) ? created : null,
                next.Parent?.Trim('{', '}'),
                id.Length > 0 && id == current,
                Attached(next.Snapshot)) { StateFile = next.Snapshot.Value("stateFile") });
            foreach (XElement child in next.Snapshot.Child("Snapshots")?.Children("Snapshot") ?? [])
            {
                left.Push((child, id));
            }
        }

        return [.. found.OrderBy(s => s.Created ?? DateTimeOffset.MinValue)];
    }

    private static int Number(string text) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int number) ? number : int.MaxValue;
}
