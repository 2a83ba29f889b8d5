using System.Globalization;
using Vmsweep.Scheduler.Triggers;

namespace Vmsweep.Scheduler.Tests;

/// <summary>When windows are open, daylight saving and black-out dates included. In Berlin clocks skip 02:00 to 03:00 on 2026-03-29 and show it twice on 2026-10-25.</summary>
public sealed class WindowCalendarTests
{
    private static readonly TimeZoneInfo Berlin = TimeZoneInfo.FindSystemTimeZoneById("Europe/Berlin");
    private static readonly TimeZoneInfo LordHowe = TimeZoneInfo.FindSystemTimeZoneById("Australia/Lord_Howe");
    private static readonly TimeZoneInfo SaoPaulo = TimeZoneInfo.FindSystemTimeZoneById("America/Sao_Paulo");

    [Theory]
    // Within a window, before it, and after it.
    [InlineData("2026-06-10T23:00Z", "22:00", "05:00", "2026-06-10T20:00Z", "2026-06-11T03:00Z")]
    [InlineData("2026-06-10T12:00Z", "22:00", "05:00", "2026-06-10T20:00Z", "2026-06-11T03:00Z")]
    [InlineData("2026-06-11T02:59Z", "22:00", "05:00", "2026-06-10T20:00Z", "2026-06-11T03:00Z")]
    [InlineData("2026-06-11T03:00Z", "22:00", "05:00", "2026-06-11T20:00Z", "2026-06-12T03:00Z")]
    // The night in which clocks go forward is an hour shorter, the one in which they go back an hour longer.
    [InlineData("2026-03-28T22:00Z", "22:00", "05:00", "2026-03-28T21:00Z", "2026-03-29T03:00Z")]
    [InlineData("2026-10-24T22:00Z", "22:00", "05:00", "2026-10-24T20:00Z", "2026-10-25T04:00Z")]
    // A start or an end that is skipped is the moment of the change.
    [InlineData("2026-03-29T00:59Z", "02:30", "05:00", "2026-03-29T01:00Z", "2026-03-29T03:00Z")]
    [InlineData("2026-03-28T22:00Z", "22:00", "02:30", "2026-03-28T21:00Z", "2026-03-29T01:00Z")]
    // A start or an end that is shown twice is the first.
    [InlineData("2026-10-25T00:00Z", "02:30", "05:00", "2026-10-25T00:30Z", "2026-10-25T04:00Z")]
    [InlineData("2026-10-24T22:00Z", "22:00", "02:30", "2026-10-24T20:00Z", "2026-10-25T00:30Z")]
    [InlineData("2026-10-25T00:00Z", "02:15", "02:45", "2026-10-25T00:15Z", "2026-10-25T00:45Z")]
    // Wholly inside of the hour that is skipped: it does not open that night.
    [InlineData("2026-03-29T00:59Z", "02:15", "02:45", "2026-03-30T00:15Z", "2026-03-30T00:45Z")]
    public void A_window_opens_and_closes_as_the_clocks_show_it(string moment, string start, string end, string opens, string closes) =>
        Check(Berlin, moment, start, end, opens, closes);

    [Fact]
    public void Changes_of_half_an_hour_and_at_midnight_are_kept()
    {
        // Lord Howe's clocks skip 02:00 to 02:30 on 2026-10-04; São Paulo's skipped midnight on 2018-11-04.
        Check(LordHowe, "2026-10-03T15:00Z", "02:10", "04:00", "2026-10-03T15:30Z", "2026-10-03T17:00Z");
        Check(SaoPaulo, "2018-11-04T00:00Z", "22:00", "00:00", "2018-11-04T01:00Z", "2018-11-04T03:00Z");
    }

    [Fact]
    public void On_a_black_out_date_nothing_is_open()
    {
        var calendar = new WindowCalendar([Window("22:00", "05:00")], [new DateRange(new DateOnly(2026, 12, 24), new DateOnly(2026, 12, 26))], Berlin);
        // The night before closes at midnight; those that begin on one of the days do not open, so that the next is that of the 27th.
        Assert.Equal(new OpenSpan(At("2026-12-23T21:00Z"), At("2026-12-23T23:00Z")), calendar.From(At("2026-12-23T22:00Z")));
        Assert.Equal(new OpenSpan(At("2026-12-27T21:00Z"), At("2026-12-28T04:00Z")), calendar.From(At("2026-12-23T23:00Z")));
        Assert.False(calendar.IsOpen(At("2026-12-27T02:00Z")));
        Assert.True(calendar.IsOpen(At("2026-12-27T22:00Z")));
    }

