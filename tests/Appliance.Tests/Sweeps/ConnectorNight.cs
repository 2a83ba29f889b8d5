using System.Text;
using Microsoft.Extensions.Time.Testing;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Store;
using Vmsweep.Appliance.Sweeps.Configuration;
using Vmsweep.Appliance.Sweeps.Planning;
using Vmsweep.Appliance.Sweeps.Running;
using Vmsweep.Appliance.Tests.Hostile;
using Vmsweep.Appliance.Worker;
using Vmsweep.Golden;
using Fleet = Vmsweep.Appliance.Cli.Hypervisors;

namespace Vmsweep.Appliance.Tests.Sweeps;

/// <summary>A sweep over a real hypervisor in this process, on a clock on which the pause before the next try is no time.</summary>
internal sealed class ConnectorNight(string connectors, string rules) : ISweepScanner, ISweepListener, IWorker, IDisposable
{
    private readonly Scratch _scratch = new();
    private WorkerScanner? _scanner;

    /// <summary>Done before the try of that number, which begins with 1.</summary>
    public Action<int> BeforeTry { get; set; } = _ => { };

    /// <summary>Done when the VM was opened, before its disks are read.</summary>
    public Action<int> BeforeReading { get; set; } = _ => { };

    /// <summary>How often each try says that the VM is worth another, and its first gap.</summary>
    public List<(int Retries, string Gap)> Tries { get; } = [];

    public string State => _scratch["state"];

    /// <param name="what">Of the sweep.</param>
    public SweepReport Run(string what)
    {
        File.WriteAllText(_scratch["rules.yar"], rules);
        ApplianceConfiguration configuration = ApplianceConfiguration.Parse("v.json", Encoding.UTF8.GetBytes($$"""{ "connectors": { {{connectors}} }, "sweeps": { "nightly": { "what": { {{what}} } } } }"""));
        SweepSettings sweep = configuration.Sweeps.Sweeps["nightly"];
        using Fleet fleet = Fleet.Of(configuration, State, []);
        IReadOnlyList<SweepVm> vms = new SweepInventory(fleet.Catalog, fleet.Journal, fleet.ReapVm, [], TestContext.Current.CancellationToken).List(sweep);
        using SweepStore store = SweepStore.Open(State, TimeProvider.System);
        using ResultLog results = ResultLog.Open(State, TimeProvider.System)!;
        _scanner = new WorkerScanner(HostileScan.Settings with { RuleSources = [_scratch["rules.yar"]], StateFolder = State }, Sandbox.Probe(SandboxMode.Reduced), this, TimeProvider.System);
        using (_scanner)
        {
            var time = new FakeTimeProvider(TimeProvider.System.GetUtcNow()) { AutoAdvanceAmount = TimeSpan.FromMinutes(3) };
            using var runner = new SweepRunner(sweep, store, new SweepLocks(Path.Combine(State, "sweeps")), this, results, time, this);
            string run = SweepRunner.Plan(sweep, store, vms, time);
            runner.Run(run, vms, TestContext.Current.CancellationToken);
            return results.Complete(SweepVmReports.Of(store.Find(run)!, [.. store.Vms(run).Select(v => v.Report)]));
        }
    }

    public SweepScan Scan(SweepVm vm, bool onlyChanges, DateTimeOffset inheritFrom, IScanPacing? pacing, IScanListener listener, CancellationToken cancellation)
    {
        BeforeTry(Tries.Count + 1);
        SweepScan scan = _scanner!.Scan(vm, onlyChanges, inheritFrom, pacing, listener, cancellation);
        Tries.Add((scan.Retries, scan.Target.Gaps is [var gap, ..] ? gap.Detail : ""));
        return scan;
    }

    public WorkerOutcome Run(WorkerJob job, IReadOnlyList<(string Host, string Inside)> binds, Action<WorkerEvent> onEvent, Action<ReadOnlySpan<byte>>? onData, CancellationToken cancellation)
    {
        if (job is ScanJob { Disks.Count: > 0 })
        {
            BeforeReading(Tries.Count + 1);
        }

        return new InProcessWorker().Run(job, binds, onEvent, onData, cancellation);
    }

    public void OnProgress(SweepProgress progress)
    {
    }

    public void OnVm(SweepVmReport vm)
    {
    }

    public void OnWaiting(DateTimeOffset until)
    {
    }

    public void Dispose() => _scratch.Dispose();
}
