using System.Globalization;
using System.Xml.Linq;
using Vmsweep.DiskReaders.Containers;

namespace Vmsweep.Appliance.Connectors.Datastore;

/// <summary>
/// The configuration of Virtual PC, Virtual Server and Windows XP Mode (<c>.vmc</c>): <c>preferences/hardware/pci_bus</c> has adapters, these
/// controllers, these locations, each with a drive type, a path name and that of an undo disk, absolute and relative.
/// </summary>
internal sealed class VmcFile
{
    private const string HardDisk = "1";

    private VmcFile(XElement preferences)
    {
        Disks =
        [
            .. (preferences.Child("hardware")?.Child("pci_bus")?.Elements() ?? []).Where(a => a.Name.LocalName.EndsWith("_adapter", StringComparison.Ordinal))
                .SelectMany(a => a.Elements().Where(c => c.Name.LocalName.EndsWith("_controller", StringComparison.Ordinal)).OrderBy(Id))
                .SelectMany(c => c.Children("location").OrderBy(Id))
                .Where(l => l.Child("drive_type")?.Value.Trim() == HardDisk)
                .Select(l => (Named(l.Child("pathname")), Named(l.Child("undo_pathname"))))
                .Where(d => d.Item1 is not null || d.Item2 is not null),
        ];
    }

    /// <summary>The image of each disk and the undo disk over it, in the order of adapters, controllers and locations.</summary>
    public IReadOnlyList<(ImageReference? Disk, ImageReference? Undo)> Disks { get; }

    /// <exception cref="InvalidDataException">The file is no configuration.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public static VmcFile Read(string path) => Of(ConfigurationXml.Read(path), path);

    /// <exception cref="InvalidDataException">The XML is no configuration.</exception>
    public static VmcFile Of(XElement root, string name) => root.Name.LocalName == "preferences"
        ? new VmcFile(root)
        : throw new InvalidDataException($"{name}: no Virtual PC configuration (its root is {root.Name.LocalName})");

    /// <summary>What is relative still holds where the files were moved together.</summary>
    private static ImageReference? Named(XElement? pathname)
    {
        List<string> names = [.. ((string[])["relative", "absolute"]).Select(n => pathname?.Child(n)?.Value.Trim() ?? "").Where(n => n.Length > 0)];
        return names.Count > 0 ? new ImageReference(ReferenceKind.Parent, names) : null;
    }

    private static int Id(XElement element) => int.TryParse(element.Value("id"), NumberStyles.None, CultureInfo.InvariantCulture, out int id) ? id : int.MaxValue;
}
