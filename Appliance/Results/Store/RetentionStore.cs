using System.Globalization;

namespace Vmsweep.Appliance.Results.Store;

/// <summary>Removes results that are older than they are to be kept, in short transactions, so that a scan that runs need not wait.</summary>
internal sealed class RetentionStore(Database database, TimeProvider time)
{
    private const string LastRun = "retention";
    private const int Batch = 2000;

    /// <summary>Once a day is enough; null when it was done today.</summary>
    public Removed? RunDaily(Retention retention) =>
        database.Number("SELECT value FROM tally WHERE name = $name", ("$name", LastRun)) == Days.Of(time.GetUtcNow()) ? null : Run(retention);

    public Removed Run(Retention retention)
    {
        DateTimeOffset now = time.GetUtcNow();
        long scansBefore = now.AddDays(-retention.ScanDays).ToUnixTimeMilliseconds();
        long recordsBefore = now.AddDays(-retention.RecordDays).ToUnixTimeMilliseconds();
        long findings = Remove("finding WHERE state = 'gone' AND changed < $before", scansBefore);

        // An event with a hash tells where that was seen: it goes with its finding alone.
        Remove("finding_event WHERE sha256 IS NULL AND scan IN (SELECT id FROM scan WHERE finished < $before)", scansBefore);
        long scans = Remove("scan WHERE finished < $before", scansBefore);
        long runs = Remove("sweep_run WHERE started < $before", scansBefore);
        long coverage = Remove("coverage WHERE day < $before", Days.Of(now) - retention.RecordDays);
        long machines = Remove("machine WHERE last_scan < $before", recordsBefore);
        if (machines > 0)
        {
            findings += Remove("finding WHERE machine NOT IN (SELECT id FROM machine) AND $before = 0", 0);
            Remove("sighting WHERE machine NOT IN (SELECT id FROM machine) AND $before = 0", 0);
            coverage += Remove("coverage WHERE machine NOT IN (SELECT id FROM machine) AND $before = 0", 0);
        }

        Remove("finding_event WHERE finding NOT IN (SELECT id FROM finding) AND $before = 0", 0);
        long places = new SightingStore(database).Forget(Days.Of(now) - retention.ScanDays);

        // From the front: what is left is sealed as it was.
        long audit = Remove("audit WHERE id < (SELECT coalesce(min(id), (SELECT max(id) FROM audit)) FROM audit WHERE at >= $before)", recordsBefore);
        var removed = new Removed(scans, findings, runs, places, coverage, audit, machines);
        using DatabaseTransaction transaction = database.Begin(isWriting: true);
        database.Change("INSERT INTO tally (name, value) VALUES ($name, $day) ON CONFLICT (name) DO UPDATE SET value = excluded.value", ("$name", LastRun), ("$day", Days.Of(now)));
        if (removed != new Removed(0, 0, 0, 0, 0, 0, 0))
        {
            new AuditLog(database, time).Add("retention", database.Name, string.Create(
                CultureInfo.InvariantCulture,
                $"removed {scans} scans, {findings} findings, {runs} runs, {places} places, {coverage} days of coverage, {audit} entries of this log, {machines} VMs"));
        }

        transaction.Commit();
        return removed;
    }

    private long Remove(string from, long before)
    {
        string table = from[..from.IndexOf(' ', StringComparison.Ordinal)];
        string key = table switch
        {
            "coverage" => "(machine, day)",
            "finding_event" => "(finding, scan)",
            "sighting" => "(machine, block, first, last)",
            _ => "id",
        };
        long removed = 0;
        while (true)
        {
            using DatabaseTransaction transaction = database.Begin(isWriting: true);
            int now = database.Change($"DELETE FROM {table} WHERE {key} IN (SELECT {key.Trim('(', ')')} FROM {from} LIMIT {Batch})", ("$before", before));
            transaction.Commit();
            removed += now;
            if (now < Batch)
            {
                return removed;
            }
        }
    }
}
