using System.Diagnostics;
using System.Text.Json;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Tests.EndToEnd;
using Vmsweep.Appliance.Tests.Hypervisors.VSphere;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Inspection;
using Vmsweep.Golden;
using Vmsweep.Rigs;

namespace Vmsweep.Appliance.Tests.Hypervisors;

/// <summary>VMs that are off on a host that is reached by ssh: their files are served there by qemu-nbd as plain bytes, and put together here.</summary>
[Collection(LibvirtCollection.Name)]
[Trait("Category", "Slow")]
public sealed class SshServedTests(LibvirtFixture libvirt) : IDisposable
{
    private readonly Scratch _scratch = new();

    [Fact]
    public void A_VM_that_is_off_is_read_with_its_chain_and_nothing_is_left_on_either()
    {
        Define("chained");
        using var ssh = new SshRig();
        string[] options = ["--state", libvirt.State, "--config", Configured(ssh)];
        JsonElement report = Program.Scan(["far/chained", .. options]);
        Assert.Equal(["EICAR_Test_File v1/x.com", "EICAR_Test_File v2/x.com"], report.Findings().Order(StringComparer.Ordinal));
        Assert.Empty(report.Gaps());
        Assert.Equal("full", report.GetProperty("sandbox").GetString());
        JsonElement disk = report.GetProperty("targets")[0].GetProperty("disks")[0];
        Assert.Equal(["chained-top.qcow2", "chained-base.qcow2"], disk.GetProperty("chain").EnumerateArray().Select(c => Path.GetFileName(c.GetProperty("path").GetString()!)));
        AssertNothingServed();
        libvirt.AssertNothingLeft("chained");

        // Killed while it reads: what serves ends with the connections, the folder goes with the lease.
        using (Process scan = Program.Start(["scan", "far/chained", "--no-progress", .. options]))
        {
            SpinWait.SpinUntil(() => scan.HasExited || Serving().Length == 2, TimeSpan.FromSeconds(120));
            Assert.Equal(2, Serving().Length);
            scan.Kill();
            scan.WaitForExit();
        }

        AssertNothingServed();
        Reap(options);
        libvirt.AssertNothingLeft("chained");
    }

    [Fact]
    public void What_still_serves_when_its_connection_was_cut_is_ended_with_the_lease()
    {
        Define("cut");
        using var ssh = new SshRig();
        string[] options = ["--state", libvirt.State, "--config", Configured(ssh)];
        string folder;
        using (IConnector connector = Open(ssh))
        {
            IVmView view = Target(connector, "cut").Open!();
            folder = Assert.Single(Directory.GetDirectories(libvirt.Rig.Views));


            string key = Path.GetFileName(folder);
            string journal = Path.Combine(libvirt.State, "leases"), saved = _scratch["saved"];
            string lease = Directory.GetFiles(journal, "*.json").Single(f => File.ReadAllText(f).Replace("-", "", StringComparison.Ordinal).Contains(key, StringComparison.Ordinal));
            File.Copy(lease, saved);
            view.Dispose();
            Assert.False(Directory.Exists(folder));

            // The folder of such a lease, with a process of ours that nobody holds, and the number of one that is not ours.
            Directory.CreateDirectory(folder);
            using Process own = Process.Start("qemu-nbd", ["--read-only", "--persistent", $"--socket={folder}/0.s", "--image-opts", $"driver=raw,read-only=on,file.driver=file,file.locking=off,file.filename={Path.Combine(libvirt.Rig.Images, "cut-top.qcow2")}"]);
            using Process other = Process.Start("sleep", "600");
            File.WriteAllText(Path.Combine(folder, "0.pid"), $"{own.Id}\n");
            File.WriteAllText(Path.Combine(folder, "1.pid"), $"{other.Id}\n");
            File.Copy(saved, lease);
            Assert.True(SpinWait.SpinUntil(() => File.Exists(Path.Combine(folder, "0.s")), TimeSpan.FromSeconds(30)));
            Reap(options);
            Assert.True(own.WaitForExit(TimeSpan.FromSeconds(30)));
            Assert.False(other.HasExited);
            other.Kill();
        }

        libvirt.AssertNothingLeft("cut");
    }

