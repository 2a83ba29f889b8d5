using System.Data.Common;
using System.Text.Json;
using Vmsweep.Appliance.Reports;

namespace Vmsweep.Appliance.Results.Store;

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

    private const string AddFinding =
        """
        INSERT INTO finding (machine, identity, engine, namespace, rule, path, inside, state, severity, size, sha256, first_seen, last_seen, changed, scans, signatures, report)
        VALUES ($machine, $identity, $engine, $namespace, $rule, $path, $inside, '', 0, 0, $none, $at, $at, $at, 0, '', '') RETURNING id
        """;

    private const string See =
        """
        UPDATE finding SET state = $state, severity = $severity, size = $size, sha256 = $sha256, last_seen = greatest(last_seen, $at), first_seen = least(first_seen, $at), changed = $changed,
            scans = scans + 1, signatures = $signatures, detail = $detail, report = $report WHERE id = $id
        """;

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
        List<(string Key, byte[] Identity, FindingReport Finding)> kept =
        [
            .. seen.OrderByDescending(s => known.ContainsKey(s.Key)).ThenByDescending(s => Rank(s.Value.Finding.Severity)).ThenBy(s => s.Key, StringComparer.Ordinal).Take(MostOfMachine)
                .Select(s => (s.Key, s.Value.Identity, s.Value.Finding)),
        ];
        Dictionary<string, long> ids = known.ToDictionary(k => k.Key, k => k.Value.Id);
        var added = kept.Where(k => !known.ContainsKey(k.Key)).ToList();
        database.ForEach(
            AddFinding, ["$machine", "$identity", "$engine", "$namespace", "$rule", "$path", "$inside", "$at", "$none"],
            [.. added.Select(a => (object[])
            [
                machine, a.Identity, StoredText.Of(a.Finding.Engine, MostName), StoredText.Of(a.Finding.Namespace, MostName), StoredText.Of(a.Finding.Rule, MostName), StoredText.Of(a.Finding.Path, MostPath),
                JsonSerializer.Serialize([.. a.Finding.Inside.Select(i => StoredText.Of(i, MostName))], StoredJson.Default.IReadOnlyListString), at, Array.Empty<byte>(),
            ])],
            (i, row) => ids[added[i].Key] = row.GetInt64(0));
        List<object[]> sights = [];
        List<object[]> events = [];
        foreach ((string key, _, FindingReport finding) in kept)
        {
            Known? before = known.GetValueOrDefault(key);
            bool isNew = before is null or { State: FindingStates.Gone };
            string state = finding.Suppressed is not null ? FindingStates.Suppressed : isNew ? FindingStates.New : FindingStates.Open;
            byte[] sha256 = finding.Sha256.Length > 0 ? Convert.FromHexString(finding.Sha256) : [];
            string signatures = SignaturesOf(finished, finding.Engine);
            string? detail = finding.Suppressed is { } by ? StoredText.Of($"{by.Why} ({by.Who}, {by.Where})", MostDetail) : null;
            sights.Add(
            [
                state, Rank(finding.Severity), finding.SizeBytes, sha256, at, state == before?.State ? before.Changed : at, signatures, (object?)detail ?? DBNull.Value, Json(finding), ids[key],
            ]);
            string kind = finding.Suppressed is not null ? "suppressed" : before is null ? "new" : isNew ? "returned" : "seen";
            events.Add(Event(ids[key], scan, kind, before is null || !before.Sha256.AsSpan().SequenceEqual(sha256) ? sha256 : []));
            found += isNew && finding.Suppressed is null ? 1 : 0;
        }

        database.ForEach(See, ["$state", "$severity", "$size", "$sha256", "$at", "$changed", "$signatures", "$detail", "$report", "$id"], sights);
        int gone = Miss([.. known.Where(k => k.Value.State != FindingStates.Gone && !seen.ContainsKey(k.Key)).Select(k => k.Value)], scan, finished, places, events);
        database.ForEach("INSERT INTO finding_event (finding, scan, kind, sha256) VALUES ($finding, $scan, $kind, $sha256)", ["$finding", "$scan", "$kind", "$sha256"], events);
        return (found, gone);
    }

    /// <summary>A scan did not see these. How many are gone.</summary>
    private int Miss(IReadOnlyList<Known> missed, long scan, FinishedScan finished, ReadPlaces places, List<object[]> events)
    {
        List<object[]> left = [];
        List<object[]> lost = [];
        database.ForEach("SELECT path, inside, engine, namespace, rule, signatures FROM finding WHERE id = $id", ["$id"], [.. missed.Select(m => (object[])[m.Id])], (i, row) =>
        {
            Known finding = missed[i];
            string[] inside = [.. JsonSerializer.Deserialize(row.GetString(1), StoredJson.Default.IReadOnlyListString) ?? []];
            string engine = row.GetString(2);
            string? unread = places.WhyUnread(row.GetString(0), inside, engine, row.GetString(3), row.GetString(4));

            // Scans of one VM may overlap, and the one that began before another saw it knows less. A clock that was set back must not keep it for ever.
            if (unread is null && finding.LastSeen > finished.StartedAt.ToUnixTimeMilliseconds() && finding.LastSeen <= time.GetUtcNow().ToUnixTimeMilliseconds())
            {
                unread = "another scan saw it while this one ran";
            }

            if (unread is not null)
            {
                left.Add([finding.Id, StoredText.Of(unread, MostDetail)]);
                return;
            }

            bool isSame = SignaturesOf(finished, engine) == row.GetString(5);
            lost.Add([finding.Id, finished.FinishedAt.ToUnixTimeMilliseconds(), isSame ? "its place was read, and it was not there" : "it does not match any more; signatures changed since it was seen"]);
            events.Add(Event(finding.Id, scan, "gone", []));
        });
        database.ForEach("UPDATE finding SET detail = $detail WHERE id = $id", ["$id", "$detail"], left);
        database.ForEach("UPDATE finding SET state = 'gone', changed = $at, detail = $detail WHERE id = $id", ["$id", "$at", "$detail"], lost);
        return lost.Count;
    }

    /// <param name="sha256">Empty when it is what it was.</param>
    private static object[] Event(long id, long scan, string kind, byte[] sha256) => [id, scan, kind, sha256.Length > 0 ? sha256 : DBNull.Value];

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
        using DbCommand find = database.Command("SELECT id, identity, state, last_seen, changed, sha256 FROM finding WHERE machine = $machine", "$machine");
        database.Set(find, machine);
        using DbDataReader row = find.ExecuteReader();
        while (row.Read())
        {
            known[Convert.ToHexString(row.GetFieldValue<byte[]>(1))] = new Known(row.GetInt64(0), row.GetString(2), row.GetInt64(3), row.GetInt64(4), row.GetFieldValue<byte[]>(5));
        }

        return known;
    }

    private sealed record Known(long Id, string State, long LastSeen, long Changed, byte[] Sha256);
}
