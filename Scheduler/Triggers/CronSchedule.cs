using Quartz;

namespace Vmsweep.Scheduler.Triggers;

/// <summary>
/// When something is due, as the clocks of a time zone show it. A time that the clocks skip in spring is due at the end of the gap, one that they show twice
/// in autumn the first time.
/// </summary>
public sealed class CronSchedule
{
    private readonly CronExpression _expression;

    private CronSchedule(CronExpression expression, string text) => (_expression, Text) = (expression, text);

    /// <summary>As it was written.</summary>
    public string Text { get; }

    /// <param name="text">Five fields as crontab has them, or six or seven as Quartz has them, with seconds first.</param>
    /// <exception cref="FormatException">It is no schedule, or one that is never due.</exception>
    public static CronSchedule Parse(string text, TimeZoneInfo zone, DateTimeOffset now)
    {
        CronFormat format = text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).Length == 5 ? CronFormat.Unix : CronFormat.Quartz;
        CronExpression expression = CronExpression.Parse(text, format).WithTimeZone(zone);
        return expression.GetNextValidTimeAfter(now) is not null ? new CronSchedule(expression, text) : throw new FormatException("it is never due");
    }

    /// <summary>The first time after a moment; null when there is none.</summary>
    public DateTimeOffset? After(DateTimeOffset moment) => _expression.GetNextValidTimeAfter(moment)?.ToUniversalTime();
}
