using System.Globalization;
using System.Text.Json;
using Vmsweep.Appliance.Cli;
using Vmsweep.Appliance.Connectors.VSphere;

namespace Vmsweep.Appliance.Connectors.Configuration;

/// <summary>A connector as <c>vmsweep.json</c> has it.</summary>
/// <param name="Name">What scans and leases call it.</param>
/// <param name="Address">A URI, such as <c>libvirt:///system</c> or <c>qemu:///run/vm.qmp</c>.</param>
internal sealed record ConnectorSettings(string Name, Uri Address)
{
    private static readonly string[] Keys =
    [
        "address", "account", "secret", "certificate", "ca", "bases", "views", "scratch", "saves", "minimumFree", "maximumHours", "identity", "hostKey",
        "mounts", "quiesce", "maximumSnapshots", "timeoutSeconds", "spool", "spoolSize", "ways", "appliance", "hosts",
        "paths", "nodes", "authentication",
    ];

    public string? Account { get; init; }

    /// <summary>Read when it is needed, and kept nowhere.</summary>
    public SecretSource? Secret { get; init; }

    /// <summary>SHA-256 of the one certificate that is taken.</summary>
    public string? PinnedCertificate { get; init; }

    /// <summary>A file of certificates that may have signed the server's.</summary>
    public string? CaFile { get; init; }

    /// <summary>The file of the key that ssh logs in with.</summary>
    public string? Identity { get; init; }

    /// <summary>The one key of the host that ssh takes: its kind and the key in base64.</summary>
    public string? HostKey { get; init; }

    /// <summary>Folders whose images may be parents.</summary>
    public IReadOnlyList<string> Bases { get; init; } = [];

    /// <summary>Where sockets of views are made: a folder that the hypervisor's account may enter.</summary>
    public string Views { get; init; } = "/run/vmsweep/views";

    /// <summary>Where scratch files are made; null: beside each disk.</summary>
    public string? Scratch { get; init; }

    /// <summary>Where libvirt keeps the state of suspended VMs.</summary>
    public string Saves { get; init; } = "/var/lib/libvirt/qemu/save";

    /// <summary>No view is opened, and an open one is closed, when less is free where scratch files lie.</summary>
    public long MinimumFreeBytes { get; init; } = 1L << 30;

    /// <summary>No view stays open for longer.</summary>
    public TimeSpan MaximumAge { get; init; } = TimeSpan.FromHours(24);

    /// <summary>vSphere: folders where datastores are mounted here, by the datastore's name; read first of all.</summary>
    public IReadOnlyDictionary<string, string> Mounts { get; init; } = new Dictionary<string, string>();

    /// <summary>Guests are asked to write out what they hold before a snapshot; where that fails it is made without. Null: as the hypervisor's users expect it.</summary>
    public bool? Quiesce { get; init; }

    /// <summary>Hyper-V: folders where storage of hosts is mounted here, by its path there.</summary>
    public IReadOnlyDictionary<string, string> Paths { get; init; } = new Dictionary<string, string>();

    /// <summary>Hyper-V: addresses of a cluster's nodes by their names, where they are not reached by those.</summary>
    public IReadOnlyDictionary<string, string> Nodes { get; init; } = new Dictionary<string, string>();

    /// <summary>Hyper-V: the account's password is sent as it is, over TLS; otherwise Kerberos or NTLM.</summary>
    public bool IsBasic { get; init; }

    /// <summary>VMs with as many snapshots are left alone.</summary>
    public int MaximumSnapshots { get; init; } = 8;

    /// <summary>vSphere and Xen: where disks that cannot be read by ranges are streamed to while they are scanned; null: they are gaps.</summary>
    public string? Spool { get; init; }

    /// <summary>What the streams of one VM may take there.</summary>
    public long SpoolBytes { get; init; } = 100L << 30;

    /// <summary>vSphere: how bytes of disks are read; what fails by one is tried by the next.</summary>
    public IReadOnlyList<ReadWay> Ways { get; init; } = ReadWays.Usual;

    /// <summary>vSphere: name or uuid of the VM that this appliance is, for <see cref="ReadWay.HotAdd"/>; null: it is found by the uuid of its firmware.</summary>
    public string? Appliance { get; init; }

    /// <summary>Xen: other hosts of the pool that may be logged in to, by their addresses, with the SHA-256 of their certificates; null: one that is signed.</summary>
    public IReadOnlyDictionary<string, string?> Hosts { get; init; } = new Dictionary<string, string?>();

    /// <summary>A server that says nothing for so long is taken for dead.</summary>
    public TimeSpan Silence { get; init; } = TimeSpan.FromSeconds(45);

