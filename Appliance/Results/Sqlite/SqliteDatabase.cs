using System.Data.Common;
using System.Globalization;
using Microsoft.Data.Sqlite;
using Serilog;
using Vmsweep.Appliance.Results.Store;

namespace Vmsweep.Appliance.Results.Sqlite;

/// <summary>
/// A file in the state folder. It is in WAL mode with <c>synchronous=NORMAL</c>: whatever moment the power fails at, it holds every
/// transaction up to some point and nothing of those after it.
/// </summary>
internal sealed class SqliteDatabase : Database
{
    private const int CodeCorrupt = 11;
    private const int CodeNoDatabase = 26;

    /// <summary>Another process may be writing; its transactions are short.</summary>
    private const int BusySeconds = 10;

    private readonly SqliteConnection _connection;

    private SqliteDatabase(string path, SqliteConnection connection)
        : base(path, connection) => _connection = connection;

    /// <summary>Opens the database of a state folder; a damaged one is set aside and a new one begun.</summary>
    /// <exception cref="DatabaseException">There can be none.</exception>
    public static SqliteDatabase Open(string folder, TimeProvider time, bool isDurable)
    {
        string path = Path.Combine(folder, FileName);
        try
        {
            SqliteDatabase database = OpenOrSetAside(path, time);
            if (isDurable)
            {
                database.Execute("PRAGMA synchronous = FULL");
            }

            return database;
        }
        catch (Exception e) when (e is SqliteException or UnauthorizedAccessException or TypeInitializationException or DllNotFoundException or (IOException and not DatabaseException))
        {
            // The type and the library: SQLite's own library is not beside the program.
            throw new DatabaseException(e.GetBaseException().Message, e);
        }
    }

    public override bool IsDamage(Exception e) => e is SqliteException sqlite && IsDamaged(sqlite);

    public override void CloseDamaged(TimeProvider time)
    {
        Dispose();
        try
        {
            SetAside(Name, "found while it was in use", time).Dispose();
        }
        catch (Exception e) when (e is SqliteException or IOException or UnauthorizedAccessException)
        {
            Log.Warning("the damaged database {Path} cannot be set aside: {Detail}", Name, e.Message);
        }
    }

    public override string Fits(string column, string parameter) => $"{column} GLOB {parameter}";

    public override string Pattern(string text) => text.Replace("[", "[[]", StringComparison.Ordinal).Replace("?", "[?]", StringComparison.Ordinal);

    public override void ForEach(string sql, IReadOnlyList<string> parameters, IReadOnlyList<object[]> values, Action<int, DbDataReader>? onRow = null)
    {
        if (values.Count == 0)
        {
            return;
        }

        using DbCommand command = Command(sql, [.. parameters]);
        for (int i = 0; i < values.Count; i++)
        {
            Set(command, values[i]);
            using DbDataReader row = command.ExecuteReader();
            while (row.Read())
            {
                onRow?.Invoke(i, row);
            }
        }
    }

    /// <summary>Copies the database into a file, as it stands at one moment; nobody who writes meanwhile waits for it.</summary>
    /// <returns>How many bytes it is.</returns>
    /// <exception cref="IOException">It cannot be written, or there is something else.</exception>
    public long BackUp(string path)
    {
        if (File.Exists(path) && !IsDatabase(path))
        {
            throw new IOException($"{path}: there is a file that is no back-up; it is left alone");
        }

        string part = $"{path}.part-{Guid.NewGuid():N}";
        PrivateFiles.Create(part).Dispose();
        try
        {
            using (var copy = new SqliteConnection(new SqliteConnectionStringBuilder { DataSource = part, Pooling = false }.ToString()))
            {
                copy.Open();
                _connection.BackupDatabase(copy);
                using SqliteCommand check = copy.CreateCommand();

                // One file, that is whole without others beside it.
                check.CommandText = "PRAGMA journal_mode = DELETE; PRAGMA quick_check(1)";
                using SqliteDataReader row = check.ExecuteReader();
                if (!row.NextResult() || !row.Read() || row.GetString(0) != "ok")
                {
                    throw new IOException($"{path}: the copy is damaged, as the database is");
                }
            }

            using (var file = new FileStream(part, FileMode.Open, FileAccess.ReadWrite))
            {
                file.Flush(flushToDisk: true);
            }

            File.Move(part, path, overwrite: true);
            return new FileInfo(path).Length;
        }
        catch (SqliteException e)
        {
            throw new IOException($"{path}: {e.Message}", e);
        }
        finally
        {
            File.Delete(part);
            File.Delete(part + "-journal");
        }
    }

