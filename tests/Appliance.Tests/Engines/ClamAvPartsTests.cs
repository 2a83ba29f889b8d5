using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Text;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Tests.EndToEnd;
using Vmsweep.Appliance.Tests.Hostile;
using Vmsweep.Appliance.Tests.Signatures;
using Vmsweep.Appliance.Updates;
using Vmsweep.Appliance.Worker;
using Vmsweep.Golden;
using Vmsweep.Signatures.Bundles;
using Vmsweep.Signatures.ClamAv;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Appliance.Tests.Engines;

/// <summary>What bundles carry for ClamAV, with the real daemon.</summary>
public sealed class ClamAvPartsTests : IDisposable
{
    private const string Hashed = "content that the bundle's hash signature knows";

    private readonly PublisherKit _kit = new();
    private readonly Scratch _scratch = new();

    public void Dispose()
    {
        _scratch.Dispose();
        _kit.Dispose();
    }

    [Fact]
    public void Each_kind_of_database_finds_after_the_change_and_none_after_the_roll_back()
    {
        using ClamdServer clamd = new ClamdServer("AlertExceedsMax yes").Start();
        ClamAvParts parts = Parts(clamd);
        Fill(1);
        _kit.Install(_kit.Bundle(1));
        Assert.Null(parts.Apply(_kit.Store));
        Fill(2, withClamAv: true);
        _kit.Install(_kit.Bundle(2));
        Assert.Equal((true, 3L), Said(parts.Apply(_kit.Store)!));
        string[] found = ["Bundle.Hash v1/hash", "Bundle.Logic v1/logic", "Bundle.Marker v1/marker", "Test.Marker.A v1/own"];
        Disk();
        Report report = Scan(clamd);
        Assert.Equal(found, Found(report));
        Assert.Empty(report.Targets[0].Gaps);
        Assert.Equal("sha256:" + _kit.Store.ActiveId, report.Engines.Single(e => e.Name == "clamav").Bundle);
        string[] ours = [.. Directory.GetFiles(clamd.DatabaseFolder, "vmsweep-bundle-*")];
        Assert.Equal(4, ours.Length);
        Assert.All(ours, f => Assert.Equal(UnixFileMode.UserRead | UnixFileMode.GroupRead | UnixFileMode.OtherRead, File.GetUnixFileMode(f)));

        // Again: nothing to do. After a restart of the daemon they are there.
        Assert.Equal((true, 3L), Said(parts.Apply(_kit.Store)!));
        clamd.Kill();
        Assert.Contains("cannot be reached", Look(parts).Detail, StringComparison.Ordinal);
        clamd.Start();
        Assert.True(Look(parts).IsLoaded);

        _kit.Store.RollBack();
        Assert.Null(parts.Apply(_kit.Store));
        report = Scan(clamd);
        Assert.Equal(["Test.Marker.A v1/own"], Found(report));
        Assert.Empty(report.Targets[0].Gaps);
        Assert.Equal("", report.Engines.Single(e => e.Name == "clamav").Bundle);
        Assert.Empty(Directory.GetFiles(clamd.DatabaseFolder, "vmsweep-*"));

        // And back to them, over what an interrupted change left behind; what others put there stays.
        _kit.Store.RollBack();
        File.WriteAllText(Path.Combine(clamd.DatabaseFolder, $"vmsweep-bundle-{new string('0', 32)}-0000-x.ndb"), "Old.Sig:0:*:414243");
        File.CreateSymbolicLink(Path.Combine(clamd.DatabaseFolder, $"vmsweep-bundle-{_kit.Store.ActiveId![..32]}-0000-a.hdb.new"), _scratch["target"]);
        File.WriteAllText(Path.Combine(clamd.DatabaseFolder, "vmsweep-bundle-mine.ndb"), "Mine.Sig:0:*:4d494e45\n");
        Assert.Equal((true, 3L), Said(parts.Apply(_kit.Store)!));
        Assert.False(File.Exists(_scratch["target"]));
        Assert.Equal(5, Directory.GetFiles(clamd.DatabaseFolder, "vmsweep-bundle-*").Length);
        Assert.Equal(found, Found(Scan(clamd)));
    }

