using System.Diagnostics;
using System.Text.Json;
using Vmsweep.Appliance.Tests.EndToEnd;
using Vmsweep.Golden;
using Vmsweep.Rigs;

namespace Vmsweep.Appliance.Tests.Hypervisors;

/// <summary>Memory of VMs that run: written by a real QEMU, by itself and below libvirt, scanned, and gone afterwards.</summary>
[Collection(LibvirtCollection.Name)]
[Trait("Category", "Slow")]
public sealed class RunningMemoryTests(LibvirtFixture libvirt) : IDisposable
{
    private readonly Scratch _scratch = new();

    [Fact]
    public void Of_libvirt_it_is_scanned_with_the_disks_and_nothing_is_left()
    {
        (string name, GuestSerial serial) = libvirt.Guest();
        serial.PlantEicar("x.com");
        string[] options = ["--state", libvirt.State, "--config", Configured($"\"address\": \"{libvirt.Rig.Address}\", \"views\": \"{libvirt.Rig.Views}\"")];
        AssertScanned(Scan($"lab/{name}", options), serial);
        libvirt.AssertNothingLeft(name);

        foreach (string step in (string[])["lease", "file", "worker"])
        {
            Kill(step, $"lab/{name}", options, libvirt.State);
            Assert.Empty(Directory.GetFileSystemEntries(Spool));
            libvirt.AssertNothingLeft(name);
            AssertGoesOn(serial);
        }

        // What would be too much is not begun, and the disks are scanned.
        foreach ((string more, string why) in ((string, string)[])[("\"spoolSize\": \"100M\"", "spoolSize"), ("\"scratch\": \"" + libvirt.Rig.Images + "\", \"spool\": \"/dev/shm\", \"minimumFree\": \"900000G\"", "minimumFree")])
        {
            string configured = Configured($"\"address\": \"{libvirt.Rig.Address}\", \"views\": \"{libvirt.Rig.Views}\", {more}", hasFloor: more.Contains("minimumFree", StringComparison.Ordinal));
            JsonElement report = Scan($"lab/{name}", ["--state", libvirt.State, "--config", configured]);
            Assert.Contains(report.Gaps(), g => g.GetProperty("detail").GetString()!.Contains(why, StringComparison.Ordinal));
            Assert.Equal(why == "spoolSize", report.Findings().Contains("planted d1v1/x.com"));
            libvirt.AssertNothingLeft(name);
        }
    }

    [Fact]
    public void Of_a_bare_QEMU_too()
    {
        using var rig = new QemuRig(isKernelPacked: true);
        rig.Serial.PlantEicar("x.com");
        string[] options = ["--state", _scratch["state"], "--config", Configured($"\"address\": \"qemu://{rig.Monitor}\"")];
        AssertScanned(Scan("lab", options), rig.Serial);
        foreach (string step in (string[])["file", "worker"])
        {
            Kill(step, "lab", options, _scratch["state"]);
            Assert.Empty(Directory.GetFileSystemEntries(Spool));
            AssertGoesOn(rig.Serial);
        }
    }

    public void Dispose() => _scratch.Dispose();

    private string Spool => Directory.CreateDirectory(_scratch["spool"]).FullName;

    private string Configured(string connector, bool hasFloor = false)
    {
        string spool = connector.Contains("\"spool\"", StringComparison.Ordinal) ? "" : $", \"spool\": \"{Spool}\"";
        File.WriteAllText(_scratch["c.json"], $$"""{ "connectors": { "lab": { {{connector}}{{spool}}{{(hasFloor ? "" : ", \"minimumFree\": \"10M\"")}} } } }""");
        return _scratch["c.json"];
    }

    private string Rules()
    {
        File.WriteAllText(_scratch["planted.yar"], "rule planted { strings: $a = \"EICAR-STANDARD-\" condition: $a }");
        return _scratch["planted.yar"];
    }

    private JsonElement Scan(string target, string[] options) => Program.Scan([target, "--memory-scan", "running", "--rules", Rules(), .. options]);

    /// <summary>The guest's page cache has what it wrote.</summary>
    private void AssertScanned(JsonElement report, GuestSerial serial)
    {
        Assert.Contains("planted d1v1/x.com", report.Findings());
        Assert.Contains(report.Findings(), f => f.StartsWith("planted memory/", StringComparison.Ordinal));
        Assert.Empty(report.Gaps());
        JsonElement target = report.GetProperty("targets")[0];
        Assert.Equal("running", target.GetProperty("vm").GetProperty("power").GetString());
        Assert.Contains("ELF", target.GetProperty("memory").GetProperty("format").GetString(), StringComparison.OrdinalIgnoreCase);
        Assert.Contains("stood still for", Assert.Single(target.GetProperty("notes").EnumerateArray()).GetString(), StringComparison.Ordinal);
        TestContext.Current.TestOutputHelper?.WriteLine(target.GetProperty("notes").ToString());
        Assert.Empty(Directory.GetFileSystemEntries(Spool));
        AssertGoesOn(serial);
    }

    private static void AssertGoesOn(GuestSerial serial)
    {
        int beats = serial.Beats;
        Assert.True(SpinWait.SpinUntil(() => serial.Beats > beats, TimeSpan.FromSeconds(120)), "the guest stands still");
    }

    private void Kill(string step, string target, string[] options, string state)
    {
        string leases = Path.Combine(state, "leases");
        using (Process scan = Program.Start(["scan", target, "--memory-scan", "running", "--rules", Rules(), "--no-progress", .. options]))
        {
            bool isReached = SpinWait.SpinUntil(
                () => scan.HasExited || step switch
                {
                    "lease" => Directory.Exists(leases) && Directory.GetFiles(leases, "*.json").Length > 0,
                    "file" => Directory.GetFiles(Spool, "*", SearchOption.AllDirectories).Length > 0,
                    _ => Directory.GetFiles(leases, "*.json").Length > 1 && KilledScan.HasChild(scan),
                },
                TimeSpan.FromSeconds(120));
            Assert.True(isReached && !scan.HasExited, step);
            scan.Kill();
            scan.WaitForExit();
        }

        (int status, string output, string error) = Program.Run(["leases", "reap", .. options]);
        Assert.True(status == 0, $"{step}: {output}{error}");
        Assert.Empty(Directory.GetFiles(leases, "*.json"));
    }
}
