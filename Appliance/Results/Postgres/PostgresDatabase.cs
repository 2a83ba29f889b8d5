using System.Data;
using System.Data.Common;
using System.Globalization;
using System.Net.Sockets;
using System.Text;
using Npgsql;
using Vmsweep.Appliance.Results.Store;

namespace Vmsweep.Appliance.Results.Postgres;

/// <summary>
/// A database on a PostgreSQL server. Who writes to a part of it holds that part's advisory lock until the transaction ends, so that what is written holds together as it does in a
/// file with its one writer, whatever runs on whichever appliance.
/// </summary>
internal sealed class PostgresDatabase : Database
{
    /// <summary>Of the advisory locks, those of this product.</summary>
    private const int LockSpace = 0x766D_7377;

    /// <summary>The part of who changes the schema.</summary>
    private const int SchemaPart = 0;

    /// <summary>Statements that are sent together.</summary>
    private const int MostAtOnce = 256;

    private readonly NpgsqlConnection _connection;
    private readonly PostgresSettings _settings;
    private readonly bool _isDurable;
    private int _part;

    private PostgresDatabase(PostgresSettings settings, NpgsqlConnection connection, DatabasePart part, bool isDurable)
        : base(settings.Name, connection) => (_settings, _connection, _part, _isDurable) = (settings, connection, (int)part, isDurable);

    /// <exception cref="DatabaseException">It cannot be used.</exception>
    public static PostgresDatabase Open(PostgresSettings settings, DatabasePart part, bool isDurable)
    {
        PostgresDatabase? database = null;
        try
        {
            database = new PostgresDatabase(settings, new NpgsqlConnection(settings.ConnectionString()), part, isDurable);
            database.Connect();
            database._part = SchemaPart;
            database.Migrate();
            database._part = (int)part;
            return database;
        }
        catch (Exception e) when (e is NpgsqlException or SocketException or TimeoutException or InvalidOperationException or ArgumentException or UnauthorizedAccessException or (IOException and not DatabaseException))
        {
            database?.Dispose();
            throw new DatabaseException(Describe(e, settings), e);
        }
        catch
        {
            database?.Dispose();
            throw;
        }
    }

    /// <summary>What the server is and holds, for <c>vmsweep doctor</c>.</summary>
    public string About()
    {
        using DbCommand ask = Command("SELECT current_setting('server_version'), pg_database_size(current_database()), (SELECT count(*) FROM machine)");
        using DbDataReader row = ask.ExecuteReader();
        row.Read();
        return string.Create(CultureInfo.InvariantCulture, $"PostgreSQL {row.GetString(0)}, {Name}: {Cli.Sizes.Show(row.GetInt64(1))}, {row.GetInt64(2)} VMs");
    }

    public override bool IsDamage(Exception e) => false;

    /// <summary>A server mends its own files, or its operator does.</summary>
    public override void CloseDamaged(TimeProvider time) => Dispose();

    public override string Fits(string column, string parameter) => $"{column} LIKE {parameter} ESCAPE '\\'";

    public override string Pattern(string text)
    {
        var pattern = new StringBuilder();
        foreach (char c in text)
        {
            _ = c is '%' or '_' or '\\' ? pattern.Append('\\').Append(c) : pattern.Append(c == '*' ? '%' : c);
        }

        return pattern.ToString();
    }

    public override void ForEach(string sql, IReadOnlyList<string> parameters, IReadOnlyList<object[]> values, Action<int, DbDataReader>? onRow = null)
    {
        Revive();
        string text = Sql(sql);
        for (int from = 0; from < values.Count; from += MostAtOnce)
        {
            using var batch = new NpgsqlBatch(_connection);
            int count = Math.Min(MostAtOnce, values.Count - from);
            for (int i = 0; i < count; i++)
            {
                var command = new NpgsqlBatchCommand(text);
                for (int p = 0; p < parameters.Count; p++)
                {
                    command.Parameters.Add(new NpgsqlParameter(Sql(parameters[p]), Stored(values[from + i][p])));
                }

                batch.BatchCommands.Add(command);
            }

            using NpgsqlDataReader row = batch.ExecuteReader();
            if (onRow is null)
            {
                // To the end: an error in the last one is one of them all.
                while (row.NextResult())
                {
                }

                continue;
            }

            for (int i = 0; i < count; i++)
            {
                while (row.Read())
                {
                    onRow(from + i, row);
                }

                row.NextResult();
            }
        }
    }

