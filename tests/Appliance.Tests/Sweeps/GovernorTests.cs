using System.Globalization;
using Vmsweep.Appliance.Sweeps.Pacing;

namespace Vmsweep.Appliance.Tests.Sweeps;

/// <summary>The controller of the rate, against stores whose answer to load is a formula.</summary>
public sealed class GovernorTests
{
    private const double MiB = 1 << 20;
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(500);
    private static readonly TimeSpan Target = TimeSpan.FromMilliseconds(20);

    public static TheoryData<string> Stores => new(All.Keys);

    /// <summary>Latency in milliseconds of a read of 256 KiB, by MiB/s; all pass 20 ms somewhere.</summary>
    private static Dictionary<string, Func<double, double>> All => new()
    {
        ["linear"] = rate => 2 + (rate * 0.5),
        ["queue"] = rate => rate < 99 ? 4 / (1 - (rate / 100)) : 400,
        ["quadratic"] = rate => 5 + (rate * rate / 100),
        ["steep"] = rate => 3 + Math.Pow(rate / 40, 4),
        ["small"] = rate => 8 + (rate * 8),
    };

    [Theory]
    [MemberData(nameof(Stores))]
    public void The_target_is_held_within_a_fifth(string store)
    {
        var governor = new LatencyGovernor(Target, TimeSpan.FromSeconds(1));
        var random = new Random(store.Length);
        var latencies = new List<double>();
        for (int i = 0; i < 240; i++)
        {
            // A reader could read 200 MiB/s; each interval's mean is a tenth off by chance.
            double rate = Math.Min(200, (governor.BytesPerSecond ?? double.PositiveInfinity) / MiB);
            double latency = All[store](rate) * (0.9 + (random.NextDouble() * 0.2));
            governor.Step(Sample(rate, latency), Interval);
            latencies.Add(latency);
        }

        double[] settled = [.. latencies.Skip(120)];
        Assert.InRange(settled.Average(), 16, 24);
        Assert.All(settled, l => Assert.InRange(l, 12, 32));
    }

    [Fact]
    public void A_store_that_is_fast_enough_is_never_slowed()
    {
        var governor = new LatencyGovernor(Target, TimeSpan.FromMilliseconds(100));
        for (int i = 0; i < 100; i++)
        {
            governor.Step(Sample(300, 19), Interval);
        }

        Assert.Null(governor.BytesPerSecond);
        Assert.Equal(0, governor.Stops);
    }

    [Fact]
    public void Others_load_is_made_way_for_and_taken_back()
    {
        var governor = new LatencyGovernor(Target, TimeSpan.FromSeconds(1));
        double rate = 0;
        Step(0);
        double alone = rate;
        // Guests read 60 MiB/s of the 100 that the store has.
        Step(60);
        double beside = rate;
        Step(0);
        Assert.InRange(alone, 70, 90);
        Assert.InRange(beside, 12, 28);
        Assert.InRange(rate, 70, 90);

        void Step(double others)
        {
            for (int i = 0; i < 120; i++)
            {
                rate = Math.Min(200, (governor.BytesPerSecond ?? double.PositiveInfinity) / MiB);
                double load = Math.Min(0.99, (rate + others) / 100);
                governor.Step(Sample(rate, 4 / (1 - load)), Interval);
            }
        }
    }

    [Fact]
    public void Beyond_the_limit_nothing_is_read_each_time_for_longer()
    {
        var governor = new LatencyGovernor(Target, TimeSpan.FromMilliseconds(100));
        List<double> pauses = [];
        double stopped = 0;
        for (int i = 0; i < 600; i++)
        {
            if (governor.BytesPerSecond == 0)
            {
                stopped += Interval.TotalSeconds;
                governor.Step(default, Interval);
            }
            else
            {
                if (stopped > 0)
                {
                    pauses.Add(stopped);
                    stopped = 0;
                }

                // It stays slow, whatever is read.
                governor.Step(Sample((governor.BytesPerSecond ?? (50 * MiB)) / MiB, 150), Interval);
            }
        }

        Assert.Equal([1, 2, 4, 8, 16, 30, 30], pauses.Take(7));
        Assert.Equal(150, governor.LongestMean.TotalMilliseconds, 3);

        // It answers again: the rate comes back from its least by itself.
        for (int i = 0; i < 200; i++)
        {
            double rate = (governor.BytesPerSecond ?? (50 * MiB)) / MiB;
            governor.Step(rate == 0 ? default : Sample(rate, 5), Interval);
        }

        Assert.True(governor.BytesPerSecond > 100 * MiB, string.Create(CultureInfo.InvariantCulture, $"{governor.BytesPerSecond}"));
    }

    [Fact]
    public void One_that_is_held_back_by_something_else_is_not_let_loose()
    {
        var governor = new LatencyGovernor(Target, TimeSpan.FromSeconds(1));
        governor.Step(Sample(50, 30), Interval);
        double slowed = governor.BytesPerSecond!.Value;
        for (int i = 0; i < 100; i++)
        {
            // Matching takes its time: it reads a tenth of what it may.
            governor.Step(Sample(slowed / MiB / 10, 5), Interval);
        }

        Assert.Equal(slowed, governor.BytesPerSecond);
    }

    private static StoreSample Sample(double rate, double milliseconds)
    {
        double bytes = rate * MiB * Interval.TotalSeconds;
        long reads = Math.Max(1, (long)(bytes / (256 << 10)));
        return new StoreSample(reads, (long)bytes, TimeSpan.FromMilliseconds(milliseconds) * reads, TimeSpan.FromMilliseconds(milliseconds * 2));
    }
}
