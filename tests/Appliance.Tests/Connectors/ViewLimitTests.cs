using Microsoft.Extensions.Time.Testing;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Connectors.Views;
using Vmsweep.Appliance.Reports;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Connectors;

/// <summary>How long a view stays, and how full a datastore may become under it.</summary>
public sealed class ViewLimitTests
{
    private static readonly ConnectorSettings Settings = new("lab", new Uri("libvirt:///system")) { MinimumFreeBytes = 1000, MaximumAge = TimeSpan.FromHours(2) };

    private readonly FakeTimeProvider _time = new();

    [Fact]
    public void A_view_stays_for_as_long_as_it_may_and_no_longer()
    {
        var limits = new ViewLimits(Settings, () => [("/s", 1000)], _time);
        Assert.Null(limits.Exceeded());
        _time.Advance(TimeSpan.FromHours(2));
        Assert.Null(limits.Exceeded());
        _time.Advance(TimeSpan.FromTicks(1));
        Assert.Equal("the view was open for more than 2 hours", limits.Exceeded());
    }

    [Fact]
    public void The_first_place_with_too_little_space_is_named()
    {
        long left = 1000;
        var limits = new ViewLimits(Settings, () => [("/a", 5000), ("/b", left), ("/c", 0)], _time);
        Assert.StartsWith("/c has 0", limits.Exceeded(), StringComparison.Ordinal);
        left = 999;
        Assert.StartsWith("/b has 999", limits.Exceeded(), StringComparison.Ordinal);
    }

    [Fact]
    public void Space_is_that_of_the_file_system_of_the_folder()
    {
        using var scratch = new Scratch();
        long free = new DriveInfo(scratch.Folder).AvailableFreeSpace;
        Assert.Null(ViewLimits.Full(Settings with { MinimumFreeBytes = free / 2 }, [scratch.Folder]));
        Assert.Contains(scratch.Folder, ViewLimits.Full(Settings with { MinimumFreeBytes = free * 2 }, [scratch.Folder]), StringComparison.Ordinal);
    }

    [Fact]
    public void What_reads_a_view_is_stopped_when_it_must_be_closed()
    {
        var view = new View();
        using var watch = new ViewWatch(view, _time, CancellationToken.None);
        _time.Advance(TimeSpan.FromMinutes(1));
        Assert.True(view.Looks > 5);
        Assert.False(watch.Token.IsCancellationRequested);
        view.Why = () => "full";
        _time.Advance(TimeSpan.FromSeconds(5));
        Assert.True(watch.Token.IsCancellationRequested);
        Assert.Equal(("full", false), (watch.Closed, watch.IsLost));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Limits_that_cannot_be_looked_at_are_not_kept(bool isLost)
    {
        var view = new View { Why = () => throw (isLost ? new HostLostException("gone") : new IOException("no such folder")) };
        using var watch = new ViewWatch(view, _time, CancellationToken.None);
        _time.Advance(TimeSpan.FromSeconds(5));
        Assert.True(watch.Token.IsCancellationRequested);
        Assert.Contains(isLost ? "gone" : "no such folder", watch.Closed, StringComparison.Ordinal);
        Assert.Equal(isLost, watch.IsLost);
    }

    [Fact]
    public void Nothing_is_looked_at_after_it_was_read_and_the_operator_s_own_stop_is_passed_on()
    {
        var view = new View();
        using var stop = new CancellationTokenSource();
        using (var watch = new ViewWatch(view, _time, stop.Token))
        {
            stop.Cancel();
            Assert.True(watch.Token.IsCancellationRequested);
            Assert.Null(watch.Closed);
        }

        _time.Advance(TimeSpan.FromMinutes(1));
        Assert.Equal(0, view.Looks);
    }

    [Fact]
    public void A_look_that_takes_long_is_not_begun_a_second_time()
    {
        var view = new View();
        var time = new ByHand();
        using var watch = new ViewWatch(view, time, CancellationToken.None);
        view.Why = () =>
        {
            time.Fire();
            return null;
        };
        time.Fire();
        Assert.Equal(1, view.Looks);
        view.Why = () => null;
        time.Fire();
        Assert.Equal(2, view.Looks);
    }

    /// <summary>Its timer fires when it is told to, also while it is at it.</summary>
    private sealed class ByHand : TimeProvider
    {
        public Action Fire { get; private set; } = () => { };

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            Fire = () => callback(state);
            return base.CreateTimer(callback, state, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        }
    }

    private sealed class View : IVmView
    {
        public Func<string?> Why { get; set; } = () => null;

        public int Looks { get; private set; }

        public Vm Vm => throw new NotSupportedException();

        public string? MustClose()
        {
            Looks++;
            return Why();
        }

        public IReadOnlyList<GapReport> Conclude() => [];

        public string? Keep() => null;

        public void Dispose()
        {
        }
    }
}
