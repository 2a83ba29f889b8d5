using System.Globalization;
using System.Text.RegularExpressions;
using System.Xml.Linq;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Connectors.HyperV;

/// <summary>
/// The configuration of a VM or of a checkpoint: a key-value store (<c>.vmcx</c>) since Windows Server 2016, XML with the same keys before. A controller
/// is a device of the manifest, by whose instance the keys of its drives are named: <c>configuration/_GUID_/controllerN/driveN/pathname</c>.
/// </summary>
internal sealed partial class HyperVConfiguration
{
    /// <summary>Real ones have some hundred kilobytes.</summary>
    private const int MostBytes = 16 << 20;

    private const string Root = "configuration/";

    /// <summary>The emulated IDE controller, from which generation 1 starts.</summary>
    private const string Ide = "83f8638b-8dca-4152-9eda-2ca8b33039b4";

    // When Hyper-V was not there yet, and when something is wrong.
    private const int FirstYear = 2007;
    private const int LastYear = 2200;

    private readonly IReadOnlyDictionary<string, object> _values;

    private HyperVConfiguration(string path, IReadOnlyDictionary<string, object> values)
    {
        _values = values;
        Path = path;
        Name = Text("properties/name");
        Id = Plain(Text("properties/global_id")) is { Length: > 0 } id ? id : Plain(Text("settings/global/logical_id"));
        Generation = Text("properties/subtype") switch { "0" => 1, "1" => 2, _ => null };
        Created = CreationTime();
        Drives = DrivesOf();
    }

    public string Path { get; }

    public string Name { get; }

    /// <summary>The VM's GUID without separators, in a checkpoint's configuration too; empty when there is none.</summary>
    public string Id { get; }

    public int? Generation { get; }

    public DateTimeOffset? Created { get; }

    /// <summary>In the order of controllers, the one that generation 1 starts from first.</summary>
    public IReadOnlyList<HyperVDrive> Drives { get; }

    public static bool IsRoot(string name) => name == "configuration";

    /// <summary>True for the name of a configuration in a folder: Hyper-V names each by a GUID, and XML of other programs has the same root.</summary>
    public static bool IsName(string path) => Guid.TryParse(System.IO.Path.GetFileNameWithoutExtension(path), out _);

    /// <exception cref="InvalidDataException">The file is no such configuration.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public static HyperVConfiguration Read(string path)
    {
        if (new FileInfo(path).Length > MostBytes)
        {
            throw new InvalidDataException($"{path}: larger than {MostBytes} bytes, so no VM configuration");
        }

        return Parse(File.ReadAllBytes(path), path);
    }

    /// <exception cref="InvalidDataException">The bytes are no such configuration.</exception>
    public static HyperVConfiguration Parse(byte[] bytes, string path)
    {
        using var source = new MemorySource(bytes);
        try
        {
            var configuration = new HyperVConfiguration(path, HyperVStore.Probe(source) ? HyperVStore.Read(source, IsWanted).Values : OfXml(ConfigurationXml.Parse(bytes, path), path));
            return configuration.Id.Length > 0 || configuration.Name.Length > 0
                ? configuration
                : throw new InvalidDataException($"{path}: no configuration of Hyper-V (it has neither a name nor an id)");
        }
        catch (DiskFormatException e)
        {
            throw new InvalidDataException($"{path}: {e.Structure} at {e.Offset}: {e.Detail}", e);
        }
    }

    /// <summary>Whether a state (<c>.vmrs</c>) holds a suspended VM: every VM has such a file, and most hold next to nothing.</summary>
    public static bool HasSavedState(string path)
    {
        try
        {
            using var file = new FileSource(path);
            return HyperVStore.Read(file, p => p.StartsWith("savedstate/", StringComparison.OrdinalIgnoreCase)).Values.Count > 0;
        }
        catch (Exception e) when (e is DiskFormatException or IOException or UnauthorizedAccessException)
        {
            // What cannot be read may be one.
            return true;
        }
    }

    private static bool IsWanted(string path) => path.StartsWith(Root, StringComparison.OrdinalIgnoreCase);

