using System.Security.Cryptography;
using Microsoft.Data.Sqlite;
using Serilog;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Results.Sqlite;
using Vmsweep.Signatures.Yara;

namespace Vmsweep.Appliance.Results;

/// <summary>
/// What the supervisor remembers from scan to scan: verdicts, compiled rules and traces of contents, by VM and by shared layer. It never costs a scan more than its own benefit: what goes
/// wrong here is a warning, and then nothing is remembered. For one thread.
/// </summary>
internal sealed class VerdictCache : IDisposable
{
    /// <summary>Some forty million verdicts.</summary>
    private const long MostBytes = 5L << 30;

    /// <summary>Some twenty-five bytes for each file: of some forty million. As much again for shared layers.</summary>
    private const long MostTraceBytes = 1L << 30;

    private readonly Database _database;
    private readonly TimeProvider _time;
    private bool _isDamaged;

    private VerdictCache(Database database, string folder, TimeProvider time, long mostBytes)
    {
        _database = database;
        _time = time;
        Verdicts = new VerdictStore(database, time, mostBytes);
        Traces = new TraceStore(database, time, MostTraceBytes);
        Layers = new LayerStore(database, time, MostTraceBytes);
        Compiled = new CompiledRuleStore(database, Path.Combine(folder, "compiled"), Program, time);
    }

    /// <summary>
    /// Digest over this program's builds: whatever is changed in how content is matched, archives are opened or limits are kept changes it,
    /// and nothing that another build found is believed.
    /// </summary>
    public static byte[] Program { get; } = SHA256.HashData(
        [.. typeof(VerdictCache).Module.ModuleVersionId.ToByteArray(), .. typeof(YaraRules).Module.ModuleVersionId.ToByteArray(), .. typeof(DiskReaders.Blocks.IBlockSource).Module.ModuleVersionId.ToByteArray()]);

    public VerdictStore Verdicts { get; }

    public TraceStore Traces { get; }

    public LayerStore Layers { get; }

    public CompiledRuleStore Compiled { get; }

    /// <summary>False after the first error: nothing is asked any more.</summary>
    public bool IsUsable { get; private set; } = true;

    /// <summary>Null when there can be none; the log says why.</summary>
    public static VerdictCache? Open(string folder, TimeProvider time, long mostBytes = MostBytes)
    {
        if (Database.Open(folder, time) is not { } database)
        {
            return null;
        }

        try
        {
            return new VerdictCache(database, folder, time, mostBytes);
        }
        catch
        {
            database.Dispose();
            throw;
        }
    }

    /// <summary>Does something that is worth doing only as long as the store works.</summary>
    public T? Try<T>(Func<T> action)
    {
        if (!IsUsable)
        {
            return default;
        }

        try
        {
            return action();
        }
        catch (Exception e) when (e is SqliteException or IOException or UnauthorizedAccessException or InvalidCastException or InvalidOperationException or FormatException or OverflowException)
        {
            IsUsable = false;
            _isDamaged = e is not (IOException or UnauthorizedAccessException) && (e is not SqliteException sqlite || Database.IsDamage(sqlite));
            Log.Warning("the database {Path} fails, and nothing more is remembered in this run: {Detail}", _database.Path, e.Message);
            return default;
        }
    }

    public void Dispose()
    {
        Verdicts.Dispose();
        if (_isDamaged)
        {
            _database.CloseDamaged(_time);
        }
        else
        {
            _database.Dispose();
        }
    }
}
