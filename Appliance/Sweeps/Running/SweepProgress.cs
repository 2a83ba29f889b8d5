using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Worker;

namespace Vmsweep.Appliance.Sweeps.Running;

/// <summary>How far a run is.</summary>
/// <param name="Left">Null while it cannot be told.</param>
/// <param name="Held">What VMs wait for; empty for their turn.</param>
internal sealed record SweepProgress(int VmsDone, int Vms, IReadOnlyList<string> Scanning, long Bytes, double BytesPerSecond, TimeSpan? Left, long Findings, long Gaps, string Held);

/// <summary>Hears how a run goes on. Called on several threads, one at a time.</summary>
internal interface ISweepListener
{
    void OnProgress(SweepProgress progress);

    /// <summary>A VM was begun, done or left out.</summary>
    void OnVm(SweepVmReport vm);

    /// <summary>Nothing is scanned before that time.</summary>
    void OnWaiting(DateTimeOffset until);
}

/// <summary>Adds up what all scans of a run tell.</summary>
internal sealed class ProgressBoard(TimeProvider time, int vms)
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, Scanning> _scanning = new(StringComparer.Ordinal);
    private readonly long _begun = time.GetTimestamp();
    private int _done;
    private int _scannedHere;
    private long _bytes;
    private long _findings;
    private long _gaps;

    /// <summary>What is done already when the run goes on.</summary>
    public void Add(SweepVmReport done)
    {
        lock (_lock)
        {
            _done++;
            _findings += done.Findings;
            _gaps += done.Gaps;
        }
    }

    public IScanListener Begin(string key, string name)
    {
        lock (_lock)
        {
            return _scanning[key] = new Scanning(this, name);
        }
    }

    /// <param name="done">Null when it will be scanned again.</param>
    public void End(string key, SweepVmReport? done)
    {
        lock (_lock)
        {
            if (_scanning.Remove(key, out Scanning? scanning) && done is not null)
            {
                _bytes += scanning.Done;
                _scannedHere++;
            }
        }

        if (done is not null)
        {
            Add(done);
        }
    }

    public SweepProgress Now(string held)
    {
        lock (_lock)
        {
            long bytes = _bytes + _scanning.Values.Sum(s => s.Done);
            double seconds = time.GetElapsedTime(_begun).TotalSeconds;
            double rate = seconds > 0 ? bytes / seconds : 0;
            int waiting = vms - _done - _scanning.Count;
            // Those that wait are taken to be like those that were scanned.
            TimeSpan? left = rate > 0 && (_scannedHere > 0 || waiting == 0)
                ? TimeSpan.FromSeconds(Math.Min((_scanning.Values.Sum(s => Math.Max(0, s.Total - s.Done)) + ((double)waiting * (_scannedHere > 0 ? _bytes / _scannedHere : 0))) / rate, 8_640_000))
                : null;
            return new SweepProgress(
                _done, vms, [.. _scanning.Values.Select(s => s.Name)], bytes, rate, left, _findings + _scanning.Values.Sum(s => s.Findings), _gaps + _scanning.Values.Sum(s => s.Gaps), held);
        }
    }

    private sealed class Scanning(ProgressBoard board, string name) : IScanListener
    {
        public string Name => name;

        public long Done { get; private set; }

        public long Total { get; private set; }

        public long Findings { get; private set; }

        public long Gaps { get; private set; }

        public void OnTarget(TargetReport target, int number, int count)
        {
        }

        public void OnVolume(TargetReport target, DiskReport disk, VolumeReport volume)
        {
        }

        public void OnFinding(TargetReport target, FindingReport finding)
        {
            lock (board._lock)
            {
                Findings += finding.Suppressed is null ? 1 : 0;
            }
        }

        public void OnGap(TargetReport target, GapReport gap)
        {
            lock (board._lock)
            {
                Gaps++;
            }
        }

        public void OnAct(TargetReport target, ActReport act)
        {
        }

        public void OnProgress(TargetReport target, ProgressEvent progress)
        {
            lock (board._lock)
            {
                (Done, Total) = (Math.Min(progress.BytesDone, long.MaxValue >> 16), Math.Min(progress.BytesTotal, long.MaxValue >> 16));
            }
        }
    }
}
