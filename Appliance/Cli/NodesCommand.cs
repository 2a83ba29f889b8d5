using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Nodes;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Postgres;
using Vmsweep.Appliance.Results.Store;

namespace Vmsweep.Appliance.Cli;

/// <summary><c>vmsweep nodes</c>: the appliances that share a database.</summary>
internal static class NodesCommand
{
    public static Command Create() => new("nodes", "The appliances that share a PostgreSQL database.") { List() };

    private static Command List()
    {
        Option<string> format = CommonOptions.Format("text", "json");
        Option<string?> configuration = CommonOptions.Configuration();
        var command = new Command("list", "Lists nodes: since when each runs, when it was last heard of, whether it is taken to live, and what it scans.") { format, configuration };
        command.SetAction((parsed, _) => CommandFailure.Guard(() =>
        {
            PostgresSettings server = ApplianceConfiguration.Read(parsed.GetValue(configuration)).Server
                ?? throw new TargetException("there is one node: the configuration names no \"database\" that several could share");
            using Database database = Database.OpenOrThrow(new DatabasePlace("", server), TimeProvider.System, part: DatabasePart.Sweeps);
            IReadOnlyList<NodeReport> nodes = new NodeQueries(database, server).List();
            if (parsed.GetRequiredValue(format) == "json")
            {
                Console.WriteLine(JsonSerializer.Serialize(nodes, NodeJson.Default.IReadOnlyListNodeReport));
                return ExitStatus.Clean;
            }

            foreach (NodeReport node in nodes)
            {
                Console.WriteLine(string.Create(
                    CultureInfo.InvariantCulture,
                    $"{Printable.Of(node.Name)}  {(node.IsAlive ? "alive" : "DEAD")}  since {node.Since.UtcDateTime:yyyy-MM-dd HH:mm:ss'Z'}  last seen {node.LastSeen.UtcDateTime:yyyy-MM-dd HH:mm:ss'Z'}  {(node.Scanning.Count > 0 ? "scans " + Printable.Of(string.Join(", ", node.Scanning)) : "idle")}"));
            }

            return ExitStatus.Clean;
        }));
        return command;
    }
}
