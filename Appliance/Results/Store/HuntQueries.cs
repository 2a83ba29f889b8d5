using System.Data.Common;
using Vmsweep.Appliance.Reports;

namespace Vmsweep.Appliance.Results.Store;

/// <summary>A VM that was scanned.</summary>
internal sealed record KnownMachine(long Id, string Tenant, string VmId, string Name, string? Snapshot, string Target, DateTimeOffset LastScan, long LeftOut);

/// <summary>Answers where something was ever seen.</summary>
internal sealed class HuntQueries(Database database)
{
    public HuntReport ByHash(byte[] sha256)
    {
        Dictionary<long, KnownMachine> machines = Machines().ToDictionary(m => m.Id);
        IReadOnlyList<KnownFinding> findings = new FindingQueries(database).List(new FindingFilter { Sha256 = sha256, Most = int.MaxValue });
        return new HuntReport(
            findings,
            [.. new SightingStore(database).Find(sha256).Where(s => machines.ContainsKey(s.Machine)).Select(s => Report(s, machines[s.Machine]))
                .OrderBy(s => s.VmName, StringComparer.Ordinal).ThenBy(s => s.Path, StringComparer.Ordinal).ThenBy(s => s.FirstSeen)],
            [.. machines.Values.Where(m => m.LeftOut > 0).Select(m => new NotKeptReport(m.VmId, m.Name, m.LeftOut))])
        {
            Vms = machines.Count,
        };
    }

    public HuntReport ByRule(string rule) =>
        new(new FindingQueries(database).List(new FindingFilter { Rule = rule, Most = int.MaxValue }), [], []) { Vms = database.Number("SELECT count(*) FROM machine") ?? 0 };

    public IReadOnlyList<KnownMachine> Machines()
    {
        List<KnownMachine> machines = [];
        using DbCommand find = database.Command("SELECT id, tenant, vm, name, snapshot, target, last_scan, left_out FROM machine ORDER BY id");
        using DbDataReader row = find.ExecuteReader();
        while (row.Read())
        {
            machines.Add(new KnownMachine(
                row.GetInt64(0), row.GetString(1), row.GetString(2), row.GetString(3), row.GetString(4) is { Length: > 0 } snapshot ? snapshot : null, row.GetString(5),
                DateTimeOffset.FromUnixTimeMilliseconds(row.GetInt64(6)), row.GetInt64(7)));
        }

        return machines;
    }

    private static SightingReport Report(Sighting seen, KnownMachine machine) => new(
        machine.Tenant, machine.VmId, machine.Name, machine.Snapshot, seen.Path, seen.SizeBytes, Days.Date(seen.First), seen.Last is { } last ? Days.Date(last) : null, machine.LastScan);
}
