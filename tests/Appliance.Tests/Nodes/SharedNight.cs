using System.Collections.Concurrent;
using System.Text;
using Microsoft.Extensions.Time.Testing;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Nodes;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Store;
using Vmsweep.Appliance.Sweeps.Configuration;
using Vmsweep.Appliance.Sweeps.Planning;
using Vmsweep.Appliance.Sweeps.Running;
using Vmsweep.Appliance.Tests.Results.Store;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Nodes;

/// <summary>One of the nodes that run a sweep together, over VMs that are none; what it keeps is in a real database.</summary>
internal sealed class SharedNode : ISweepScanner, ISweepListener, IDisposable
{
    private readonly Scratch _scratch = new();
    private readonly ResultLog _results;

    public SharedNode(DatabasePlace place, string limits, string sweep = "")
    {
        Sweep = ApplianceConfiguration.Parse("v.json", Encoding.UTF8.GetBytes($$"""{ "sweeps": { "nightly": { "what": { "folders": ["/ds"] }, {{sweep}} "limits": { {{limits}} } } } }""")).Sweeps.Sweeps["nightly"];
        Store = SweepStore.Open(place, TimeProvider.System);
        _results = ResultLog.Open(place, TimeProvider.System)!;
        Session = NodeSession.Join(place.Server!);
        Claims = VmClaims.Open(Session);
    }

    public SweepSettings Sweep { get; }

    public SweepStore Store { get; }

    public NodeSession Session { get; }

    public VmClaims Claims { get; }

    /// <summary>The clock of its sweeps; one that does not go by itself goes on while VMs wait for what was lost.</summary>
    public TimeProvider Time { get; init; } = TimeProvider.System;

    public List<SweepVm> Vms { get; init; } = [];

    /// <summary>VMs whose scans came to their end here.</summary>
    public ConcurrentQueue<string> Scanned { get; } = [];

    /// <summary>Done in the middle of a scan.</summary>
    public Action<SweepVm, CancellationToken> During { get; set; } = (_, _) => { };

    /// <summary>What a scan reports of a VM's target, and how often it is worth trying again.</summary>
    public Func<SweepVm, TargetReport, int>? Loses { get; set; }

    public string Plan() => SweepRunner.Plan(Sweep, Store, Vms, Time);

    public SweepRunRow Run(string run, CancellationToken? stop = null)
    {
        Session.Work(run, isIdle: false);
        using var runner = new SweepRunner(Sweep, Store, new SweepLocks(_scratch["sweeps"]), this, _results, Time, this, null, Claims);
        SweepRunRow row = runner.Run(run, Vms, stop ?? TestContext.Current.CancellationToken);
        Session.Work("", isIdle: false);
        return row;
    }

    public SweepScan Scan(SweepVm vm, bool onlyChanges, DateTimeOffset inheritFrom, IScanPacing? pacing, IScanListener listener, CancellationToken cancellation)
    {
        During(vm, cancellation);
        Scanned.Enqueue(vm.Name);
        FinishedScan scan = Scans.Of(vm.Name, 1, Scans.Finding("v1/x"), Scans.Finding("v1/y"));
        return new SweepScan(scan.Target, scan.Engines) { Retries = Loses?.Invoke(vm, scan.Target) ?? 0 };
    }

    public void OnProgress(SweepProgress progress)
    {
        if (Time is FakeTimeProvider clock && progress.Scanning.Count == 0 && progress.Held.Contains("was lost; tried again", StringComparison.Ordinal))
        {
            clock.Advance(TimeSpan.FromMinutes(15));
        }
    }

    public void OnVm(SweepVmReport vm)
    {
    }

    public void OnWaiting(DateTimeOffset until)
    {
    }

    public void Dispose()
    {
        Claims.Dispose();
        Session.Dispose();
        _results.Dispose();
        Store.Dispose();
        _scratch.Dispose();
    }
}