    private static Dictionary<string, object> OfXml(XElement root, string path)
    {
        if (!IsRoot(root.Name.LocalName))
        {
            throw new InvalidDataException($"{path}: no configuration of Hyper-V (its root is {root.Name.LocalName})");
        }

        var values = new Dictionary<string, object>(StringComparer.OrdinalIgnoreCase);
        var left = new Stack<(XElement Element, string Path)>([(root, Root.TrimEnd('/'))]);
        while (left.TryPop(out (XElement Element, string Path) next))
        {
            if (!next.Element.HasElements)
            {
                values.TryAdd(next.Path, next.Element.Value.Trim());
            }

            // Keys are five deep; deeper ones are other products', and their paths would grow with each level.
            if (next.Path.Count(c => c == '/') < 8)
            {
                foreach (XElement child in next.Element.Elements())
                {
                    left.Push((child, $"{next.Path}/{child.Name.LocalName}"));
                }
            }
        }

        return values;
    }

    private static string Plain(string guid) => Guid.TryParse(guid, out Guid id) ? id.ToString("N") : "";

    private string Text(string key) => _values.GetValueOrDefault(Root + key) switch
    {
        null or byte[] => "",
        var value => Convert.ToString(value, CultureInfo.InvariantCulture) ?? "",
    };

    /// <summary>A FILETIME; in XML in Base64.</summary>
    private DateTimeOffset? CreationTime()
    {
        Span<byte> bytes = stackalloc byte[8];
        switch (_values.GetValueOrDefault(Root + "properties/creation_time"))
        {
            case byte[] { Length: 8 } array:
                array.CopyTo(bytes);
                break;
            case string text when Convert.TryFromBase64String(text, bytes, out int length) && length == 8:
                break;
            default:
                return null;
        }

        long ticks = new LeView(bytes, "creation_time", 0).I64(0);
        long first = new DateTime(FirstYear, 1, 1, 0, 0, 0, DateTimeKind.Utc).ToFileTimeUtc();
        long last = new DateTime(LastYear, 1, 1, 0, 0, 0, DateTimeKind.Utc).ToFileTimeUtc();
        return ticks >= first && ticks < last ? DateTimeOffset.FromFileTime(ticks).ToUniversalTime() : null;
    }

    private List<HyperVDrive> DrivesOf()
    {
        var places = new Dictionary<string, int>(StringComparer.OrdinalIgnoreCase);
        foreach (string key in _values.Keys)
        {
            if (ManifestKey().Match(key) is { Success: true } match && int.TryParse(match.Groups["number"].ValueSpan, CultureInfo.InvariantCulture, out int number))
            {
                places.TryAdd(Text(key[Root.Length..]).Trim('{', '}'), number);
            }
        }

        List<((int, int, int, string) Place, HyperVDrive Drive)> drives = [];
        foreach (string key in _values.Keys)
        {
            if (DriveKey().Match(key) is not { Success: true } match || Text(key[Root.Length..]) is not { Length: > 0 } name)
            {
                continue;
            }

            string controller = match.Groups["device"].Value;
            string type = Text(key[Root.Length..^"pathname".Length] + "type");
            int place = controller.Equals(Ide, StringComparison.OrdinalIgnoreCase) ? -1 : places.GetValueOrDefault(controller, int.MaxValue);
            drives.Add(((place, Number(match, "controller"), Number(match, "drive"), key), new HyperVDrive(type.ToUpperInvariant(), name)));
        }

        return [.. drives.OrderBy(d => d.Place).Select(d => d.Drive)];
    }

    private static int Number(Match match, string group) => int.Parse(match.Groups[group].ValueSpan, CultureInfo.InvariantCulture);

    [GeneratedRegex(@"^configuration/manifest/vdev(?<number>[0-9]{1,6})/instance$", RegexOptions.IgnoreCase | RegexOptions.CultureInvariant)]
    private static partial Regex ManifestKey();

    [GeneratedRegex(@"^configuration/_(?<device>[0-9a-f-]{36})_/controller(?<controller>[0-9]{1,4})/drive(?<drive>[0-9]{1,4})/pathname$", RegexOptions.IgnoreCase | RegexOptions.CultureInvariant)]
    private static partial Regex DriveKey();
}

/// <summary>What is in a drive.</summary>
/// <param name="Type"><c>VHD</c>, <c>ISO</c>, <c>VFD</c>; others are of the host.</param>
/// <param name="Pathname">On the host.</param>
internal sealed record HyperVDrive(string Type, string Pathname);
