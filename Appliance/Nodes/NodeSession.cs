using System.Data.Common;
using System.Text.Json;
using System.Text.Json.Serialization;
using Serilog;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Postgres;
using Vmsweep.Appliance.Results.Store;

namespace Vmsweep.Appliance.Nodes;

/// <summary>
/// This process as one of the nodes that share a database: it says again and again that it lives, by the database's own clock, so that clocks of appliances need not agree. One that is
/// killed says nothing any more; one that ends takes its name out.
/// </summary>
internal sealed class NodeSession : IDisposable
{
    /// <summary>Milliseconds since 1970, as the database's clock shows them.</summary>
    public const string Now = "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)";

    private const int BeatsBeforeDeath = 6;

    private readonly Database _database;
    private readonly Lock _lock = new();
    private readonly Timer _timer;
    private string _run;
    private bool _isIdle;
    private string _leaves = "[]";
    private bool _isEnded;
    private bool _isSilent;

    private NodeSession(Database database, PostgresSettings settings, string run)
    {
        (_database, Settings, _run) = (database, settings, run);
        _timer = new Timer(_ => Beat());
    }

    /// <summary>Of this process, and of no other.</summary>
    public string Id { get; } = Guid.NewGuid().ToString("N");

    public PostgresSettings Settings { get; }

    /// <summary>For conditions: a node that lives.</summary>
    public string IsAlive => $"seen >= {Now} - {(long)Settings.DeadAfter.TotalMilliseconds}";

    /// <param name="run">What it takes part in; empty for nothing.</param>
    /// <exception cref="DatabaseException">The database cannot be used.</exception>
    public static NodeSession Join(PostgresSettings settings, string run = "")
    {
        Database database = Database.OpenOrThrow(new DatabasePlace("", settings), TimeProvider.System, part: DatabasePart.Sweeps);
        try
        {
            var session = new NodeSession(database, settings, run);
            TimeSpan every = settings.DeadAfter / BeatsBeforeDeath;
            using DatabaseTransaction transaction = database.Begin(isWriting: true);

            // Those of this name that were killed are not listed for ever; what they scanned is still to be given to others.
            database.Change($"DELETE FROM node WHERE name = $name AND NOT ({session.IsAlive}) AND id NOT IN (SELECT node FROM sweep_claim)", ("$name", settings.Node));
            session.Say();
            transaction.Commit();
            session._timer.Change(every, every);
            return session;
        }
        catch (Exception e) when (e is DbException or InvalidOperationException or TimeoutException)
        {
            database.Dispose();
            throw new DatabaseException(e.Message, e);
        }
    }

    /// <summary>What it takes part in, and whether it waits there for nothing but others.</summary>
    /// <param name="leaves">VMs that it leaves to them, because it does not reach them.</param>
    public void Work(string run, bool isIdle, params IReadOnlyList<LeftVm> leaves)
    {
        string left = JsonSerializer.Serialize(leaves, LeftVmJson.Default.IReadOnlyListLeftVm);
        lock (_lock)
        {
            if (_run != run || _isIdle != isIdle || _leaves != left)
            {
                (_run, _isIdle, _leaves) = (run, isIdle, left);
                Say();
            }
        }
    }

    public void Dispose()
    {
        _timer.Dispose();
        lock (_lock)
        {
            _isEnded = true;
            try
            {
                _database.Change("DELETE FROM node WHERE id = $id", ("$id", Id));
            }
            catch (Exception e) when (e is DbException or IOException or InvalidOperationException or TimeoutException)
            {
                Log.Warning("the node {Node} could not take its leave: {Reason}", Settings.Node, e.Message);
            }

            _database.Dispose();
        }
    }

    /// <summary>Its row may be gone: others took it for dead when it was only slow.</summary>
    private void Say() => _database.Change(
        $"""
        INSERT INTO node (id, name, process, since, seen, run, idle, leaves) VALUES ($id, $name, $process, {Now}, {Now}, $run, $idle, $leaves)
        ON CONFLICT (id) DO UPDATE SET seen = excluded.seen, run = excluded.run, idle = excluded.idle, leaves = excluded.leaves
        """,
        ("$id", Id), ("$name", Settings.Node), ("$process", Environment.ProcessId), ("$run", _run), ("$idle", _isIdle ? 1 : 0), ("$leaves", _leaves));

    private void Beat()
    {
        if (!_lock.TryEnter())
        {
            return;
        }

        try
        {
            if (!_isEnded)
            {
                Say();
                _isSilent = false;
            }
        }
        catch (Exception e) when (e is DbException or IOException or InvalidOperationException or TimeoutException)
        {
            if (!_isSilent)
            {
                Log.Warning("the node {Node} cannot say that it lives; if that lasts, others scan what it scans: {Reason}", Settings.Node, e.GetBaseException().Message);
            }

            _isSilent = true;
        }
        finally
        {
            _lock.Exit();
        }
    }
}

/// <summary>A VM that a node does not reach, and the most that it read of it before.</summary>
/// <param name="Number">Its number in the run.</param>
internal sealed record LeftVm(int Number, long Findings, long Bytes)
{
    /// <summary>What was found is more than what was only read.</summary>
    public bool IsLessThan(LeftVm other) => (Findings, Bytes).CompareTo((other.Findings, other.Bytes)) < 0;
}

[JsonSerializable(typeof(IReadOnlyList<LeftVm>))]
internal sealed partial class LeftVmJson : JsonSerializerContext;
