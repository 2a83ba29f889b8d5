using System.Globalization;
using System.Xml.Linq;
using Vmsweep.Appliance.Connectors.Datastore;

namespace Vmsweep.Appliance.Inventory;

/// <summary>
/// The manifest of a vDisk, which Citrix Provisioning writes beside it when it is exported: <c>NAME.xml</c>, with every version, its file, and who starts
/// from it. What it names is compared to what lies there, and never opened because of it.
/// </summary>
internal sealed class ProvisionedManifest
{
    private const string Root = "versionManifest";

    private const int MostVersions = 10_000;

    /// <summary>Values of <c>access</c> that are not those of production. Spec: Citrix Provisioning PowerShell with objects, PvsDiskVersion.</summary>
    private static readonly Dictionary<int, string> Uses = new()
    {
        [1] = "in maintenance",
        [2] = "in maintenance",
        [3] = "chosen for production",
        [4] = "being merged",
        [5] = "being merged",
        [6] = "being merged",
        [7] = "in test",
    };

    private readonly Dictionary<int, string> _uses = [];

    /// <summary>Names of the versions' files.</summary>
    public List<string> Files { get; } = [];

    /// <summary>Null where a file is no manifest, or cannot be read.</summary>
    public static ProvisionedManifest? Of(string path)
    {
        if (ConfigurationXml.RootOf(path) != Root)
        {
            return null;
        }

        try
        {
            var manifest = new ProvisionedManifest();
            foreach (XElement version in ConfigurationXml.Read(path).Children("version").Take(MostVersions))
            {
                string file = version.Child("diskFileName")?.Value.Trim() ?? "";
                if (file.Length > 0)
                {
                    manifest.Files.Add(file);
                }

                if (Number(version, "versionNumber") is { } number && Uses.GetValueOrDefault(Number(version, "access") ?? 0) is { } use)
                {
                    manifest._uses[number] = use;
                }
            }

            return manifest;
        }
        catch (Exception e) when (e is InvalidDataException or IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>Who starts from a version, where those are not the desktops in production.</summary>
    public string? UseOf(int version) => _uses.GetValueOrDefault(version);

    private static int? Number(XElement element, string name) => int.TryParse(element.Child(name)?.Value, NumberStyles.None, CultureInfo.InvariantCulture, out int number) ? number : null;
}
