using System.Diagnostics;
using Vmsweep.Appliance.Leases;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Leases;

/// <summary>The journal under what may happen to it.</summary>
public sealed class LeaseJournalTests : IDisposable
{
    private readonly Scratch _scratch = new();

    private LeaseJournal Journal => new(_scratch["leases"], TimeProvider.System);

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void A_lease_is_on_the_disk_before_it_is_used_and_gone_after_it_is_completed()
    {
        using Lease lease = Begin();
        (LeaseRecord record, bool isHeld) = Assert.Single(Journal.List());
        Assert.True(isHeld);
        Assert.Equal((lease.Record.Id, "kind", "lab", "id", "name"), (record.Id, record.Kind, record.Connector, record.VmId, record.VmName));
        Assert.Equal(record.Key, record.Details["key"]);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Directory.GetFiles(_scratch["leases"], "*.json")[0]));
        lease.Update(r => r with { IsKept = true });
        Assert.True(Journal.List()[0].Record.IsKept);
        Assert.False(Journal.TryTake(record.Id, out _));
        lease.Complete();
        Assert.Empty(Journal.List());
        Assert.Empty(Directory.GetFiles(_scratch["leases"]));
    }

    [Fact]
    public void What_its_owner_left_is_reaped_once_and_what_lives_or_is_kept_is_not()
    {
        Guid left, kept;
        using (Lease lease = Begin())
        {
            left = lease.Record.Id;
        }

        using (Lease lease = Begin())
        {
            kept = lease.Record.Id;
            lease.Update(r => r with { IsKept = true });
        }

        using Lease lives = Begin();
        var holder = new Holder();
        var reaper = new LeaseReaper(Journal, _ => holder, new Later());
        Assert.Equal([left], reaper.Run().Select(r => r.Record.Id));
        Assert.Equal([left], holder.Undone);
        Assert.Empty(reaper.Run());
        Assert.Equal([kept], reaper.Run(kept).Select(r => r.Record.Id));
        Assert.Empty(reaper.Run(lives.Record.Id));
        Assert.Equal(lives.Record.Id, Assert.Single(Journal.List()).Record.Id);
    }

    [Fact]
    public void What_is_kept_stays_until_it_must_be_ended()
    {
        using (Lease lease = Begin())
        {
            lease.Update(r => r with { IsKept = true });
        }

        var holder = new Holder();
        var reaper = new LeaseReaper(Journal, _ => holder, new Later());
        Assert.Empty(reaper.Run());
        holder.Full = "the datastore is full";
        Assert.Null(Assert.Single(reaper.Run()).Failure);
        Assert.Empty(Journal.List());
    }

    [Fact]
    public void While_a_command_runs_it_reaps_every_few_minutes_and_bears_failures()
    {
        var time = new Ticking();
        int reaped = 0;
        using (new PeriodicReaper(() => throw (++reaped == 1 ? new IOException("no journal") : new InvalidDataException("a record")), time))
        {
            Assert.Equal(PeriodicReaper.Every, time.Period);
            time.Tick();
            time.Tick();
            Assert.Equal(2, reaped);
        }

        Assert.True(time.IsEnded);
        time.Tick();
        Assert.Equal(2, reaped);
    }

    [Fact]
    public void What_cannot_be_undone_stays_for_the_next_time()
    {
        Begin().Dispose();
        var holder = new Holder { Failure = new IOException("no host") };
        Assert.Equal("no host", Assert.Single(new LeaseReaper(Journal, _ => holder, new Later()).Run()).Failure);
        holder.Failure = null;
        Assert.Null(Assert.Single(new LeaseReaper(Journal, _ => holder, new Later()).Run()).Failure);
        Assert.Empty(Journal.List());
    }

    [Fact]
    public void An_owner_that_is_killed_is_known_to_be_gone_at_once()
    {
        using Lease lease = Begin();
        string record = Directory.GetFiles(_scratch["leases"], "*.json")[0];
        string held = Path.ChangeExtension(record, ".held");

        // Another process that holds the lock, as a scan does; flock is what .NET's exclusive files are.
        string other = Guid.NewGuid().ToString("N");
        File.Copy(record, _scratch["copy"]);
        File.WriteAllText(Path.Combine(_scratch["leases"], other + ".json"), File.ReadAllText(_scratch["copy"]).Replace(lease.Record.Id.ToString(), Guid.Parse(other).ToString(), StringComparison.Ordinal));
        var start = new ProcessStartInfo(Tool.Find("flock"), ["-x", Path.Combine(_scratch["leases"], other + ".held"), "sleep", "600"]);
        using Process owner = Process.Start(start)!;
        try
        {
            SpinWait.SpinUntil(() => Journal.List().Count(l => l.IsHeld) == 2, TimeSpan.FromSeconds(60));
            Assert.All(Journal.List(), l => Assert.True(l.IsHeld));
        }
        finally
        {
            owner.Kill(entireProcessTree: true);
            owner.WaitForExit();
        }

        Assert.True(SpinWait.SpinUntil(() => Journal.List().Count(l => l.IsHeld) == 1, TimeSpan.FromSeconds(60)));
        Assert.True(File.Exists(held));
    }

    [Fact]
    public void Many_at_once_lose_nothing()
    {
        Parallel.For(0, 40, i =>
        {
            using Lease lease = Begin();
            lease.Update(r => r with { VmName = "n" });
            if (i % 2 == 0)
            {
                lease.Complete();
            }
        });
        Assert.Equal(20, Journal.List().Count);
        var holder = new Holder();
        Parallel.For(0, 4, _ => new LeaseReaper(Journal, _ => holder, new Later()).Run());
        new LeaseReaper(Journal, _ => holder, new Later()).Run();
        Assert.Empty(Journal.List());
        Assert.Equal(20, holder.Undone.Distinct().Count());
        Assert.Equal(20, holder.Undone.Count);
    }

    [Fact]
    public void A_record_that_is_broken_or_another_s_is_said_and_touches_nothing()
    {
        using (Begin())
        {
        }

        string record = Directory.GetFiles(_scratch["leases"], "*.json")[0];
        string text = File.ReadAllText(record);
        File.WriteAllText(record, text[..20]);
        Assert.Throws<InvalidDataException>(() => Journal.List());
        File.WriteAllText(record, text.Replace(Path.GetFileNameWithoutExtension(record)[..8], "00000000", StringComparison.Ordinal));
        Assert.Throws<InvalidDataException>(() => Journal.List());
    }

    private Lease Begin() => Journal.Begin("kind", "lab", "id", "name", key => new Dictionary<string, string> { ["key"] = key });

    /// <summary>Leases of a moment ago are old for it.</summary>
    private sealed class Later : TimeProvider
    {
        public override DateTimeOffset GetUtcNow() => base.GetUtcNow().AddMinutes(1);
    }

    private sealed class Holder : ILeaseHolder
    {
        private readonly Lock _lock = new();

        public IOException? Failure { get; set; }

        public string? Full { get; set; }

        public List<Guid> Undone { get; } = [];

        public string? MustEnd(LeaseRecord record) => Full;

        public void Undo(LeaseRecord record)
        {
            lock (_lock)
            {
                Undone.Add(Failure is null ? record.Id : throw Failure);
            }
        }
    }

    /// <summary>A timer that ticks when it is told to.</summary>
    private sealed class Ticking : TimeProvider
    {
        private TimerCallback? _callback;

        public TimeSpan Period { get; private set; }

        public bool IsEnded => _callback is null;

        public void Tick() => _callback?.Invoke(null);

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            (_callback, Period) = (callback, period);
            return new Timer(this);
        }

        private sealed class Timer(Ticking owner) : ITimer
        {
            public bool Change(TimeSpan dueTime, TimeSpan period) => true;

            public void Dispose() => owner._callback = null;

            public ValueTask DisposeAsync() => default;
        }
    }
}
