using System.Buffers.Binary;
using System.Data.Common;
using System.Security.Cryptography;

namespace Vmsweep.Appliance.Results.Store;

/// <summary>What verdicts were made against: engine versions and limits as a digest, and the ids of the rules.</summary>
/// <param name="Rules">As <see cref="RuleIds.Pack"/> has them.</param>
internal sealed record Basis(long Id, byte[] Digest, byte[] Rules, long Verdicts);

/// <param name="Instead">The basis whose verdict of this content it takes the place of; 0: none.</param>
/// <param name="Lists">Digest of the hash lists that it hangs on; empty when it hangs on none.</param>
internal readonly record struct StoredVerdict(ContentKey Key, byte[] Payload, long Instead, byte[] Lists);

/// <param name="Basis">0: nothing is known.</param>
/// <param name="Payload">Null when what is known holds no more.</param>
internal readonly record struct FoundVerdict(long Basis, byte[]? Payload);

/// <summary>
/// Verdicts by content and basis. A row is sealed with a digest over all that it says: a damaged one is not believed. What was not used for
/// longest goes first when the store is full.
/// </summary>
/// <param name="mostBytes">Payloads, and <see cref="RowBytes"/> for each verdict.</param>
internal sealed class VerdictStore(Database database, TimeProvider time, long mostBytes)
{
    /// <summary>What a verdict takes beside its payload.</summary>
    public const int RowBytes = 96;

    /// <summary>The last use of a verdict is written down anew only after so many days: a scan then reads, and hardly writes.</summary>
    private const int UseDays = 7;

    /// <summary>A basis without verdicts is forgotten after so long; a running scan may still fill a younger one.</summary>
    private const int EmptyBasisDays = 30;

    /// <summary>The size is looked at once in so many batches.</summary>
    private const int BatchesBetweenChecks = 256;

    /// <summary>So much is left after making room, so that it is not made again at once.</summary>
    private const double LeftAfterEviction = 0.85;

    private const string FindAll = "SELECT basis, used, seal, payload, lists FROM verdict WHERE scope = $scope AND sha256 = $sha256 AND size = $size";

    private const string Touch = "UPDATE verdict SET used = $used WHERE scope = $scope AND sha256 = $sha256 AND size = $size AND basis = $basis";

    private const string Add =
        "INSERT INTO verdict (scope, sha256, size, basis, used, seal, payload, lists) VALUES ($scope, $sha256, $size, $basis, $used, $seal, $payload, $lists) ON CONFLICT DO NOTHING RETURNING 1";

    private const string Remove = "DELETE FROM verdict WHERE scope = $scope AND sha256 = $sha256 AND size = $size AND basis = $basis RETURNING length(payload)";

    private const string Count = "UPDATE basis SET verdicts = verdicts + $verdicts, bytes = bytes + $bytes, used = greatest(used, $used) WHERE id = $basis";

    private int _batches;

    private long Today => time.GetUtcNow().ToUnixTimeSeconds() / 86_400;

    /// <summary>The basis of the present rules; written down when it is new.</summary>
    public Basis Open(long scope, byte[] context, byte[] rules)
    {
        byte[] digest = RuleIds.Digest(rules);
        using DatabaseTransaction transaction = database.Begin(isWriting: true);
        using DbCommand add = database.Command(
            """
            INSERT INTO basis (scope, context, digest, rules, used) VALUES ($scope, $context, $digest, $rules, $used)
            ON CONFLICT (scope, context, digest) DO UPDATE SET used = greatest(basis.used, excluded.used) RETURNING id, verdicts
            """,
            "$scope", "$context", "$digest", "$rules", "$used");
        database.Set(add, scope, context, digest, rules, Today);
        long id;
        long verdicts;
        using (DbDataReader row = add.ExecuteReader())
        {
            row.Read();
            (id, verdicts) = (row.GetInt64(0), row.GetInt64(1));
        }

        transaction.Commit();
        return new Basis(id, digest, rules, verdicts);
    }

