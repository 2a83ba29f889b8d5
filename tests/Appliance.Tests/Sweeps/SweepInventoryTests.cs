using System.Text;
using Microsoft.Extensions.Time.Testing;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Store;
using Vmsweep.Appliance.Sweeps.Configuration;
using Vmsweep.Appliance.Sweeps.Planning;
using Vmsweep.Appliance.Sweeps.Running;
using Vmsweep.Appliance.Tests.Hostile;
using Vmsweep.Appliance.Worker;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Sweeps;

/// <summary>What a sweep finds in datastores, and what becomes of it when that is not there any more.</summary>
public sealed class SweepInventoryTests : IDisposable
{
    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void VMs_are_chosen_by_name_folder_and_tenant()
    {
        Image("ds/web01.raw");
        Image("ds/web02-test.raw");
        Image("ds/db/db01.raw");
        Image("ds/acme/web03.raw");
        Image("ds/acme2/web04.raw");
        Assert.Equal(["db01.raw", "web01.raw", "web02-test.raw", "web03.raw", "web04.raw"], Names(""));
        Assert.Equal(["web01.raw", "web03.raw", "web04.raw"], Names(""", "include": { "names": ["web*"] }, "exclude": { "names": ["*-test*"] }"""));
        Assert.Equal(["db01.raw"], Names($$""", "include": { "folders": ["{{_scratch["ds/db"]}}"] }"""));
        // A folder's name is no beginning of another's.
        Assert.Equal(["web03.raw"], Names(""", "tenant": "acme" """));
        SweepVm vm = List("").Single(v => v.Name == "web03.raw");
        Assert.Equal(("acme", _scratch["ds"], _scratch["ds/acme"]), (vm.Tenant, Assert.Single(vm.Datastores), vm.Folder));
    }

    [Fact]
    public void A_link_is_not_followed_however_late_it_is_looked_at()
    {
        Image("elsewhere/secret.raw");
        Image("ds/a.raw");
        File.CreateSymbolicLink(_scratch["ds/link.raw"], _scratch["elsewhere/secret.raw"]);
        SweepVm link = List("").Single(v => v.Target.EndsWith("link.raw", StringComparison.Ordinal));
        Vm opened = link.Open(TestContext.Current.CancellationToken).Vm;
        Assert.Empty(opened.Disks);
        Assert.Equal("refused", Assert.Single(opened.Gaps).Fault);

        // What was a file when it was listed is a link by now.
        SweepVm file = List("").Single(v => v.Name == "a.raw");
        File.Delete(_scratch["ds/a.raw"]);
        File.CreateSymbolicLink(_scratch["ds/a.raw"], _scratch["elsewhere/secret.raw"]);
        Assert.Empty(file.Open(TestContext.Current.CancellationToken).Vm.Disks);
    }

    [Fact]
    public void A_VM_that_was_started_since_it_was_listed_is_not_read()
    {
        Image("ds/vm/vm.vmdk");
        File.WriteAllText(_scratch["ds/vm/vm.vmx"], "displayName = \"vm\"\nscsi0:0.present = \"TRUE\"\nscsi0:0.fileName = \"vm.vmdk\"\nscsi0:0.deviceType = \"scsi-hardDisk\"\n");
        SweepVm vm = Assert.Single(List(""));
        Assert.Single(vm.Open(TestContext.Current.CancellationToken).Vm.Disks);
        Directory.CreateDirectory(_scratch["ds/vm/vm.vmx.lck"]);
        File.WriteAllText(_scratch["ds/vm/vm.vmx.lck/M1.lck"], "");
        Vm opened = vm.Open(TestContext.Current.CancellationToken).Vm;
        Assert.Empty(opened.Disks);
        Assert.Contains("runs", Assert.Single(opened.Gaps).Detail, StringComparison.Ordinal);
    }

    [Fact]
    public void What_cannot_be_listed_is_a_gap_that_no_filter_leaves_out()
    {
        ApplianceConfiguration configuration = Configuration(""", "connectors": ["gone"], "include": { "names": ["web*"] }""");
        using var catalog = new ConnectorCatalog(configuration, TimeProvider.System);
        IReadOnlyList<SweepVm> vms = new SweepInventory(catalog, new LeaseJournal(_scratch["leases"], TimeProvider.System), _ => { }, [], TestContext.Current.CancellationToken).List(configuration.Sweeps.Sweeps["nightly"]);
        Assert.Equal(["gone", _scratch["ds"]], vms.Select(v => v.Name));
        Assert.All(vms, v => Assert.Equal("transport", Assert.Single(v.Open(TestContext.Current.CancellationToken).Vm.Gaps).Fault));
    }

