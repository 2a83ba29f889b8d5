using System.Data.Common;
using System.Globalization;
using System.Text.Json.Serialization;
using Vmsweep.Appliance.Results.Postgres;
using Vmsweep.Appliance.Results.Store;

namespace Vmsweep.Appliance.Nodes;

/// <summary>An appliance, with all its processes.</summary>
/// <param name="Since">Since when one of them has been running without a break.</param>
/// <param name="LastSeen">By the database's clock.</param>
/// <param name="Runs">Runs of sweeps that it takes part in.</param>
/// <param name="Scanning">VMs.</param>
internal sealed record NodeReport(string Name, DateTimeOffset Since, DateTimeOffset LastSeen, bool IsAlive, IReadOnlyList<string> Runs, IReadOnlyList<string> Scanning);

/// <summary>Answers which nodes there are.</summary>
internal sealed class NodeQueries(Database database, PostgresSettings settings)
{
    public IReadOnlyList<NodeReport> List()
    {
        List<(string Id, string Name, long Since, long Seen, bool IsAlive, string Run)> sessions = [];
        using (DbCommand find = database.Command(string.Create(
            CultureInfo.InvariantCulture, $"SELECT id, name, since, seen, CASE WHEN seen >= {NodeSession.Now} - {(long)settings.DeadAfter.TotalMilliseconds} THEN 1 ELSE 0 END, run FROM node ORDER BY name, since")))
        using (DbDataReader row = find.ExecuteReader())
        {
            while (row.Read())
            {
                sessions.Add((row.GetString(0), row.GetString(1), row.GetInt64(2), row.GetInt64(3), row.GetInt64(4) == 1, row.GetString(5)));
            }
        }

        List<(string Node, string Name)> claims = [];
        using (DbCommand find = database.Command("SELECT node, name FROM sweep_claim ORDER BY name"))
        using (DbDataReader row = find.ExecuteReader())
        {
            while (row.Read())
            {
                claims.Add((row.GetString(0), row.GetString(1)));
            }
        }

        return
        [
            .. sessions.GroupBy(s => s.Name, StringComparer.Ordinal).OrderBy(g => g.Key, StringComparer.Ordinal).Select(g =>
            {
                // Of one that is dead, what it was; of one that lives, not what was before.
                bool isAlive = g.Any(s => s.IsAlive);
                var present = g.Where(s => s.IsAlive == isAlive).ToList();
                return new NodeReport(
                    g.Key, Time(present.Min(s => s.Since)), Time(present.Max(s => s.Seen)), isAlive,
                    [.. present.Select(s => s.Run).Where(r => r.Length > 0).Distinct()], [.. claims.Where(c => present.Exists(s => s.Id == c.Node)).Select(c => c.Name)]);
            }),
        ];
    }

    private static DateTimeOffset Time(long milliseconds) => DateTimeOffset.FromUnixTimeMilliseconds(milliseconds);
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true)]
[JsonSerializable(typeof(IReadOnlyList<NodeReport>))]
internal sealed partial class NodeJson : JsonSerializerContext;
