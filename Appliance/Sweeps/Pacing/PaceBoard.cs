using System.Globalization;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Sweeps.Configuration;
using Vmsweep.Appliance.Sweeps.Planning;
using Vmsweep.Appliance.Worker;

namespace Vmsweep.Appliance.Sweeps.Pacing;

/// <summary>
/// How fast the VMs that are being scanned may read. A limit that several share is divided evenly among them, so that it holds whatever each does; what one leaves of its part
/// is not given to others before the next step.
/// </summary>
internal sealed class PaceBoard(SweepLimits limits, TimeProvider time)
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, Store> _stores = new(StringComparer.Ordinal);
    private readonly List<PaceLane> _lanes = [];
    private IReadOnlyList<DiskShare> _others = [];
    private long _steppedAt = time.GetTimestamp();

    /// <summary>False: nothing limits how fast bytes are read.</summary>
    public bool IsNeeded =>
        (limits.BytesPerSecond ?? limits.BytesPerSecondPerDatastore ?? limits.BytesPerSecondPerHost ?? limits.BytesPerSecondPerTenant) is not null || limits.TargetLatency is not null;

    /// <summary>A VM's scan begins. Disposed, its part goes to the others.</summary>
    public PaceLane Join(SweepVm vm)
    {
        lock (_lock)
        {
            var lane = new PaceLane(this, vm);
            foreach (string store in lane.Stores.Where(s => !_stores.ContainsKey(s)))
            {
                _stores.Add(store, new Store(limits));
            }

            _lanes.Add(lane);
            Divide();
            return lane;
        }
    }

    /// <summary>What other nodes read of the same sweep: of every limit they have their parts.</summary>
    public void Share(IReadOnlyList<DiskShare> others)
    {
        lock (_lock)
        {
            _others = others;
            Divide();
        }
    }

    /// <summary>Governors look at what was measured since the last step. Called about twice a second.</summary>
    public void Step()
    {
        lock (_lock)
        {
            TimeSpan interval = time.GetElapsedTime(_steppedAt);
            _steppedAt = time.GetTimestamp();
            foreach ((string name, Store store) in _stores)
            {
                store.Step(interval, _lanes.Exists(l => l.Stores.Contains(name)));
            }

            Divide();
        }
    }

    /// <summary>What was done by now, for each datastore that was held back or measured.</summary>
    public IReadOnlyList<HeldBackReport> HeldBack()
    {
        lock (_lock)
        {
            return [.. _stores.OrderBy(s => s.Key, StringComparer.Ordinal).Select(s => s.Value.Report(s.Key, limits))];
        }
    }

    /// <summary>The rate at which a store may be read in all; null for any.</summary>
    public double? RateOf(string store)
    {
        lock (_lock)
        {
            return _stores[store].Rate;
        }
    }

    public TimeSpan LatencyOf(string store)
    {
        lock (_lock)
        {
            return _stores[store].Latency;
        }
    }

    internal void Leave(PaceLane lane)
    {
        lock (_lock)
        {
            if (_lanes.Remove(lane))
            {
                Divide();
            }
        }
    }

    internal void Take(PaceLane lane, PaceEvent pace)
    {
        lock (_lock)
        {
            // A worker that says more stores than it has says nothing of them.
            foreach ((string name, StorePace said) in lane.Stores.Zip(pace.Stores))
            {
                _stores[name].Add(said);
            }
        }
    }

    private void Divide()
    {
        foreach (PaceLane lane in _lanes)
        {
            double shared = Math.Min(
                Part(limits.BytesPerSecond, _lanes.Count + _others.Count),
                Math.Min(
                    lane.Vm.Host.Length == 0 ? double.PositiveInfinity : Part(limits.BytesPerSecondPerHost, _lanes.Count(l => l.Vm.Host == lane.Vm.Host) + _others.Count(o => o.Host == lane.Vm.Host)),
                    lane.Vm.Tenant.Length == 0 ? double.PositiveInfinity : Part(limits.BytesPerSecondPerTenant, _lanes.Count(l => l.Vm.Tenant == lane.Vm.Tenant) + _others.Count(o => o.Tenant == lane.Vm.Tenant))));
            lane.Set([.. lane.Stores.Select(s =>
            {
                // A governor is this node's own: each slows down by what it measures itself.
                int here = _lanes.Count(l => l.Stores.Contains(s));
                double ofStore = Math.Min(Part(_stores[s].Governed, here), Part(limits.BytesPerSecondPerDatastore, here + _others.Count(o => o.Datastores.Contains(s))));
                double rate = Math.Min(shared / lane.Stores.Count, ofStore);
                return double.IsPositiveInfinity(rate) ? -1 : rate <= 0 ? 0 : Math.Max(1, (long)rate);
            })]);
        }
    }

    private static double Part(double? limit, int among) => limit is { } rate ? rate / Math.Max(1, among) : double.PositiveInfinity;

    /// <summary>A datastore.</summary>
    private sealed class Store(SweepLimits limits)
    {
        private readonly LatencyGovernor? _governor = limits.TargetLatency is { } target ? new LatencyGovernor(target, limits.StopLatency!.Value) : null;
        private StoreSample _sample;
        private StoreSample _all;
        private TimeSpan _waited;
        private TimeSpan _slowed;
        private TimeSpan _stopped;
        private double? _slowest;

        public double? Governed => _governor?.BytesPerSecond;

        public double? Rate => _governor?.BytesPerSecond is { } governed ? Math.Min(governed, limits.BytesPerSecondPerDatastore ?? double.PositiveInfinity) : limits.BytesPerSecondPerDatastore;

        public TimeSpan Latency => _governor?.Latency ?? TimeSpan.Zero;

        public void Add(StorePace said)
        {
            // What a worker says is bounded before it is added up: it may say anything.
            const long Most = 1L << 40;
            var sample = new StoreSample(
                Math.Min(said.Reads, Most), Math.Min(said.Bytes, Most), TimeSpan.FromMicroseconds(Math.Min(said.Microseconds, Most)), TimeSpan.FromMicroseconds(Math.Min(said.LongestMicroseconds, Most)));
            _sample = _sample.Add(sample);
            _all = _all.Add(sample);
            _waited += TimeSpan.FromMicroseconds(Math.Min(said.WaitedMicroseconds, Most));
        }

        public void Step(TimeSpan interval, bool isInUse)
        {
            if (isInUse && _governor?.BytesPerSecond == 0)
            {
                _stopped += interval;
            }
            else if (isInUse)
            {
                // Several threads of several workers wait at once; the store was held back no longer than the time that passed.
                _slowed += _waited < interval ? _waited : interval;
            }

            _governor?.Step(_sample, interval);
            if (_governor?.BytesPerSecond is > 0 and var rate)
            {
                _slowest = Math.Min(_slowest ?? rate, rate);
            }

            (_sample, _waited) = (default, default);
        }

        public HeldBackReport Report(string name, SweepLimits of)
        {
            string latency = _all.Reads == 0 ? "nothing was read" : string.Create(CultureInfo.InvariantCulture, $"{_all.Reads} reads took {_all.Mean.TotalMilliseconds:0.0} ms on average and {_all.Longest.TotalMilliseconds:0.0} ms at most");
            string governed = _governor is null ? "" : string.Create(
                CultureInfo.InvariantCulture,
                $"; target {of.TargetLatency!.Value.TotalMilliseconds:0} ms, {(_slowest is { } slowest ? $"as slow as {Cli.Sizes.Show((long)slowest)}/s" : "never slowed")}, stopped {_governor.Stops} times at {of.StopLatency!.Value.TotalMilliseconds:0} ms");
            string limited = (of.BytesPerSecondPerDatastore ?? of.BytesPerSecond ?? of.BytesPerSecondPerHost ?? of.BytesPerSecondPerTenant) is { } rate ? $"; limited to {Cli.Sizes.Show(rate)}/s" : "";
            return new HeldBackReport(name, Math.Round(_slowed.TotalSeconds, 3), Math.Round(_stopped.TotalSeconds, 3), latency + governed + limited);
        }
    }
}
