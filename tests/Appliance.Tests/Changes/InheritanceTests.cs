using Vmsweep.Appliance.Cli;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Sweeps.Planning;
using Vmsweep.Appliance.Sweeps.Running;
using Vmsweep.Appliance.Tests.Hostile;
using Vmsweep.Appliance.Tests.Results;
using Vmsweep.Appliance.Worker;

namespace Vmsweep.Appliance.Tests.Changes;

/// <summary>A scan that takes from a shared base what was found there says what one says that reads all.</summary>
[Trait("Category", "Slow")]
public sealed class InheritanceTests
{
    [Theory]
    [InlineData("base.qcow2", "qcow2", 11)]
    [InlineData("base.vmdk", "vmdk", 12)]
    public void Whatever_is_in_the_overlays_the_findings_are_those_of_a_whole_scan(string @base, string format, int seed)
    {
        using var clones = new LinkedClones(@base);
        var random = new Random(seed);
        string over = @base;
        Report first = clones.Scan(clones.Clone($"first.{format}", @base, "true"));
        Assert.Equal(0, first.Totals.FilesInherited);
        Assert.Equal(LinkedClones.Said(clones.Alone($"first.{format}")), LinkedClones.Said(first));
        for (int round = 0; round < 4; round++)
        {
            // One over the base itself, and then each over the one before.
            string name = $"clone{round}.{format}";
            clones.Clone(name, over, string.Join('\n', Enumerable.Range(0, 4).Select(_ => LinkedClones.Change(random))));
            Report report = clones.Scan(name, s => s with { RecheckShare = round == 1 ? 0.2 : 0 });
            Report alone = clones.Alone(name);
            Assert.Equal(LinkedClones.Said(alone), LinkedClones.Said(report));
            Assert.Equal(alone.Totals.FilesSeen, report.Totals.FilesScanned + report.Totals.FilesInherited + (alone.Totals.FilesSeen - alone.Totals.FilesScanned));
            Assert.Equal(report.Totals.BytesSeen, report.Totals.BytesRead + report.Totals.BytesInherited);
            Assert.True(report.Totals is { BytesInherited: > 5 << 20, FilesInherited: > 0 } && (round == 1 || report.Totals.FilesInherited > 5), $"{report.Totals}");
            Assert.Contains(report.Targets[0].Findings, f => f.Inherited == true);
            VolumeReport volume = report.Targets[0].Disks[0].Volumes[0];
            Assert.True(volume.Files.Inherited > 0 && volume.Bytes.Inherited > 0);
            over = round % 2 == 0 ? name : @base;
        }
    }

    [Fact]
    public void A_base_that_is_scanned_by_itself_is_read_once_for_all_made_over_it()
    {
        using var clones = new LinkedClones();
        clones.Clone("one.qcow2", "base.qcow2", $"printf {HostileScan.Mark} > new; mcopy -i {LinkedClones.Fat} new ::new.bin");
        Report all = clones.Scan(["base.qcow2", "one.qcow2"]);
        Assert.Equal(0, all.Targets[0].Disks[0].Volumes[0].Files.Inherited);
        Assert.True(all.Targets[1].Disks[0].Volumes[0].Files.Inherited > 30);
        Assert.Contains(all.Targets[1].Findings, f => f.Path == "v2/new.bin" && f.Inherited is null);

        // Whoever hunts for a program finds the clone too.
        Assert.Equal(LinkedClones.Said(clones.Alone("one.qcow2")), LinkedClones.Said(all with { Targets = [all.Targets[1]] }));
        Report base2 = clones.Scan("base.qcow2");
        Assert.True(base2.Totals.FilesInherited > 30, "its files' state is what it was");
        Assert.Equal(LinkedClones.Said(clones.Alone("base.qcow2")), LinkedClones.Said(base2));

        // What is not shared is nobody's but its own.
        clones.Shell("qemu-img convert -O qcow2 one.qcow2 whole.qcow2");
        Assert.Equal((0, 0), (clones.Scan("whole.qcow2").Totals.FilesInherited, clones.Scan("whole.qcow2").Totals.FilesInherited));
    }