    [Fact]
    public void Parts_that_are_not_loaded_are_said_and_are_a_gap_where_ClamAV_was_asked_for()
    {
        using ClamdServer clamd = new ClamdServer("AlertExceedsMax yes").Start();
        Fill(1, withClamAv: true);
        _kit.Install(_kit.Bundle(1));
        Assert.Contains("databaseFolder", Failed(new ClamAvParts(null, CancellationToken.None)), StringComparison.Ordinal);
        Assert.Contains("databaseFolder", Failed(new ClamAvParts(new ClamAvSettings(clamd.Socket, null), CancellationToken.None)), StringComparison.Ordinal);
        Assert.Contains("cannot be put into", Failed(Parts(clamd, _scratch["absent"])), StringComparison.Ordinal);
        Assert.Contains("cannot be put into /proc", Failed(Parts(clamd, "/proc")), StringComparison.Ordinal);
        Disk();
        Report report = Scan(clamd);
        Assert.Equal(["Test.Marker.A v1/own"], Found(report));
        GapReport gap = Assert.Single(report.Targets[0].Gaps);
        Assert.Equal(("limit", "engine clamav"), (gap.Fault, gap.Structure));
        Assert.Contains("parts", gap.Detail, StringComparison.Ordinal);

        // A folder that the daemon does not read: it is said in time, not believed.
        string other = Directory.CreateDirectory(_scratch["other"]).FullName;
        Assert.Contains("DatabaseDirectory", Failed(Parts(clamd, other)), StringComparison.Ordinal);
        Assert.False(Look(Parts(clamd, other)).IsLoaded);

        // Without the daemon they are put there and loaded with its start.
        clamd.Kill();
        Assert.Contains("when clamd starts", Failed(Parts(clamd)), StringComparison.Ordinal);
        clamd.Start();
        Assert.True(Look(Parts(clamd)).IsLoaded);
        Assert.Empty(Scan(clamd).Targets[0].Gaps);
    }

    [Theory]
    [InlineData("clamav/bad.ndb", "no signature at all\n", "line 1")]
    [InlineData("clamav/bad.ndb", "A.Good.One:0:*:41424344\nA.Bad.One:0:*:4x\n", "bad.ndb")]
    [InlineData("clamav/bad.ldb", "A.Bad;Engine:81-255,Target:0;0&1;zz\n", "bad.ldb")]
    [InlineData("clamav/sub/bad.hsb", "abcd:12:Short\n", "bad.hsb")]
    public void Databases_that_do_not_load_cost_the_bundle_and_the_daemon_nothing(string path, string content, string says)
    {
        Fill(1);
        _kit.Install(_kit.Bundle(1));
        string? active = _kit.Store.ActiveId;
        Fill(2, withClamAv: true);
        _kit.Rule(content, path);
        string bundle = _kit.Bundle(2, counted: p => p with { Count = 1 });
        BundleException e = Assert.Throws<BundleException>(() => _kit.Install(bundle));
        Assert.Contains("the parts for ClamAV do not load", e.Message, StringComparison.Ordinal);
        Assert.Contains(says, e.Message, StringComparison.Ordinal);
        Assert.Equal(active, _kit.Store.ActiveId);
    }

