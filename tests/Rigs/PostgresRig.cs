using System.Globalization;
using Vmsweep.Golden;

namespace Vmsweep.Rigs;

/// <summary>A PostgreSQL server of Debian's, under its own account, on a Unix socket in a folder of its own. Its one database belongs to an account with a password.</summary>
public sealed class PostgresRig : IDisposable
{
    public const string Account = "vmsweep";
    public const string Password = "correct horse";
    public const string Database = "vmsweep";

    /// <summary>The account that Debian's package makes: the server refuses to run as root.</summary>
    private const string ServerAccount = "postgres";

    private readonly Scratch _scratch = new();
    private Daemon? _server;

    public PostgresRig()
    {
        // Debian's clusters of its own are not touched; they only say that the server is installed.
        Tool.Find("pg_ctlcluster");
        if (Environment.IsPrivilegedProcess)
        {
            Tool.Run("chown", ServerAccount, _scratch.Folder);
        }

        File.WriteAllText(_scratch["password"], Password + "\n");
        Tool.Run("chmod", "644", _scratch["password"]);
        Run("initdb", "--pgdata", Data, "--auth=scram-sha-256", "--pwfile", _scratch["password"], "--username=" + Account, "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions");
        Tool.Run("chmod", "600", _scratch["password"]);
        Start();
        Sql("CREATE DATABASE " + Database, "postgres");
    }

    /// <summary>Where its socket is.</summary>
    public string Folder => _scratch.Folder;

    /// <summary>A file with the password, that nobody else may read.</summary>
    public string Secret => _scratch["password"];

    /// <summary>In Npgsql's words, without the password.</summary>
    public string Connection => $"Host={Folder};Database={Database};Username={Account}";

    /// <summary>Of the server, and of those of its processes that have ended: one for each connection.</summary>
    public TimeSpan Processor
    {
        get
        {
            string pid = File.ReadLines(Path.Combine(Data, "postmaster.pid")).First().Trim();
            string[] fields = File.ReadAllText($"/proc/{pid}/stat").Split(") ", 2)[1].Split(' ');

            // proc(5): utime, stime, cutime and cstime, in hundredths of a second.
            return TimeSpan.FromMilliseconds(10 * fields[11..15].Sum(f => long.Parse(f, CultureInfo.InvariantCulture)));
        }
    }

    private string Data => _scratch["data"];

    public void Start()
    {
        _server?.Dispose();

        // Written to the disk it is, so that a kill of the server is one; not synced, for no power fails here.
        (string program, string[] arguments) = AsServer("postgres", "-D", Data, "-k", Folder, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=200");
        _server = Daemon.Start(program, () => Daemon.Listens($"{Folder}/.s.PGSQL.5432") && Tool.Try(Binary("pg_isready"), null, "-q", "-h", Folder).Status == 0, arguments);
    }

    public void StartWhereEnded()
    {
        if (_server is { HasExited: true })
        {
            Start();
        }
    }

    /// <summary>As a crash ends it.</summary>
    public void Kill() => _server!.Kill();

    /// <summary>Asks the server as its administrator, for what the product has no question for.</summary>
    public string Sql(string sql, string database = Database) => Tool.Shell(
        $"PGPASSWORD='{Password}' exec {Binary("psql")} -X -q -A -t -v ON_ERROR_STOP=1 -h {Folder} -U {Account} -d {database} -c \"$(cat <<'END'\n{sql}\nEND\n)\"").TrimEnd('\n');

    public void Dump(string file) => Tool.Shell($"PGPASSWORD='{Password}' exec {Binary("pg_dump")} --format=custom --file='{file}' -h {Folder} -U {Account} {Database}");

    public void Restore(string file, string database)
    {
        Sql("CREATE DATABASE " + database, "postgres");
        Tool.Shell($"PGPASSWORD='{Password}' exec {Binary("pg_restore")} --exit-on-error -h {Folder} -U {Account} -d {database} '{file}'");
    }

    public void Dispose()
    {
        _server?.Dispose();
        _scratch.Dispose();
    }

    private static string Binary(string name) =>
        Directory.GetDirectories("/usr/lib/postgresql").Where(d => File.Exists($"{d}/bin/postgres")).OrderByDescending(d => int.Parse(Path.GetFileName(d), CultureInfo.InvariantCulture)).Select(d => $"{d}/bin/{name}").FirstOrDefault()
        ?? throw new InvalidOperationException("postgres is missing; install it with: apt-get install -y postgresql");

    private static void Run(string name, params string[] arguments)
    {
        (string program, string[] all) = AsServer(name, arguments);
        Tool.Run(program, all);
    }

    private static (string Program, string[] Arguments) AsServer(string name, params string[] arguments) => Environment.IsPrivilegedProcess
        ? ("setpriv", ["--reuid", ServerAccount, "--regid", ServerAccount, "--clear-groups", Binary(name), .. arguments])
        : (Binary(name), arguments);
}
