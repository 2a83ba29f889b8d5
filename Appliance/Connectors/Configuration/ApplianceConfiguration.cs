using System.Globalization;
using System.Text.Json;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Postgres;
using Vmsweep.Appliance.Sweeps.Configuration;

namespace Vmsweep.Appliance.Connectors.Configuration;

/// <summary><c>vmsweep.json</c>. What is not known in it is an error, with file and line: a misspelt limit must not be none.</summary>
internal sealed record ApplianceConfiguration(IReadOnlyDictionary<string, ConnectorSettings> Connectors)
{
    private const int MostBytes = 4 << 20;

    /// <summary>What is swept, and whose VMs lie where.</summary>
    public SweepConfiguration Sweeps { get; init; } = SweepConfiguration.None;

    /// <summary>ClamAV's daemon; null where none is configured.</summary>
    public ClamAvSettings? ClamAv { get; init; }

    /// <summary>How long results are kept.</summary>
    public Retention Retention { get; init; } = new();

    /// <summary>The server that keeps what is known; null: it is kept in the state folder.</summary>
    public PostgresSettings? Server { get; init; }

    /// <summary>The file, as it was read; null where there is none.</summary>
    public (string Path, byte[] Content)? Source { get; init; }

    public static readonly ApplianceConfiguration Empty = new(new Dictionary<string, ConnectorSettings>());

    /// <summary>Where it is looked for when nothing is said.</summary>
    public static string DefaultPath => Environment.IsPrivilegedProcess
        ? "/etc/vmsweep/vmsweep.json"
        : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.ApplicationData), "vmsweep", "vmsweep.json");

    /// <param name="path">As the operator gave it, then it must be there; null for the default one.</param>
    /// <exception cref="ConfigurationException">It is wrong.</exception>
    /// <exception cref="IOException">It cannot be read.</exception>
    public static ApplianceConfiguration Read(string? path)
    {
        if (path is null && !File.Exists(DefaultPath))
        {
            return Empty;
        }

        string file = path ?? DefaultPath;
        return new FileInfo(file).Length <= MostBytes ? Parse(file, File.ReadAllBytes(file)) : throw new IOException($"{file}: too long for a configuration");
    }

    /// <exception cref="ConfigurationException">It is wrong.</exception>
    public static ApplianceConfiguration Parse(string file, byte[] json)
    {
        ConfigurationNode root = ConfigurationNode.Parse(file, json);
        root.Allow("connectors", "sweeps", "tenants", "retention", "clamav", "database");
        ApplianceConfiguration configuration = root.Members.TryGetValue("connectors", out ConfigurationNode? connectors)
            ? new ApplianceConfiguration(connectors.Expect(JsonTokenType.StartObject, "\"connectors\": an object").Members.ToDictionary(c => c.Key, c => ConnectorSettings.Parse(c.Key, c.Value), StringComparer.Ordinal))
            : Empty;
        return configuration with
        {
            Sweeps = SweepConfiguration.Parse(root, [.. configuration.Connectors.Keys], TimeProvider.System.GetUtcNow()),
            ClamAv = root.Members.TryGetValue("clamav", out ConfigurationNode? clamAv) ? ClamAvSettings.Parse(clamAv) : null,
            Retention = root.Members.TryGetValue("retention", out ConfigurationNode? retention) ? RetentionOf(retention) : new Retention(),
            Server = root.Members.TryGetValue("database", out ConfigurationNode? database) ? PostgresSettings.Parse(database) : null,
            Source = (Path.GetFullPath(file), json),
        };
    }

    private static Retention RetentionOf(ConfigurationNode node)
    {
        node.Allow("scanDays", "recordDays");
        return new Retention(Days("scanDays") ?? Retention.DefaultScanDays, Days("recordDays") ?? Retention.DefaultRecordDays);

        int? Days(string name) => !node.Members.TryGetValue(name, out ConfigurationNode? member) ? null
            : int.TryParse(member.Expect(JsonTokenType.Number, $"\"{name}\": a number").Text, CultureInfo.InvariantCulture, out int days) && days is >= 1 and <= 36_500 ? days
            : throw member.Wrong("a number of days from 1 to 36500 is expected here");
    }
}
