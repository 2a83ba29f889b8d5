using System.Collections.Concurrent;
using System.Text;
using Microsoft.Extensions.Time.Testing;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Store;
using Vmsweep.Appliance.Sweeps.Configuration;
using Vmsweep.Appliance.Sweeps.Planning;
using Vmsweep.Appliance.Sweeps.Running;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Sweeps;

/// <summary>A sweep over VMs that are none, on a clock that the scans themselves move: nights pass in milliseconds, and the store is a real one.</summary>
internal sealed class FakeNight : ISweepScanner, ISweepListener, IResultRecorder, IDisposable
{
    private readonly Scratch _scratch = new();
    private readonly Lock _lock = new();

    public FakeNight(string start, string sweep)
    {
        Time = new FakeTimeProvider(DateTimeOffset.Parse(start, System.Globalization.CultureInfo.InvariantCulture));
        Sweep = ApplianceConfiguration.Parse("v.json", Encoding.UTF8.GetBytes($"{{ \"tenants\": {{ \"acme\": {{ \"folders\": [\"/ds/acme\"] }} }}, \"sweeps\": {{ \"nightly\": {{ \"what\": {{ \"folders\": [\"/ds\"] }}, {sweep} }} }} }}")).Sweeps.Sweeps["nightly"];
        Store = SweepStore.Open(_scratch["state"], Time);
        Locks = new SweepLocks(_scratch["state/sweeps"]);
    }

    public FakeTimeProvider Time { get; }

    public SweepSettings Sweep { get; set; }

    public SweepStore Store { get; private set; }

    public SweepLocks Locks { get; }

    /// <summary>How long each VM takes.</summary>
    public TimeSpan Duration { get; set; } = TimeSpan.FromMinutes(30);

    /// <summary>Done in the middle of a scan; the answer is what the scan reports.</summary>
    public Action<SweepVm, TargetReport, CancellationToken> During { get; set; } = (_, _, _) => { };

    /// <summary>How often a VM is worth trying again, once it was scanned.</summary>
    public Func<SweepVm, int> Retries { get; set; } = _ => 0;

    /// <summary>How much time passes while VMs wait for a datastore that was lost.</summary>
    public TimeSpan Away { get; set; } = TimeSpan.FromMinutes(15);

    /// <summary>Done where it is said that the sweep waits.</summary>
    public Action<DateTimeOffset>? Waiting { get; set; }

    /// <summary>Scans that were begun and that came to their end, with the time at which they did.</summary>
    public List<(string Vm, DateTimeOffset At)> Begun { get; } = [];

    public List<(string Vm, DateTimeOffset At)> Ended { get; } = [];

    public List<DateTimeOffset> Waits { get; } = [];

    public ConcurrentDictionary<string, bool> OnlyChanges { get; } = [];

    public ConcurrentDictionary<string, DateTimeOffset> InheritFrom { get; } = [];

    public List<FinishedScan> Recorded { get; } = [];

    public bool CannotRecord { get; set; }

    public int MostAtOnce { get; private set; }

    public List<SweepVm> Vms { get; set; } = [.. Enumerable.Range(1, 6).Select(i => Vm($"vm{i}"))];

    public static SweepVm Vm(string name, string datastore = "/ds", string host = "", string tenant = "", int disks = 1, params string[] tags) => new(name, name)
    {
        Id = name,
        Target = name,
        Host = host,
        Tenant = tenant,
        Tags = tags,
        Datastores = [.. Enumerable.Repeat(datastore, disks)],
        Open = _ => new OpenedVm(new Vm(name, new VmReport(name, name, "off", ""), [], [])),
    };

    public string Plan() => SweepRunner.Plan(Sweep, Store, Vms, Time);

    public SweepRunRow Run(string run, RunOptions? options = null, CancellationToken? stop = null)
    {
        using var runner = new SweepRunner(Sweep, Store, Locks, this, this, Time, this, options);
        SweepRunRow row = runner.Run(run, Vms, stop ?? TestContext.Current.CancellationToken);
        Most = runner.MostDisks;
        return row;
    }

    public IReadOnlyDictionary<string, int> Most { get; private set; } = new Dictionary<string, int>();

    public SweepReport Report(string run) => SweepVmReports.Of(Store.Find(run)!, [.. Store.Vms(run).Select(v => v.Report)]);

    /// <summary>As after a restart of the machine.</summary>
    public void Reopen()
    {
        Store.Dispose();
        Store = SweepStore.Open(_scratch["state"], Time);
    }

    public string Path(string name) => _scratch[name];

    /// <summary>From now on the database may not grow.</summary>
    public void Fill() => Store.LimitPages();

    public SweepScan Scan(SweepVm vm, bool onlyChanges, DateTimeOffset inheritFrom, IScanPacing? pacing, IScanListener listener, CancellationToken cancellation)
    {
        OnlyChanges[vm.Name] = onlyChanges;
        InheritFrom[vm.Name] = inheritFrom;
        lock (_lock)
        {
            Begun.Add((vm.Name, Time.GetUtcNow()));
            MostAtOnce = Math.Max(MostAtOnce, Begun.Count - Ended.Count);
        }

        var target = new TargetReport { Target = vm.Target, Vm = new VmReport(vm.Id, vm.Name, "off", "") };
        During(vm, target, cancellation);
        for (TimeSpan done = TimeSpan.Zero; done < Duration && !cancellation.IsCancellationRequested; done += TimeSpan.FromMinutes(1))
        {
            Time.Advance(TimeSpan.FromMinutes(1));
        }

        lock (_lock)
        {
            Ended.Add((vm.Name, Time.GetUtcNow()));
        }

        return new SweepScan(target, []) { Retries = Retries(vm) };
    }

    public void OnProgress(SweepProgress progress)
    {
        if (progress.Scanning.Count == 0 && progress.Held.Contains("was lost; tried again", StringComparison.Ordinal))
        {
            Time.Advance(Away);
        }
    }

    public void OnVm(SweepVmReport vm)
    {
    }

    public void OnWaiting(DateTimeOffset until)
    {
        Waits.Add(until);
        if (Waiting is { } waiting)
        {
            waiting(until);
        }
        else
        {
            Time.Advance(until - Time.GetUtcNow());
        }
    }

    public RecordedScan? Record(FinishedScan scan)
    {
        lock (_lock)
        {
            if (CannotRecord)
            {
                return null;
            }

            Recorded.Add(scan);
            return new RecordedScan(Recorded.Count, false, 0, 0);
        }
    }

    public void Dispose()
    {
        Store.Dispose();
        _scratch.Dispose();
    }
}
