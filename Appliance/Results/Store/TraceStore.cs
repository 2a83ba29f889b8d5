using System.Buffers.Binary;
using System.Data.Common;
using System.Security.Cryptography;

namespace Vmsweep.Appliance.Results.Store;

/// <summary>A scan of a VM that the next one can build on.</summary>
/// <param name="Mark">Names the moment of its view to the VM's connector.</param>
/// <param name="Context">Digest of what it matched with, and how.</param>
/// <param name="Key">What its traces were made with.</param>
/// <param name="At">When its view was opened.</param>
internal sealed record TracedScan(long Id, string Mark, byte[] Context, byte[] Key, DateTimeOffset At);

/// <summary>
/// Traces of contents that scans did without a gap: of each VM those of its last scan that came to its end, and while one runs, its own, which count for
/// nothing until it ends. They are kept in parts, as they come: a row for each would take ten times the room.
/// </summary>
/// <param name="mostBytes">Of all VMs together.</param>
internal sealed class TraceStore(Database database, TimeProvider time, long mostBytes)
{
    /// <summary>The last scan of a VM that came to its end; null when there is none.</summary>
    public TracedScan? Last(string vm)
    {
        using DbCommand find = database.Command("SELECT id, mark, context, key, at FROM traced WHERE vm = $vm AND mark IS NOT NULL ORDER BY id DESC LIMIT 1", "$vm");
        database.Set(find, StoredText.Key(vm));
        using DbDataReader row = find.ExecuteReader();
        return row.Read()
            ? new TracedScan(row.GetInt64(0), row.GetString(1), row.GetFieldValue<byte[]>(2), row.GetFieldValue<byte[]>(3), DateTimeOffset.FromUnixTimeSeconds(row.GetInt64(4)))
            : null;
    }

    /// <summary>Begins what a scan will leave. What scans of this VM left that never came to their end goes.</summary>
    public long Begin(string vm, byte[] context, byte[] key)
    {
        using DatabaseTransaction transaction = database.Begin(isWriting: true);
        Remove("vm = $vm AND mark IS NULL", StoredText.Key(vm));
        using DbCommand add = database.Command("INSERT INTO traced (vm, context, key, at, bytes) VALUES ($vm, $context, $key, $at, 0) RETURNING id", "$vm", "$context", "$key", "$at");
        database.Set(add, StoredText.Key(vm), context, key, time.GetUtcNow().ToUnixTimeSeconds());
        long id = Database.Number(add)!.Value;
        transaction.Commit();
        return id;
    }

    public void Add(long scan, byte[] part)
    {
        using DatabaseTransaction transaction = database.Begin(isWriting: true);
        using DbCommand add = database.Command(
            "INSERT INTO traced_part (scan, number, seal, part) SELECT $scan, coalesce(max(number), 0) + 1, $seal, $part FROM traced_part WHERE scan = $scan", "$scan", "$seal", "$part");
        database.Set(add, scan, Seal(scan, part), part);
        add.ExecuteNonQuery();
        using DbCommand count = database.Command("UPDATE traced SET bytes = bytes + $bytes WHERE id = $scan", "$scan", "$bytes");
        database.Set(count, scan, part.Length);
        count.ExecuteNonQuery();
        transaction.Commit();
    }

    /// <summary>The scan came to its end: at once it takes the place of the one before.</summary>
    public void Complete(long scan, string mark)
    {
        using DatabaseTransaction transaction = database.Begin(isWriting: true);
        using DbCommand complete = database.Command("UPDATE traced SET mark = $mark WHERE id = $scan RETURNING vm", "$scan", "$mark");
        database.Set(complete, scan, mark);
        string vm = (string)complete.ExecuteScalar()!;
        using (DbCommand older = database.Command("SELECT id FROM traced WHERE vm = $vm AND id <> $scan", "$vm", "$scan"))
        {
            database.Set(older, vm, scan);
            List<long> ids = [];
            using (DbDataReader row = older.ExecuteReader())
            {
                while (row.Read())
                {
                    ids.Add(row.GetInt64(0));
                }
            }

            ids.ForEach(Drop);
        }

        transaction.Commit();
        MakeRoom();
    }

    /// <summary>The scan did not come to its end.</summary>
    public void Abandon(long scan)
    {
        using DatabaseTransaction transaction = database.Begin(isWriting: true);
        Drop(scan);
        transaction.Commit();
    }

    /// <summary>All parts of a scan, one after the other; null when one is damaged or missing, and none is believed.</summary>
    public IReadOnlyList<byte[]>? Parts(long scan)
    {
        List<byte[]> parts = [];
        using DbCommand find = database.Command("SELECT number, seal, part FROM traced_part WHERE scan = $scan ORDER BY number", "$scan");
        database.Set(find, scan);
        using DbDataReader row = find.ExecuteReader();
        while (row.Read())
        {
            byte[] part = row.GetFieldValue<byte[]>(2);
            if (row.GetInt64(0) != parts.Count + 1 || row.GetInt64(1) != Seal(scan, part))
            {
                return null;
            }

            parts.Add(part);
        }

        return parts;
    }

    /// <summary>The oldest go first: their VMs are read whole once.</summary>
    private void MakeRoom()
    {
        while (true)
        {
            using DbCommand sum = database.Command("SELECT coalesce(sum(bytes), 0), min(id), max(id) FROM traced WHERE mark IS NOT NULL");
            long first;
            using (DbDataReader row = sum.ExecuteReader())
            {
                row.Read();
                if (row.GetInt64(0) <= mostBytes || row.GetInt64(1) == row.GetInt64(2))
                {
                    return;
                }

                first = row.GetInt64(1);
            }

            Abandon(first);
        }
    }

    private void Remove(string where, string vm)
    {
        foreach (string sql in (string[])[$"DELETE FROM traced_part WHERE scan IN (SELECT id FROM traced WHERE {where})", $"DELETE FROM traced WHERE {where}"])
        {
            using DbCommand remove = database.Command(sql, "$vm");
            database.Set(remove, vm);
            remove.ExecuteNonQuery();
        }
    }

    private void Drop(long scan)
    {
        foreach (string sql in (string[])["DELETE FROM traced_part WHERE scan = $scan", "DELETE FROM traced WHERE id = $scan"])
        {
            using DbCommand remove = database.Command(sql, "$scan");
            database.Set(remove, scan);
            remove.ExecuteNonQuery();
        }
    }

    /// <summary>For finding damage, not forgery.</summary>
    public static long Seal(long scan, byte[] part)
    {
        byte[] all = new byte[sizeof(long) + part.Length];
        BinaryPrimitives.WriteInt64LittleEndian(all, scan);
        part.CopyTo(all, sizeof(long));
        return BinaryPrimitives.ReadInt64LittleEndian(SHA256.HashData(all));
    }
}
