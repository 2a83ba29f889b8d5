namespace Vmsweep.Appliance.Sweeps.Pacing;

/// <summary>How a datastore answered in one interval.</summary>
internal readonly record struct StoreSample(long Reads, long Bytes, TimeSpan Time, TimeSpan Longest)
{
    public TimeSpan Mean => Reads > 0 ? Time / Reads : TimeSpan.Zero;

    public StoreSample Add(StoreSample other) => new(Reads + other.Reads, Bytes + other.Bytes, Time + other.Time, Longest > other.Longest ? Longest : other.Longest);
}

/// <summary>
/// Finds the rate at which reads of a datastore take as long as they may. Each interval the rate is changed by the fourth root of how far the measured
/// latency is from the target, and by no more than a quarter: how a store answers to load is not known, and near the end of its strength latency may grow four
/// times as fast as the rate, where a larger step would swing between too much and too little. Beyond the limit nothing is read for a second, and twice as long each time that it is still beyond it.
/// </summary>
internal sealed class LatencyGovernor(TimeSpan target, TimeSpan stop)
{
    /// <summary>Slower is no reading: what does not answer in time at this rate does not suffer from this sweep.</summary>
    public const double LeastBytesPerSecond = 256 << 10;

    private const double Gain = 0.25;
    private const double LeastFactor = 0.75;
    private const double MostFactor = 1.25;

    /// <summary>Below this share of its rate a reader is held back by something else, and to raise its rate would say nothing.</summary>
    private const double InUse = 0.7;

    private static readonly TimeSpan FirstPause = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(30);

    private TimeSpan _pause = FirstPause;
    private TimeSpan _left;
    private double _beforeStop;

    /// <summary>Null: as fast as bytes come. 0: stopped.</summary>
    public double? BytesPerSecond { get; private set; }

    public int Stops { get; private set; }

    public TimeSpan LongestMean { get; private set; }

    /// <summary>The last interval with reads.</summary>
    public TimeSpan Latency { get; private set; }

    public void Step(StoreSample sample, TimeSpan interval)
    {
        if (BytesPerSecond == 0)
        {
            // Reads that were on their way are no measure of an idle store.
            _left -= interval;
            if (_left <= TimeSpan.Zero)
            {
                BytesPerSecond = Math.Max(LeastBytesPerSecond, _beforeStop / 4);
            }

            return;
        }

        if (sample.Reads == 0 || interval <= TimeSpan.Zero)
        {
            return;
        }

        Latency = sample.Mean;
        LongestMean = Latency > LongestMean ? Latency : LongestMean;
        double throughput = sample.Bytes / interval.TotalSeconds;
        if (Latency >= stop)
        {
            Stops++;
            _beforeStop = Math.Min(BytesPerSecond ?? throughput, throughput);
            BytesPerSecond = 0;
            _left = _pause;
            _pause = _pause * 2 < LongestPause ? _pause * 2 : LongestPause;
            return;
        }

        double factor = Math.Clamp(Math.Pow(target / (Latency > TimeSpan.Zero ? Latency : TimeSpan.FromTicks(1)), Gain), LeastFactor, MostFactor);
        if (factor < 1)
        {
            BytesPerSecond = Math.Max(LeastBytesPerSecond, Math.Min(BytesPerSecond ?? throughput, throughput / InUse) * factor);
        }
        else
        {
            _pause = FirstPause;
            if (BytesPerSecond is { } rate && throughput > rate * InUse)
            {
                BytesPerSecond = rate * factor;
            }
        }
    }
}