    /// <summary>The bases with most verdicts, first; those whose rules are damaged are left out.</summary>
    public IReadOnlyList<Basis> Most(long scope, byte[] context, int count)
    {
        using DbCommand find = database.Command(
            "SELECT id, digest, rules, verdicts FROM basis WHERE scope = $scope AND context = $context AND verdicts > 0 ORDER BY verdicts DESC, id DESC LIMIT $count", "$scope", "$context", "$count");
        database.Set(find, scope, context, count);
        List<Basis> found = [];
        using DbDataReader row = find.ExecuteReader();
        while (row.Read())
        {
            var basis = new Basis(row.GetInt64(0), row.GetFieldValue<byte[]>(1), row.GetFieldValue<byte[]>(2), row.GetInt64(3));
            if (RuleIds.Digest(basis.Rules).AsSpan().SequenceEqual(basis.Digest))
            {
                found.Add(basis);
            }
        }

        return found;
    }

    /// <summary>For each content the verdict of the basis that ranks first.</summary>
    /// <param name="ranks">The bases that are of use, by id: 0 is best.</param>
    /// <param name="lists">Digest of the hash lists in use.</param>
    public FoundVerdict[] Find(long scope, ReadOnlySpan<ContentKey> keys, IReadOnlyDictionary<long, int> ranks, byte[] lists)
    {
        var found = new FoundVerdict[keys.Length];
        int[] best = new int[keys.Length];
        long[] usedAt = new long[keys.Length];
        long today = Today;
        Array.Fill(best, int.MaxValue);
        Array.Fill(usedAt, today);
        ContentKey[] wanted = keys.ToArray();
        List<object[]> asked = [.. wanted.Select(k => (object[])[scope, HashOf(k), k.SizeBytes])];
        using (DatabaseTransaction transaction = database.Begin(isWriting: false))
        {
            database.ForEach(FindAll, ["$scope", "$sha256", "$size"], asked, (i, row) =>
            {
                long basis = row.GetInt64(0);
                if (!ranks.TryGetValue(basis, out int rank) || rank >= best[i])
                {
                    return;
                }

                byte[] payload = row.GetFieldValue<byte[]>(3);
                byte[] hangsOn = row.GetFieldValue<byte[]>(4);
                if (row.GetInt64(2) == Seal(scope, wanted[i], basis, payload, hangsOn))
                {
                    best[i] = rank;
                    usedAt[i] = row.GetInt64(1);
                    found[i] = new FoundVerdict(basis, hangsOn.Length == 0 || hangsOn.AsSpan().SequenceEqual(lists) ? payload : null);
                }
            });
            transaction.Commit();
        }

        List<object[]> touched = [.. Enumerable.Range(0, wanted.Length).Where(i => found[i].Payload is not null && usedAt[i] + UseDays <= today).Select(i => (object[])[.. asked[i], found[i].Basis, today])];
        if (touched.Count > 0)
        {
            using DatabaseTransaction transaction = database.Begin(isWriting: true);
            database.ForEach(Touch, ["$scope", "$sha256", "$size", "$basis", "$used"], touched);
            transaction.Commit();
        }

        return found;
    }

    /// <summary>Keeps verdicts of a basis, all or none.</summary>
    public void Keep(long scope, long basis, IReadOnlyList<StoredVerdict> verdicts)
    {
        if (_batches++ % BatchesBetweenChecks == 0)
        {
            MakeRoom();
        }

        long today = Today;
        Dictionary<long, (long Verdicts, long Bytes)> changes = [];
        using DatabaseTransaction transaction = database.Begin(isWriting: true);
        List<StoredVerdict> instead = [.. verdicts.Where(v => v.Instead != 0)];
        database.ForEach(
            Remove, ["$scope", "$sha256", "$size", "$basis"], [.. instead.Select(v => (object[])[scope, HashOf(v.Key), v.Key.SizeBytes, v.Instead])],
            (i, row) => Change(instead[i].Instead, -1, -row.GetInt64(0) - RowBytes));
        database.ForEach(
            Add, ["$scope", "$sha256", "$size", "$basis", "$used", "$seal", "$payload", "$lists"],
            [.. verdicts.Select(v => (object[])[scope, HashOf(v.Key), v.Key.SizeBytes, basis, today, Seal(scope, v.Key, basis, v.Payload, v.Lists), v.Payload, v.Lists])],
            (i, _) => Change(basis, 1, verdicts[i].Payload.Length + RowBytes));
        database.ForEach(Count, ["$verdicts", "$bytes", "$used", "$basis"], [.. changes.Select(c => (object[])[c.Value.Verdicts, c.Value.Bytes, today, c.Key])]);
        transaction.Commit();

        void Change(long id, long count, long bytes)
        {
            (long oldCount, long oldBytes) = changes.GetValueOrDefault(id);
            changes[id] = (oldCount + count, oldBytes + bytes);
        }
    }