    /// <exception cref="ConfigurationException">Something in it is not known or not allowed.</exception>
    public static ConnectorSettings Parse(string name, ConfigurationNode node)
    {
        node.Allow(Keys);
        if (name.Length == 0 || name.AsSpan().ContainsAny('/', ':', '\0'))
        {
            throw node.Wrong($"\"{name}\" is no name of a connector: it must not hold / or :");
        }

        string address = node.String("address") ?? throw node.Wrong($"the connector \"{name}\" has no \"address\"");
        if (!Uri.TryCreate(address, UriKind.Absolute, out Uri? uri) || uri.IsFile)
        {
            throw node.Members["address"].Wrong($"\"{address}\" is no address such as libvirt:///system");
        }

        if (uri.UserInfo.Contains(':', StringComparison.Ordinal))
        {
            throw node.Members["address"].Wrong("a password must not stand in an address; put it into a file and name that as \"secret\"");
        }

        var settings = new ConnectorSettings(name, uri)
        {
            Account = node.String("account"),
            Secret = node.Members.TryGetValue("secret", out ConfigurationNode? secret) ? SecretSource.Parse(secret) : null,
            PinnedCertificate = node.Members.TryGetValue("certificate", out ConfigurationNode? pin) ? Pin(pin) : null,
            CaFile = node.AbsolutePath("ca"),
            Identity = node.AbsolutePath("identity"),
            HostKey = HostKeyOf(node),
            Bases = node.Strings("bases"),
            Scratch = node.AbsolutePath("scratch"),
            Spool = node.AbsolutePath("spool"),
        };
        settings = node.AbsolutePath("views") is { } views ? settings with { Views = views } : settings;
        settings = node.AbsolutePath("saves") is { } saves ? settings with { Saves = saves } : settings;
        if (node.String("minimumFree") is { } free)
        {
            settings = Sizes.TryParse(free, out long bytes) ? settings with { MinimumFreeBytes = bytes } : throw node.Members["minimumFree"].Wrong($"\"{free}\" is no size, such as 10G");
        }

        if (node.String("spoolSize") is { } spoolSize)
        {
            settings = Sizes.TryParse(spoolSize, out long bytes) ? settings with { SpoolBytes = bytes } : throw node.Members["spoolSize"].Wrong($"\"{spoolSize}\" is no size, such as 100G");
        }

        if (node.Members.TryGetValue("maximumHours", out ConfigurationNode? hours))
        {
            settings = double.TryParse(hours.Expect(JsonTokenType.Number, "\"maximumHours\": a number").Text, CultureInfo.InvariantCulture, out double count) && count is > 0 and <= 10_000
                ? settings with { MaximumAge = TimeSpan.FromHours(count) }
                : throw hours.Wrong("a number of hours above 0 is expected here");
        }

        if (node.Members.TryGetValue("mounts", out ConfigurationNode? mounts))
        {
            settings = settings with
            {
                Mounts = mounts.Expect(JsonTokenType.StartObject, "\"mounts\": an object of datastores and folders").Members
                    .ToDictionary(m => m.Key, m => mounts.AbsolutePath(m.Key)!, StringComparer.Ordinal),
            };
        }

        if (node.Members.TryGetValue("paths", out ConfigurationNode? paths))
        {
            Dictionary<string, string> mapped = new(StringComparer.OrdinalIgnoreCase);
            foreach ((string path, ConfigurationNode folder) in paths.Expect(JsonTokenType.StartObject, "\"paths\": an object of paths on the host and folders here").Members)
            {
                string key = HyperV.HostPath.Parse(path) is { } host ? host.ToString() : throw folder.Wrong($"\"{path}\" is no path of Windows, such as C:\\\\ClusterStorage\\\\Volume1 or \\\\\\\\server\\\\share");
                if (!mapped.TryAdd(key, paths.AbsolutePath(path)!))
                {
                    throw folder.Wrong($"\"{path}\" stands here twice");
                }
            }

            settings = settings with { Paths = mapped };
        }

        if (node.Members.TryGetValue("nodes", out ConfigurationNode? nodes))
        {
            settings = settings with
            {
                Nodes = nodes.Expect(JsonTokenType.StartObject, "\"nodes\": an object of nodes and addresses").Members.ToDictionary(
                    n => n.Key,
                    n => nodes.String(n.Key) is { } host && Uri.TryCreate("https://" + host, UriKind.Absolute, out Uri? at) && at.PathAndQuery == "/" && at.UserInfo.Length == 0
                        ? host
                        : throw n.Value.Wrong("a host, or host:port, is expected here"),
                    StringComparer.OrdinalIgnoreCase),
            };
        }

        if (node.String("authentication") is { } authentication)
        {
            settings = settings with { IsBasic = authentication switch { "basic" => true, "negotiate" => false, _ => throw node.Members["authentication"].Wrong("negotiate or basic is expected here") } };
        }

        if (node.Members.TryGetValue("quiesce", out ConfigurationNode? quiesce))
        {
            settings = settings with { Quiesce = quiesce.Type is JsonTokenType.True or JsonTokenType.False ? quiesce.Type == JsonTokenType.True : throw quiesce.Wrong("true or false is expected here") };
        }

        if (node.Members.TryGetValue("hosts", out ConfigurationNode? hosts))
        {
            settings = settings with
            {
                Hosts = hosts.Expect(JsonTokenType.StartObject, "\"hosts\": an object of addresses and certificates").Members
                    .ToDictionary(h => h.Key, h => h.Value.Expect(JsonTokenType.String, "a text").Text.Length == 0 ? null : (string?)Pin(h.Value), StringComparer.Ordinal),
            };
        }

        if (node.Members.TryGetValue("ways", out ConfigurationNode? ways))
        {
            settings = settings with { Ways = ReadWays.Parse(ways, node.Strings("ways")) };
        }

        if (node.String("appliance") is { } appliance)
        {
            settings = appliance.Length > 0 && settings.Ways.Contains(ReadWay.HotAdd) ? settings with { Appliance = appliance }
                : throw node.Members["appliance"].Wrong("the name or uuid of this appliance's own VM is expected here, and only with \"hotadd\" among the \"ways\"");
        }

        settings = settings with { MaximumSnapshots = Whole(node, "maximumSnapshots", 1, 496) ?? settings.MaximumSnapshots };
        return Whole(node, "timeoutSeconds", 1, 3600) is { } seconds ? settings with { Silence = TimeSpan.FromSeconds(seconds) } : settings;
    }

