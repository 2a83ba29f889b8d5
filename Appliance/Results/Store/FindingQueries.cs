using System.Data.Common;
using System.Globalization;
using System.Text.Json;
using Vmsweep.Appliance.Reports;

namespace Vmsweep.Appliance.Results.Store;

/// <summary>Answers what is known of findings.</summary>
internal sealed class FindingQueries(Database database)
{
    private const string Columns = """
        f.id, m.tenant, m.vm, m.name, m.snapshot, f.path, f.inside, f.size, f.sha256, f.engine, f.rule, f.namespace, f.severity, f.state, f.first_seen, f.last_seen, f.scans, f.detail, f.report
        FROM finding f JOIN machine m ON m.id = f.machine
        """;

    /// <summary>The worst first, then the latest.</summary>
    public IReadOnlyList<KnownFinding> List(FindingFilter filter)
    {
        List<string> conditions = [];
        List<(string Name, object Value)> values = [];
        Add(filter.Vm, "(m.vm = $vm OR m.name = $vm)", "$vm");
        Add(filter.Tenant, "m.tenant = $tenant", "$tenant");
        Add(filter.Severity is { } severity ? FindingStore.Rank(severity) : null, "f.severity >= $severity", "$severity");
        Add(filter.Rule is { } rule ? database.Pattern(rule) : null, database.Fits("f.rule", "$rule"), "$rule");
        Add(filter.Since?.ToUnixTimeMilliseconds(), "(f.last_seen >= $since OR f.changed >= $since)", "$since");
        Add(filter.RunId, "f.id IN (SELECT e.finding FROM scan s JOIN finding_event e ON e.scan = s.id WHERE s.run = $run)", "$run");
        Add(filter.Sha256, "(f.id IN (SELECT finding FROM finding_event WHERE sha256 = $sha256) OR f.sha256 = $sha256)", "$sha256");
        if (filter.States.Count > 0)
        {
            conditions.Add($"f.state IN ({string.Join(", ", filter.States.Index().Select(s => Parameter("$state", s.Index, s.Item)))})");
        }

        string where = conditions.Count > 0 ? "WHERE " + string.Join(" AND ", conditions) : "";
        using DbCommand find = database.Command(string.Create(
            CultureInfo.InvariantCulture, $"SELECT {Columns} {where} ORDER BY f.severity DESC, f.last_seen DESC, f.id LIMIT {filter.Most}"));
        values.ForEach(v => database.Add(find, v.Name, v.Value));
        return Read(find);

        void Add(object? value, string condition, string name)
        {
            if (value is not null)
            {
                conditions.Add(condition);
                values.Add((name, value));
            }
        }

        string Parameter(string name, int number, string value)
        {
            string numbered = string.Create(CultureInfo.InvariantCulture, $"{name}{number}");
            values.Add((numbered, value));
            return numbered;
        }
    }

    public FindingLife? Show(long id)
    {
        using DbCommand find = database.Command($"SELECT {Columns} WHERE f.id = $id", "$id");
        database.Set(find, id);
        if (Read(find) is not [var finding])
        {
            return null;
        }

        using DbCommand scans = database.Command(
            """
            SELECT e.scan, e.kind, e.sha256, s.run, s.started, s.finished, s.bundle FROM finding_event e LEFT JOIN scan s ON s.id = e.scan WHERE e.finding = $id ORDER BY e.scan
            """,
            "$id");
        database.Set(scans, id);
        List<FindingSeen> life = [];
        string sha256 = "";
        using (DbDataReader row = scans.ExecuteReader())
        {
            while (row.Read())
            {
                sha256 = row.IsDBNull(2) ? sha256 : Convert.ToHexStringLower(row.GetFieldValue<byte[]>(2));
                life.Add(new FindingSeen(
                    row.GetInt64(0), row.GetString(1), Text(row, 3), row.IsDBNull(4) ? null : Time(row.GetInt64(4)), row.IsDBNull(5) ? null : Time(row.GetInt64(5)),
                    row.GetString(1) == "gone" ? "" : sha256, Text(row, 6) is { Length: > 0 } bundle ? bundle : null));
            }
        }

        using DbCommand last = database.Command("SELECT report FROM finding WHERE id = $id", "$id");
        database.Set(last, id);
        return new FindingLife(finding, life, JsonSerializer.Deserialize((string)last.ExecuteScalar()!, StoredJson.Default.FindingReport));
    }

    private static List<KnownFinding> Read(DbCommand find)
    {
        List<KnownFinding> findings = [];
        using DbDataReader row = find.ExecuteReader();
        while (row.Read())
        {
            findings.Add(new KnownFinding
            {
                Id = row.GetInt64(0),
                Tenant = row.GetString(1),
                VmId = row.GetString(2),
                VmName = row.GetString(3),
                Snapshot = row.GetString(4) is { Length: > 0 } snapshot ? snapshot : null,
                Path = row.GetString(5),
                Inside = JsonSerializer.Deserialize(row.GetString(6), StoredJson.Default.IReadOnlyListString) ?? [],
                SizeBytes = row.GetInt64(7),
                Sha256 = Convert.ToHexStringLower(row.GetFieldValue<byte[]>(8)),
                Engine = row.GetString(9),
                Rule = row.GetString(10),
                Namespace = row.GetString(11),
                Severity = FindingStore.Severity(row.GetInt64(12)),
                State = row.GetString(13),
                FirstSeen = Time(row.GetInt64(14)),
                LastSeen = Time(row.GetInt64(15)),
                Scans = row.GetInt64(16),
                Detail = Text(row, 17),
                GuestPath = JsonSerializer.Deserialize(row.GetString(18), StoredJson.Default.FindingReport)?.GuestPath,
            });
        }

        return findings;
    }

    private static string? Text(DbDataReader row, int column) => row.IsDBNull(column) ? null : row.GetString(column);

    private static DateTimeOffset Time(long milliseconds) => DateTimeOffset.FromUnixTimeMilliseconds(milliseconds);
}
