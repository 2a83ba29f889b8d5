using Vmsweep.Appliance.Results.Postgres;
using Vmsweep.Appliance.Results.Store;

namespace Vmsweep.Appliance.Results;

/// <summary>Where the product keeps what it knows: a file in the state folder or, where one is configured, a PostgreSQL server.</summary>
/// <param name="Folder">The state folder; what belongs to this machine alone, such as compiled rules, is there in either case.</param>
internal sealed record DatabasePlace(string Folder, PostgresSettings? Server = null)
{
    /// <summary>As messages have it.</summary>
    public string Name => Server?.Name ?? Path.Combine(Folder, Database.FileName);

    public static implicit operator DatabasePlace(string folder) => new(folder);
}

/// <summary>Tables that are written together. Who writes in one waits for nobody who writes in another.</summary>
internal enum DatabasePart
{
    /// <summary>Verdicts and traces.</summary>
    Verdicts = 1,

    /// <summary>Scans, findings, coverage, sightings, the audit log.</summary>
    Results = 2,

    /// <summary>Plans of sweeps, nodes, and which node scans what.</summary>
    Sweeps = 3,
}
