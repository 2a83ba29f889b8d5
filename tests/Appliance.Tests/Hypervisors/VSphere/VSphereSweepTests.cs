using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Tests.EndToEnd;
using Vmsweep.Appliance.Tests.Sweeps;
using Vmsweep.Golden;
using Vmsweep.Rigs;

namespace Vmsweep.Appliance.Tests.Hypervisors.VSphere;

/// <summary>Sweeps over a simulated vCenter: which VMs they choose, and what becomes of them when it is lost in the middle.</summary>
[Collection(VSphereCollection.Name)]
[Trait("Category", "Slow")]
public sealed class VSphereSweepTests(VSphereFixture vsphere) : IDisposable
{
    private const string Eicar = "rule Eicar { strings: $a = \"EICAR-STANDARD-\" condition: $a }";
    private const string OfMachine = "\"connectors\": [\"lab\"], \"include\": { \"names\": [\"" + VSphereRig.Machine + "\"] }";

    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void VMs_are_chosen_scanned_within_their_limits_and_nothing_is_left()
    {
        using var rig = new VSphereRig("-machines", "3");
        string raw = TestDisks.Raw(_scratch, new Dictionary<string, string> { ["x.com"] = TestDisks.Eicar });
        string[] names = [.. Enumerable.Range(0, 3).Select(i => $"DC0_C0_RP0_VM{i}")];
        foreach (string name in names)
        {
            rig.SetDisk(name, raw, name + "/own.vmdk");
        }

        rig.Vm(names[0], ("power", "poweredOn"));
        rig.Tag(names[2], "scratch");
        File.WriteAllText(_scratch["secret"], VSphereRig.Password);
        File.SetUnixFileMode(_scratch["secret"], UnixFileMode.UserRead | UnixFileMode.UserWrite);
        File.WriteAllText(_scratch["rules.yar"], Eicar);
        string connector = $"\"account\": \"{VSphereRig.Account}\", \"secret\": {{ \"file\": \"{_scratch["secret"]}\" }}, \"views\": \"{_scratch["v"]}\", \"certificate\": \"{rig.Fingerprint}\"";
        File.WriteAllText(_scratch["c.json"], $$"""
            { "connectors": { "lab": { "address": "vsphere://{{rig.Address}}", {{connector}} }, "off": { "address": "vsphere://127.0.0.1:{{ClosedPort()}}", {{connector}} } },
              "tenants": { "acme": { "folders": ["lab/F0"] } },
              "sweeps": { "nightly": { "what": { "connectors": ["off", "lab"], "include": { "folders": ["lab/F0"] }, "exclude": { "tags": ["c/scratch", "scratch"] }, "tenant": "acme" },
                "signatures": { "rules": ["{{_scratch["rules.yar"]}}"], "engines": ["yara"] }, "limits": { "disks": 2, "disksPerHost": 1 } } } }
            """);
        (int status, string output, string error) = Program.Run("sweep", "run", "nightly", "--format", "json", "--no-progress", "--config", _scratch["c.json"], "--state", _scratch["state"]);
        Assert.True(status == 1, $"{status} {error} {Program.Run("inventory", "lab", "--config", _scratch["c.json"]).Output}");
        JsonElement report = JsonDocument.Parse(output).RootElement;
        JsonElement[] vms = [.. report.GetProperty("vms").EnumerateArray()];
        string host = vms.Single(v => Text(v, "name") == names[0]).GetProperty("host").GetString()!;

        // What cannot be listed is a gap, and the rest is scanned.
        Assert.Equal(
            [$"{names[0]} acme LocalDS_0 {host} running done detected 0", $"{names[1]} acme LocalDS_0 {host} off done detected 0", "off  off  unknown done incomplete 1"],
            vms.Select(v => $"{Text(v, "name")} {Text(v, "tenant")} {Text(v, "datastore")} {Text(v, "host")} {Text(v, "power")} {Text(v, "state")} {Text(v, "verdict")} {v.GetProperty("gaps")}").Order(StringComparer.Ordinal));
        DateTimeOffset[][] times = [.. vms.Where(v => Text(v, "name") != "off").Select(v => (DateTimeOffset[])[v.GetProperty("startedAt").GetDateTimeOffset(), v.GetProperty("finishedAt").GetDateTimeOffset()]).OrderBy(t => t[0])];
        Assert.True(times[0][1] <= times[1][0], "two VMs of one host were read at once");
        foreach (string name in names)
        {
            Assert.Equal(JsonValueKind.Null, rig.Vm(name).GetProperty("snapshots").ValueKind);
        }

        Assert.Equal("", Program.Run("leases", "list", "--config", _scratch["c.json"], "--state", _scratch["state"]).Output);
        JsonElement calls = rig.Control("log").GetProperty("calls");
        Assert.Equal(calls.GetProperty("Login").GetInt32(), calls.GetProperty("Logout").GetInt32());

        static string Text(JsonElement of, string name) => of.TryGetProperty(name, out JsonElement text) ? text.GetString()! : "";
    }

