using System.Globalization;
using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Sweeps.Running;

/// <summary>VMs whose datastore or hypervisor was lost while they were read: when each is tried again, and the most that was read of it until then. Safe for many threads.</summary>
internal sealed class LostVms(TimeProvider time)
{
    /// <summary>What is away is looked for so often, over a good hour.</summary>
    public const int MostTries = 8;

    private static readonly TimeSpan FirstWait = TimeSpan.FromMinutes(1);
    private static readonly TimeSpan MostWait = TimeSpan.FromMinutes(15);

    private readonly Lock _lock = new();
    private readonly Dictionary<int, Lost> _lost = [];

    /// <summary>Puts a VM off when it is worth trying again.</summary>
    /// <param name="number">Its number in the run.</param>
    /// <returns>False: it is not, or was often enough.</returns>
    public bool PutOff(int number, SweepScan scan)
    {
        lock (_lock)
        {
            Lost? before = _lost.GetValueOrDefault(number);
            int tries = before?.Tries ?? 0;
            if (scan.Retries <= tries)
            {
                return false;
            }

            TimeSpan wait = FirstWait * Math.Pow(2, tries);
            _lost[number] = new Lost(tries + 1, time.GetUtcNow() + (wait < MostWait ? wait : MostWait), Richer(before?.Best, scan));
            return true;
        }
    }

    /// <summary>Why a VM is not begun yet; null when it may be.</summary>
    public string? WhyNot(int number)
    {
        lock (_lock)
        {
            return _lost.GetValueOrDefault(number) is { } lost && lost.NotBefore > time.GetUtcNow()
                ? string.Create(CultureInfo.InvariantCulture, $"its datastore or hypervisor was lost; tried again at {lost.NotBefore.UtcDateTime:HH:mm} UTC")
                : null;
        }
    }

    /// <summary>The one that is to be reported: what an earlier try has found is not lost because a later one could read less.</summary>
    public SweepScan Best(int number, SweepScan scan)
    {
        lock (_lock)
        {
            return scan.Target.Gaps.Exists(g => g.Fault == Faults.Name(Fault.Transport)) ? Richer(_lost.GetValueOrDefault(number)?.Best, scan) : scan;
        }
    }

    /// <summary>What was read of a VM that is not tried again; null for nothing.</summary>
    public SweepScan? Best(int number)
    {
        lock (_lock)
        {
            return _lost.GetValueOrDefault(number)?.Best;
        }
    }

    private static SweepScan Richer(SweepScan? before, SweepScan now) => before is null || Read(now).CompareTo(Read(before)) >= 0 ? now : before;

    private static (long, long) Read(SweepScan scan)
    {
        SweepVmReport report = SweepVmReports.Done(new SweepVmReport { Id = "", Name = "", State = SweepVmStates.Running }, scan.Target, default);
        return (report.Findings, report.Bytes.Read);
    }

    private sealed record Lost(int Tries, DateTimeOffset NotBefore, SweepScan Best);
}
