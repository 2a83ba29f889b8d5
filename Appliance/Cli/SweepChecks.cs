using Vmsweep.Appliance.Sweeps.Configuration;
using Vmsweep.Scheduler.Triggers;

namespace Vmsweep.Appliance.Cli;

/// <summary>What <c>vmsweep doctor</c> finds out about a sweep; whether it is written right was known before.</summary>
internal static class SweepChecks
{
    public static (bool IsReady, string Found, string Mend) Of(SweepSettings sweep, DateTimeOffset now)
    {
        if (sweep.What.Folders.Concat(sweep.What.Bases).FirstOrDefault(f => !Directory.Exists(f)) is { } folder)
        {
            return (false, $"{folder}: there is no such folder", "mount the datastore, or take it out of the sweep");
        }

        if (sweep.Signatures.Rules.Concat(sweep.Signatures.Hashes).Concat(sweep.Signatures.KnownGood).FirstOrDefault(f => !Path.Exists(f)) is { } file)
        {
            return (false, $"{file}: not found", "put it there, or take it out of the sweep");
        }

        return (true, When(sweep, now), "");
    }

    /// <summary>When a sweep is due and may run, on its own clock.</summary>
    public static string When(SweepSettings sweep, DateTimeOffset now)
    {
        string due = sweep.Schedule is null ? "runs when asked for" : $"due {Show(sweep.Schedule.After(now), sweep.Zone)}";
        OpenSpan? open = sweep.Windows.From(now);
        string window = sweep.Windows.IsUnbounded ? "no window"
            : open is null ? "its window does not open again"
            : open.Start <= now ? open.End is null ? "open" : $"open until {Show(open.End, sweep.Zone)}"
            : $"opens {Show(open.Start, sweep.Zone)}";
        return $"{due}, {window}";
    }

    public static string Show(DateTimeOffset? moment, TimeZoneInfo zone) => moment is { } at ? $"{TimeZoneInfo.ConvertTime(at, zone):yyyy-MM-dd HH:mm zzz}" : "never";
}