    [Fact]
    public void Names_in_an_image_have_nothing_served_but_what_the_policy_allows()
    {
        File.WriteAllText(Path.Combine(libvirt.Rig.Folder, "secret"), new string('s', 4096));
        Define("hostile", backing: "../secret");
        using var ssh = new SshRig();
        JsonElement report = Program.Scan(["far/hostile", "--state", libvirt.State, "--config", Configured(ssh)]);
        Assert.Equal(["HostileImage_ForbiddenReference"], report.Findings().Select(f => f.Split(' ')[0]));
        Assert.Contains(report.Gaps(), g => g.GetProperty("fault").GetString() == "refused");
        AssertNothingServed();
        libvirt.AssertNothingLeft("hostile");
    }

    [Fact]
    public void It_can_be_started_while_it_is_read_and_that_is_a_gap()
    {
        Define("started-far");
        using var ssh = new SshRig();
        using (IConnector connector = Open(ssh))
        {
            using IVmView view = Target(connector, "started-far").Open!();
            Assert.Empty(view.Vm.Gaps);
            libvirt.Rig.Virsh("start", "started-far");
            Assert.Contains("started while", Assert.Single(view.Conclude()).Detail, StringComparison.Ordinal);
            libvirt.Rig.Virsh("destroy", "started-far");
        }

        AssertNothingServed();
        libvirt.AssertNothingLeft("started-far");
    }

    [Fact]
    public void It_can_be_written_to_or_cut_off_while_it_is_read_and_both_are_told_of()
    {
        Define("written");
        string top = Path.Combine(libvirt.Rig.Images, "written-top.qcow2"), below = Path.Combine(libvirt.Rig.Images, "written-base.qcow2");
        byte[] whole = File.ReadAllBytes(below);
        using var ssh = new SshRig();
        using (IConnector connector = Open(ssh))
        {
            using (IVmView view = Target(connector, "written").Open!())
            {
                Assert.Empty(view.Conclude());

                // As a VM that ran for a moment: it is off as before.
                Tool.Run("qemu-io", "-c", "write -P 1 0 64k", top);
                Assert.Contains("was changed while", Assert.Single(view.Conclude()).Detail, StringComparison.Ordinal);
            }

            using (IVmView view = Target(connector, "written").Open!())
            {
                // What is beyond the end of a file is zeros to what serves it.
                using (FileStream file = File.OpenWrite(below))
                {
                    file.SetLength(whole.Length / 2);
                }

                Assert.Contains("written-base.qcow2 was changed while", Assert.Single(view.Conclude()).Detail, StringComparison.Ordinal);
            }

            File.WriteAllBytes(below, whole);
            using (IVmView view = Target(connector, "written").Open!())
            {
                foreach (string process in Serving())
                {
                    Tool.Run("kill", "-9", process);
                }

                Assert.ThrowsAny<IOException>(() =>
                {
                    using var chain = new ChainOpener(view.Vm.Disks[0].Plan, new ReadContext(new ScanBudget(64 << 20), new GapList()));
                    using DiskReaders.Containers.VirtualDisk disk = chain.OpenDisk();
                    disk.Content.Read(0, new byte[disk.Content.Length]);
                });
            }
        }

        AssertNothingServed();
        libvirt.AssertNothingLeft("written");
    }