    [Fact]
    public void A_server_that_is_lost_while_a_VM_is_read_is_tried_again_and_what_it_left_is_removed()
    {
        VSphereRig rig = vsphere.Fresh();
        using var night = new ConnectorNight(Connectors(), Eicar)
        {
            BeforeTry = number =>
            {
                if (number == 1)
                {
                    // Disks break off, and neither the snapshot can be removed nor a session be had.
                    rig.Arm("folder", "status:404", times: 1000, skip: 4);
                    rig.Arm("soap", "close", "RemoveSnapshot_Task", times: 1000);
                    rig.Arm("soap", "close", "CurrentTime", times: 1000);
                    return;
                }

                Assert.NotEqual(JsonValueKind.Null, rig.Vm(VSphereRig.Machine).GetProperty("snapshots").ValueKind);
                rig.Reset();
            },
        };
        SweepReport report = night.Run(OfMachine);
        Assert.Equal([8, 0], night.Tries.Select(t => t.Retries));
        SweepVmReport vm = Assert.Single(report.Vms);
        Assert.Equal(("done", "detected", 0L), (vm.State, vm.Verdict, vm.Gaps));
        vsphere.AssertNothingLeft();
        Assert.Empty(Directory.GetFiles(Path.Combine(night.State, "leases"), "*.json"));
    }

    /// <summary>What a server answers it will answer in a minute: the account may be locked by asking again.</summary>
    [Theory]
    [InlineData("close", 9, "")]
    [InlineData("fault", 1, "NoPermission")]
    [InlineData("gone", 1, "there is no VM")]
    [InlineData("password", 1, "does not let the account")]
    public void Only_what_is_lost_is_tried_again(string how, int tries, string why)
    {
        VSphereRig rig = vsphere.Fresh("poweredOn");
        using var night = new ConnectorNight(Connectors(), Eicar)
        {
            BeforeTry = number =>
            {
                switch (how)
                {
                    case "close" when number == 1:
                        rig.Arm("soap", "close", "CreateSnapshot_Task", times: 1000);
                        rig.Arm("soap", "close", "RetrievePropertiesEx", times: 1000);
                        break;
                    case "fault":
                        rig.Arm("soap", "fault:NoPermission", "CreateSnapshot_Task", times: 1000);
                        break;
                    case "gone":
                        rig.Vm(VSphereRig.Machine, ("gone", "1"));
                        break;
                    case "password":
                        vsphere.Configuration(secret: "another");
                        break;
                }
            },
        };
        SweepReport report = night.Run(OfMachine);
        rig.Reset();
        Assert.Equal(tries, night.Tries.Count);
        SweepVmReport vm = Assert.Single(report.Vms);
        Assert.Equal(("done", "incomplete"), (vm.State, vm.Verdict));
        Assert.Contains(why, Assert.Single(vm.GapReasons).Detail, StringComparison.Ordinal);
    }

    [Fact]
    public void Connections_that_broke_are_told_from_answers()
    {
        VSphereRig rig = vsphere.Fresh();
        foreach ((string action, bool isLost) in ((string, bool)[])[("close", true), ("status:502", true), ("status:403", false), ("garbage", false), ("fault:NotAuthenticated", true), ("fault:HostNotConnected", true), ("fault:NoPermission", false)])
        {
            rig.Reset();
            rig.Arm("soap", action, "CurrentTime", times: 1000);
            AssertLost(isLost, action, () => vsphere.Connector().Check());
        }

        rig.Reset();
        AssertLost(false, "certificate", () => vsphere.Connector($", \"certificate\": \"sha256:{new string('0', 64)}\"").Check());
        AssertLost(false, "password", () => vsphere.Connector(secret: "another").Check());
        using var catalog = new ConnectorCatalog(ApplianceConfiguration.Empty, TimeProvider.System);
        AssertLost(true, "QMP", () => catalog.Open("qemu://" + _scratch["no.qmp"]).Check());
        AssertLost(true, "libvirt", () => catalog.Open($"libvirt:///system?socket={_scratch["no.sock"]}").Check());
    }

    private static void AssertLost(bool isLost, string what, Action action)
    {
        IOException failure = Assert.ThrowsAny<IOException>(action);
        Assert.True(isLost == HostLoss.Is(failure), $"{what}: {failure}");
    }

    /// <summary>Of the fixture's configuration, the inner part.</summary>
    private string Connectors() => JsonDocument.Parse(File.ReadAllText(vsphere.Configuration())).RootElement.GetProperty("connectors").GetRawText().Trim()[1..^1];

    private static int ClosedPort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}
