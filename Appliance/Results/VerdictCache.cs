using System.Data.Common;
using System.Security.Cryptography;
using Serilog;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Results.Store;
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
    private readonly Database _own;
    private readonly TimeProvider _time;
    private bool _isDamaged;

    /// <param name="own">This machine's: compiled rules are files here, whoever else shares the database.</param>
    private VerdictCache(Database database, Database own, string folder, TimeProvider time, long mostBytes)
    {
        _database = database;
        _own = own;
        _time = time;
        Verdicts = new VerdictStore(database, time, mostBytes);
        Traces = new TraceStore(database, time, MostTraceBytes);
        Layers = new LayerStore(database, time, MostTraceBytes);
        Compiled = new CompiledRuleStore(own, Path.Combine(folder, "compiled"), Program, time);
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
    public static VerdictCache? Open(DatabasePlace place, TimeProvider time, long mostBytes = MostBytes)
    {
        if (Database.Open(place.Folder, time) is not { } own)
        {
            return null;
        }

        if ((place.Server is null ? own : Database.Open(place, time, part: DatabasePart.Verdicts)) is { } database)
        {
            return new VerdictCache(database, own, place.Folder, time, mostBytes);
        }

        own.Dispose();
        return null;
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
        catch (Exception e) when (e is DbException or IOException or UnauthorizedAccessException or InvalidCastException or InvalidOperationException or FormatException or OverflowException or TimeoutException)
        {
            IsUsable = false;
            _isDamaged = e is not (IOException or UnauthorizedAccessException) && (e is not DbException || _database.IsDamage(e) || _own.IsDamage(e));
            Log.Warning("the database {Path} fails, and nothing more is remembered in this run: {Detail}", _database.Name, e.GetBaseException().Message);
            return default;
        }
    }

    public void Dispose()
    {
        foreach (Database database in (Database[])[.. new[] { _database, _own }.Distinct()])
        {
            if (_isDamaged)
            {
                database.CloseDamaged(_time);
            }
            else
            {
                database.Dispose();
            }
        }
    }
}
