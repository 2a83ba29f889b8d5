using System.Text.Json;
using Microsoft.Data.Sqlite;
using Vmsweep.Appliance.Reports;

namespace Vmsweep.Appliance.Results.Sqlite;

/// <summary>
/// Findings and their life. A finding is one rule at one place of one VM; each scan of the VM that can tell moves it on: new, open, gone, suppressed.
/// A scan that did not read the place leaves it as it was, and says why.
/// </summary>
internal sealed class FindingStore(Database database, TimeProvider time)
{
    /// <summary>Of one VM: a guest may hold a hundred thousand copies of something. Those that are known come first, then the worst.</summary>
    public const int MostOfMachine = 10_000;

    private const int MostPath = 4096;
    private const int MostName = 512;
    private const int MostDetail = 1000;
    private const int MostMatches = 16;
    private const int MostReport = 16 << 10;

    private static readonly string[] Severities = ["info", "low", "medium", "high", "critical"];

    /// <summary>Larger is worse.</summary>
    public static int Rank(string severity) => Array.IndexOf(Severities, severity);

    public static string Severity(long rank) => rank >= 0 && rank < Severities.Length ? Severities[rank] : "info";

    /// <summary>Takes what a scan found. Within the caller's transaction.</summary>
    /// <returns>How many are new or were gone, and how many are gone now.</returns>
    public (int New, int Gone) Take(long machine, long scan, FinishedScan finished, ReadPlaces places)
    {
        Dictionary<string, Known> known = KnownOf(machine);
        var seen = new Dictionary<string, (byte[] Identity, FindingReport Finding)>();
        foreach (FindingReport finding in finished.Target.Findings)
        {
            byte[] identity = FindingIdentity.Of(finding);
            string key = Convert.ToHexString(identity);

            // What counts once, counts.
            if (!seen.TryGetValue(key, out (byte[], FindingReport Finding) other) || (other.Finding.Suppressed is not null && finding.Suppressed is null))
            {
                seen[key] = (identity, finding);
            }
        }

        int found = 0;
        long at = finished.FinishedAt.ToUnixTimeMilliseconds();
        using var commands = new Commands(database);
        foreach ((string key, (byte[] identity, FindingReport finding)) in seen
            .OrderByDescending(s => known.ContainsKey(s.Key)).ThenByDescending(s => Rank(s.Value.Finding.Severity)).ThenBy(s => s.Key, StringComparer.Ordinal).Take(MostOfMachine))
        {
            Known? before = known.GetValueOrDefault(key);
            bool isNew = before is null or { State: FindingStates.Gone };
            string state = finding.Suppressed is not null ? FindingStates.Suppressed : isNew ? FindingStates.New : FindingStates.Open;
            byte[] sha256 = finding.Sha256.Length > 0 ? Convert.FromHexString(finding.Sha256) : [];
            string signatures = SignaturesOf(finished, finding.Engine);
            string? detail = finding.Suppressed is { } by ? StoredText.Of($"{by.Why} ({by.Who}, {by.Where})", MostDetail) : null;
            object[] values =
            [
                state, Rank(finding.Severity), finding.SizeBytes, sha256, at, state == before?.State ? before.Changed : at, signatures, (object?)detail ?? DBNull.Value, Json(finding),
            ];
            long id = before?.Id ?? commands.Add(
                machine, identity, StoredText.Of(finding.Engine, MostName), StoredText.Of(finding.Namespace, MostName), StoredText.Of(finding.Rule, MostName), StoredText.Of(finding.Path, MostPath),
                JsonSerializer.Serialize([.. finding.Inside.Select(i => StoredText.Of(i, MostName))], StoredJson.Default.IReadOnlyListString), at);
            commands.See(id, values);
            string kind = finding.Suppressed is not null ? "suppressed" : before is null ? "new" : isNew ? "returned" : "seen";
            commands.Event(id, scan, kind, before is null || !before.Sha256.AsSpan().SequenceEqual(sha256) ? sha256 : []);
            found += isNew && finding.Suppressed is null ? 1 : 0;
        }

        int gone = 0;
        foreach ((string key, Known finding) in known.Where(k => k.Value.State != FindingStates.Gone && !seen.ContainsKey(k.Key)))
        {
            gone += Miss(commands, finding, scan, finished, places) ? 1 : 0;
        }

        return (found, gone);
    }

    /// <summary>A scan did not see it. True when it is gone.</summary>
    private bool Miss(Commands commands, Known finding, long scan, FinishedScan finished, ReadPlaces places)
    {
        (string path, string[] inside, string engine, string ns, string rule, string signatures) = PlaceOf(finding.Id);
        string? unread = places.WhyUnread(path, inside, engine, ns, rule);

        // Scans of one VM may overlap, and the one that began before another saw it knows less. A clock that was set back must not keep it for ever.
        if (unread is null && finding.LastSeen > finished.StartedAt.ToUnixTimeMilliseconds() && finding.LastSeen <= time.GetUtcNow().ToUnixTimeMilliseconds())
        {
            unread = "another scan saw it while this one ran";
        }

        if (unread is not null)
        {
            commands.Leave(finding.Id, StoredText.Of(unread, MostDetail));
            return false;
        }

        string now = SignaturesOf(finished, engine);
        commands.Lose(finding.Id, finished.FinishedAt.ToUnixTimeMilliseconds(), now == signatures ? "its place was read, and it was not there" : "it does not match any more; signatures changed since it was seen");
        commands.Event(finding.Id, scan, "gone", []);
        return true;
    }

