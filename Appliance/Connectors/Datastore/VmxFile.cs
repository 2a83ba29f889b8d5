using System.Text;
using System.Text.RegularExpressions;

namespace Vmsweep.Appliance.Connectors.Datastore;

/// <summary>
/// A VMware configuration file: lines of <c>key = "value"</c>. Of it only what names the VM and its disks is used.
/// </summary>
internal sealed partial class VmxFile
{
    /// <summary>Real ones have a few kilobytes.</summary>
    private const int MostBytes = 4 << 20;

    /// <summary>In the order of a VM's disks.</summary>
    public static readonly IReadOnlyList<string> DiskBuses = ["scsi", "sata", "ide", "nvme"];

    private readonly Dictionary<string, string> _values;

    private VmxFile(Dictionary<string, string> values) => _values = values;

    public string DisplayName => this["displayname"];

    /// <summary>BIOS UUID in its usual form; empty when there is none.</summary>
    public string Uuid => this["uuid.bios"].Replace(" ", "", StringComparison.Ordinal).Replace("-", "", StringComparison.Ordinal).ToLowerInvariant();

    public string GuestOs => this["guestos"];

    /// <summary>The suspend state file; empty when the VM is not suspended.</summary>
    public string SuspendState => this["checkpoint.vmstate"];

    public bool IsEncrypted => _values.ContainsKey("encryption.keysafe") || _values.ContainsKey("encryption.data");

    /// <summary>The image of each disk as the file names it, in bus order.</summary>
    public IReadOnlyList<string> Disks { get; private set; } = [];

    /// <summary>The image of each optical disc in a drive, in bus order.</summary>
    public IReadOnlyList<string> Discs { get; private set; } = [];

    private string this[string key] => _values.GetValueOrDefault(key, "");

    /// <exception cref="InvalidDataException">The file is no configuration.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public static VmxFile Read(string path)
    {
        if (new FileInfo(path).Length > MostBytes)
        {
            throw new InvalidDataException($"{path}: larger than {MostBytes} bytes, so no VM configuration");
        }

        return Parse(File.ReadAllBytes(path), path);
    }

    /// <exception cref="InvalidDataException">The bytes are no configuration.</exception>
    public static VmxFile Parse(ReadOnlySpan<byte> bytes, string name)
    {
        Dictionary<string, string> values = Values(bytes);
        if (!values.ContainsKey("config.version") && !values.ContainsKey("virtualhw.version") && !values.ContainsKey("displayname") && !values.ContainsKey("encryption.keysafe"))
        {
            throw new InvalidDataException($"{name}: no VM configuration (config.version, virtualHW.version and displayName are all missing)");
        }

        var file = new VmxFile(values);
        (file.Disks, file.Discs) = file.FindDisks();
        return file;
    }

    /// <summary>The lines of any of VMware's files of <c>key = "value"</c>.</summary>
    public static Dictionary<string, string> Values(ReadOnlySpan<byte> bytes)
    {
        var values = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        foreach (string line in Encoding.UTF8.GetString(bytes).Split('\n'))
        {
            string trimmed = line.Trim('\r', ' ', '\t', '\uFEFF');
            int equals = trimmed.IndexOf('=', StringComparison.Ordinal);
            if (trimmed.StartsWith('#') || equals <= 0)
            {
                continue;
            }

            // The last line of a key counts, as for the product itself.
            values[trimmed[..equals].Trim()] = Unquote(trimmed[(equals + 1)..].Trim());
        }

        return values;
    }

    private (List<string> Disks, List<string> Discs) FindDisks()
    {
        var disks = new List<(int Bus, int Controller, int Unit, string Name)>();
        var discs = new List<(int Bus, int Controller, int Unit, string Name)>();
        foreach ((string key, string value) in _values)
        {
            Match match = DiskKey().Match(key);
            if (!match.Success || value.Length == 0 || value.Equals("emptyBackingString", StringComparison.OrdinalIgnoreCase))
            {
                continue;
            }

            string device = match.Groups["device"].Value;
            string type = this[device + ".devicetype"];
            bool present = !this[device + ".present"].Equals("FALSE", StringComparison.OrdinalIgnoreCase);
            bool isImage = type.Equals("cdrom-image", StringComparison.OrdinalIgnoreCase);
            if (present && (isImage || (!type.StartsWith("cdrom", StringComparison.OrdinalIgnoreCase) && !type.StartsWith("atapi", StringComparison.OrdinalIgnoreCase))))
            {
                (isImage ? discs : disks).Add((
                    BusOf(match.Groups["bus"].Value),
                    int.Parse(match.Groups["controller"].ValueSpan, System.Globalization.CultureInfo.InvariantCulture),
                    int.Parse(match.Groups["unit"].ValueSpan, System.Globalization.CultureInfo.InvariantCulture),
                    value));
            }
        }

        disks.Sort();
        discs.Sort();
        return ([.. disks.Select(d => d.Name)], [.. discs.Select(d => d.Name)]);
    }

    /// <summary>A bus's place among <see cref="DiskBuses"/>.</summary>
    public static int BusOf(string name) => DiskBuses.ToList().IndexOf(name.ToLowerInvariant());

    /// <summary>Takes the quotes off and undoes <c>|22</c>, the configuration's escape for a character by its code.</summary>
    private static string Unquote(string value)
    {
        if (value.Length >= 2 && value[0] == '"' && value[^1] == '"')
        {
            value = value[1..^1];
        }

        return EscapedCode().Replace(value, m => ((char)Convert.ToInt32(m.Value[1..], 16)).ToString());
    }

    [GeneratedRegex(@"^(?<device>(?<bus>scsi|sata|ide|nvme)(?<controller>[0-9]{1,3}):(?<unit>[0-9]{1,3}))\.filename$", RegexOptions.IgnoreCase | RegexOptions.CultureInvariant)]
    private static partial Regex DiskKey();

    [GeneratedRegex(@"\|[0-9A-Fa-f]{2}", RegexOptions.CultureInvariant)]
    private static partial Regex EscapedCode();
}
