namespace Vmsweep.Scheduler.Triggers;

/// <summary>
/// When windows are open. A window opens the first time that the clocks show its start, and closes the first time after that that they show its end. On a
/// black-out date nothing is open: a window that opens on one does not open at all, and one that reaches into one closes at its midnight.
/// </summary>
/// <param name="windows">None: it is always open, but on black-out dates.</param>
public sealed class WindowCalendar(IReadOnlyList<DailyWindow> windows, IReadOnlyList<DateRange> blackOuts, TimeZoneInfo zone)
{
    /// <summary>Nothing opens for longer than this: there is no next time.</summary>
    private const int MostDays = 800;

    private static readonly DailyWindow WholeDay = new(TimeOnly.MinValue, TimeOnly.MinValue, new HashSet<DayOfWeek>(Enum.GetValues<DayOfWeek>()));

    /// <summary>Always open, without an end.</summary>
    public bool IsUnbounded => windows.Count == 0 && blackOuts.Count == 0;

    /// <summary>The opening that a moment lies in, or else the next one; null when there is none. The end is null when there is none.</summary>
    public OpenSpan? From(DateTimeOffset moment)
    {
        if (IsUnbounded)
        {
            return new OpenSpan(DateTimeOffset.MinValue, null);
        }

        // A window that opened the day before may still be open.
        DateOnly first = DateOnly.FromDateTime(LocalClock.Show(moment, zone)).AddDays(-1);
        OpenSpan? found = null;
        for (int i = 0; i < MostDays; i++)
        {
            DateOnly day = first.AddDays(i);
            foreach (OpenSpan span in Of(day).Where(s => s.End > moment).OrderBy(s => s.Start))
            {
                // Windows that touch are one: what runs at the end of the one goes on in the other.
                if (found is null)
                {
                    found = span;
                }
                else if (span.Start <= found.End)
                {
                    found = found with { End = span.End > found.End ? span.End : found.End };
                }
                else
                {
                    return found;
                }
            }

            if (found is not null && found.End < LocalClock.FirstAt(day.AddDays(1).ToDateTime(TimeOnly.MinValue), zone))
            {
                return found;
            }

            if (found is not null && i > 366)
            {
                // Open for a year and more: as good as without an end.
                return found with { End = null };
            }
        }

        return found;
    }

    public bool IsOpen(DateTimeOffset moment) => From(moment) is { } span && span.Start <= moment;

    private IEnumerable<OpenSpan> Of(DateOnly day)
    {
        if (IsBlackOut(day))
        {
            yield break;
        }

        foreach (DailyWindow window in (windows.Count > 0 ? windows : [WholeDay]).Where(w => w.Days.Contains(day.DayOfWeek)))
        {
            DateOnly last = window.EndsNextDay ? day.AddDays(1) : day;
            DateTimeOffset start = LocalClock.FirstAt(day.ToDateTime(window.Start), zone);
            DateTimeOffset end = LocalClock.FirstAt(last.ToDateTime(last != day && IsBlackOut(last) ? TimeOnly.MinValue : window.End), zone);
            if (end > start)
            {
                yield return new OpenSpan(start, end);
            }
        }
    }

    private bool IsBlackOut(DateOnly day) => blackOuts.Any(b => day >= b.First && day <= b.Last);
}

/// <summary>Dates from the first to the last.</summary>
public readonly record struct DateRange(DateOnly First, DateOnly Last);

/// <param name="End">The first moment at which it is closed; null when it does not close.</param>
public sealed record OpenSpan(DateTimeOffset Start, DateTimeOffset? End);
