using System.Text.Json;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Tests.Sweeps;
using Vmsweep.Golden;
using Vmsweep.Rigs;

namespace Vmsweep.Appliance.Tests.Hypervisors;

/// <summary>Sweeps over a real libvirt and a real QEMU: what they find, what they leave, and what becomes of them when daemon or QEMU are gone in the middle.</summary>
[Collection(LibvirtCollection.Name)]
[Trait("Category", "Slow")]
public sealed class ConnectorSweepTests(LibvirtFixture libvirt) : IDisposable
{
    private const string Planted = "rule planted { strings: $a = \"EICAR-STANDARD-\" condition: $a }";

    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void Disks_and_memory_of_chosen_VMs_are_scanned_and_nothing_is_left()
    {
        (string name, GuestSerial serial) = libvirt.Guest();
        serial.PlantEicar("x.com");
        if (libvirt.Rig.TryVirsh("dominfo", "resting").Status != 0)
        {
            libvirt.Rig.Define("resting", libvirt.Disks("resting"));
        }

        File.WriteAllText(_scratch["rules.yar"], Planted);
        File.WriteAllText(_scratch["c.json"], $$"""
            { "connectors": { "lab": { "address": "{{libvirt.Rig.Address}}", "views": "{{libvirt.Rig.Views}}", "saves": "{{libvirt.Rig.Saves}}", "spool": "{{_scratch.Folder}}", "minimumFree": "10M" },
                              "off": { "address": "libvirt:///system?socket={{_scratch["no-sock"]}}" } },
              "sweeps": { "nightly": { "what": { "connectors": ["off", "lab"], "include": { "names": ["{{name}}", "rest*"] } }, "memoryScan": "running",
                "signatures": { "rules": ["{{_scratch["rules.yar"]}}"], "engines": ["yara"] }, "limits": { "disks": 4, "disksPerDatastore": 2 } } } }
            """);
        (int status, string output, string error) = Program.Run("sweep", "run", "nightly", "--format", "json", "--no-progress", "--config", _scratch["c.json"], "--state", libvirt.State);
        Assert.True(status == 1, $"{status} {error}");
        Dictionary<string, JsonElement> vms = JsonDocument.Parse(output).RootElement.GetProperty("vms").EnumerateArray().ToDictionary(v => v.GetProperty("name").GetString()!);
        Assert.Equal(((string[])[name, "off", "resting"]).Order(StringComparer.Ordinal), vms.Keys.Order(StringComparer.Ordinal));
        Assert.Equal(
            ["running done detected 0", "unknown done incomplete 1", "off done clean 0"],
            ((string[])[name, "off", "resting"]).Select(v => $"{vms[v].GetProperty("power").GetString()} {vms[v].GetProperty("state").GetString()} {vms[v].GetProperty("verdict").GetString()} {vms[v].GetProperty("gaps")}"));
        Assert.True(vms[name].GetProperty("memory").GetProperty("isScanned").GetBoolean());
        Assert.True(vms[name].GetProperty("memory").GetProperty("bytes").GetProperty("read").GetInt64() >= 200 << 20);
        Assert.Contains("stood still for", Assert.Single(vms[name].GetProperty("notes").EnumerateArray()).GetString(), StringComparison.Ordinal);
        Assert.False(vms["resting"].TryGetProperty("memory", out _));
        string listed = Program.Run("findings", "list", "--format", "json", "--config", _scratch["c.json"], "--state", libvirt.State).Output;
        string[] found = [.. JsonDocument.Parse(listed).RootElement.GetProperty("findings").EnumerateArray().Select(f => f.GetProperty("path").GetString()!)];
        Assert.Contains("d1v1/x.com", found);
        Assert.Contains(found, f => f.StartsWith("memory/", StringComparison.Ordinal));
        Assert.All(vms.Values.Where(v => v.GetProperty("name").GetString() != "off"), v => Assert.Equal(libvirt.Rig.Images, v.GetProperty("datastore").GetString()));
        libvirt.AssertNothingLeft(name);
        libvirt.AssertNothingLeft("resting");
    }

    [Fact]
    public void A_daemon_that_is_gone_when_a_VM_has_its_turn_is_tried_again()
    {
        if (libvirt.Rig.TryVirsh("dominfo", "resting").Status != 0)
        {
            libvirt.Rig.Define("resting", libvirt.Disks("resting"));
        }

        using var night = new ConnectorNight($"\"lab\": {{ \"address\": \"{libvirt.Rig.Address}\", \"views\": \"{libvirt.Rig.Views}\", \"minimumFree\": \"10M\" }}", "rule Hello { strings: $a = \"hello\" condition: $a }")
        {
            BeforeTry = number =>
            {
                if (number == 1)
                {
                    libvirt.Rig.StopDaemon();
                }
                else
                {
                    libvirt.Rig.StartDaemonAgain();
                }
            },
        };
        SweepReport report = night.Run("\"connectors\": [\"lab\"], \"include\": { \"names\": [\"resting\"] }");
        Assert.Equal([8, 0], night.Tries.Select(t => t.Retries));
        Assert.Contains("libvirt-sock", night.Tries[0].Gap, StringComparison.Ordinal);
        SweepVmReport vm = Assert.Single(report.Vms);
        Assert.Equal(("done", "detected", 0L), (vm.State, vm.Verdict, vm.Gaps));
        libvirt.AssertNothingLeft("resting");
    }

    [Fact]
    public void A_QEMU_that_is_killed_while_its_disks_are_read_is_tried_again()
    {
        using var rig = new QemuRig();
        rig.Serial.PlantEicar("x.com");
        using var night = new ConnectorNight($"\"lab\": {{ \"address\": \"qemu://{rig.Monitor}\", \"minimumFree\": \"10M\" }}", Planted)
        {
            BeforeReading = number =>
            {
                if (number == 1)
                {
                    rig.Kill();
                    rig.WaitUntilEnded();
                }
            },
            BeforeTry = number =>
            {
                if (number == 3)
                {
                    rig.StartAgain();
                }
            },
        };
        SweepReport report = night.Run("\"connectors\": [\"lab\"]");
        Assert.Equal([8, 8, 0], night.Tries.Select(t => t.Retries));
        SweepVmReport vm = Assert.Single(report.Vms);
        Assert.Equal(("done", "detected", 0L), (vm.State, vm.Verdict, vm.Gaps));
        Assert.DoesNotContain(Directory.GetFiles(rig.Folder), f => Path.GetFileName(f).Contains("vmsweep-", StringComparison.Ordinal));
        Assert.Empty(Directory.GetFiles(Path.Combine(night.State, "leases"), "*.json"));
    }
}
