using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.Inspection;
using Vmsweep.Signatures.AllowLists;

namespace Vmsweep.Appliance.Tests.Signatures;

/// <summary>What takes a finding out of the verdict is the operator's word alone.</summary>
public sealed class SuppressionTests
{
    private static readonly FindingReport Finding = new() { Path = "v1/a.exe", SizeBytes = 1, Sha256 = new string('a', 64), Engine = "yara", Rule = "r", Namespace = "n", Severity = "high" };

    [Fact]
    public void A_worker_cannot_say_that_its_finding_is_allowed()
    {
        WorkerEvents.Check(new FindingEvent(Finding));
        Assert.Throws<InvalidDataException>(() => WorkerEvents.Check(new FindingEvent(Finding with { Suppressed = new SuppressedReport("guest", "harmless", DateTimeOffset.MaxValue, "") })));
    }

    [Theory]
    [InlineData("v1/a.exe", true)]
    [InlineData("v1/A.exe", false)]
    [InlineData("v1/a.exe.", false)]
    [InlineData("v1/x/../a.exe", false)]
    [InlineData(@"v1/a\x2Eexe", false)]
    [InlineData("v1//a.exe", false)]
    [InlineData("/v1/a.exe", false)]
    [InlineData("v1/a.exe:s", false)]
    public void A_name_that_only_looks_like_the_allowed_one_counts(string path, bool isAllowed)
    {
        Report report = Scan(Finding with { Path = path }, "\"path\": \"v1/a.exe\"");
        Assert.Equal((isAllowed ? "clean" : "detected", isAllowed ? 0 : 1, isAllowed ? 1 : 0), (report.Verdict, (int)report.Totals.Findings, (int)report.Totals.Suppressed));
        Assert.Single(report.Targets[0].Findings);
    }

    [Fact]
    public void Another_name_of_the_same_content_counts() =>
        Assert.Equal("detected", Scan(Finding with { AlsoAt = ["v1/startup/a.exe"] }, "\"path\": \"v1/a.exe\"").Verdict);

    [Theory]
    [InlineData("\"vm\": \"web\"", "clean")]
    [InlineData("\"vm\": \"id-1\"", "clean")]
    [InlineData("\"vm\": \"web2\"", "detected")]
    public void A_VM_is_known_by_its_name_and_its_id(string criterion, string verdict) => Assert.Equal(verdict, Scan(Finding, criterion).Verdict);

    private static Report Scan(FindingReport finding, string criterion)
    {
        List<AllowFault> faults = [];
        byte[] json = System.Text.Encoding.UTF8.GetBytes($$"""{ "schema": "vmsweep.allow/1", "entries": [ { {{criterion}}, "who": "a", "why": "b", "until": "2100-01-01" } ] }""");
        var allow = new AllowList(AllowList.Parse(json, "l", TimeProvider.System.GetUtcNow(), faults).Entries);
        Assert.Empty(faults);
        var settings = new ScanSettings
        {
            RuleSources = [], WithBuiltin = false, StrictRules = false, HashLists = [], Engines = [], Threads = 1, MemoryBytes = 4 << 20, MatchTimeoutSeconds = 1, Allow = allow,
        };
        var vm = new Vm("web.vmx", new VmReport("id-1", "web", "off", ""), [new VmDisk("web.vmdk", new ChainPlan(null, [new PlannedFile(0, "web.vmdk", "/none")], []), [])], []);
        return new ScanRun(settings, Sandbox.Probe(SandboxMode.Reduced), new OneFinding(finding), TimeProvider.System, new Deaf(), CancellationToken.None).Run([vm]);
    }

    private sealed class OneFinding(FindingReport finding) : IWorker
    {
        public WorkerOutcome Run(WorkerJob job, IReadOnlyList<(string Host, string Inside)> binds, Action<WorkerEvent> onEvent, Action<ReadOnlySpan<byte>>? onData, CancellationToken cancellation)
        {
            onEvent(new FindingEvent(finding));
            return new WorkerOutcome(WorkerEnd.Done, "");
        }
    }

    private sealed class Deaf : IScanListener
    {
        public void OnTarget(TargetReport target, int number, int count)
        {
        }

        public void OnVolume(TargetReport target, DiskReport disk, VolumeReport volume)
        {
        }

        public void OnFinding(TargetReport target, FindingReport finding)
        {
        }

        public void OnGap(TargetReport target, GapReport gap)
        {
        }

        public void OnAct(TargetReport target, ActReport act)
        {
        }

        public void OnProgress(TargetReport target, ProgressEvent progress)
        {
        }
    }
}