    [Fact]
    public void A_base_that_was_written_to_is_read_again()
    {
        using var clones = new LinkedClones();
        clones.Clone("one.qcow2", "base.qcow2", "true");
        clones.Scan("one.qcow2");
        Assert.True(clones.Scan("one.qcow2").Totals.FilesInherited > 30);
        Rewrite(clones);
        Report changed = clones.Scan("one.qcow2");
        Assert.Equal(0, changed.Totals.FilesInherited);
        Assert.Equal(LinkedClones.Said(clones.Alone("one.qcow2")), LinkedClones.Said(changed));

        // A moment after it was written to, another write would leave the same time. The moment is long, for machines on which a scan takes long.
        clones.Later = TimeSpan.Zero;
        clones.Shell("touch -d '+10 minutes' base.qcow2");
        Assert.Equal(0, clones.Scan("one.qcow2").Totals.FilesInherited);
        Assert.Equal(0, clones.Scan("one.qcow2").Totals.FilesInherited);
    }

    [Fact]
    public void A_base_that_was_written_to_unseen_is_found_out_and_all_is_read()
    {
        using var clones = new LinkedClones();
        clones.Clone("one.qcow2", "base.qcow2", "true");
        clones.Scan("one.qcow2");
        Rewrite(clones);
        Assert.Equal(0, clones.Scan("one.qcow2").Totals.FilesInherited);

        // As if its store had not told of the write: what was read before stands under the state of now.
        DamageTests.Execute(clones.Database, "UPDATE layer SET identity = (SELECT identity FROM layer ORDER BY id DESC LIMIT 1) WHERE id = (SELECT min(id) FROM layer)");
        DamageTests.Execute(clones.Database, "DELETE FROM layer WHERE id > (SELECT min(id) FROM layer)");
        Report report = clones.Scan("one.qcow2", s => s with { RecheckShare = 1 });
        FindingReport unseen = Assert.Single(report.Targets[0].Findings, f => f.Rule == "Storage_ChangedUnseen");
        Assert.Equal(("vmsweep", "medium"), (unseen.Engine, unseen.Severity));
        Assert.Equal(0, report.Totals.FilesInherited);
        Assert.Equal(LinkedClones.Said(clones.Alone("one.qcow2")), LinkedClones.Said(report with { Targets = [Without(report.Targets[0], unseen)] }));

        // The state of its files proves nothing any more.
        Assert.Equal((0, 0), (clones.Scan("one.qcow2").Totals.FilesInherited, clones.Scan("one.qcow2").Totals.FilesInherited));
    }

    [Fact]
    public void Nothing_is_taken_from_other_signatures_other_tenants_older_scans_or_a_damaged_database()
    {
        using var clones = new LinkedClones();
        File.WriteAllText(clones["more.yar"], "rule Programs { strings: $a = \"MZ\" condition: $a at 0 }");
        clones.Clone("one.qcow2", "base.qcow2", "true");
        clones.Clone("two.qcow2", "base.qcow2", $"printf x > new; mcopy -i {LinkedClones.Fat} new ::new.bin");
        clones.Scan("one.qcow2");
        Assert.Equal(0, clones.Scan("two.qcow2", s => s with { Scope = "acme" }).Totals.FilesInherited);
        Assert.True(clones.Scan("one.qcow2", s => s with { Scope = "acme" }).Totals.FilesInherited > 0);
        Assert.Equal(0, clones.Scan("one.qcow2", s => s with { Scope = "acme", StateFolder = null }).Totals.FilesInherited);
        Assert.Equal(0, clones.Scan("two.qcow2", s => s with { InheritFrom = null }).Totals.FilesInherited);

        // A rule is added: the base's contents are known, and only it is run over them, once.
        Func<ScanSettings, ScanSettings> more = s => s with { RuleSources = [.. s.RuleSources, clones["more.yar"]] };
        Report added = clones.Scan("one.qcow2", more);
        Assert.Equal(0, added.Totals.FilesInherited);
        Assert.True(added.Totals.FilesCached > 30, $"{added.Totals}");
        Report inherited = clones.Scan("two.qcow2", more);
        Assert.True(inherited.Totals.FilesInherited > 30);
        Assert.Contains(inherited.Targets[0].Findings, f => f is { Rule: "Programs", Inherited: true });
        Assert.Equal(LinkedClones.Said(clones.Alone("two.qcow2", more)), LinkedClones.Said(inherited));

        // Full scans: what was read before they began is read again, once.
        clones.Later = TimeSpan.FromHours(3);
        Func<ScanSettings, ScanSettings> full = s => s with { InheritFrom = TimeProvider.System.GetUtcNow().AddHours(2) };
        Assert.Equal(0, clones.Scan("one.qcow2", full).Totals.FilesInherited);
        Assert.True(clones.Scan("two.qcow2", full).Totals.FilesInherited > 30);

        DamageTests.Execute(clones.Database, "UPDATE layer_part SET part = substr(part, 1, 20) || x'00' || substr(part, 22)");
        Report damaged = clones.Scan("two.qcow2", full);
        Assert.Equal(0, damaged.Totals.FilesInherited);
        Assert.Equal(LinkedClones.Said(clones.Alone("two.qcow2")), LinkedClones.Said(damaged));
    }