    private static string SignaturesOf(FinishedScan scan, string engine) => scan.Engines.FirstOrDefault(e => e.Name == engine) is { } used ? $"{used.Version} {used.Bundle}" : "";

    private static string Json(FindingReport finding)
    {
        FindingReport kept = finding with { AlsoAt = [.. finding.AlsoAt.Take(MostMatches)], Matches = [.. finding.Matches.Take(MostMatches)] };
        string json = JsonSerializer.Serialize(kept, StoredJson.Default.FindingReport);
        return json.Length <= MostReport
            ? json
            : JsonSerializer.Serialize(
                new FindingReport
                {
                    Path = StoredText.Of(finding.Path, MostPath), SizeBytes = finding.SizeBytes, Sha256 = finding.Sha256, Engine = finding.Engine,
                    Rule = StoredText.Of(finding.Rule, MostName), Namespace = StoredText.Of(finding.Namespace, MostName), Severity = finding.Severity,
                },
                StoredJson.Default.FindingReport);
    }

    private Dictionary<string, Known> KnownOf(long machine)
    {
        Dictionary<string, Known> known = [];
        using SqliteCommand find = database.Command("SELECT id, identity, state, last_seen, changed, sha256 FROM finding WHERE machine = $machine", "$machine");
        Database.Set(find, machine);
        using SqliteDataReader row = find.ExecuteReader();
        while (row.Read())
        {
            known[Convert.ToHexString(row.GetFieldValue<byte[]>(1))] = new Known(row.GetInt64(0), row.GetString(2), row.GetInt64(3), row.GetInt64(4), row.GetFieldValue<byte[]>(5));
        }

        return known;
    }

    private (string Path, string[] Inside, string Engine, string Namespace, string Rule, string Signatures) PlaceOf(long id)
    {
        using SqliteCommand find = database.Command("SELECT path, inside, engine, namespace, rule, signatures FROM finding WHERE id = $id", "$id");
        Database.Set(find, id);
        using SqliteDataReader row = find.ExecuteReader();
        row.Read();
        return (row.GetString(0), [.. JsonSerializer.Deserialize(row.GetString(1), StoredJson.Default.IReadOnlyListString) ?? []], row.GetString(2), row.GetString(3), row.GetString(4), row.GetString(5));
    }

    private sealed record Known(long Id, string State, long LastSeen, long Changed, byte[] Sha256);

    /// <summary>Made once for a scan's thousands of findings.</summary>
    private sealed class Commands(Database database) : IDisposable
    {
        private readonly SqliteCommand _add = database.Command(
            """
            INSERT INTO finding (machine, identity, engine, namespace, rule, path, inside, state, severity, size, sha256, first_seen, last_seen, changed, scans, signatures, report)
            VALUES ($machine, $identity, $engine, $namespace, $rule, $path, $inside, '', 0, 0, x'', $at, $at, $at, 0, '', '') RETURNING id
            """,
            "$machine", "$identity", "$engine", "$namespace", "$rule", "$path", "$inside", "$at");

        private readonly SqliteCommand _see = database.Command(
            """
            UPDATE finding SET state = $state, severity = $severity, size = $size, sha256 = $sha256, last_seen = max(last_seen, $at), first_seen = min(first_seen, $at), changed = $changed,
                scans = scans + 1, signatures = $signatures, detail = $detail, report = $report WHERE id = $id
            """,
            "$state", "$severity", "$size", "$sha256", "$at", "$changed", "$signatures", "$detail", "$report", "$id");

        private readonly SqliteCommand _leave = database.Command("UPDATE finding SET detail = $detail WHERE id = $id", "$id", "$detail");

        private readonly SqliteCommand _lose = database.Command("UPDATE finding SET state = 'gone', changed = $at, detail = $detail WHERE id = $id", "$id", "$at", "$detail");

        private readonly SqliteCommand _event = database.Command(
            "INSERT INTO finding_event (finding, scan, kind, sha256) VALUES ($finding, $scan, $kind, $sha256)", "$finding", "$scan", "$kind", "$sha256");

        public long Add(params ReadOnlySpan<object> values)
        {
            Database.Set(_add, values);
            return (long)_add.ExecuteScalar()!;
        }

        public void See(long id, object[] values) => Run(_see, [.. values, id]);

        public void Leave(long id, string detail) => Run(_leave, id, detail);

        public void Lose(long id, long at, string detail) => Run(_lose, id, at, detail);

        /// <param name="sha256">Empty when it is what it was.</param>
        public void Event(long id, long scan, string kind, byte[] sha256) => Run(_event, id, scan, kind, sha256.Length > 0 ? (object)sha256 : DBNull.Value);

        public void Dispose()
        {
            foreach (SqliteCommand command in (SqliteCommand[])[_add, _see, _leave, _lose, _event])
            {
                command.Dispose();
            }
        }

        private static void Run(SqliteCommand command, params ReadOnlySpan<object> values)
        {
            Database.Set(command, values);
            command.ExecuteNonQuery();
        }
    }
}
