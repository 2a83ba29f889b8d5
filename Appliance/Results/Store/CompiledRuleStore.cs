using System.Data.Common;
using System.Security.Cryptography;
using System.Text.Json;
using Vmsweep.Appliance.Worker;

namespace Vmsweep.Appliance.Results.Store;

/// <summary>Rules that were compiled by an earlier run.</summary>
/// <param name="Path">The file with their parts.</param>
/// <param name="Base">The compilation that holds the rest of the rules; null when this one holds all.</param>
/// <param name="Decided">Digests of the sets of rules whose additions were compiled, in the order of <see cref="CompiledRules.Added"/>.</param>
internal sealed record CompiledRecord(byte[] Key, string Path, CompiledRecord? Base, CompiledEvent Event, IReadOnlyList<byte[]> Decided);

/// <summary>
/// Compiled rules below the state folder. libyara trusts what it loads, so that only files are used that this account alone can write, and
/// whose digest is the one in the database.
/// </summary>
/// <param name="program">What this program's compilations depend on beside the rules' sources and the engine's library.</param>
internal sealed class CompiledRuleStore(Database database, string folder, byte[] program, TimeProvider time)
{
    private const int MostKept = 8;
    private const int DigestBytes = 32;
    private const long MostLibraryBytes = 64 << 20;

    private static readonly TimeSpan LeastAge = TimeSpan.FromDays(1);

    private long Today => time.GetUtcNow().ToUnixTimeSeconds() / 86_400;