    [Fact]
    public void Days_are_those_on_which_it_opens()
    {
        var calendar = new WindowCalendar([Window("22:00", "05:00", DayOfWeek.Friday)], [], Berlin);
        Assert.True(calendar.IsOpen(At("2026-06-12T22:00Z")), "Friday night");
        Assert.True(calendar.IsOpen(At("2026-06-13T02:00Z")), "Saturday morning");
        Assert.False(calendar.IsOpen(At("2026-06-13T22:00Z")), "Saturday night");
        Assert.Equal(At("2026-06-19T20:00Z"), calendar.From(At("2026-06-13T03:00Z"))!.Start);
    }

    [Fact]
    public void Windows_that_touch_are_one_and_all_day_has_no_end()
    {
        var two = new WindowCalendar([Window("22:00", "01:00"), Window("01:00", "05:00")], [], Berlin);
        Assert.Equal(new OpenSpan(At("2026-06-10T20:00Z"), At("2026-06-11T03:00Z")), two.From(At("2026-06-10T21:00Z")));
        Assert.Null(new WindowCalendar([Window("00:00", "00:00")], [], Berlin).From(At("2026-06-10T21:00Z"))!.End);
        Assert.True(new WindowCalendar([], [], Berlin).IsUnbounded);
        var onlyBlackOut = new WindowCalendar([], [new DateRange(new DateOnly(2026, 6, 12), new DateOnly(2026, 6, 12))], Berlin);
        Assert.Equal(At("2026-06-11T22:00Z"), onlyBlackOut.From(At("2026-06-10T21:00Z"))!.End);
        Assert.False(onlyBlackOut.IsOpen(At("2026-06-12T12:00Z")));
        Assert.True(onlyBlackOut.IsOpen(At("2026-06-12T22:00Z")));
    }

    [Theory]
    [InlineData("22:00", "05:00", "04:00", "06:00", true)]
    [InlineData("22:00", "05:00", "05:00", "06:00", false)]
    [InlineData("22:00", "22:00", "12:00", "13:00", true)]
    [InlineData("10:00", "12:00", "11:00", "11:30", true)]
    public void Windows_overlap_over_midnight_too(string start, string end, string otherStart, string otherEnd, bool overlap)
    {
        Assert.Equal(overlap, Window(start, end).Overlaps(Window(otherStart, otherEnd)));
        Assert.Equal(overlap, Window(otherStart, otherEnd).Overlaps(Window(start, end)));
    }

    [Fact]
    public void A_week_is_a_circle()
    {
        DailyWindow saturdayNight = Window("22:00", "05:00", DayOfWeek.Saturday);
        Assert.True(saturdayNight.Overlaps(Window("04:00", "06:00", DayOfWeek.Sunday)));
        Assert.False(saturdayNight.Overlaps(Window("04:00", "06:00", DayOfWeek.Saturday)));
    }

    private static void Check(TimeZoneInfo zone, string moment, string start, string end, string opens, string closes)
    {
        var calendar = new WindowCalendar([Window(start, end)], [], zone);
        OpenSpan? span = calendar.From(At(moment));
        Assert.Equal(new OpenSpan(At(opens), At(closes)), span);
        Assert.True(calendar.IsOpen(span!.Start));
        Assert.False(calendar.IsOpen(span.End!.Value));
    }

    private static DailyWindow Window(string start, string end, params DayOfWeek[] days) =>
        new(TimeOnly.Parse(start, CultureInfo.InvariantCulture), TimeOnly.Parse(end, CultureInfo.InvariantCulture), new HashSet<DayOfWeek>(days.Length > 0 ? days : Enum.GetValues<DayOfWeek>()));

    private static DateTimeOffset At(string text) => DateTimeOffset.Parse(text, CultureInfo.InvariantCulture);
}
