using System.Security.Cryptography;
using System.Text;
using Vmsweep.Appliance.Cli;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Tests.Hostile;
using Vmsweep.Appliance.Worker;
using Vmsweep.Golden;
using Vmsweep.Signatures.Hashes;

namespace Vmsweep.Appliance.Tests.Engines;

/// <summary>Which engines a scan uses, what the report says of them, and what becomes of one that cannot take part.</summary>
public sealed class EngineTests : IDisposable
{
    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void Three_engines_together_each_find_their_own()
    {
        using ClamdServer clamd = new ClamdServer("AlertExceedsMax yes").Start();
        Disk($"printf '{ClamdServer.NdbMarker}' > a; printf hashed > b; printf '{HostileScan.Mark}' > c; printf fine > d");
        ScanResult result = Scan(Settings(["yara", "clamav", "hash"]) with { ClamdSocket = clamd.Socket, HashLists = [List("hashed", "Evil.B,critical")] });
        Assert.Equal(
            ["clamav Test.Marker.A.UNOFFICIAL high v1/a", "hash Evil.B critical v1/b", "yara Marked low v1/c"],
            result.Findings.Select(f => $"{f.Engine} {f.Rule} {f.Severity} {f.Path}").Order());
        Assert.Empty(result.Gaps);
        Assert.Equal(["yara", "clamav", "hash"], result.Report.Engines.Select(e => e.Name));
        Assert.All(result.Report.Engines, e => Assert.Null(e.Fault));
        Assert.Equal((1, "1", File.GetLastWriteTimeUtc(_scratch["list"]).Date), (result.Report.Engines[2].Rules, result.Report.Engines[2].Version, result.Report.Engines[2].SignatureDate!.Value.Date));
        Assert.NotNull(result.Report.Engines[0].SignatureDate);
        Assert.Null(result.Report.Engines[1].Rules);
        Assert.Contains("\"signatureDate\"", result.Json, StringComparison.Ordinal);
        Assert.Contains("clamav ", result.Text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Without_clamd_there_is_a_fault_a_gap_and_no_clean_verdict(bool isNamed)
    {
        Disk("printf fine > d");
        ScanResult result = Scan(Settings(["yara", "clamav"]) with { ClamdSocket = _scratch["absent"], EnginesAreNamed = isNamed });
        Assert.Equal("incomplete", result.Report.Verdict);
        GapReport gap = Assert.Single(result.Gaps);
        Assert.Equal(("transport", "engine clamav"), (gap.Fault, gap.Structure));
        Assert.Contains("cannot be reached", result.Report.Engines[1].Fault, StringComparison.Ordinal);
        Assert.Contains("engine clamav", result.Text, StringComparison.Ordinal);
    }

    [Fact]
    public void A_clamd_that_keeps_quiet_about_limits_is_used_and_is_a_gap()
    {
        using ClamdServer clamd = new ClamdServer().Start();
        Disk($"printf '{ClamdServer.NdbMarker}' > a; printf fine > d");
        ScanResult result = Scan(Settings(["clamav"]) with { ClamdSocket = clamd.Socket });
        Assert.Equal("v1/a", Assert.Single(result.Findings).Path);
        Assert.Contains("AlertExceedsMax", result.Gap("limit", _scratch.Folder).Detail, StringComparison.Ordinal);
    }

    [Fact]
    public void Contents_that_clamd_did_not_decide_are_gaps_and_the_others_are_found()
    {
        using ClamdServer clamd = new ClamdServer("AlertExceedsMax yes", "MaxFileSize 100K", "StreamMaxLength 200K").Start();
        Disk($"head -c 150K /dev/urandom > big; head -c 300K /dev/urandom > huge; printf '{ClamdServer.NdbMarker}' > a", "1M");
        ScanResult result = Scan(Settings(["clamav"]) with { ClamdSocket = clamd.Socket });
        Assert.Equal("v1/a", Assert.Single(result.Findings).Path);
        Assert.Contains("MaxFileSize", result.Gap("limit", "v1/big").Detail, StringComparison.Ordinal);
        Assert.Contains("StreamMaxLength", result.Gap("limit", "v1/huge").Detail, StringComparison.Ordinal);
        Assert.Equal(2, result.Gaps.Count);
    }

    [Fact]
    public void Members_that_clamd_does_not_open_are_given_to_it_and_others_are_not()
    {
        using ClamdServer clamd = new ClamdServer("AlertExceedsMax yes", "MaxRecursion 4").Start();
        Disk($"""
            printf 'x {ClamdServer.NdbMarker} {new string('.', 300)}' > m; tar -cf - m | zstd -q > a.zst; zip -q -P infected b.zip m; 7z a -bd -tzip -mm=LZMA c.zip m >/dev/null
            zip -q d.zip m; gzip -c m > e.gz; cp d.zip f; for i in 1 2 3 4 5 6; do zip -q f.zip f; mv f.zip f; done
            seq 1 9999 > t; zip -q g.zip t b.zip; cp g.zip h.zip; rm t m
            """, "1M");
        string[] expected =
        [
            "v1/a.zst (zstd)", "v1/b.zip m", "v1/c.zip m", "v1/d.zip", "v1/e.gz", "v1/f f > f > f > f", "v1/g.zip b.zip > m", "v1/h.zip b.zip > m",
        ];
        string state = Directory.CreateDirectory(_scratch["state"]).FullName;
        foreach (bool isKnown in (bool[])[false, true])
        {
            ScanResult result = Scan(Settings(["yara", "clamav"]) with { ClamdSocket = clamd.Socket, StateFolder = state });
            Assert.Equal(expected, result.Findings.Select(f => f.Path + (f.Inside is { Count: > 0 } inside ? " " + string.Join(" > ", inside) : "")).Order(StringComparer.Ordinal));
            Assert.All(result.Gaps, g => Assert.Equal(("limit", "v1/f"), (g.Fault, g.Path)));
            Assert.Equal(isKnown, result.Report.Totals.FilesCached > 0);
        }
    }

    [Fact]
    public void The_end_of_clamd_in_the_middle_is_a_gap_for_each_content_after_it()
    {
        using ClamdServer clamd = new ClamdServer("AlertExceedsMax yes").Start();
        Disk("for i in $(seq 40); do head -c 3000 /dev/urandom > $i; done", "1M");
        var settings = Settings(["clamav"]) with { ClamdSocket = clamd.Socket, Threads = 1, MatchTimeoutSeconds = 3 };
        ScanResult result = Scan(settings, new EndingWorker(clamd));
        Assert.Equal("incomplete", result.Report.Verdict);
        Assert.Empty(result.Findings);
        Assert.All(result.Gaps, g => Assert.Equal(("transport", "clamav"), (g.Fault, g.Structure)));
        Assert.InRange(result.Gaps.Count, 40, 80);
    }

    [Fact]
    public void Known_good_contents_are_not_matched_count_as_scanned_and_can_be_told_to_be_ignored()
    {
        Disk($"printf '{HostileScan.Mark}' > a; printf 'x{HostileScan.Mark}' > b; printf 'y{HostileScan.Mark}' > c");
        string text = _scratch["good.txt"];
#pragma warning disable CA5350 // What lists of known software name it by.
        File.WriteAllText(text, $"{Sha256(HostileScan.Mark)}\r\n\"SHA-1\",\"MD5\"\r\n{Convert.ToHexString(SHA1.HashData(Encoding.ASCII.GetBytes("x" + HostileScan.Mark)))}\r\n");
#pragma warning restore CA5350
        string compiled = _scratch["good.set"];
        using (var builder = new HashSetBuilder(HashSetKind.KnownGood))
        {
            builder.AddFile(text, TestContext.Current.CancellationToken);
            builder.Build(compiled);
        }

        foreach (string known in (string[])[text, compiled])
        {
            ScanResult result = Scan(Settings(["yara"]) with { KnownGood = [known] });
            Assert.Equal("v1/c", Assert.Single(result.Findings).Path);
            FileCounts files = result.Report.Targets[0].Disks[0].Volumes[0].Files;
            Assert.Equal((files.Seen, 2), (files.Scanned, files.KnownGood));
            Assert.Equal(known == text ? 1 : 0, result.Report.RuleFaults.Count);
            Assert.Empty(result.Gaps);
        }

        Assert.Equal(3, Scan(Settings(["yara"])).Findings.Count);

        // What malware lists say outranks it.
        ScanResult both = Scan(Settings(["yara", "hash"]) with { KnownGood = [compiled], HashLists = [List(HostileScan.Mark, "Evil.A")] });
        Assert.Equal(["hash Evil.A v1/a", "yara Marked v1/c"], both.Findings.Select(f => $"{f.Engine} {f.Rule} {f.Path}").Order());
    }

    [Fact]
    public void Hash_lists_that_cannot_be_used_are_told_of_by_file_and_line()
    {
        Disk("printf fine > d");
        File.WriteAllText(_scratch["bad.txt"], "abc\n");
        Assert.Contains("no hash", Failure(Settings(["yara", "hash"]) with { HashLists = [_scratch["bad.txt"]] }), StringComparison.Ordinal);
        File.WriteAllText(_scratch["half.txt"], $"{Sha256("x")}\nabc\n");
        RuleFaultReport fault = Assert.Single(Scan(Settings(["yara", "hash"]) with { HashLists = [_scratch["half.txt"]] }).Report.RuleFaults);
        Assert.Equal((_scratch["half.txt"], 2), (fault.File, fault.Line));
        Assert.Contains("half.txt:2:", Failure(Settings(["yara", "hash"]) with { HashLists = [_scratch["half.txt"]], StrictRules = true }), StringComparison.Ordinal);
        using (var builder = new HashSetBuilder(HashSetKind.Bad))
        {
            builder.AddFile(_scratch["half.txt"], TestContext.Current.CancellationToken);
            builder.Build(_scratch["set"]);
        }

        Assert.Contains("malware and not of known-good", Assert.Throws<HashSetException>(() => Scan(Settings(["yara"]) with { KnownGood = [_scratch["set"]] })).Message, StringComparison.Ordinal);
        byte[] damaged = File.ReadAllBytes(_scratch["set"]);
        damaged[^1] ^= 1;
        File.WriteAllBytes(_scratch["set"], damaged);
        Assert.Contains("damaged", Assert.Throws<HashSetException>(() => Scan(Settings(["hash"]) with { HashLists = [_scratch["set"]] })).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void An_engine_without_signatures_is_a_gap_when_it_was_named_and_otherwise_left_out()
    {
        Disk("printf fine > d");
        ScanResult named = Scan(Settings(["yara", "hash"]) with { EnginesAreNamed = true });
        Assert.Contains("--hashes", named.Gap("unsupported", _scratch.Folder).Detail, StringComparison.Ordinal);
        Assert.Equal(2, named.Report.Engines.Count);
        ScanResult byDefault = Scan(Settings(["yara", "hash"]));
        Assert.Equal("clean", byDefault.Report.Verdict);
        Assert.Single(byDefault.Report.Engines);
        Assert.Contains("clamav", Failure(Settings(["clamav"]) with { ClamdSocket = _scratch["absent"], EnginesAreNamed = true }), StringComparison.Ordinal);
    }

    [Fact]
    public void What_is_remembered_of_YARA_leaves_the_other_engines_their_part()
    {
        using ClamdServer clamd = new ClamdServer("AlertExceedsMax yes").Start();
        Disk($"printf '{ClamdServer.NdbMarker}' > a; printf hashed > b; printf '{HostileScan.Mark}' > c; printf 'x{HostileScan.Mark}' > d; printf fine > e");
        File.WriteAllText(_scratch["good.txt"], Sha256("x" + HostileScan.Mark));
        ScanSettings settings = Settings(["yara", "clamav", "hash"]) with
        {
            ClamdSocket = clamd.Socket, HashLists = [List("hashed", "Evil.B")], KnownGood = [_scratch["good.txt"]], StateFolder = Directory.CreateDirectory(_scratch["state"]).FullName,
        };
        string[] expected = ["clamav Test.Marker.A.UNOFFICIAL v1/a", "hash Evil.B v1/b", "yara Marked v1/c"];
        for (int scan = 0; scan < 2; scan++)
        {
            ScanResult result = Scan(settings);
            Assert.Equal(expected, result.Findings.Select(f => $"{f.Engine} {f.Rule} {f.Path}").Order());
            FileCounts files = result.Report.Targets[0].Disks[0].Volumes[0].Files;
            Assert.Equal((files.Seen, 1, scan > 0), (files.Scanned, files.KnownGood, files.Cached > 0));
            Assert.Empty(result.Gaps);
        }

        clamd.Kill();
        ScanResult without = Scan(settings);
        Assert.Equal(expected[1..], without.Findings.Select(f => $"{f.Engine} {f.Rule} {f.Path}").Order());
        Assert.Equal("transport", Assert.Single(without.Gaps).Fault);
    }

    [Fact]
    public void Without_libyara_the_other_engines_match_and_the_verdict_is_incomplete()
    {
        Disk("printf hashed > b; printf fine > d");
        ScanResult result = Scan(Settings(["yara", "hash"]) with { HashLists = [List("other", "Evil.B")] }, new WithoutYara());
        Assert.Equal(("incomplete", "libyara is missing"), (result.Report.Verdict, result.Report.Engines[0].Fault));
        Assert.Equal("engine yara", result.Gap("unsupported", _scratch.Folder).Structure);
        Assert.Contains("no engine can match: yara: libyara is missing", Assert.Throws<JobFailedException>(() => Scan(Settings(["yara"]), new WithoutYara())).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_rule_that_calls_itself_information_is_a_detection_all_the_same()
    {
        Disk("printf 'only worth knowing' > d");
        string rule = _scratch["info.yar"];
        File.WriteAllText(rule, "rule Info { meta: severity = \"info\" strings: $a = \"worth knowing\" condition: $a }");
        ScanResult result = Scan(Settings(["yara"]) with { RuleSources = [rule] });
        Assert.Equal("info", Assert.Single(result.Findings).Severity);
        Assert.Equal(("detected", ExitStatus.Detected, 1, 0), (result.Report.Verdict, result.Status, result.Report.Totals.Findings, result.Report.Totals.Informational));
    }

    [Fact]
    public void Acts_that_were_asked_for_on_images_are_told_to_be_impossible()
    {
        Disk($"printf '{HostileScan.Mark}' > d");
        ScanResult result = Scan(HostileScan.Settings with { Acts = [VmAct.Suspend] });
        ActReport act = Assert.Single(Assert.Single(result.Report.Targets, t => t.Findings.Count > 0 && t.Target.EndsWith("disk.raw", StringComparison.Ordinal)).Acts!);
        Assert.Equal(("suspend", false), (act.Act, act.IsDone));
    }

    [Fact]
    public void What_lies_where_nothing_belongs_is_told_of()
    {
        File.Copy(Tool.Find(ClamdServer.TestFile), _scratch["pe"]);
        Tool.Shell("""
            PATH=$PATH:/usr/sbin:/sbin
            truncate -s 8M disk.raw
            echo '4096,8192,c' | sfdisk -q disk.raw
            truncate -s 4096K fs; mkfs.fat -F 12 fs >/dev/null
            printf text > t; mcopy -i fs t ::invoice.pdf.exe
            dd if=fs of=disk.raw bs=512 seek=4096 conv=notrunc status=none
            dd if=pe of=disk.raw bs=512 seek=100 conv=notrunc status=none
            dd if=pe of=disk.raw bs=1 seek=1048577 conv=notrunc status=none
            dd if=pe of=disk.raw bs=512 seek=14000 conv=notrunc status=none
            printf '\353\376code' | dd of=disk.raw conv=notrunc status=none
            rm fs t pe
            """, _scratch.Folder);
        ScanResult result = Scan(Settings(["yara"]));
        Assert.Equal(
            [
                "info Boot_UnknownCode disk/mbr@0", "medium Hidden_ExecutableOutsideFiles disk/gap@512", "medium Hidden_ExecutableOutsideFiles disk/gap@6291456",
                "medium Name_DoubleExtension v1/invoice.pdf.exe",
            ],
            result.Findings.Select(f => $"{f.Severity} {f.Rule} {f.Path}").Order());
        Assert.Equal(1, result.Report.Totals.Informational);
        FindingReport first = result.Findings.Single(f => f.Path == "disk/gap@512");
        Assert.Equal((99 * 512, "$pe"), (Assert.Single(first.Matches).Offset, first.Matches[0].String));
        Assert.Equal("detected", result.Report.Verdict);
    }

    private void Disk(string script, string size = "64K") => Tool.Shell($"""
        PATH=$PATH:/usr/sbin:/sbin
        truncate -s {size} disk.raw; mkfs.fat -F 12 -s 1 disk.raw >/dev/null
        mkdir files; cd files; {script}; mcopy -i ../disk.raw * ::; cd ..; rm -r files
        """, _scratch.Folder);

    private string List(string content, string rest)
    {
        File.WriteAllText(_scratch["list"], $"{Sha256(content)},{rest}\n");
        return _scratch["list"];
    }

    private static string Sha256(string content) => Convert.ToHexString(SHA256.HashData(Encoding.ASCII.GetBytes(content)));

    private static ScanSettings Settings(string[] engines) => HostileScan.Settings with { Engines = engines };

    private string Failure(ScanSettings settings) => Assert.Throws<JobFailedException>(() => Scan(settings)).Message;

    private ScanResult Scan(ScanSettings settings, IWorker? worker = null)
    {
        using var events = new StringWriter();
        Report report = new ScanRun(settings, Sandbox.Probe(SandboxMode.Reduced), worker ?? new InProcessWorker(), TimeProvider.System, new NdjsonListener(events), TestContext.Current.CancellationToken)
            .Run([.. new TargetFinder([]).Find(_scratch["disk.raw"])]);
        return new ScanResult(report, events.ToString());
    }

    /// <summary>A worker on a machine without the library.</summary>
    private sealed class WithoutYara : IWorker
    {
        public WorkerOutcome Run(WorkerJob job, IReadOnlyList<(string Host, string Inside)> binds, Action<WorkerEvent> onEvent, Action<ReadOnlySpan<byte>>? onData, CancellationToken cancellation)
        {
            if (job is not CompileJob)
            {
                return new InProcessWorker().Run(job, binds, onEvent, onData, cancellation);
            }

            onEvent(new CompiledEvent([new EngineReport("yara", EngineReport.Unknown, 0, "") { Fault = "libyara is missing" }], []));
            return new WorkerOutcome(WorkerEnd.Done, "");
        }
    }

    /// <summary>Ends the daemon between the supervisor's preparation and the scan.</summary>
    private sealed class EndingWorker(ClamdServer clamd) : IWorker
    {
        public WorkerOutcome Run(WorkerJob job, IReadOnlyList<(string Host, string Inside)> binds, Action<WorkerEvent> onEvent, Action<ReadOnlySpan<byte>>? onData, CancellationToken cancellation)
        {
            clamd.Kill();
            return new InProcessWorker().Run(job, binds, onEvent, onData, cancellation);
        }
    }
}