    [Fact]
    public void What_one_image_sees_in_a_parent_is_nothing_to_one_that_opens_it_as_another_format()
    {
        using var clones = new LinkedClones("base.img");
        clones.Clone("one.qcow2", "base.img", "true");
        clones.Shell("qemu-img create -q -f qcow2 -b base.img -F raw raw.qcow2");
        clones.Scan("one.qcow2");
        Report raw = clones.Scan("raw.qcow2");
        Assert.Equal(0, raw.Totals.FilesInherited);
        Assert.Equal(LinkedClones.Said(clones.Alone("raw.qcow2")), LinkedClones.Said(raw));
    }

    [Fact]
    public async Task Of_two_clones_that_are_scanned_at_once_one_reads_the_base()
    {
        using var clones = new LinkedClones();
        SweepVm[] vms = [.. ((string[])["one.qcow2", "two.qcow2"]).Select(name => new SweepVm(name, name)
        {
            Id = name,
            Target = clones.Clone(name, "base.qcow2", "true"),
            Datastores = ["ds"],
            Open = _ => new OpenedVm(new TargetFinder([]).Find(clones[name]).Single()),
        })];
        using var scanner = new WorkerScanner(clones.Settings, Sandbox.Probe(SandboxMode.Reduced), new InProcessWorker(), clones.Time) { Bases = new HashSet<string>() };
        TargetReport[] reports = await Task.WhenAll(vms.Select(vm => Task.Factory.StartNew(
            () => scanner.Scan(vm, false, TimeProvider.System.GetUtcNow().AddDays(-1), null, new NdjsonListener(TextWriter.Null), TestContext.Current.CancellationToken).Target,
            TestContext.Current.CancellationToken, TaskCreationOptions.LongRunning, TaskScheduler.Default)));
        long[] inherited = [.. reports.Select(r => ScanSummary.Of(r).Files.Inherited).Order()];
        Assert.True(inherited is [0, > 30], string.Join(' ', inherited));

        // What is recorded of both is the same: where programs are, too.
        Assert.Equal(Seen(reports[0]), Seen(reports[1]));
        Assert.NotEmpty(Seen(reports[0]));

        static IEnumerable<string> Seen(TargetReport report) => report.Seen.Select(s => $"{s.Path} {Convert.ToHexString(s.Sha256)}").Order(StringComparer.Ordinal);
    }

    /// <summary>Puts what the rule looks for into a file of the base, in place.</summary>
    private static void Rewrite(LinkedClones clones) => clones.Shell($$"""
        printf {{HostileScan.Mark}} > mark
        at=$(grep -obUaP -m1 'MZ' base.qcow2.raw | head -1 | cut -d: -f1)
        qemu-io -f qcow2 -c "write -s mark $at {{HostileScan.Mark.Length}}" base.qcow2 >/dev/null
        """);

    private static TargetReport Without(TargetReport target, FindingReport finding)
    {
        target.Findings.Remove(finding);
        return target;
    }
}