    /// <summary>A run that was interrupted in this moment took it for a failure, and left the VM as one that is being scanned.</summary>
    [Fact]
    public void A_VM_is_opened_until_its_own_scan_is_to_end()
    {
        Image("ds/vm.raw");
        ApplianceConfiguration configuration = Configuration("");
        using var catalog = new ConnectorCatalog(configuration, TimeProvider.System);
        using var listing = new CancellationTokenSource();
        SweepVm vm = new SweepInventory(catalog, new LeaseJournal(_scratch["leases"], TimeProvider.System), _ => { }, [], listing.Token).List(configuration.Sweeps.Sweeps["nightly"]).Single();
        listing.Cancel();
        Assert.Single(vm.Open(TestContext.Current.CancellationToken).Vm.Disks);
        Assert.Throws<OperationCanceledException>(() => vm.Open(listing.Token));
    }

    [Fact]
    public void A_datastore_that_vanishes_in_the_middle_is_a_gap_and_the_sweep_goes_on()
    {
        for (int i = 1; i <= 3; i++)
        {
            Image($"ds/vm{i}.raw");
        }

        Image("other/zz.raw");
        ApplianceConfiguration configuration = Configuration("", $", \"limits\": {{ \"disks\": 1 }}", _scratch["other"]);
        SweepSettings sweep = configuration.Sweeps.Sweeps["nightly"];
        using var catalog = new ConnectorCatalog(configuration, TimeProvider.System);
        IReadOnlyList<SweepVm> vms = new SweepInventory(catalog, new LeaseJournal(_scratch["leases"], TimeProvider.System), _ => { }, [], TestContext.Current.CancellationToken).List(sweep);
        using SweepStore store = SweepStore.Open(_scratch["state"], TimeProvider.System);
        using ResultLog results = ResultLog.Open(_scratch["state"], TimeProvider.System)!;
        using var scanner = new WorkerScanner(HostileScan.Settings with { StateFolder = _scratch["state"] }, Sandbox.Probe(SandboxMode.Reduced), new InProcessWorker(), TimeProvider.System);
        var vanishing = new Vanishing(() => Directory.Move(_scratch["ds"], _scratch["away"]));

        // Whoever asks for the time learns that minutes have passed: it is tried again until it was often enough.
        var time = new FakeTimeProvider(TimeProvider.System.GetUtcNow()) { AutoAdvanceAmount = TimeSpan.FromMinutes(3) };
        using var runner = new SweepRunner(sweep, store, new SweepLocks(_scratch["state/sweeps"]), scanner, results, time, vanishing);
        string run = SweepRunner.Plan(sweep, store, vms, time);
        Assert.Equal(SweepStates.Finished, runner.Run(run, vms, TestContext.Current.CancellationToken).State);
        SweepReport report = results.Complete(SweepVmReports.Of(store.Find(run)!, [.. store.Vms(run).Select(v => v.Report)]));
        Assert.Equal(["clean", "incomplete", "incomplete", "clean"], report.Vms.Select(v => v.Verdict));
        Assert.All(report.Vms.Where(v => v.Verdict == "incomplete"), v =>
        {
            GapReasonReport gap = Assert.Single(v.GapReasons);
            Assert.Equal("transport", gap.Fault);
            Assert.Contains($"the datastore {_scratch["ds"]} is not there any more", gap.Detail, StringComparison.Ordinal);
        });
        Assert.Equal(("incomplete", 4L, 2L), (report.Verdict, report.Totals.Done, report.Totals.Gaps));
    }

    private void Image(string path)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(_scratch[path])!);
        File.WriteAllBytes(_scratch[path], Fat.Value);
    }

    private static readonly Lazy<byte[]> Fat = new(() => HostileScan.Fat("printf 'only text' > a.txt; mcopy -i image a.txt ::A.TXT"));

    private ApplianceConfiguration Configuration(string what, string more = "", params string[] folders) => ApplianceConfiguration.Parse("v.json", Encoding.UTF8.GetBytes(
        $$"""
        { "connectors": { "gone": { "address": "qemu://{{_scratch["no.qmp"]}}" } }, "tenants": { "acme": { "folders": ["{{_scratch["ds/acme"]}}"] } },
          "sweeps": { "nightly": { "what": { "folders": [{{string.Join(", ", folders.Prepend(_scratch["ds"]).Select(f => $"\"{f}\""))}}]{{what}} }{{more}} } } }
        """));

    private IReadOnlyList<SweepVm> List(string what)
    {
        ApplianceConfiguration configuration = Configuration(what);
        using var catalog = new ConnectorCatalog(configuration, TimeProvider.System);
        return new SweepInventory(catalog, new LeaseJournal(_scratch["leases"], TimeProvider.System), _ => { }, configuration.Sweeps.Tenants, TestContext.Current.CancellationToken).List(configuration.Sweeps.Sweeps["nightly"]);
    }

    private IEnumerable<string> Names(string what) => List(what).Select(v => v.Name).Order(StringComparer.Ordinal);

    /// <summary>Does something when the first VM is done.</summary>
    private sealed class Vanishing(Action vanish) : ISweepListener
    {
        private int _done;

        public void OnProgress(SweepProgress progress)
        {
        }

        public void OnVm(SweepVmReport vm)
        {
            if (vm.State == SweepVmStates.Done && Interlocked.Increment(ref _done) == 1)
            {
                vanish();
            }
        }

        public void OnWaiting(DateTimeOffset until)
        {
        }
    }
}
