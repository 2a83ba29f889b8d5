using System.Data.Common;

namespace Vmsweep.Appliance.Results.Store;

/// <summary>What is kept of a layer of a chain.</summary>
/// <param name="Key">What its traces are made with.</param>
/// <param name="At">Nothing of it was read before.</param>
/// <param name="IsWhole">A scan over it came to its end, so that what it lacks is what could not be kept.</param>
internal sealed record ReadLayer(long Id, byte[] Key, DateTimeOffset At, bool IsWhole);

/// <summary>
/// Traces of contents that show through whole from a layer which VMs share: whatever VM is scanned first leaves them, and what another finds there it need not
/// read. They are kept in parts, as they come; each stands by itself, so that a scan that breaks off leaves what it had done.
/// </summary>
/// <param name="mostBytes">Of all layers together.</param>
internal sealed class LayerStore(Database database, TimeProvider time, long mostBytes)
{
    private const int Disproved = 2;

    /// <summary>Of one layer: contents of one are read whatever is kept when it is full.</summary>
    private const long MostBytesOfLayer = 256 << 20;

    /// <summary>That a layer was not what it should be is kept for so long; its image is hardly there any more then.</summary>
    private const int DisprovedDays = 400;

    /// <summary>What is kept of a layer, not older than asked for; null when nothing is.</summary>
    /// <param name="scope">Those who share what they know.</param>
    /// <param name="identity">Of its files as they are.</param>
    /// <param name="context">What it was matched with.</param>
    public ReadLayer? Find(long scope, byte[] identity, byte[] context, DateTimeOffset since)
    {
        using DbCommand find = database.Command(
            "UPDATE layer SET used = $now WHERE id = (SELECT max(id) FROM layer WHERE identity = $identity AND scope = $scope AND context = $context AND at >= $since AND state < 2) RETURNING id, key, at, state",
            "$scope", "$identity", "$context", "$since", "$now");
        database.Set(find, scope, identity, context, since.ToUnixTimeSeconds(), Now);
        using DbDataReader row = find.ExecuteReader();
        return row.Read() ? new ReadLayer(row.GetInt64(0), row.GetFieldValue<byte[]>(1), DateTimeOffset.FromUnixTimeSeconds(row.GetInt64(2)), row.GetInt64(3) == 1) : null;
    }

    /// <summary>It was not what it should be though its files seemed to be: nothing is taken from it any more, whoever asks.</summary>
    public bool IsDisproved(byte[] identity) => database.Number("SELECT 1 FROM layer WHERE identity = $identity AND state = 2", ("$identity", identity)) is not null;

    /// <summary>Begins anew: what is older of the same layer, matched with the same, goes.</summary>
    public ReadLayer Begin(long scope, byte[] identity, byte[] context, byte[] key)
    {
        MakeRoom();
        using DatabaseTransaction transaction = database.Begin(isWriting: true);
        Remove("scope = $scope AND identity = $identity AND context = $context AND state < 2", ("$scope", scope), ("$identity", identity), ("$context", context));
        Remove("state = 2 AND used < $used", ("$used", Now - (DisprovedDays * 86_400L)));
        long id = Insert(scope, identity, context, key, 0);
        transaction.Commit();
        return new ReadLayer(id, key, DateTimeOffset.FromUnixTimeSeconds(Now), false);
    }

    /// <summary>Nothing when the layer is gone meanwhile, or full.</summary>
    public void Add(long layer, byte[] part)
    {
        using DatabaseTransaction transaction = database.Begin(isWriting: true);
        using DbCommand count = database.Command("UPDATE layer SET bytes = bytes + $bytes WHERE id = $layer AND state < 2 AND bytes < $most RETURNING id", "$layer", "$bytes", "$most");
        database.Set(count, layer, part.Length, MostBytesOfLayer);
        if (count.ExecuteScalar() is not null)
        {
            using DbCommand add = database.Command(
                "INSERT INTO layer_part (layer, number, seal, part) SELECT $layer, coalesce(max(number), 0) + 1, $seal, $part FROM layer_part WHERE layer = $layer", "$layer", "$seal", "$part");
            database.Set(add, layer, TraceStore.Seal(layer, part), part);
            add.ExecuteNonQuery();
        }

        transaction.Commit();
    }

    /// <summary>A scan over it came to its end.</summary>
    public void Complete(long layer) => database.Change("UPDATE layer SET state = 1 WHERE id = $layer AND state = 0", ("$layer", layer));

    /// <summary>What was kept of it cannot be trusted: its files changed meanwhile.</summary>
    public void Drop(long layer)
    {
        using DatabaseTransaction transaction = database.Begin(isWriting: true);
        Remove("id = $layer AND state < 2", ("$layer", layer));
        transaction.Commit();
    }

    public void Disprove(byte[] identity)
    {
        using DatabaseTransaction transaction = database.Begin(isWriting: true);
        Remove("identity = $identity", ("$identity", identity));
        Insert(0, identity, [], [], Disproved);
        transaction.Commit();
    }

    /// <summary>All parts, one after the other; null when one is damaged or missing, and none is believed.</summary>
    public IReadOnlyList<byte[]>? Parts(long layer)
    {
        List<byte[]> parts = [];
        using DbCommand find = database.Command("SELECT number, seal, part FROM layer_part WHERE layer = $layer ORDER BY number", "$layer");
        database.Set(find, layer);
        using DbDataReader row = find.ExecuteReader();
        while (row.Read())
        {
            byte[] part = row.GetFieldValue<byte[]>(2);
            if (row.GetInt64(0) != parts.Count + 1 || row.GetInt64(1) != TraceStore.Seal(layer, part))
            {
                return null;
            }

            parts.Add(part);
        }

        return parts;
    }

    private long Now => time.GetUtcNow().ToUnixTimeSeconds();

    private long Insert(long scope, byte[] identity, byte[] context, byte[] key, int state)
    {
        using DbCommand add = database.Command(
            "INSERT INTO layer (scope, identity, context, key, at, used, state, bytes) VALUES ($scope, $identity, $context, $key, $now, $now, $state, 0) RETURNING id",
            "$scope", "$identity", "$context", "$key", "$now", "$state");
        database.Set(add, scope, identity, context, key, Now, state);
        return Database.Number(add)!.Value;
    }

    /// <summary>What was not used for longest goes first: its VMs are read whole once.</summary>
    private void MakeRoom()
    {
        while ((database.Number("SELECT coalesce(sum(bytes), 0) FROM layer") ?? 0) > mostBytes
            && database.Number("SELECT id FROM layer WHERE state < 2 ORDER BY used, id LIMIT 1") is { } oldest)
        {
            Drop(oldest);
        }
    }

    private void Remove(string where, params (string Name, object Value)[] values)
    {
        database.Change($"DELETE FROM layer_part WHERE layer IN (SELECT id FROM layer WHERE {where})", values);
        database.Change($"DELETE FROM layer WHERE {where}", values);
    }
}
