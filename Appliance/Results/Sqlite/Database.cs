using System.Globalization;
using Microsoft.Data.Sqlite;
using Serilog;

namespace Vmsweep.Appliance.Results.Sqlite;

/// <summary>
/// The product's one database file. It is in WAL mode with <c>synchronous=NORMAL</c>: whatever moment the power fails at, it holds every
/// transaction up to some point and nothing of those after it. Several processes may have it open at once.
/// </summary>
internal sealed class Database : IDisposable
{
    public const string FileName = "vmsweep.db";

    private const int CodeCorrupt = 11;
    private const int CodeNoDatabase = 26;

    /// <summary>Another process may be writing; its transactions are short.</summary>
    private const int BusySeconds = 10;

    /// <summary>Each brings the schema from the version before to its own; <c>user_version</c> counts those that were made. Never change one, only add.</summary>
    private static readonly string[] Migrations =
    [
        """
        CREATE TABLE basis (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            scope INTEGER NOT NULL,
            context BLOB NOT NULL,
            digest BLOB NOT NULL,
            rules BLOB NOT NULL,
            used INTEGER NOT NULL,
            verdicts INTEGER NOT NULL DEFAULT 0,
            bytes INTEGER NOT NULL DEFAULT 0,
            UNIQUE (scope, context, digest));
        CREATE TABLE verdict (
            scope INTEGER NOT NULL,
            sha256 BLOB NOT NULL,
            size INTEGER NOT NULL,
            basis INTEGER NOT NULL,
            used INTEGER NOT NULL,
            seal INTEGER NOT NULL,
            lists BLOB NOT NULL,
            payload BLOB NOT NULL,
            PRIMARY KEY (scope, sha256, size, basis)) WITHOUT ROWID;
        CREATE TABLE compiled (
            key BLOB PRIMARY KEY,
            base BLOB NOT NULL,
            program BLOB NOT NULL,
            sha256 BLOB NOT NULL,
            used INTEGER NOT NULL,
            event BLOB NOT NULL,
            decided BLOB NOT NULL) WITHOUT ROWID;
        """,
        """
        CREATE TABLE traced (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            vm TEXT NOT NULL,
            mark TEXT,
            context BLOB NOT NULL,
            key BLOB NOT NULL,
            at INTEGER NOT NULL,
            bytes INTEGER NOT NULL);
        CREATE INDEX traced_vm ON traced (vm);
        CREATE TABLE traced_part (
            scan INTEGER NOT NULL,
            number INTEGER NOT NULL,
            seal INTEGER NOT NULL,
            part BLOB NOT NULL,
            PRIMARY KEY (scan, number)) WITHOUT ROWID;
        """,
        // Results. Times are milliseconds since 1970, days are days since 1970, a sighting's last day is 0 as long as it holds.
        """
        CREATE TABLE machine (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            tenant TEXT NOT NULL,
            vm TEXT NOT NULL,
            snapshot TEXT NOT NULL,
            name TEXT NOT NULL,
            target TEXT NOT NULL,
            first_scan INTEGER NOT NULL,
            last_scan INTEGER NOT NULL,
            sightings INTEGER NOT NULL DEFAULT 0,
            left_out INTEGER NOT NULL DEFAULT 0,
            UNIQUE (tenant, vm, snapshot));
        CREATE TABLE scan (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            machine INTEGER NOT NULL,
            run TEXT,
            started INTEGER NOT NULL,
            finished INTEGER NOT NULL,
            verdict TEXT NOT NULL,
            engines TEXT NOT NULL,
            bundle TEXT NOT NULL);
        CREATE UNIQUE INDEX scan_run ON scan (run, machine) WHERE run IS NOT NULL;
        CREATE INDEX scan_finished ON scan (finished);
        CREATE TABLE coverage (
            machine INTEGER NOT NULL,
            day INTEGER NOT NULL,
            scans INTEGER NOT NULL,
            verdict TEXT NOT NULL,
            counts TEXT NOT NULL,
            reasons TEXT NOT NULL,
            PRIMARY KEY (machine, day)) WITHOUT ROWID;
        CREATE INDEX coverage_day ON coverage (day);
        CREATE TABLE finding (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            machine INTEGER NOT NULL,
            identity BLOB NOT NULL,
            state TEXT NOT NULL,
            severity INTEGER NOT NULL,
            engine TEXT NOT NULL,
            namespace TEXT NOT NULL,
            rule TEXT NOT NULL,
            path TEXT NOT NULL,
            inside TEXT NOT NULL,
            size INTEGER NOT NULL,
            sha256 BLOB NOT NULL,
            first_seen INTEGER NOT NULL,
            last_seen INTEGER NOT NULL,
            changed INTEGER NOT NULL,
            scans INTEGER NOT NULL,
            signatures TEXT NOT NULL,
            detail TEXT,
            report TEXT NOT NULL,
            UNIQUE (machine, identity));
        CREATE INDEX finding_rule ON finding (rule);
        CREATE INDEX finding_state ON finding (state, changed);
        CREATE TABLE finding_event (
            finding INTEGER NOT NULL,
            scan INTEGER NOT NULL,
            kind TEXT NOT NULL,
            sha256 BLOB,
            PRIMARY KEY (finding, scan)) WITHOUT ROWID;
        CREATE INDEX finding_event_scan ON finding_event (scan);
        CREATE INDEX finding_event_sha256 ON finding_event (sha256) WHERE sha256 IS NOT NULL;
        CREATE TABLE place (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            prefix INTEGER NOT NULL,
            digest INTEGER NOT NULL,
            sha256 BLOB NOT NULL,
            size INTEGER NOT NULL,
            path TEXT NOT NULL);
        CREATE UNIQUE INDEX place_key ON place (prefix, digest);
        CREATE TABLE sighting (
            machine INTEGER NOT NULL,
            block INTEGER NOT NULL,
            first INTEGER NOT NULL,
            last INTEGER NOT NULL,
            places BLOB NOT NULL,
            PRIMARY KEY (machine, block, first, last)) WITHOUT ROWID;
        CREATE INDEX sighting_block ON sighting (block);
        CREATE TABLE sweep_run (
            id TEXT PRIMARY KEY,
            sweep TEXT NOT NULL,
            started INTEGER NOT NULL,
            report BLOB NOT NULL) WITHOUT ROWID;
        CREATE INDEX sweep_run_started ON sweep_run (started, sweep);
        CREATE TABLE audit (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            at INTEGER NOT NULL,
            who TEXT NOT NULL,
            act TEXT NOT NULL,
            subject TEXT NOT NULL,
            detail TEXT NOT NULL,
            seal BLOB NOT NULL);
        CREATE TABLE tally (
            name TEXT PRIMARY KEY,
            value INTEGER NOT NULL) WITHOUT ROWID;
        """,
        """
        CREATE TABLE sweep_plan (
            id TEXT PRIMARY KEY,
            sweep TEXT NOT NULL,
            begun INTEGER NOT NULL,
            ended INTEGER,
            state TEXT NOT NULL,
            detail TEXT,
            cancel INTEGER NOT NULL DEFAULT 0,
            held TEXT NOT NULL);
        CREATE INDEX sweep_plan_sweep ON sweep_plan (sweep, begun);
        CREATE TABLE sweep_planned (
            run TEXT NOT NULL,
            number INTEGER NOT NULL,
            key TEXT NOT NULL,
            state TEXT NOT NULL,
            report TEXT NOT NULL,
            PRIMARY KEY (run, number)) WITHOUT ROWID;
        CREATE TABLE sweep_scanned (
            key TEXT PRIMARY KEY,
            scanned INTEGER NOT NULL,
            whole INTEGER) WITHOUT ROWID;
        """,
        // Layers of chains that VMs share. State 0: some was read; 1: a scan over it came to its end; 2: it was not what it should be.
        """
        CREATE TABLE layer (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            scope INTEGER NOT NULL,
            identity BLOB NOT NULL,
            context BLOB NOT NULL,
            key BLOB NOT NULL,
            at INTEGER NOT NULL,
            used INTEGER NOT NULL,
            state INTEGER NOT NULL,
            bytes INTEGER NOT NULL);
        CREATE INDEX layer_identity ON layer (identity);
        CREATE TABLE layer_part (
            layer INTEGER NOT NULL,
            number INTEGER NOT NULL,
            seal INTEGER NOT NULL,
            part BLOB NOT NULL,
            PRIMARY KEY (layer, number)) WITHOUT ROWID;
        """,
    ];