    protected override string BeginWords(bool isWriting) => isWriting
        ? string.Create(CultureInfo.InvariantCulture, $"BEGIN; SELECT pg_advisory_xact_lock({LockSpace}, {_part})")
        : "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

    /// <summary>Names of parameters begin otherwise, and no statement has a <c>$</c> that is none.</summary>
    protected override string Sql(string sql) => sql.Replace('$', '@');

    /// <summary>PostgreSQL has no text with a zero or with half a character in it.</summary>
    protected override object Stored(object value) => value is string text && (text.Contains('\0', StringComparison.Ordinal) || text.AsSpan().ContainsAnyInRange('\uD800', '\uDFFF'))
        ? Encoding.UTF8.GetString(Encoding.UTF8.GetBytes(text)).Replace('\0', '\uFFFD')
        : value;

    protected override void Revive()
    {
        if (IsInTransaction || _connection.FullState == ConnectionState.Open)
        {
            return;
        }

        if (_connection.State != ConnectionState.Open)
        {
            _connection.Close();
            Connect();
        }
    }

    /// <summary>Asked of the table of tables: what the session itself remembers of names may be older than the lock that is held.</summary>
    protected override long Version() =>
        Number("SELECT count(*) FROM pg_tables WHERE schemaname = current_schema() AND tablename = 'vmsweep_schema'") == 1 ? Number("SELECT version FROM vmsweep_schema") ?? 0 : 0;

    protected override void SetVersion(long version)
    {
        Execute("CREATE TABLE IF NOT EXISTS vmsweep_schema (version BIGINT NOT NULL)");
        Execute("DELETE FROM vmsweep_schema");
        Change("INSERT INTO vmsweep_schema (version) VALUES ($version)", ("$version", version));
    }

    protected override string Migration(string sql) => sql
        .Replace("INTEGER PRIMARY KEY AUTOINCREMENT", "BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY", StringComparison.Ordinal)
        .Replace("INTEGER", "BIGINT", StringComparison.Ordinal)
        .Replace("BLOB", "BYTEA", StringComparison.Ordinal)
        .Replace(" WITHOUT ROWID", "", StringComparison.Ordinal);

    private void Connect()
    {
        _connection.Open();
        using NpgsqlCommand set = _connection.CreateCommand();

        // A verdict that is lost with the power is found out anew; nobody waits for the disk for it.
        set.CommandText = _isDurable ? "SET client_min_messages = warning" : "SET client_min_messages = warning; SET synchronous_commit = off";
        set.ExecuteNonQuery();
    }

    private static string Describe(Exception e, PostgresSettings settings)
    {
        var words = new NpgsqlConnectionStringBuilder(settings.Connection);
        return e switch
        {
            PostgresException { SqlState: PostgresErrorCodes.InvalidPassword or PostgresErrorCodes.InvalidAuthorizationSpecification } refused =>
                $"the PostgreSQL server refuses the account {words.Username}: {refused.MessageText}{(settings.Secret is { } secret ? $"; the password is that of {secret.File ?? secret.Credential}" : "; no \"secret\" is configured")}",
            PostgresException { SqlState: PostgresErrorCodes.InvalidCatalogName } => $"the PostgreSQL server has no database {words.Database}: createdb -O {words.Username} {words.Database}",
            PostgresException { SqlState: PostgresErrorCodes.InsufficientPrivilege } denied => $"{denied.MessageText}: the account {words.Username} must own the database: ALTER DATABASE {words.Database} OWNER TO {words.Username}",
            PostgresException other => other.MessageText,
            NpgsqlException or SocketException or TimeoutException => $"the PostgreSQL server of {settings.Name} cannot be reached: {e.GetBaseException().Message}",
            _ => e.Message,
        };
    }
}
