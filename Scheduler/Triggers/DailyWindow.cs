namespace Vmsweep.Scheduler.Triggers;

/// <summary>A time of day in which something may be done. One that ends at or before its start ends on the next day.</summary>
/// <param name="Days">The days on which it opens.</param>
public sealed record DailyWindow(TimeOnly Start, TimeOnly End, IReadOnlySet<DayOfWeek> Days)
{
    private const int MinutesOfDay = 24 * 60;
    private const int MinutesOfWeek = 7 * MinutesOfDay;

    public bool EndsNextDay => End <= Start;

    /// <summary>Both may be open at once.</summary>
    public bool Overlaps(DailyWindow other)
    {
        foreach ((int start, int end) in Spans())
        {
            foreach ((int otherStart, int otherEnd) in other.Spans())
            {
                // A week is a circle.
                for (int shift = -MinutesOfWeek; shift <= MinutesOfWeek; shift += MinutesOfWeek)
                {
                    if (start < otherEnd + shift && otherStart + shift < end)
                    {
                        return true;
                    }
                }
            }
        }

        return false;
    }

    private IEnumerable<(int Start, int End)> Spans()
    {
        int start = (Start.Hour * 60) + Start.Minute;
        int length = ((End.Hour * 60) + End.Minute - start + MinutesOfDay - 1) % MinutesOfDay + 1;
        return Days.Select(d => (((int)d * MinutesOfDay) + start, ((int)d * MinutesOfDay) + start + length));
    }
}