    private Database(string path, SqliteConnection connection)
    {
        Path = path;
        Connection = connection;
    }

    public string Path { get; }

    public SqliteConnection Connection { get; }

    /// <summary>Opens the database of a state folder; a damaged one is set aside and a new one begun. Null when there can be none; the log says why.</summary>
    /// <param name="isDurable">What is committed survives the loss of power too, at the price of waiting for the disk.</param>
    public static Database? Open(string folder, TimeProvider time, bool isDurable = false)
    {
        Database? database = OpenOrSetAside(folder, time);
        if (isDurable)
        {
            database?.Execute("PRAGMA synchronous = FULL");
        }

        return database;
    }

    private static Database? OpenOrSetAside(string folder, TimeProvider time)
    {
        string path = System.IO.Path.Combine(folder, FileName);
        try
        {
            Directory.CreateDirectory(folder);
            try
            {
                return OpenOnce(path);
            }
            catch (SqliteException e) when (IsDamage(e))
            {
                return SetAside(path, e.Message, time);
            }
        }
        catch (Exception e) when (e is SqliteException or IOException or UnauthorizedAccessException or DatabaseException or TypeInitializationException or DllNotFoundException)
        {
            // The last two: SQLite's own library is not beside the program.
            Log.Warning("the database {Path} cannot be used, so that nothing is remembered: {Detail}", path, e.GetBaseException().Message);
            return null;
        }
    }

