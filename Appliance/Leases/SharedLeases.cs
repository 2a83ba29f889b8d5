using System.Data.Common;
using System.Text.Json;
using Vmsweep.Appliance.Nodes;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Postgres;
using Vmsweep.Appliance.Results.Store;

namespace Vmsweep.Appliance.Leases;

/// <summary>
/// Leases in the database that several nodes share. One is held for as long as the process that made it is heard of. What was made on a hypervisor that a node reaches as its own
/// machine is no other's to end: under the same address another would look at its own.
/// </summary>
/// <param name="isLocal">Of a lease's connector: its address names no other machine.</param>
internal sealed class SharedLeases(PostgresSettings settings, Func<string, bool> isLocal) : IDisposable
{
    private readonly Lock _lock = new();
    private Database? _database;
    private NodeSession? _session;

    /// <returns>What gives it up.</returns>
    /// <exception cref="DatabaseException">It is not written down: then nothing may be made.</exception>
    public IDisposable Begin(LeaseRecord record)
    {
        string me = Session();
        Do(database => database.Change(
            "INSERT INTO lease (id, node, home, local, record) VALUES ($id, $node, $home, $local, $record)",
            ("$id", record.Key), ("$node", me), ("$home", settings.Node), ("$local", isLocal(record.Connector) ? 1 : 0), ("$record", Json(record))));
        return new Held(this, record.Key, me);
    }

    /// <summary>All leases, and whether this node must leave them alone.</summary>
    /// <exception cref="DatabaseException">The database cannot be used.</exception>
    public IReadOnlyList<(LeaseRecord Record, bool IsHeld)> List() => Do(database =>
    {
        List<(LeaseRecord, bool)> leases = [];
        using DbCommand find = database.Command($"SELECT record, CASE WHEN {Free} THEN 0 ELSE 1 END FROM lease", "$home");
        database.Set(find, settings.Node);
        using DbDataReader row = find.ExecuteReader();
        while (row.Read())
        {
            leases.Add((JsonSerializer.Deserialize(row.GetString(0), LeaseJson.Default.LeaseRecord)!, row.GetInt64(1) == 1));
        }

        return leases;
    });

    /// <summary>Takes over a lease whose owner is gone; null when it may not be, or is ended.</summary>
    /// <exception cref="DatabaseException">The database cannot be used.</exception>
    public (LeaseRecord Record, IDisposable Held)? TryTake(Guid id)
    {
        string me = Session();
        string key = id.ToString("N");
        return Do<(LeaseRecord, IDisposable)?>(database =>
        {
            // Of two that try, the second waits and sees what the first has made of it.
            using DatabaseTransaction transaction = database.Begin(isWriting: true);
            using DbCommand take = database.Command($"UPDATE lease SET node = $node WHERE id = $id AND {Free} RETURNING record", "$node", "$id", "$home");
            database.Set(take, me, key, settings.Node);
            if (take.ExecuteScalar() is not string json)
            {
                return null;
            }

            transaction.Commit();
            return (JsonSerializer.Deserialize(json, LeaseJson.Default.LeaseRecord)!, new Held(this, key, me));
        });
    }

    /// <exception cref="DatabaseException">It is not known to be written.</exception>
    public void Write(LeaseRecord record) => Change("UPDATE lease SET record = $record WHERE id = $id", record, withRecord: true);

    /// <exception cref="DatabaseException">It is not known to be gone.</exception>
    public void Remove(LeaseRecord record) => Change("DELETE FROM lease WHERE id = $id", record, withRecord: false);

    public void Dispose()
    {
        lock (_lock)
        {
            _session?.Dispose();
            _database?.Dispose();
            (_session, _database) = (null, null);
        }
    }

    private string Free =>
        $"node NOT IN (SELECT id FROM node WHERE seen >= {NodeSession.Now} - {(long)settings.DeadAfter.TotalMilliseconds}) AND (local = 0 OR home = $home)";

    private static string Json(LeaseRecord record) => JsonSerializer.Serialize(record, LeaseJson.Default.LeaseRecord);

    private void Change(string sql, LeaseRecord record, bool withRecord) => Do(database => withRecord
        ? database.Change(sql, ("$record", Json(record)), ("$id", record.Key))
        : database.Change(sql, ("$id", record.Key)));

    /// <summary>As whom leases are held: made with the first of them.</summary>
    private string Session()
    {
        lock (_lock)
        {
            return (_session ??= NodeSession.Join(settings)).Id;
        }
    }

    private T Do<T>(Func<Database, T> action)
    {
        lock (_lock)
        {
            try
            {
                return action(_database ??= Database.OpenOrThrow(new DatabasePlace("", settings), TimeProvider.System, isDurable: true, DatabasePart.Sweeps));
            }
            catch (Exception e) when (e is DbException or JsonException or InvalidOperationException or TimeoutException)
            {
                throw new DatabaseException($"the database {settings.Name} fails: {e.GetBaseException().Message}", e);
            }
        }
    }

    private sealed class Held(SharedLeases leases, string key, string me) : IDisposable
    {
        public void Dispose()
        {
            try
            {
                leases.Do(database => database.Change("UPDATE lease SET node = '' WHERE id = $id AND node = $node", ("$id", key), ("$node", me)));
            }
            catch (DatabaseException)
            {
                // It is free as soon as this process is not heard of any more.
            }
        }
    }
}