    private static bool IsDatabase(string path)
    {
        using FileStream file = File.OpenRead(path);
        Span<byte> head = stackalloc byte[16];
        return file.ReadAtLeast(head, head.Length, throwOnEndOfStream: false) == head.Length && head.SequenceEqual("SQLite format 3\0"u8);
    }

    protected override string BeginWords(bool isWriting) => isWriting ? "BEGIN IMMEDIATE" : "BEGIN";

    protected override long Version() => Number("PRAGMA user_version") ?? 0;

    protected override void SetVersion(long version) => Execute(string.Create(CultureInfo.InvariantCulture, $"PRAGMA user_version = {version}"));

    private static SqliteDatabase OpenOrSetAside(string path, TimeProvider time)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        try
        {
            return OpenOnce(path);
        }
        catch (SqliteException e) when (IsDamaged(e))
        {
            return SetAside(path, e.Message, time);
        }
    }

    private static bool IsDamaged(SqliteException e) => e.SqliteErrorCode is CodeCorrupt or CodeNoDatabase;

    private static SqliteDatabase OpenOnce(string path)
    {
        if (!File.Exists(path))
        {
            // SQLite would give it the account's mask; its other files take the mode of this one.
            try
            {
                PrivateFiles.Create(path).Dispose();
            }
            catch (IOException) when (File.Exists(path))
            {
                // Another process was first.
            }
        }

        var connection = new SqliteConnection(new SqliteConnectionStringBuilder { DataSource = path, Pooling = false, DefaultTimeout = BusySeconds }.ToString());
        var database = new SqliteDatabase(path, connection);
        try
        {
            connection.Open();
            connection.CreateFunction("greatest", (long a, long b) => Math.Max(a, b), isDeterministic: true);
            connection.CreateFunction("least", (long a, long b) => Math.Min(a, b), isDeterministic: true);
            database.Execute($"PRAGMA busy_timeout = {BusySeconds * 1000}");
            database.Execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = 67108864; PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF");
            database.Migrate();
            return database;
        }
        catch
        {
            database.Dispose();
            throw;
        }
    }

    /// <summary>Several processes may meet the damage at once: the first renames the file, the others find a sound one.</summary>
    private static SqliteDatabase SetAside(string path, string reason, TimeProvider time)
    {
        using FileStream _ = Lock(path + ".lock");
        try
        {
            SqliteDatabase again = OpenOnce(path);
            if (again.IsSound())
            {
                return again;
            }

            again.Dispose();
        }
        catch (SqliteException e) when (IsDamaged(e))
        {
            // It is as damaged as it was.
        }

        string aside = $"{path}.damaged-{time.GetUtcNow():yyyyMMdd-HHmmss}";
        File.Move(path, aside, overwrite: true);
        foreach (string companion in (string[])["-wal", "-shm"])
        {
            if (File.Exists(path + companion))
            {
                File.Move(path + companion, aside + companion, overwrite: true);
            }
        }

        Log.Warning("the database {Path} is damaged ({Detail}); it is kept as {Aside}, and a new one is begun: what was matched is found out anew, but what was recorded of findings is in that copy alone, or in a back-up (vmsweep state backup)", path, reason, aside);
        return OpenOnce(path);
    }

    private bool IsSound()
    {
        try
        {
            using DbCommand check = Command("PRAGMA integrity_check(1)");
            return (string?)check.ExecuteScalar() == "ok";
        }
        catch (SqliteException e) when (IsDamaged(e))
        {
            return false;
        }
    }

    private static FileStream Lock(string path)
    {
        for (int left = BusySeconds * 10; ; left--)
        {
            try
            {
                return new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
            }
            catch (IOException) when (left > 0)
            {
                Thread.Sleep(100);
            }
        }
    }
}
