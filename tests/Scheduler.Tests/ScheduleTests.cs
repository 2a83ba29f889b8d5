using System.Globalization;
using Microsoft.Extensions.Time.Testing;
using Vmsweep.Scheduler.Jobs;
using Vmsweep.Scheduler.Triggers;

namespace Vmsweep.Scheduler.Tests;

/// <summary>When sweeps are due, and that they are started then.</summary>
public sealed class ScheduleTests
{
    private static readonly TimeZoneInfo Berlin = TimeZoneInfo.FindSystemTimeZoneById("Europe/Berlin");

    [Theory]
    [InlineData("0 22 * * *", "2026-06-10T12:00Z", "2026-06-10T20:00Z")]
    [InlineData("0 0 22 ? * *", "2026-06-10T12:00Z", "2026-06-10T20:00Z")]
    // Crontab counts days from Sunday as 0, Quartz as 1.
    [InlineData("0 22 * * 5", "2026-06-10T12:00Z", "2026-06-12T20:00Z")]
    [InlineData("0 0 22 ? * 6", "2026-06-10T12:00Z", "2026-06-12T20:00Z")]
    // Skipped: at the end of the gap. Shown twice: the first time, and not again.
    [InlineData("30 2 * * *", "2026-03-28T12:00Z", "2026-03-29T01:00Z")]
    [InlineData("30 2 * * *", "2026-10-24T12:00Z", "2026-10-25T00:30Z")]
    [InlineData("30 2 * * *", "2026-10-25T00:30Z", "2026-10-26T01:30Z")]
    public void It_is_due_as_the_clocks_show_it(string cron, string after, string due) =>
        Assert.Equal(At(due), CronSchedule.Parse(cron, Berlin, At(after)).After(At(after)));

    [Theory]
    [InlineData("")]
    [InlineData("often")]
    [InlineData("61 22 * * *")]
    [InlineData("0 22 31 2 *")]
    [InlineData("0 0 22 30 2 ?")]
    [InlineData("0 0 22 1 1 ? 2020")]
    [InlineData("0 22 * *")]
    public void What_is_never_due_is_refused(string cron) => Assert.Throws<FormatException>(() => CronSchedule.Parse(cron, Berlin, At("2026-06-10T12:00Z")));

    [Fact]
    public async Task Sweeps_are_started_when_they_are_due_and_once()
    {
        var time = new FakeTimeProvider(At("2026-10-24T12:00Z"));
        var starter = new Starter();
        var schedules = new Dictionary<string, CronSchedule>
        {
            ["nightly"] = CronSchedule.Parse("30 2 * * *", Berlin, time.GetUtcNow()),
            ["hourly"] = CronSchedule.Parse("0 * * * *", Berlin, time.GetUtcNow()),
        };
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        Task loop = new ScheduleLoop(() => schedules, starter, time).RunAsync(stop.Token);
        await Advance(time, TimeSpan.FromDays(1));
        Assert.Equal([At("2026-10-25T00:30Z")], starter.Of("nightly"));
        Assert.Equal(24, starter.Of("hourly").Count);

        // The machine sleeps for a week: what was missed is started once.
        time.Advance(TimeSpan.FromDays(7));
        await Advance(time, TimeSpan.FromMinutes(2));
        Assert.Equal(2, starter.Of("nightly").Count);
        Assert.Equal(25, starter.Of("hourly").Count);
        await stop.CancelAsync();
        await loop;
    }

    [Fact]
    public async Task One_that_still_runs_is_not_started_again()
    {
        var time = new FakeTimeProvider(At("2026-06-10T12:00Z"));
        var starter = new Starter { Running = new TaskCompletionSource() };
        var schedules = new Dictionary<string, CronSchedule> { ["hourly"] = CronSchedule.Parse("0 * * * *", Berlin, time.GetUtcNow()) };
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        Task loop = new ScheduleLoop(() => schedules, starter, time).RunAsync(stop.Token);
        await Advance(time, TimeSpan.FromHours(5));
        Assert.Single(starter.Of("hourly"));
        starter.Running.SetResult();
        starter.Running = null;
        await Advance(time, TimeSpan.FromHours(2));
        Assert.Equal(3, starter.Of("hourly").Count);
        await stop.CancelAsync();
        await loop;
    }

    [Fact]
    public async Task Other_schedules_count_once_they_are_read()
    {
        var time = new FakeTimeProvider(At("2026-06-10T12:00Z"));
        var starter = new Starter();
        CronSchedule hourly = CronSchedule.Parse("0 * * * *", Berlin, time.GetUtcNow());
        var schedules = new Dictionary<string, CronSchedule> { ["a"] = hourly, ["b"] = hourly };
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        Task loop = new ScheduleLoop(() => schedules, starter, time).RunAsync(stop.Token);
        await Advance(time, TimeSpan.FromMinutes(90));
        schedules = new Dictionary<string, CronSchedule> { ["b"] = CronSchedule.Parse("45 * * * *", Berlin, time.GetUtcNow()), ["c"] = hourly };
        await Advance(time, TimeSpan.FromMinutes(60));
        Assert.Equal([At("2026-06-10T13:00Z")], starter.Of("a"));
        Assert.Equal([At("2026-06-10T13:00Z"), At("2026-06-10T13:45Z")], starter.Of("b"));
        Assert.Equal([At("2026-06-10T14:00Z")], starter.Of("c"));
        await stop.CancelAsync();
        await loop;
    }

    /// <summary>In steps, each of which the loop sees: its continuations run where the clock is moved.</summary>
    private static async Task Advance(FakeTimeProvider time, TimeSpan span)
    {
        for (TimeSpan done = TimeSpan.Zero; done < span; done += TimeSpan.FromMinutes(1))
        {
            time.Advance(TimeSpan.FromMinutes(1));
            await Task.Yield();
        }
    }

    private static DateTimeOffset At(string text) => DateTimeOffset.Parse(text, CultureInfo.InvariantCulture);

    private sealed class Starter : ISweepStarter
    {
        private readonly List<(string Sweep, DateTimeOffset Due)> _started = [];

        public TaskCompletionSource? Running { get; set; }

        public IReadOnlyList<DateTimeOffset> Of(string sweep)
        {
            lock (_started)
            {
                return [.. _started.Where(s => s.Sweep == sweep).Select(s => s.Due)];
            }
        }

        public Task StartAsync(string sweep, DateTimeOffset due, CancellationToken cancellation)
        {
            lock (_started)
            {
                _started.Add((sweep, due));
            }

            return Running?.Task ?? Task.CompletedTask;
        }
    }
}
