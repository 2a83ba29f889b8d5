using System.Globalization;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Signatures.ClamAv;
using Vmsweep.Signatures.Hashes;

namespace Vmsweep.Appliance.Cli;

/// <summary>What <c>vmsweep doctor</c> finds out about engines.</summary>
internal static class EngineChecks
{
    /// <summary>ClamAV's database is new several times a day; beyond this nobody fetches it.</summary>
    private static readonly TimeSpan OldDatabase = TimeSpan.FromDays(7);

    public static (bool Works, string Detail, string Remedy) Clamd(string socket, string databaseFolder)
    {
        ClamdState state;
        try
        {
            state = ClamdState.Ask(socket, databaseFolder);
        }
        catch (ClamdException e)
        {
            return (false, e.Message, "apt-get install -y clamav-daemon clamav-freshclam; systemctl start clamav-freshclam clamav-daemon");
        }

        string signatures = state.Signatures is { } count ? string.Create(CultureInfo.InvariantCulture, $", {count:N0} signatures") : "";
        string database = state.DatabaseVersion is { } version
            ? string.Create(CultureInfo.InvariantCulture, $"database {version} of {state.DatabaseDate:yyyy-MM-dd}{signatures}")
            : "no database of ClamAV's own";
        string detail = $"{state.Version} on {socket}, {database}, threads: {state.Threads}";
        return !state.TellsLimits ? (false, $"{detail}; {PreparedEngines.SilentOnLimits}", "echo 'AlertExceedsMax yes' >> /etc/clamav/clamd.conf; systemctl restart clamav-daemon")
            : state.DatabaseDate is { } date && TimeProvider.System.GetUtcNow() - date > OldDatabase ? (false, $"{detail}: old", "systemctl start clamav-freshclam")
            : (true, detail, "");
    }

    public static (bool IsWhole, string Detail) HashSet(string path, HashSetKind kind)
    {
        try
        {
            HashSetFacts facts = Signatures.Hashes.HashSet.Verify(path, kind);
            return (true, string.Create(CultureInfo.InvariantCulture, $"{path}: {facts.Count:N0} hashes of {facts.Created:yyyy-MM-dd}"));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return (false, e.Message);
        }
    }
}