    [Fact]
    public void Disks_that_are_deleted_while_they_are_read_are_a_gap_and_nothing_is_left_on_either()
    {
        Define("deleted");
        string top = Path.Combine(libvirt.Rig.Images, "deleted-top.qcow2"), below = Path.Combine(libvirt.Rig.Images, "deleted-base.qcow2");
        byte[][] whole = [File.ReadAllBytes(top), File.ReadAllBytes(below)];
        using var ssh = new SshRig();
        using (IConnector connector = Open(ssh))
        using (IVmView view = Target(connector, "deleted").Open!())
        {
            // What serves them holds them open, so that every byte is there still; that the VM stood still cannot be told any more.
            File.Delete(below);
            using (var chain = new ChainOpener(view.Vm.Disks[0].Plan, new ReadContext(new ScanBudget(64 << 20), new GapList())))
            using (DiskReaders.Containers.VirtualDisk disk = chain.OpenDisk())
            {
                byte[] read = new byte[disk.Content.Length];
                disk.Content.Read(0, read);
                Assert.Equal(File.ReadAllBytes(_scratch["disk.raw"]), read);
            }

            Assert.Contains("deleted-base.qcow2 was changed while", Assert.Single(view.Conclude()).Detail, StringComparison.Ordinal);
        }

        AssertNothingServed();
        libvirt.AssertNothingLeft("deleted");

        // Under a scan that finds nothing: it is no clean VM.
        File.WriteAllBytes(below, whole[1]);
        File.WriteAllText(_scratch["none.yar"], "rule nothing { condition: false }");
        string[] options = ["--state", libvirt.State, "--config", Configured(ssh)];
        using (Process scan = Program.Start(["scan", "far/deleted", "--no-progress", "--format", "json", "--out", _scratch["report.json"], "--rules", _scratch["none.yar"], .. options]))
        {
            SpinWait.SpinUntil(() => scan.HasExited || Serving().Length == 2, TimeSpan.FromSeconds(120));
            File.Delete(top);
            File.Delete(below);
            scan.WaitForExit();
            Assert.Equal(3, scan.ExitCode);
        }

        JsonElement report = JsonDocument.Parse(File.ReadAllText(_scratch["report.json"])).RootElement;
        Assert.Equal("incomplete", report.GetProperty("verdict").GetString());
        Assert.Contains(report.Gaps(), g => g.GetProperty("detail").GetString()!.Contains("deleted-", StringComparison.Ordinal));
        AssertNothingServed();
        libvirt.AssertNothingLeft("deleted");

        // Before one: there is nothing to read.
        report = Program.Scan(["far/deleted", .. options]);
        Assert.Equal("transport", Assert.Single(report.Gaps()).GetProperty("fault").GetString());
        libvirt.AssertNothingLeft("deleted");
        File.WriteAllBytes(top, whole[0]);
        File.WriteAllBytes(below, whole[1]);
    }

    [Fact]
    public void A_host_that_goes_away_in_the_middle_is_lost_and_what_is_left_there_is_removed_when_it_is_back()
    {
        Define("away");
        using var ssh = new SshRig();
        using (IConnector connector = Open(ssh))
        {
            IVmView view = Target(connector, "away").Open!();
            ssh.Kill();
            Assert.ThrowsAny<IOException>(() =>
            {
                using var chain = new ChainOpener(view.Vm.Disks[0].Plan, new ReadContext(new ScanBudget(64 << 20), new GapList()));
                chain.OpenDisk().Dispose();
            });
            Assert.True(HostLoss.Is(Assert.ThrowsAny<IOException>(() => view.Conclude())));
            Assert.ThrowsAny<IOException>(view.Dispose);
        }

        // It stays a lease while the host is away, and what is told of it names the host and why.
        Assert.False(Assert.Single(Journal.List()).IsHeld);
        Assert.Contains("127.0.0.1", Assert.Single(Reaped(ssh)).Failure, StringComparison.Ordinal);
        (int status, _, string error) = Program.Run("inventory", "far", "--config", Configured(ssh));
        Assert.Equal(2, status);
        Assert.Contains("Connection refused", error, StringComparison.Ordinal);
        ssh.Restart();
        Assert.Null(Assert.Single(Reaped(ssh)).Failure);
        AssertNothingServed();
        libvirt.AssertNothingLeft("away");
    }

    [Fact]
    public void Killed_at_every_step()
    {
        Define("killed");
        using var ssh = new SshRig();
        string[] options = ["--state", libvirt.State, "--config", Configured(ssh)];
        foreach (string step in (string[])["lease", "folder", "first", "ending"])
        {
            string Made(string key, string name) => Path.Combine(libvirt.Rig.Views, key, name);
            string lease = KilledScan.At(
                step,
                Path.Combine(libvirt.State, "leases"),
                () => Program.Start(["scan", "far/killed", "--no-progress", .. options]),
                key => File.Exists(Made(key, "1.s")),
                scan => step switch
                {
                    "lease" => true,
                    "folder" => Directory.Exists(Made(scan.Key, "")),
                    "first" => File.Exists(Made(scan.Key, "0.s")),
                    "ending" => scan.WasOpen && !File.Exists(Made(scan.Key, "0.s")),
                    _ => throw new ArgumentOutOfRangeException(step),
                });
            Assert.True(Reaped(ssh).All(r => r.Failure is null), step);
            AssertNothingServed();
            libvirt.AssertNothingLeft("killed", lease);
        }
    }