    public static bool IsDamage(SqliteException e) => e.SqliteErrorCode is CodeCorrupt or CodeNoDatabase;

    /// <summary>Closes the database; when it is found damaged indeed, it is set aside for the next run to begin a new one.</summary>
    public void CloseDamaged(TimeProvider time)
    {
        Dispose();
        try
        {
            SetAside(Path, "found while it was in use", time)?.Dispose();
        }
        catch (Exception e) when (e is SqliteException or IOException or UnauthorizedAccessException or DatabaseException)
        {
            Log.Warning("the damaged database {Path} cannot be set aside: {Detail}", Path, e.Message);
        }
    }

    public SqliteCommand Command(string sql, params ReadOnlySpan<string> parameters)
    {
        SqliteCommand command = Connection.CreateCommand();
        command.CommandText = sql;
        foreach (string name in parameters)
        {
            SqliteParameter parameter = command.CreateParameter();
            parameter.ParameterName = name;
            command.Parameters.Add(parameter);
        }

        return command;
    }

    /// <summary>Values in the order in which the parameters were named.</summary>
    public static void Set(SqliteCommand command, params ReadOnlySpan<object> values)
    {
        for (int i = 0; i < values.Length; i++)
        {
            command.Parameters[i].Value = values[i];
        }
    }

    /// <summary>The one number that a query answers; null when it answers none.</summary>
    public long? Number(string sql, params ReadOnlySpan<(string Name, object Value)> parameters)
    {
        using SqliteCommand command = Command(sql);
        foreach ((string name, object value) in parameters)
        {
            command.Parameters.AddWithValue(name, value);
        }

        return command.ExecuteScalar() as long?;
    }

    /// <summary>Carries out a statement, and says how many rows it changed.</summary>
    public int Change(string sql, params ReadOnlySpan<(string Name, object Value)> parameters)
    {
        using SqliteCommand command = Command(sql);
        foreach ((string name, object value) in parameters)
        {
            command.Parameters.AddWithValue(name, value);
        }

        return command.ExecuteNonQuery();
    }

    public void Execute(string sql)
    {
        using SqliteCommand command = Command(sql);
        command.ExecuteNonQuery();
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
                Connection.BackupDatabase(copy);
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

    /// <summary>All or nothing of what follows, until it is committed.</summary>
    /// <param name="isWriting">Takes the one writer's place at once, so that waiting for it is done here.</param>
    public DatabaseTransaction Begin(bool isWriting) => new(this, isWriting);

    public void Dispose() => Connection.Dispose();

    private static Database OpenOnce(string path)
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
        var database = new Database(path, connection);
        try
        {
            connection.Open();
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

    private void Migrate()
    {
        if (Version() == Migrations.Length)
        {
            return;
        }

        using DatabaseTransaction transaction = Begin(isWriting: true);
        long version = Version();
        if (version > Migrations.Length)
        {
            throw new DatabaseException($"it was written by a newer vmsweep (schema {version}, known here {Migrations.Length})");
        }

        for (; version < Migrations.Length; version++)
        {
            Execute(Migrations[version]);
        }

        Execute(string.Create(CultureInfo.InvariantCulture, $"PRAGMA user_version = {version}"));
        transaction.Commit();
    }

    private long Version()
    {
        using SqliteCommand command = Command("PRAGMA user_version");
        return (long)command.ExecuteScalar()!;
    }

    /// <summary>Several processes may meet the damage at once: the first renames the file, the others find a sound one.</summary>
    private static Database? SetAside(string path, string reason, TimeProvider time)
    {
        using FileStream _ = Lock(path + ".lock");
        try
        {
            Database again = OpenOnce(path);
            if (again.IsSound())
            {
                return again;
            }

            again.Dispose();
        }
        catch (SqliteException e) when (IsDamage(e))
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
            using SqliteCommand check = Command("PRAGMA integrity_check(1)");
            return (string?)check.ExecuteScalar() == "ok";
        }
        catch (SqliteException e) when (IsDamage(e))
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

/// <summary>A transaction; undone unless it is committed.</summary>
internal sealed class DatabaseTransaction : IDisposable
{
    private readonly Database _database;
    private bool _isOpen;

    public DatabaseTransaction(Database database, bool isWriting)
    {
        _database = database;
        database.Execute(isWriting ? "BEGIN IMMEDIATE" : "BEGIN");
        _isOpen = true;
    }

    public void Commit()
    {
        _database.Execute("COMMIT");
        _isOpen = false;
    }

    public void Dispose()
    {
        if (!_isOpen)
        {
            return;
        }

        _isOpen = false;
        try
        {
            _database.Execute("ROLLBACK");
        }
        catch (SqliteException)
        {
            // Some errors have undone it already; the error itself is on its way.
        }
    }
}

/// <summary>The database is sound, but not one of this version's.</summary>
internal sealed class DatabaseException(string message) : Exception(message);