    /// <summary>The digest of the engine's file, which a worker named; null when it is no such file.</summary>
    public static byte[]? DigestOfLibrary(string path)
    {
        try
        {
            return Path.GetFileName(path).StartsWith("libyara.so", StringComparison.Ordinal) && new FileInfo(path) is { Exists: true, Length: > 0 and <= MostLibraryBytes }
                ? SHA256.HashData(File.ReadAllBytes(path))
                : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>What was compiled from the same sources by the same program and library; null when there is none, or its file is not what it was.</summary>
    public CompiledRecord? Find(byte[] key) => Find(key, mayHaveBase: true);

    /// <summary>Compilations that hold all of their rules and that the present program can use, the latest first.</summary>
    public IReadOnlyList<CompiledRecord> Wholes(int most)
    {
        List<byte[]> keys = [];
        using (DbCommand find = database.Command("SELECT key FROM compiled WHERE length(base) = 0 ORDER BY used DESC LIMIT $most", "$most"))
        {
            database.Set(find, most);
            using DbDataReader row = find.ExecuteReader();
            while (row.Read())
            {
                keys.Add(row.GetFieldValue<byte[]>(0));
            }
        }

        return [.. keys.Select(k => Find(k, mayHaveBase: false)).OfType<CompiledRecord>()];
    }

    /// <summary>Keeps what was just compiled.</summary>
    public void Add(byte[] key, string path, CompiledRecord? @base, CompiledEvent compiled, IReadOnlyList<byte[]> decided)
    {
        if (compiled.Rules is not { } rules || ProgramWith(rules.LibraryFile) is not { } programDigest)
        {
            return;
        }

        PrivateFiles.CreateFolder(folder);
        string partial = Path.Combine(folder, Path.GetRandomFileName() + ".partial");
        byte[] sha256 = Copy(path, partial);
        File.Move(partial, FileOf(sha256), overwrite: true);
        using DatabaseTransaction transaction = database.Begin(isWriting: true);
        using DbCommand add = database.Command(
            """
            INSERT INTO compiled (key, base, program, sha256, used, event, decided) VALUES ($key, $base, $program, $sha256, $used, $event, $decided)
            ON CONFLICT (key) DO UPDATE SET base = excluded.base, program = excluded.program, sha256 = excluded.sha256, used = excluded.used, event = excluded.event, decided = excluded.decided
            """,
            "$key", "$base", "$program", "$sha256", "$used", "$event", "$decided");
        byte[] text = JsonSerializer.SerializeToUtf8Bytes(compiled, MessageJson.Default.CompiledEvent);
        byte[] sets = [.. decided.SelectMany(d => d)];
        database.Set(add, key, @base?.Key ?? [], programDigest, sha256, Today, (byte[])[.. Seal(key, @base?.Key ?? [], programDigest, sha256, sets, text), .. text], sets);
        add.ExecuteNonQuery();
        using DbCommand forget = database.Command(
            """
            DELETE FROM compiled WHERE key NOT IN (SELECT key FROM compiled ORDER BY used DESC, key = $key DESC LIMIT $most)
            AND key NOT IN (SELECT base FROM (SELECT base FROM compiled ORDER BY used DESC, key = $key DESC LIMIT $most))
            """,
            "$key", "$most");
        database.Set(forget, key, MostKept);
        forget.ExecuteNonQuery();
        transaction.Commit();
        RemoveUnused();
    }

    private CompiledRecord? Find(byte[] key, bool mayHaveBase)
    {
        byte[] baseKey;
        byte[] sha256;
        byte[] decided;
        byte[] programDigest;
        long used;
        CompiledEvent? compiled;
        using (DbCommand find = database.Command("SELECT base, program, sha256, event, decided, used FROM compiled WHERE key = $key", "$key"))
        {
            database.Set(find, key);
            using DbDataReader row = find.ExecuteReader();
            if (!row.Read())
            {
                return null;
            }

            (baseKey, programDigest, sha256) = (row.GetFieldValue<byte[]>(0), row.GetFieldValue<byte[]>(1), row.GetFieldValue<byte[]>(2));
            (decided, used) = (row.GetFieldValue<byte[]>(4), row.GetInt64(5));
            // The seal, then the text.
            byte[] sealedText = row.GetFieldValue<byte[]>(3);
            if (sealedText.Length < DigestBytes || !Seal(key, baseKey, programDigest, sha256, decided, sealedText[DigestBytes..]).AsSpan().SequenceEqual(sealedText.AsSpan(0, DigestBytes)))
            {
                return null;
            }

            compiled = Parse(sealedText[DigestBytes..]);
        }

        if (compiled?.Rules is not { } rules || ProgramWith(rules.LibraryFile) is not { } present || !present.AsSpan().SequenceEqual(programDigest) || !IsIntact(FileOf(sha256), sha256))
        {
            return null;
        }

        CompiledRecord? @base = null;
        if (baseKey.Length > 0 && (!mayHaveBase || (@base = Find(baseKey, mayHaveBase: false)) is null))
        {
            return null;
        }

        if (used < Today)
        {
            using DbCommand touch = database.Command("UPDATE compiled SET used = $used WHERE key = $key", "$used", "$key");
            database.Set(touch, Today, key);
            touch.ExecuteNonQuery();
        }

        return new CompiledRecord(key, FileOf(sha256), @base, compiled, [.. decided.Chunk(DigestBytes)]);
    }

    private string FileOf(byte[] sha256) => Path.Combine(folder, Convert.ToHexStringLower(sha256) + ".rules");

    private byte[]? ProgramWith(string libraryFile) => DigestOfLibrary(libraryFile) is { } library ? SHA256.HashData([.. program, .. library]) : null;

    private static CompiledEvent? Parse(byte[] json)
    {
        try
        {
            CompiledEvent? compiled = JsonSerializer.Deserialize(json, MessageJson.Default.CompiledEvent);
            if (compiled is not null)
            {
                WorkerEvents.Check(compiled);
            }

            return compiled;
        }
        catch (Exception e) when (e is JsonException or InvalidDataException)
        {
            return null;
        }
    }

    /// <summary>Over all that a record says: a flipped bit in it must neither choose other rules nor stand in a report.</summary>
    private static byte[] Seal(params ReadOnlySpan<byte[]> parts)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (byte[] part in parts)
        {
            hash.AppendData(BitConverter.GetBytes(part.Length));
            hash.AppendData(part);
        }

        return hash.GetHashAndReset();
    }

    private static bool IsIntact(string path, byte[] sha256)
    {
        try
        {
            if (!File.Exists(path) || !PrivateFiles.IsPrivate(path))
            {
                return false;
            }

            using FileStream file = File.OpenRead(path);
            return SHA256.HashData(file).AsSpan().SequenceEqual(sha256);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    private static byte[] Copy(string from, string to)
    {
        using FileStream source = File.OpenRead(from);
        using FileStream target = PrivateFiles.Create(to);
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        byte[] buffer = new byte[1 << 20];
        for (int got; (got = source.Read(buffer)) > 0;)
        {
            hash.AppendData(buffer, 0, got);
            target.Write(buffer, 0, got);
        }

        return hash.GetHashAndReset();
    }

    /// <summary>Another run may be about to use a file, or to write down what it has just written: only old ones go.</summary>
    private void RemoveUnused()
    {
        HashSet<string> used = [];
        using (DbCommand find = database.Command("SELECT sha256 FROM compiled"))
        using (DbDataReader row = find.ExecuteReader())
        {
            while (row.Read())
            {
                used.Add(FileOf(row.GetFieldValue<byte[]>(0)));
            }
        }

        foreach (FileInfo file in new DirectoryInfo(folder).EnumerateFiles().Where(f => !used.Contains(f.FullName) && time.GetUtcNow() - f.LastWriteTimeUtc > LeastAge))
        {
            file.Delete();
        }
    }
}