    [Fact]
    [Trait("Category", "Slow")]
    public async Task Changes_do_not_disturb_what_is_being_scanned()
    {
        using ClamdServer clamd = new ClamdServer("AlertExceedsMax yes").Start();
        ClamAvParts parts = Parts(clamd);
        Fill(1);
        _kit.Install(_kit.Bundle(1));
        Fill(2, withClamAv: true);
        _kit.Install(_kit.Bundle(2));
        ConcurrentBag<string> wrong = [];
        using var enough = new CancellationTokenSource();
        int done = 0;
        using var engine = new ClamdEngine(new ClamdOptions { Socket = clamd.Socket, Timeout = TimeSpan.FromMinutes(2) }, "1");
        Task[] scans = [.. Enumerable.Range(0, 3).Select(thread => Task.Run(() =>
        {
            using IMatcher matcher = engine.CreateMatcher();
            for (int i = 0; !enough.IsCancellationRequested; i++)
            {
                List<Detection> found = [];
                MatchFault? fault = matcher.Match(Encoding.ASCII.GetBytes($"{i} {(i % 2 == 0 ? ClamdServer.NdbMarker : "fine")}"), default, found, CancellationToken.None);
                if (fault is not null || found.Count != 1 - (i % 2))
                {
                    wrong.Add($"{thread}/{i}: {fault} {found.Count}");
                }

                Interlocked.Increment(ref done);
            }
        }))];
        for (int change = 0; change < 6; change++)
        {
            bool isLoaded = parts.Apply(_kit.Store) is { IsLoaded: true };
            Assert.Equal(change % 2 == 0, isLoaded);
            int before = Volatile.Read(ref done);
            SpinWait.SpinUntil(() => Volatile.Read(ref done) > before + 20, TimeSpan.FromMinutes(2));
            _kit.Store.RollBack();
        }

        await enough.CancelAsync();
        await Task.WhenAll(scans);
        Assert.Empty(wrong);
    }

    [Fact]
    [Trait("Category", "Slow")]
    public void An_operator_adds_lists_scans_asks_the_doctor_and_goes_back()
    {
        using ClamdServer clamd = new ClamdServer("AlertExceedsMax yes").Start();
        File.WriteAllText(_scratch["vmsweep.json"], $$"""{ "clamav": { "socket": "{{clamd.Socket}}", "databaseFolder": "{{clamd.DatabaseFolder}}" } }""");
        string state = _scratch["state"];
        string[] common = ["--state", state, "--config", _scratch["vmsweep.json"]];
        string empty = Fill(1);
        Assert.Equal(0, Launcher.Run(["signatures", "add", "--unsigned", empty, .. common]).Status);
        string folder = Fill(2, withClamAv: true);
        (int status, string output, string error) = Launcher.Run(["signatures", "add", "--unsigned", folder, .. common]);
        Assert.True(status == 0, error + output);
        Assert.Contains($"ClamAV signatures: loaded by clamd on {clamd.Socket}", output, StringComparison.Ordinal);
        Assert.Contains("ClamAV signatures: loaded", Launcher.Run(["signatures", "list", .. common]).Output, StringComparison.Ordinal);
        Assert.Contains("signatures of the bundle: loaded", Launcher.Run(["doctor", .. common]).Output, StringComparison.Ordinal);
        Disk();

        // Configured is asked for: no --clamd.
        (status, output, error) = Launcher.Run(["scan", _scratch["disk.raw"], .. common]);
        Assert.True(status == 1, error + output);
        Assert.Contains("Bundle.Logic.UNOFFICIAL", output, StringComparison.Ordinal);
        (status, output, _) = Launcher.Run(["signatures", "rollback", .. common]);
        Assert.Equal(0, status);
        Assert.DoesNotContain("Bundle.Logic", Launcher.Run(["scan", _scratch["disk.raw"], .. common]).Output, StringComparison.Ordinal);

        // Tried on what is known to be good.
        Directory.CreateDirectory(_scratch["good/sub"]);
        File.WriteAllText(_scratch["good/fine"], "fine");
        Assert.Equal(0, Launcher.Run("signatures", "test", "--bundle", _kit.Bundle(3), "--good", _scratch["good"]).Status);
        File.WriteAllText(_scratch["good/sub/marked"], "x MARKER-of-the-bundle");
        (status, output, _) = Launcher.Run("signatures", "test", "--bundle", _kit["acme-3.vmbundle"], "--good", _scratch["good"]);
        Assert.Equal(1, status);
        Assert.Contains("Bundle.Marker.UNOFFICIAL  sub/marked", output, StringComparison.Ordinal);

        // Without the configuration it is said that they are not in use.
        (status, output, _) = Launcher.Run("signatures", "rollback", "--state", state, "--config", Empty());
        Assert.Equal(3, status);
        Assert.Contains("ClamAV signatures NOT IN USE: ", output, StringComparison.Ordinal);
        Assert.Contains("NOT IN USE", Launcher.Run("signatures", "list", "--state", state, "--config", Empty()).Output, StringComparison.Ordinal);
        Assert.Matches("MEND  clamav .*signatures of the bundle", Launcher.Run("doctor", "--state", state, "--config", Empty()).Output);

        string Empty()
        {
            File.WriteAllText(_scratch["empty.json"], "{}");
            return _scratch["empty.json"];
        }
    }

