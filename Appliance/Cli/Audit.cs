using Serilog;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Postgres;

namespace Vmsweep.Appliance.Cli;

/// <summary>Writes what a command did into the audit log. Where that cannot be, the log says so and the command is done all the same.</summary>
internal static class Audit
{
    /// <summary>For commands that read no configuration of their own.</summary>
    /// <param name="state">As <c>--state</c> has it.</param>
    public static void Note(string? state, string act, string subject, string detail)
    {
        PostgresSettings? server;
        try
        {
            server = ApplianceConfiguration.Read(null).Server;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or TargetException)
        {
            Log.Warning("\"{Act}\" of {Subject} is not in the audit log: {Reason}", act, subject, e.Message);
            return;
        }

        Note(state, server, act, subject, detail);
    }

    /// <param name="state">As <c>--state</c> has it.</param>
    /// <param name="server">Null: the database is in the state folder.</param>
    public static void Note(string? state, PostgresSettings? server, string act, string subject, string detail)
    {
        if (StateFolder.Of(state) is { } folder)
        {
            using ResultLog? log = ResultLog.Open(new DatabasePlace(folder, server), TimeProvider.System);
            log?.Note(act, subject, detail);
        }
    }
}
