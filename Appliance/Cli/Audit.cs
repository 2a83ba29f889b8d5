using Vmsweep.Appliance.Results;

namespace Vmsweep.Appliance.Cli;

/// <summary>Writes what a command did into the audit log of its state folder. Where that cannot be, the log says so and the command is done all the same.</summary>
internal static class Audit
{
    /// <param name="state">As <c>--state</c> has it.</param>
    public static void Note(string? state, string act, string subject, string detail)
    {
        if (StateFolder.Of(state) is { } folder)
        {
            using ResultLog? log = ResultLog.Open(folder, TimeProvider.System);
            log?.Note(act, subject, detail);
        }
    }
}
