using System.Data.Common;
using System.Globalization;
using Serilog;
using Vmsweep.Appliance.Results.Postgres;
using Vmsweep.Appliance.Results.Sqlite;

namespace Vmsweep.Appliance.Results.Store;

/// <summary>
/// The product's one database. What is asked of it is written in words that SQLite and PostgreSQL share; where they have none in common, it is here. Names of parameters begin
/// with <c>$</c>. Several processes may have it open at once, and of those that write to the same part one does at a time.
/// </summary>
internal abstract class Database(string name, DbConnection connection) : IDisposable
{
    public const string FileName = "vmsweep.db";

    /// <summary>As messages have it.</summary>
    public string Name => name;

    public DbConnection Connection => connection;

    /// <summary>True between the beginning and the end of a transaction.</summary>
    internal bool IsInTransaction { get; set; }

    /// <summary>Opens the database. A damaged file is set aside and a new one begun. Null when there can be none; the log says why.</summary>
    /// <param name="isDurable">What is committed survives the loss of power too, at the price of waiting for the disk.</param>
    /// <param name="part">What is written to.</param>
    public static Database? Open(DatabasePlace place, TimeProvider time, bool isDurable = false, DatabasePart part = DatabasePart.Results)
    {
        try
        {
            return OpenOrThrow(place, time, isDurable, part);
        }
        catch (DatabaseException e)
        {
            Log.Warning("the database {Name} cannot be used, so that nothing is remembered: {Detail}", place.Name, e.Message);
            return null;
        }
    }

    /// <exception cref="DatabaseException">There can be none.</exception>
    public static Database OpenOrThrow(DatabasePlace place, TimeProvider time, bool isDurable = false, DatabasePart part = DatabasePart.Results) =>
        place.Server is { } server ? PostgresDatabase.Open(server, part, isDurable) : SqliteDatabase.Open(place.Folder, time, isDurable);

    /// <summary>True when what is stored is not what was written, and not only the way to it fails.</summary>
    public abstract bool IsDamage(Exception e);

    /// <summary>Closes the database; when it is found damaged indeed, it is set aside for the next run to begin a new one.</summary>
    public abstract void CloseDamaged(TimeProvider time);

    /// <summary>For conditions: the column fits the pattern that a parameter holds, made by <see cref="Pattern"/>.</summary>
    public abstract string Fits(string column, string parameter);

    /// <summary>A pattern in which only <c>*</c> means more than itself.</summary>
    public abstract string Pattern(string text);

    public DbCommand Command(string sql, params ReadOnlySpan<string> parameters)
    {
        Revive();
        DbCommand command = Connection.CreateCommand();
        command.CommandText = Sql(sql);
        foreach (string parameter in parameters)
        {
            Add(command, parameter, DBNull.Value);
        }

        return command;
    }

    /// <summary>Values in the order in which the parameters were named.</summary>
    public void Set(DbCommand command, params ReadOnlySpan<object> values)
    {
        for (int i = 0; i < values.Length; i++)
        {
            command.Parameters[i].Value = Stored(values[i]);
        }
    }

    public void Add(DbCommand command, string parameter, object value)
    {
        DbParameter added = command.CreateParameter();
        added.ParameterName = Sql(parameter);
        added.Value = Stored(value);
        command.Parameters.Add(added);
    }

    /// <summary>Carries out a statement for many rows of values, one after the other, in as few exchanges as the database allows.</summary>
    /// <param name="onRow">Told each row that one answers, with the number of its values. It asks nothing of the database meanwhile.</param>
    public abstract void ForEach(string sql, IReadOnlyList<string> parameters, IReadOnlyList<object[]> values, Action<int, DbDataReader>? onRow = null);

    /// <summary>The one number that a query answers; null when it answers none.</summary>
    public long? Number(string sql, params ReadOnlySpan<(string Name, object Value)> parameters)
    {
        using DbCommand command = Command(sql);
        foreach ((string parameter, object value) in parameters)
        {
            Add(command, parameter, value);
        }

        return Number(command);
    }

    /// <summary>As above. A sum or a length has another type in each of the databases.</summary>
    public static long? Number(DbCommand command) =>
        command.ExecuteScalar() is { } value and not DBNull ? Convert.ToInt64(value, CultureInfo.InvariantCulture) : null;

    /// <summary>Carries out a statement, and says how many rows it changed.</summary>
    public int Change(string sql, params ReadOnlySpan<(string Name, object Value)> parameters)
    {
        using DbCommand command = Command(sql);
        foreach ((string parameter, object value) in parameters)
        {
            Add(command, parameter, value);
        }

        return command.ExecuteNonQuery();
    }

    public void Execute(string sql)
    {
        using DbCommand command = Command(sql);
        command.ExecuteNonQuery();
    }

    /// <summary>All or nothing of what follows, until it is committed.</summary>
    /// <param name="isWriting">Takes the one writer's place at once, so that waiting for it is done here.</param>
    public DatabaseTransaction Begin(bool isWriting) => new(this, BeginWords(isWriting));

    public void Dispose() => Connection.Dispose();

    /// <summary>Begins a transaction.</summary>
    protected abstract string BeginWords(bool isWriting);

    /// <summary>A statement, or a parameter's name, as this database has it.</summary>
    protected virtual string Sql(string sql) => sql;

    /// <summary>A value as this database takes it.</summary>
    protected virtual object Stored(object value) => value;

    /// <summary>A connection that was lost is made again, outside of transactions.</summary>
    protected virtual void Revive()
    {
    }

    /// <summary>How many of the migrations were made.</summary>
    protected abstract long Version();

    protected abstract void SetVersion(long version);

    protected virtual string Migration(string sql) => sql;

    /// <summary>Brings the schema to this version's.</summary>
    protected void Migrate()
    {
        if (Version() == Schema.Migrations.Length)
        {
            return;
        }

        using DatabaseTransaction transaction = Begin(isWriting: true);
        long version = Version();
        if (version > Schema.Migrations.Length)
        {
            throw new DatabaseException($"it was written by a newer vmsweep (schema {version}, known here {Schema.Migrations.Length})");
        }

        for (; version < Schema.Migrations.Length; version++)
        {
            Execute(Migration(Schema.Migrations[version]));
        }

        SetVersion(version);
        transaction.Commit();
    }
}

/// <summary>A transaction; undone unless it is committed.</summary>
internal sealed class DatabaseTransaction : IDisposable
{
    private readonly Database _database;
    private bool _isOpen;

    public DatabaseTransaction(Database database, string begin)
    {
        _database = database;
        database.Execute(begin);
        _isOpen = database.IsInTransaction = true;
    }

    public void Commit()
    {
        _database.Execute("COMMIT");
        _isOpen = _database.IsInTransaction = false;
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
        catch (Exception e) when (e is DbException or InvalidOperationException)
        {
            // Some errors have undone it already, as a lost connection has; the error itself is on its way.
        }
        finally
        {
            _database.IsInTransaction = false;
        }
    }
}

/// <summary>The database cannot be used.</summary>
internal sealed class DatabaseException(string message, Exception? inner = null) : IOException(message, inner);
