using System.Globalization;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Sweeps.Planning;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Sweeps.Running;

/// <summary>
/// VMs whose datastore or hypervisor was lost while they were read: when each is tried again, and the most that was read of it until then. What is lost with one is lost with all that are
/// read through it: until it is looked for again none of them is begun, so that not each waits for an answer that does not come. Safe for many threads.
/// </summary>
/// <param name="hasOthers">Other nodes may reach what this one does not.</param>
internal sealed class LostVms(TimeProvider time, bool hasOthers = false)
{
    /// <summary>What is away is looked for so often, over a good hour.</summary>
    public const int MostTries = 8;

    private static readonly TimeSpan FirstWait = TimeSpan.FromMinutes(1);
    private static readonly TimeSpan MostWait = TimeSpan.FromMinutes(15);

    private readonly Lock _lock = new();
    private readonly Dictionary<int, Lost> _lost = [];
    private readonly Dictionary<string, Away> _away = new(StringComparer.Ordinal);

    /// <summary>A VM was scanned: puts it off when it is worth trying again, and with it all that are read through what was lost.</summary>
    /// <param name="number">Its number in the run.</param>
    /// <returns>False: it is not, or was often enough. Where there are other nodes it is put off then, too, and <see cref="GiveUp"/> has it.</returns>
    public bool PutOff(int number, SweepVm vm, SweepScan scan)
    {
        lock (_lock)
        {
            if (scan.Retries < MostTries)
            {
                _away.Remove(vm.Place);
            }
            else if (vm.Place.Length > 0)
            {
                Away? away = _away.GetValueOrDefault(vm.Place);

                // Several were at it when it was lost: that is one loss.
                if (away is null || away.NotBefore <= time.GetUtcNow())
                {
                    int times = away?.Times ?? 0;
                    _away[vm.Place] = new Away(times + 1, NextTry(times), away?.Since ?? time.GetUtcNow());
                }
            }

            Lost? before = _lost.GetValueOrDefault(number);
            int tries = before?.Tries ?? 0;
            bool isGivenUp = scan.Retries <= tries || IsGivenUp(vm);
            if (isGivenUp && (!hasOthers || scan.Retries < MostTries))
            {
                return false;
            }

            _lost[number] = new Lost(tries + 1, NextTry(tries), Richer(before?.Best, scan), isGivenUp);
            return true;
        }
    }

    /// <summary>Why a VM is not begun yet; null when it may be.</summary>
    public string? WhyNot(int number, SweepVm vm)
    {
        lock (_lock)
        {
            DateTimeOffset now = time.GetUtcNow();
            return _lost.GetValueOrDefault(number) is { } lost && lost.NotBefore > now ? Until("its datastore or hypervisor", lost.NotBefore)
                : _away.GetValueOrDefault(vm.Place) is { } away && away.NotBefore > now ? Until(vm.Place, away.NotBefore)
                : null;
        }
    }

    /// <summary>What there is of a VM that was tried, or that is read through what was looked for, often enough; null: it may be begun in its turn.</summary>
    public SweepScan? GiveUp(int number, SweepVm vm)
    {
        lock (_lock)
        {
            Lost? lost = _lost.GetValueOrDefault(number);
            if (lost is not { IsGivenUp: true } && !IsGivenUp(vm))
            {
                return null;
            }

            if (lost is not null)
            {
                return lost.Best;
            }

            var target = new TargetReport { Target = vm.Target, Vm = new VmReport(vm.Id, vm.Name, vm.Power, "") };
            Away away = _away[vm.Place];
            target.Gaps.Add(new CoverageGap(Fault.Transport, vm.Target, "VM", -1, 0, string.Create(
                CultureInfo.InvariantCulture, $"{vm.Place} was lost at {away.Since.UtcDateTime:yyyy-MM-dd HH:mm} UTC, and was not there any of the {away.Times - 1} times that it was looked for since")).ToReport());
            return new SweepScan(target, []);
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

    /// <summary>What was found and how much was read, most first: by this it is told which of two scans has more.</summary>
    public static (long Findings, long Bytes) Read(SweepScan scan)
    {
        SweepVmReport report = SweepVmReports.Done(new SweepVmReport { Id = "", Name = "", State = SweepVmStates.Running }, scan.Target, default);
        return (report.Findings, report.Bytes.Read);
    }

    private static string Until(string what, DateTimeOffset at) => string.Create(CultureInfo.InvariantCulture, $"{what} was lost; tried again at {at.UtcDateTime:HH:mm} UTC");

    private static SweepScan Richer(SweepScan? before, SweepScan now) => before is null || Read(now).CompareTo(Read(before)) >= 0 ? now : before;

    private bool IsGivenUp(SweepVm vm) => _away.GetValueOrDefault(vm.Place) is { Times: > MostTries };

    private DateTimeOffset NextTry(int before)
    {
        TimeSpan wait = FirstWait * Math.Pow(2, before);
        return time.GetUtcNow() + (wait < MostWait ? wait : MostWait);
    }

    private sealed record Lost(int Tries, DateTimeOffset NotBefore, SweepScan Best, bool IsGivenUp);

    /// <param name="Times">How often it was not there.</param>
    private sealed record Away(int Times, DateTimeOffset NotBefore, DateTimeOffset Since);
}
