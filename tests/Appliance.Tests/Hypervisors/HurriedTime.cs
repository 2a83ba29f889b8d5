namespace Vmsweep.Appliance.Tests.Hypervisors;

/// <summary>Views are looked at often, and time may be ahead.</summary>
internal sealed class HurriedTime : TimeProvider
{
    private static readonly TimeSpan Often = TimeSpan.FromMilliseconds(50);

    public TimeSpan Ahead { get; set; }

    public override DateTimeOffset GetUtcNow() => base.GetUtcNow() + Ahead;

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period) =>
        period == TimeSpan.FromSeconds(5) ? base.CreateTimer(callback, state, Often, Often) : base.CreateTimer(callback, state, dueTime, period);
}
