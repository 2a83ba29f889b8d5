using System.Net.Sockets;
using System.Text.Json;
using System.Text.Json.Nodes;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Connectors.Qemu;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Tests.EndToEnd;
using Vmsweep.Golden;
using Vmsweep.Rigs;

namespace Vmsweep.Appliance.Tests.Hypervisors;

/// <summary>A QEMU by its own monitor. Not beside the guests of libvirt, of whose views the host is looked through for what is left.</summary>
[Collection(LibvirtCollection.Name)]
[Trait("Category", "Slow")]
public sealed class QemuTests
{
    [Fact]
    public void Found_listed_killed_at_its_steps_and_nothing_left()
    {
        using var rig = new QemuRig();
        using var state = new Scratch();
        string target = "qemu://" + rig.Monitor;
        using var seen = new SeenLeases(state.Folder);
        string leases = Path.Combine(state.Folder, "leases");
        rig.Serial.PlantEicar("before.com");

        // The view is of the moment when it was opened.
        var journal = new LeaseJournal(leases, TimeProvider.System);
        Assert.True(new ConnectorCatalog(ApplianceConfiguration.Empty, TimeProvider.System).TryFind(target, new ViewRequest(journal, []), out IReadOnlyList<Vm>? vms));
        using (IVmView view = Assert.Single(vms).Open!())
        {
            rig.Serial.PlantEicar("after.com");
            List<string> lines = [.. InProcess.Run(new Worker.ListJob("", true, true, false, 1) { Limits = InProcess.Limits, Disks = [.. view.Vm.Disks.Select(d => d.Plan)] }).Lines()];
            Assert.Contains(lines, l => l.StartsWith("d1v1/before.com\t", StringComparison.Ordinal));
            Assert.Contains(lines, l => l.StartsWith("d2v1/hello.txt\t", StringComparison.Ordinal));
            Assert.DoesNotContain(lines, l => l.Contains("after.com", StringComparison.Ordinal));

            // Somebody ends its job: its export goes on and serves what the guest writes from then on.
            Assert.Empty(view.Conclude());
            Qmp(rig, "job-cancel", new JsonObject { ["id"] = (string)Qmp(rig, "query-jobs")![0]!["id"]! });

            Assert.True(SpinWait.SpinUntil(() => view.Conclude().Count == 1, TimeSpan.FromSeconds(60)));
            Assert.Contains("ended the view", view.Conclude()[0].Detail, StringComparison.Ordinal);
        }

        AssertNothingLeft(rig, leases, seen);
        JsonElement report = Program.Scan(target, "--state", state.Folder);
        Assert.Equal(["EICAR_Test_File d1v1/after.com", "EICAR_Test_File d1v1/before.com"], report.Findings().Select(f => f).Order(StringComparer.Ordinal));
        Assert.Empty(report.Gaps());
        AssertNothingLeft(rig, leases, seen);

        foreach (string step in (string[])["lease", "scratch", "socket", "taken", "worker", "later", "ending", "removed"])
        {
            KillAt(step, rig, leases, "scan", target, "--no-progress", "--state", state.Folder);
            if (step == "taken")
            {
                Qmp(rig, "stop");
            }

            (int status, string output, string error) = Program.Run("leases", "reap", "--state", state.Folder);
            Assert.True(status == 0, $"{step}: {output}{error}");
            AssertNothingLeft(rig, leases, seen);

            // What its operator has paused stays so.
            Assert.Equal(step == "taken" ? "paused" : "running", (string?)Qmp(rig, "query-status")!["status"]);
            Qmp(rig, "cont");
        }

        AssertGoesOnAfterFullScratch(rig, state, leases, seen);

        // Whoever may not reach the monitor is told so, and takes no QEMU for one that is gone.
        (int denied, _, string refusal) = Program.RunAsNobody("inventory", target);
        Assert.Equal(2, denied);
        Assert.Contains(rig.Monitor, refusal, StringComparison.Ordinal);
        Assert.Contains("Permission denied", refusal, StringComparison.Ordinal);
        Assert.DoesNotContain("no QEMU", refusal, StringComparison.Ordinal);

        // A monitor serves one at a time, and one that is gone has taken its jobs with it.
        using (var other = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        {
            other.Connect(new UnixDomainSocketEndPoint(rig.Monitor));
            (int status, _, string error) = Program.Run("inventory", target);
            Assert.Equal(2, status);
            Assert.Contains("another program", error, StringComparison.Ordinal);
        }

        int beats = rig.Serial.Beats;
        Assert.True(SpinWait.SpinUntil(() => rig.Serial.Beats > beats, TimeSpan.FromSeconds(120)), "the guest stands still");
        KillAt("lease", rig, leases, "scan", target, "--no-progress", "--state", state.Folder);
        rig.Kill();
        (int reaped, string said, _) = Program.Run("leases", "reap", "--state", state.Folder);
        Assert.True(reaped == 0, said);
        Assert.Empty(Directory.GetFiles(leases, "*.json"));
        Assert.DoesNotContain(Directory.GetFiles(rig.Folder), f => Path.GetFileName(f).Contains("vmsweep-", StringComparison.Ordinal));
        seen.AssertNoView(null);
        rig.WaitUntilEnded();

        // Clusters that a killed QEMU had taken and not yet used are lost, and nothing else is.
        Tool.Run("qemu-img", "check", "-q", "-r", "leaks", rig.FirstDisk);
        LibvirtFixture.AssertImageSound(rig.FirstDisk);
    }

    /// <summary>Where what the guest overwrites cannot be kept any more, the view is closed and the guest writes on: by the scan, and by whoever reaps a killed one.</summary>
    private static void AssertGoesOnAfterFullScratch(QemuRig rig, Scratch state, string leases, SeenLeases seen)
    {
        using var small = new SmallFileSystem(Path.Combine(rig.Folder, "small"), 8);
        var lab = new ConnectorSettings("lab", new Uri("qemu://" + rig.Monitor)) { Scratch = small.Folder, MinimumFreeBytes = 0 };
        var time = new HurriedTime();
        var catalog = new ConnectorCatalog(new ApplianceConfiguration(new Dictionary<string, ConnectorSettings> { ["lab"] = lab }), time);
        Assert.True(catalog.TryFind("lab", new ViewRequest(new LeaseJournal(leases, TimeProvider.System), []), out IReadOnlyList<Vm>? vms));
        TargetReport target = Assert.Single(LibvirtFixture.ScanWith(Assert.Single(vms), Fill, time).Targets);
        Assert.Contains(target.Gaps, g => g.Fault == "limit" && g.Detail.Contains("stands still", StringComparison.Ordinal));
        AssertGoesOn();

        File.WriteAllText(state["small.json"], $$"""{ "connectors": { "lab": { "address": "qemu://{{rig.Monitor}}", "scratch": "{{small.Folder}}", "minimumFree": "1M" } } }""");
        string[] options = ["--config", state["small.json"], "--state", state.Folder];
        KillAt("taken", rig, leases, ["scan", "lab", "--no-progress", .. options]);
        Fill();
        (int status, string output, string error) = Program.Run(["leases", "reap", .. options]);
        Assert.True(status == 0, output + error);
        AssertGoesOn();

        void Fill()
        {
            rig.Serial.Overwrite();
            Assert.True(SpinWait.SpinUntil(() => (string?)Qmp(rig, "query-status")!["status"] == "io-error", TimeSpan.FromSeconds(180)), "the scratch files are never full");
        }

        void AssertGoesOn()
        {
            rig.Serial.WaitUntilOverwritten();
            Assert.Empty(Directory.GetFileSystemEntries(small.Folder));
            AssertNothingLeft(rig, leases, seen);
        }
    }

    private static JsonNode? Qmp(QemuRig rig, string command, JsonObject? arguments = null)
    {
        using QmpClient qemu = QmpClient.Open(rig.Monitor);
        return qemu.Run(command, arguments);
    }

    private static void KillAt(string step, QemuRig rig, string leases, params string[] arguments)
    {
        string[] Made(string key) => Directory.GetFiles(rig.Folder, $"vmsweep-{key}*.scratch", SearchOption.AllDirectories);
        static string SocketOf(string key) => $"/run/vmsweep/views/{key}/nbd";
        KilledScan.At(
            step,
            leases,
            () => Program.Start(arguments),
            key => Made(key).Length == 2 && File.Exists(SocketOf(key)),
            scan => step switch
            {
                "lease" => true,
                "scratch" => Made(scan.Key).Length > 0,
                "socket" => File.Exists(SocketOf(scan.Key)),
                "taken" => File.Exists(SocketOf(scan.Key)) && (File.GetUnixFileMode(SocketOf(scan.Key)) & UnixFileMode.OtherRead) == 0,
                "worker" => scan is { IsOpen: true, HasWorker: true },
                "later" => scan is { IsOpen: true, HasWorker: true } && Slept(),
                "ending" => scan is { IsOpen: true, IsEnding: true },
                "removed" => scan.WasOpen && Made(scan.Key).Length == 0,
                _ => throw new ArgumentOutOfRangeException(nameof(step)),
            });
    }

    private static bool Slept()
    {
        Thread.Sleep(150);
        return true;
    }

    private static void AssertNothingLeft(QemuRig rig, string leases, SeenLeases seen)
    {
        seen.AssertNoView(null);
        Assert.Empty(Directory.GetFiles(leases, "*.json"));
        Assert.DoesNotContain(Directory.GetFiles(rig.Folder), f => Path.GetFileName(f).Contains("vmsweep-", StringComparison.Ordinal));
        using QmpClient qemu = QmpClient.Open(rig.Monitor);
        foreach (string list in (string[])["query-block-exports", "query-jobs", "query-block-jobs"])
        {
            Assert.Equal("[]", qemu.Run(list)!.ToJsonString());
        }

        Assert.DoesNotContain("vmsweep", qemu.Run("query-named-block-nodes")!.ToJsonString().Replace(rig.Folder, "", StringComparison.Ordinal), StringComparison.Ordinal);

        // The server is stopped: another can be started.
        string socket = Path.Combine(rig.Folder, "free");
        qemu.Run("nbd-server-start", new JsonObject { ["addr"] = new JsonObject { ["type"] = "unix", ["data"] = new JsonObject { ["path"] = socket } } });
        qemu.Run("nbd-server-stop");
    }
}