    /// <summary>
    /// Removes what was not used for longest when the store is full. Whole days go; of the last one so much as is needed, by the first byte of
    /// the hash, which is to say by chance. Each of the 256 parts is a transaction of its own, so that other processes need not wait for all.
    /// </summary>
    public void MakeRoom()
    {
        long bytes = database.Number("SELECT coalesce(sum(bytes), 0) FROM basis") ?? 0;
        if (bytes <= mostBytes)
        {
            return;
        }

        long target = (long)(mostBytes * LeftAfterEviction);
        long before = bytes;
        List<(long Used, long Bytes)> days = [];
        using (DbCommand ages = database.Command($"SELECT used, sum(length(payload) + {RowBytes}) FROM verdict GROUP BY used ORDER BY used"))
        using (DbDataReader row = ages.ExecuteReader())
        {
            while (row.Read())
            {
                days.Add((row.GetInt64(0), row.GetInt64(1)));
            }
        }

        long last = days.Count > 0 ? days[^1].Used : 0;
        foreach ((long used, long ofDay) in days)
        {
            last = used;
            before -= ofDay;
            if (before <= target)
            {
                break;
            }
        }

        for (int part = 0; part < 256; part++)
        {
            bytes -= RemovePart(part, last - 1);
        }

        for (int part = 0; part < 256 && bytes > target; part++)
        {
            bytes -= RemovePart(part, last);
        }

        using DbCommand empty = database.Command("DELETE FROM basis WHERE verdicts <= 0 AND used < $used", "$used");
        database.Set(empty, Today - EmptyBasisDays);
        empty.ExecuteNonQuery();
    }

    private long RemovePart(int firstByte, long usedUntil)
    {
        byte[] from = new byte[ContentKey.HashBytes];
        from[0] = (byte)firstByte;
        byte[] to = [.. Enumerable.Repeat((byte)0xFF, ContentKey.HashBytes)];
        to[0] = (byte)firstByte;
        const string Which = "sha256 BETWEEN $from AND $to AND used <= $used AND scope IN (SELECT DISTINCT scope FROM basis)";
        using DatabaseTransaction transaction = database.Begin(isWriting: true);
        List<(long Basis, long Verdicts, long Bytes)> gone = [];
        using (DbCommand sum = database.Command($"SELECT basis, count(*), sum(length(payload) + {RowBytes}) FROM verdict WHERE {Which} GROUP BY basis", "$from", "$to", "$used"))
        {
            database.Set(sum, from, to, usedUntil);
            using DbDataReader row = sum.ExecuteReader();
            while (row.Read())
            {
                gone.Add((row.GetInt64(0), row.GetInt64(1), row.GetInt64(2)));
            }
        }

        using (DbCommand remove = database.Command($"DELETE FROM verdict WHERE {Which}", "$from", "$to", "$used"))
        {
            database.Set(remove, from, to, usedUntil);
            remove.ExecuteNonQuery();
        }

        database.ForEach(Count, ["$verdicts", "$bytes", "$used", "$basis"], [.. gone.Select(g => (object[])[-g.Verdicts, -g.Bytes, 0L, g.Basis])]);
        transaction.Commit();
        return gone.Sum(g => g.Bytes);
    }

    private static byte[] HashOf(ContentKey key)
    {
        byte[] sha256 = new byte[ContentKey.HashBytes];
        key.WriteHash(sha256);
        return sha256;
    }

    /// <summary>A digest over all that a row says; for finding damage, not forgery: whoever can write here can write anything.</summary>
    private static long Seal(long scope, ContentKey key, long basis, byte[] payload, byte[] lists)
    {
        byte[] all = new byte[ContentKey.Bytes + 20 + lists.Length + payload.Length];
        key.Write(all);
        BinaryPrimitives.WriteInt64LittleEndian(all.AsSpan(ContentKey.Bytes), scope);
        BinaryPrimitives.WriteInt64LittleEndian(all.AsSpan(ContentKey.Bytes + 8), basis);
        BinaryPrimitives.WriteInt32LittleEndian(all.AsSpan(ContentKey.Bytes + 16), lists.Length);
        lists.CopyTo(all.AsSpan(ContentKey.Bytes + 20));
        payload.CopyTo(all.AsSpan(ContentKey.Bytes + 20 + lists.Length));
        return BinaryPrimitives.ReadInt64LittleEndian(SHA256.HashData(all));
    }
}
