using System.Text.Json;
using Vmsweep.Appliance.Connectors.Configuration;

namespace Vmsweep.Appliance.Sweeps.Configuration;

/// <summary>The members <c>sweeps</c> and <c>tenants</c> of <c>vmsweep.json</c>.</summary>
internal sealed record SweepConfiguration(IReadOnlyDictionary<string, SweepSettings> Sweeps, IReadOnlyList<TenantSettings> Tenants)
{
    private const int MostName = 64;

    public static readonly SweepConfiguration None = new(new Dictionary<string, SweepSettings>(), []);

    /// <param name="root">The whole configuration.</param>
    /// <param name="connectors">Those that it has.</param>
    /// <exception cref="ConfigurationException">Something in it is not known or not allowed.</exception>
    public static SweepConfiguration Parse(ConfigurationNode root, IReadOnlyCollection<string> connectors, DateTimeOffset now)
    {
        List<TenantSettings> tenants = [];
        if (root.Members.TryGetValue("tenants", out ConfigurationNode? tenantsNode))
        {
            foreach ((string name, ConfigurationNode node) in tenantsNode.Expect(JsonTokenType.StartObject, "\"tenants\": an object").Members)
            {
                tenants.Add(ParseTenant(name, node, tenants, connectors));
            }
        }

        var sweeps = new Dictionary<string, SweepSettings>(StringComparer.Ordinal);
        if (root.Members.TryGetValue("sweeps", out ConfigurationNode? sweepsNode))
        {
            foreach ((string name, ConfigurationNode node) in sweepsNode.Expect(JsonTokenType.StartObject, "\"sweeps\": an object").Members)
            {
                RequireName(name, node, "sweep");
                sweeps.Add(name, SweepParser.Parse(name, node, connectors, tenants, now));
            }
        }

        return new SweepConfiguration(sweeps, tenants);
    }

    private static TenantSettings ParseTenant(string name, ConfigurationNode node, List<TenantSettings> before, IReadOnlyCollection<string> connectors)
    {
        RequireName(name, node, "tenant");
        node.Allow("folders", "sharesVerdicts");
        IReadOnlyList<string> folders = [.. node.Strings("folders").Select(f => f.TrimEnd('/'))];
        if (folders.Count == 0)
        {
            throw node.Wrong($"the tenant \"{name}\" has no \"folders\"");
        }

        for (int i = 0; i < folders.Count; i++)
        {
            ConfigurationNode at = node.Members["folders"].Items[i];
            if (!Path.IsPathRooted(folders[i]) && !connectors.Contains(folders[i].Split('/')[0]))
            {
                throw at.Wrong($"\"{folders[i]}\" is neither an absolute path nor CONNECTOR/FOLDER of a configured connector");
            }

            RequireNormal(folders[i], at);
            if (before.Find(t => t.Folders.Any(f => Contains(f, folders[i]) || Contains(folders[i], f))) is { } owner)
            {
                throw at.Wrong($"\"{folders[i]}\" belongs to the tenant \"{owner.Name}\" already");
            }
        }

        return new TenantSettings(name, folders, !node.Members.ContainsKey("sharesVerdicts") || SweepParser.Flag(node, "sharesVerdicts"));
    }

    /// <summary>A folder is another one, or holds it.</summary>
    public static bool Contains(string folder, string other) => other == folder || other.StartsWith(folder == "/" ? folder : folder + "/", StringComparison.Ordinal);

    /// <summary>Folders are compared as texts: what <c>..</c> leads to would be compared wrong.</summary>
    public static void RequireNormal(string folder, ConfigurationNode at)
    {
        if (folder.Split('/').Skip(1).Any(p => p is "" or "." or ".."))
        {
            throw at.Wrong($"\"{folder}\" must be written without \".\", \"..\" and empty names");
        }
    }

    private static void RequireName(string name, ConfigurationNode node, string what)
    {
        if (name.Length is 0 or > MostName || !name.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.') || name[0] == '-')
        {
            throw node.Wrong($"\"{name}\" is no name of a {what}: it takes letters, digits, - _ and .");
        }
    }
}
