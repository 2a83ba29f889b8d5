using System.Data.Common;
using System.Globalization;
using System.Security.Cryptography;
using System.Text.Json.Serialization;
using System.Text;

namespace Vmsweep.Appliance.Results.Store;

/// <param name="Who">The account that did it, and the one behind <c>sudo</c>.</param>
internal sealed record AuditEntry(long Id, DateTimeOffset At, string Who, string Act, string Subject, string Detail);

/// <summary>
/// What was done, by whom. Each entry is sealed over the one before it, so that one that is taken out or changed later shows; against an attacker who owns
/// this account, who can seal anew, only a copy elsewhere helps.
/// </summary>
internal sealed class AuditLog(Database database, TimeProvider time)
{
    private const int MostText = 4096;

    /// <summary>As <see cref="Add"/>, in a transaction of its own.</summary>
    public void Note(string act, string subject, string detail)
    {
        using DatabaseTransaction transaction = database.Begin(isWriting: true);
        Add(act, subject, detail);
        transaction.Commit();
    }

    /// <summary>Within the caller's writing transaction: nobody may seal between what this one reads and writes.</summary>
    public void Add(string act, string subject, string detail)
    {
        using DbCommand last = database.Command("SELECT seal FROM audit ORDER BY id DESC LIMIT 1");
        byte[] before = last.ExecuteScalar() as byte[] ?? [];
        var entry = new AuditEntry(0, DateTimeOffset.FromUnixTimeMilliseconds(time.GetUtcNow().ToUnixTimeMilliseconds()), Who, act, StoredText.Of(subject, MostText), StoredText.Of(detail, MostText));
        using DbCommand add = database.Command(
            "INSERT INTO audit (id, at, who, act, subject, detail, seal) SELECT coalesce(max(id), 0) + 1, $at, $who, $act, $subject, $detail, $seal FROM audit", "$at", "$who", "$act", "$subject", "$detail", "$seal");
        // Numbered without a gap, which a transaction that was undone would leave: one that is missing shows.
        database.Set(add, entry.At.ToUnixTimeMilliseconds(), entry.Who, entry.Act, entry.Subject, entry.Detail, Seal(before, entry));
        add.ExecuteNonQuery();
    }

    /// <summary>An entry when the configuration is not what it was when it was last used.</summary>
    public void Configuration(string path, byte[] content)
    {
        string digest = "sha256:" + Convert.ToHexStringLower(SHA256.HashData(content));
        using DatabaseTransaction transaction = database.Begin(isWriting: true);
        using DbCommand last = database.Command("SELECT detail FROM audit WHERE act = 'configuration' AND subject = $path ORDER BY id DESC LIMIT 1", "$path");
        database.Set(last, StoredText.Of(path, MostText));
        if (last.ExecuteScalar() as string != digest)
        {
            Add("configuration", path, digest);
        }

        transaction.Commit();
    }

    /// <summary>The latest first.</summary>
    public IReadOnlyList<AuditEntry> Last(int most) => [.. Read("ORDER BY id DESC LIMIT " + most.ToString(CultureInfo.InvariantCulture)).Select(e => e.Entry)];

    /// <summary>The first entry that is not what it was, or before which one is missing; null when all is sound.</summary>
    public AuditEntry? FirstBroken()
    {
        byte[]? before = null;
        long id = 0;
        foreach ((AuditEntry entry, byte[] seal) in Read("ORDER BY id"))
        {
            // Of the first there is nothing to compare to: retention took what was before it.
            if ((before is not null && (entry.Id != id + 1 || !Seal(before, entry).AsSpan().SequenceEqual(seal))) || (before is null && entry.Id == 1 && !Seal([], entry).AsSpan().SequenceEqual(seal)))
            {
                return entry;
            }

            (before, id) = (seal, entry.Id);
        }

        return null;
    }

    private static string Who => Environment.GetEnvironmentVariable("SUDO_USER") is { Length: > 0 } behind && behind != Environment.UserName
        ? StoredText.Of($"{Environment.UserName} ({behind})", MostText)
        : Environment.UserName;

    private IEnumerable<(AuditEntry Entry, byte[] Seal)> Read(string rest)
    {
        using DbCommand find = database.Command("SELECT id, at, who, act, subject, detail, seal FROM audit " + rest);
        using DbDataReader row = find.ExecuteReader();
        while (row.Read())
        {
            yield return (
                new AuditEntry(row.GetInt64(0), DateTimeOffset.FromUnixTimeMilliseconds(row.GetInt64(1)), row.GetString(2), row.GetString(3), row.GetString(4), row.GetString(5)),
                row.GetFieldValue<byte[]>(6));
        }
    }

    private static byte[] Seal(byte[] before, AuditEntry entry) => SHA256.HashData(
    [
        .. before,
        .. Encoding.UTF8.GetBytes(string.Join('\0', entry.At.ToUnixTimeMilliseconds().ToString(CultureInfo.InvariantCulture), entry.Who, entry.Act, entry.Subject, entry.Detail)),
    ]);
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true)]
[JsonSerializable(typeof(IReadOnlyList<AuditEntry>))]
internal sealed partial class AuditJson : JsonSerializerContext;