    private static int? Whole(ConfigurationNode node, string name, int least, int most) =>
        !node.Members.TryGetValue(name, out ConfigurationNode? member) ? null
        : int.TryParse(member.Expect(JsonTokenType.Number, $"\"{name}\": a number").Text, CultureInfo.InvariantCulture, out int number) && number >= least && number <= most ? number
        : throw member.Wrong(string.Create(CultureInfo.InvariantCulture, $"a whole number from {least} to {most} is expected here"));

    private static string Pin(ConfigurationNode node)
    {
        string pin = node.Expect(JsonTokenType.String, "a certificate: a text").Text;
        string hex = pin.StartsWith("sha256:", StringComparison.OrdinalIgnoreCase) ? pin[7..].Replace(":", "", StringComparison.Ordinal) : "";
        return hex.Length == 64 && hex.All(char.IsAsciiHexDigit)
            ? hex.ToUpperInvariant()
            : throw node.Wrong("a pinned certificate is written sha256: and 64 hexadecimal digits");
    }

    private static string? HostKeyOf(ConfigurationNode node)
    {
        if (node.String("hostKey") is not { } key)
        {
            return null;
        }

        string[] parts = key.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        return parts.Length >= 2 && parts[0].All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '@' or '.') && Convert.TryFromBase64String(parts[1], new byte[parts[1].Length], out _)
            ? $"{parts[0]} {parts[1]}"
            : throw node.Members["hostKey"].Wrong("a host's key is written as ssh-keyscan shows it: its kind, a blank, the key in base64");
    }

}

/// <summary>Where a secret is: a file that nobody else may read, or a credential that systemd hands to the service.</summary>
internal sealed record SecretSource(string? File, string? Credential)
{
    private const int MostBytes = 64 << 10;

    private const UnixFileMode OfOthers =
        UnixFileMode.GroupRead | UnixFileMode.GroupWrite | UnixFileMode.GroupExecute | UnixFileMode.OtherRead | UnixFileMode.OtherWrite | UnixFileMode.OtherExecute;

    public static SecretSource Parse(ConfigurationNode node)
    {
        node.Allow("file", "credential");
        (string? file, string? credential) = (node.String("file"), node.String("credential"));
        if (file is null == credential is null)
        {
            throw node.Wrong("a secret is either {\"file\": PATH} or {\"credential\": NAME}; it never stands in this file");
        }

        return file is not null && !Path.IsPathRooted(file) ? throw node.Members["file"].Wrong("\"file\" must be an absolute path")
            : credential is not null && credential.AsSpan().ContainsAny('/', '\0') ? throw node.Members["credential"].Wrong("a credential's name holds no /")
            : new SecretSource(file, credential);
    }

    /// <summary>The secret without the line break at its end.</summary>
    /// <exception cref="ConnectorException">It is not there, or others may read it.</exception>
    public string Read()
    {
        string path = File ?? Path.Combine(
            Environment.GetEnvironmentVariable("CREDENTIALS_DIRECTORY") ?? throw new ConnectorException($"the credential {Credential} is handed over by systemd only: LoadCredential={Credential}:PATH"),
            Credential!);
        try
        {
            if (File is not null && (System.IO.File.GetUnixFileMode(path) & OfOthers) != 0)
            {
                throw new ConnectorException($"{path}: others may read this secret; mend it with: chmod 600 {path}");
            }

            return new FileInfo(path).Length <= MostBytes ? System.IO.File.ReadAllText(path).TrimEnd('\n', '\r') : throw new ConnectorException($"{path}: too long for a secret");
        }
        catch (Exception e) when (e is IOException and not ConnectorException or UnauthorizedAccessException)
        {
            throw new ConnectorException(e.Message, e);
        }
    }
}