    [Fact]
    public void A_saved_VM_is_read_with_its_memory()
    {
        (string name, GuestSerial serial) = libvirt.Guest();
        serial.PlantEicar("x.com");
        libvirt.Rig.Virsh("managedsave", name);
        libvirt.Ended();
        using var ssh = new SshRig();

        // The guest's page cache has what it wrote.
        File.WriteAllText(_scratch["planted.yar"], "rule planted { strings: $a = \"EICAR-STANDARD-\" condition: $a }");
        JsonElement report = Program.Scan([$"far/{name}", "--rules", _scratch["planted.yar"], "--state", libvirt.State, "--config", Configured(ssh)]);
        libvirt.Rig.Virsh("managedsave-remove", name);
        Assert.Contains("planted d1v1/x.com", report.Findings());
        Assert.Contains(report.Findings(), f => f.StartsWith("planted memory/", StringComparison.Ordinal));
        Assert.Empty(report.Gaps());
        AssertNothingServed();
        libvirt.AssertNothingLeft(name);
    }

    [Fact]
    public void Without_a_program_there_it_is_a_gap_that_says_what_to_install()
    {
        Define("bare");
        string programs = Directory.CreateDirectory(_scratch["bin"]).FullName;
        foreach (string program in (string[])["sh", "mkdir", "rm", "rmdir", "test", "cat"])
        {
            File.CreateSymbolicLink(Path.Combine(programs, program), Tool.Find(program));
        }

        using var ssh = new SshRig(programs);
        JsonElement report = Program.Scan(["far/bare", "--state", libvirt.State, "--config", Configured(ssh)]);
        JsonElement gap = Assert.Single(report.Gaps());
        Assert.Contains("apt-get install -y qemu-utils", gap.GetProperty("detail").GetString(), StringComparison.Ordinal);
        libvirt.AssertNothingLeft("bare");
    }

    public void Dispose() => _scratch.Dispose();

    /// <summary>A VM that is never started, whose disk is an overlay over a base beside it.</summary>
    private void Define(string name, string? backing = null)
    {
        string raw = TestDisks.Raw(_scratch, new Dictionary<string, string> { ["x.com"] = TestDisks.Eicar });
        string images = libvirt.Rig.Images;
        Tool.Run("qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", raw, Path.Combine(images, $"{name}-base.qcow2"));
        Tool.Run("qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", backing ?? $"{name}-base.qcow2", "-F", backing is null ? "qcow2" : "raw", Path.Combine(images, $"{name}-top.qcow2"), "48M");
        libvirt.Rig.Define(name, $"{name}-top.qcow2");
    }

    private IConnector Open(SshRig ssh) => new ConnectorCatalog(ApplianceConfiguration.Read(Configured(ssh)), TimeProvider.System).Open("far");

    private Vm Target(IConnector connector, string name) =>
        connector.Target(connector.List().Single(v => v.Name == name), "far/" + name, new ViewRequest(Journal, []));

    private string Configured(SshRig ssh)
    {
        File.WriteAllText(_scratch["far.json"], $$"""
            { "connectors": { "far": {
                "address": "libvirt+ssh://root@127.0.0.1:{{ssh.Port}}/system?socket={{libvirt.Rig.Socket}}",
                "identity": "{{ssh.Identity}}", "hostKey": "{{ssh.HostKey}}", "views": "{{libvirt.Rig.Views}}", "saves": "{{libvirt.Rig.Saves}}", "minimumFree": "10M" } } }
            """);
        return _scratch["far.json"];
    }

    private LeaseJournal Journal => new(Path.Combine(libvirt.State, "leases"), TimeProvider.System);

    private IReadOnlyList<(LeaseRecord Record, string? Failure)> Reaped(SshRig ssh) => new LeaseReaper(Journal, _ => Open(ssh), new VSphereKillTests.Later()).Run();

    private static void Reap(string[] options)
    {
        (int status, string output, string error) = Program.Run(["leases", "reap", .. options]);
        Assert.True(status == 0, output + error);
    }

    private void AssertNothingServed() => Assert.True(SpinWait.SpinUntil(() => Serving().Length == 0, TimeSpan.FromSeconds(60)), string.Join(' ', Serving()));

    /// <summary>Processes of qemu-nbd that serve in the folder of views.</summary>
    private string[] Serving() =>
        [.. Directory.GetDirectories("/proc").Where(d => Read(d + "/cmdline") is var line && line.StartsWith("qemu-nbd", StringComparison.Ordinal) && line.Contains(libvirt.Rig.Views, StringComparison.Ordinal)).Select(d => Path.GetFileName(d)!)];

    private static string Read(string path)
    {
        try
        {
            return File.ReadAllText(path).Replace('\0', ' ');
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return "";
        }
    }
}
