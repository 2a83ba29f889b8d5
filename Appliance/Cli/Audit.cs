using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Postgres;

namespace Vmsweep.Appliance.Cli;

/// <summary>Writes what a command did into the audit log. Where that cannot be, the log says so and the command is done all the same.</summary>
internal static class Audit
{
    /// <summary>For commands that read no configuration of their own.</summary>
    /// <param name="state">As <c>--state</c> has it.</param>
    public static void Note(string? state, string act, string subject, string detail) => Note(state, ApplianceConfiguration.Read(null).Server, act, subject, detail);

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
