namespace Vmsweep.Scheduler.Triggers;

/// <summary>The clocks of a time zone.</summary>
internal static class LocalClock
{
    /// <summary>The first moment at which the clocks show a time or, where they skip it, a later one.</summary>
    public static DateTimeOffset FirstAt(DateTime local, TimeZoneInfo zone)
    {
        if (zone.IsInvalidTime(local))
        {
            // The moment of the change, whose distance to the skipped time is not known beforehand: gaps of half an hour exist.
            DateTime before = local;
            do
            {
                before = before.AddMinutes(-1);
            }
            while (zone.IsInvalidTime(before));

            return new DateTimeOffset(before, zone.GetUtcOffset(before)).AddMinutes(1).ToUniversalTime();
        }

        TimeSpan offset = zone.IsAmbiguousTime(local) ? zone.GetAmbiguousTimeOffsets(local).Max() : zone.GetUtcOffset(local);
        return new DateTimeOffset(local, offset).ToUniversalTime();
    }

    public static DateTime Show(DateTimeOffset moment, TimeZoneInfo zone) => TimeZoneInfo.ConvertTime(moment, zone).DateTime;
}
