namespace Vmsweep.Appliance.Cli;

/// <summary>Where logs, databases and signatures are kept.</summary>
internal static class StateFolder
{
    public const string Nothing = "none";

    /// <param name="chosen">What <c>--state</c> says; null for the default place.</param>
    /// <returns>Null: nothing is kept.</returns>
    public static string? Of(string? chosen) => chosen == Nothing ? null : chosen ?? Default;

    /// <summary>The place of bundles, trusted keys and allow lists below it.</summary>
    public static string Signatures(string state) => Path.Combine(state, "signatures");

    /// <summary>The place when none is chosen.</summary>
    public static string Default => Environment.IsPrivilegedProcess
        ? "/var/lib/vmsweep"
        : Path.Combine(
            Environment.GetEnvironmentVariable("XDG_STATE_HOME") is { Length: > 0 } given ? given : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".local", "state"),
            "vmsweep");
}