    private static ClamAvParts Parts(ClamdServer clamd, string? folder = null) =>
        new(new ClamAvSettings(clamd.Socket, folder ?? clamd.DatabaseFolder), TestContext.Current.CancellationToken) { LoadTime = folder is null ? TimeSpan.FromMinutes(2) : TimeSpan.FromSeconds(2) };

    private string Fill(int version, bool withClamAv = false)
    {
        string folder = _kit.Rule($"rule v{version} {{ condition: false }}");
        if (withClamAv)
        {
#pragma warning disable CA5351 // The form of the database.
            _kit.Rule($"{Convert.ToHexStringLower(MD5.HashData(Encoding.ASCII.GetBytes(Hashed)))}:{Hashed.Length}:Bundle.Hash\n", "clamav/a.hdb");
#pragma warning restore CA5351
            _kit.Rule($"Bundle.Marker:0:*:{Hex("MARKER-of-the-bundle")}\n", "clamav/a.ndb");
            _kit.Rule($"Bundle.Logic;Engine:81-255,Target:0;0&1;{Hex("bundle-one")};{Hex("bundle-two")}\n", "clamav/sub/a.ldb");
        }

        return folder;
    }

    private static string Hex(string text) => Convert.ToHexStringLower(Encoding.ASCII.GetBytes(text));

    private static (bool, long) Said(ClamAvPartsReport report) => (report.IsLoaded, report.Signatures);

    private string Failed(ClamAvParts parts)
    {
        ClamAvPartsReport report = parts.Apply(_kit.Store)!;
        Assert.False(report.IsLoaded);
        return report.Detail;
    }

    private ClamAvPartsReport Look(ClamAvParts parts)
    {
        using OpenBundle active = _kit.Store.OpenActive()!;
        return parts.Look(active.Id, active.Manifest)!;
    }

    private void Disk() => Tool.Shell($"""
        PATH=$PATH:/usr/sbin:/sbin
        truncate -s 64K disk.raw; mkfs.fat -F 12 -s 1 disk.raw >/dev/null
        mkdir files; cd files; printf '{ClamdServer.NdbMarker}' > own; printf "{Hashed}" > hash; printf 'x MARKER-of-the-bundle' > marker; printf 'bundle-one bundle-two' > logic; printf fine > fine
        mcopy -i ../disk.raw * ::; cd ..; rm -r files
        """, _scratch.Folder);

    private Report Scan(ClamdServer clamd)
    {
        using OpenBundle active = _kit.Store.OpenActive()!;
        ScanSettings settings = HostileScan.Settings with { Engines = ["clamav"], ClamdSocket = clamd.Socket, Bundle = BundleReport.Of(active, TimeProvider.System.GetUtcNow()) };
        using var events = new StringWriter();
        return new ScanRun(settings, Sandbox.Probe(SandboxMode.Reduced), new InProcessWorker(), TimeProvider.System, new Vmsweep.Appliance.Cli.NdjsonListener(events), TestContext.Current.CancellationToken)
            .Run([.. new TargetFinder([]).Find(_scratch["disk.raw"])]);
    }

    private static string[] Found(Report report) =>
        [.. report.Targets[0].Findings.Select(f => $"{f.Rule.Replace(".UNOFFICIAL", "", StringComparison.Ordinal)} {f.Path}").Order(StringComparer.Ordinal)];
}
