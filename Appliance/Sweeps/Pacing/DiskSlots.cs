using Vmsweep.Appliance.Sweeps.Configuration;
using Vmsweep.Appliance.Sweeps.Planning;

namespace Vmsweep.Appliance.Sweeps.Pacing;

/// <summary>
/// Disks that are read at once: in all, and of each datastore, host and tenant. All disks of a VM are read by one worker; a VM that has more than a limit allows is
/// read when nothing else is.
/// </summary>
internal sealed class DiskSlots(SweepLimits limits)
{
    private const string All = "all datastores";

    private readonly Dictionary<string, int> _taken = new(StringComparer.Ordinal);
    private readonly Dictionary<string, int> _most = new(StringComparer.Ordinal);

    /// <summary>All that are taken.</summary>
    public int Taken => _taken.GetValueOrDefault(All);

    /// <summary>The most that were taken at once, by what they were taken of.</summary>
    public IReadOnlyDictionary<string, int> Most => _most;

    /// <returns>Null when its disks are taken; otherwise what it waits for.</returns>
    public string? TryTake(SweepVm vm) => TryTake(DiskShare.Of(vm));

    /// <inheritdoc cref="TryTake(SweepVm)"/>
    public string? TryTake(DiskShare share)
    {
        if (WhyNot(share) is { } why)
        {
            return why;
        }

        Take(share);
        return null;
    }

    /// <returns>Null when its disks may be taken; otherwise what it waits for.</returns>
    public string? WhyNot(DiskShare share)
    {
        foreach ((string of, int count, int? limit) in Wanted(share))
        {
            int taken = _taken.GetValueOrDefault(of);
            if (limit is { } most && taken > 0 && taken + count > most)
            {
                return $"no more than {most} disks at once of {of}";
            }
        }

        return null;
    }

    /// <summary>What is read already, whatever the limits are.</summary>
    public void Take(DiskShare share)
    {
        foreach ((string of, int count, _) in Wanted(share))
        {
            _taken[of] = _taken.GetValueOrDefault(of) + count;
            _most[of] = Math.Max(_most.GetValueOrDefault(of), _taken[of]);
        }
    }

    public void Return(SweepVm vm)
    {
        foreach ((string of, int count, _) in Wanted(DiskShare.Of(vm)))
        {
            _taken[of] -= count;
        }
    }

    private IEnumerable<(string Of, int Count, int? Limit)> Wanted(DiskShare vm)
    {
        yield return (All, vm.Datastores.Count, limits.Disks);
        foreach (IGrouping<string, string> store in vm.Datastores.GroupBy(d => d))
        {
            yield return ($"datastore {store.Key}", store.Count(), limits.DisksPerDatastore);
        }

        if (vm.Host.Length > 0)
        {
            yield return ($"host {vm.Host}", vm.Datastores.Count, limits.DisksPerHost);
        }

        if (vm.Tenant.Length > 0)
        {
            yield return ($"tenant {vm.Tenant}", vm.Datastores.Count, limits.DisksPerTenant);
        }
    }
}
