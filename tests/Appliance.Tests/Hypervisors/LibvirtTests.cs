using System.Text.Json;
using Vmsweep.Appliance.Cli;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Tests.EndToEnd;
using Vmsweep.Appliance.Worker;
using Vmsweep.Golden;
using Vmsweep.Rigs;

namespace Vmsweep.Appliance.Tests.Hypervisors;

/// <summary>A real libvirt with a real QEMU and a guest that never stops writing.</summary>
[Collection(LibvirtCollection.Name)]
[Trait("Category", "Slow")]
public sealed class LibvirtTests(LibvirtFixture libvirt)
{
    [Theory]
    [InlineData(null)]
    [InlineData("snapshot")]
    public void What_was_planted_before_the_view_is_found_and_what_came_after_is_not(string? method)
    {
        (string name, GuestSerial serial) = libvirt.Guest();
        Check(name, serial, method);
        if (method is not null)
        {
            libvirt.AssertFileSystemSound(name);
        }
    }

    [Fact]
    public void Raw_disks_too()
    {
        using (GuestSerial serial = libvirt.Rig.Start("raw", libvirt.Disks("raw", "raw")))
        {
            Check("raw", serial, null);
        }

        libvirt.AssertFileSystemSound("raw", "raw");
    }

    private void Check(string name, GuestSerial serial, string? method)
    {
        serial.PlantEicar("before.com");
        Report report = libvirt.ScanWith(name, method, () =>
        {
            serial.PlantEicar("after.com");
            serial.Run("dd if=/dev/urandom of=/mnt/after.bin bs=64k count=200 2>/dev/null && sync");
        });
        TargetReport target = Assert.Single(report.Targets);
        Assert.Equal(["EICAR_Test_File d1v1/before.com"], target.Findings.Select(f => $"{f.Rule} {f.Path}"));
        Assert.Empty(target.Gaps);
        Assert.Equal("full", report.Sandbox);
        Assert.Equal("running", target.Vm.Power);
        Assert.Equal(["ext4", "ntfs"], target.Disks.Select(d => d.Volumes.Single().FileSystem));
        Assert.True(target.Disks[0].Volumes[0].Files.Scanned > 100, "few files");
        int beats = serial.Beats;
        Assert.Equal(["after.com", "before.com"], serial.Run("cd /mnt; ls -1 *.com; cd /").Split('\n', StringSplitOptions.TrimEntries));
        Assert.True(SpinWait.SpinUntil(() => serial.Beats > beats, TimeSpan.FromSeconds(120)), "the guest stands still");
        libvirt.AssertNothingLeft(name);
    }

    [Fact]
    public void From_the_command_line_it_is_listed_read_and_scanned()
    {
        (string name, GuestSerial serial) = libvirt.Guest();
        serial.PlantEicar("x.com");
        (int status, string output, string error) = Program.Run(["inventory", "lab", "--config", libvirt.Configuration]);
        Assert.True(status == 0, error);
        Assert.Contains($"{name}  running", output, StringComparison.Ordinal);
        Assert.Contains($"vda  qcow2  {libvirt.Rig.Images}/{name}-a.qcow2", output, StringComparison.Ordinal);

        (status, output, error) = Program.Run(["ls", $"lab/{name}", "-R", "--files", .. libvirt.Options]);
        Assert.True(status == 0, error + output);
        Assert.Contains("d1v1/x.com", output, StringComparison.Ordinal);
        Assert.Contains("d2v1/hello.txt", output, StringComparison.Ordinal);
        (status, output, error) = Program.Run(["cat", $"lab/{name}", "d2v1/hello.txt", .. libvirt.Options]);
        Assert.Equal((0, "hello\n", ""), (status, output, error.Trim()));

        // The same by its address; views then lie in their default place. Nothing is done to a VM on a detection unless it is asked for.
        string[] before = State();
        JsonElement report = Program.Scan($"{libvirt.Rig.Address}&vm={name}", "--state", libvirt.State);
        Assert.Equal(["EICAR_Test_File d1v1/x.com"], report.Findings());
        Assert.Empty(report.Gaps());
        Assert.False(report.GetProperty("targets")[0].TryGetProperty("acts", out _));
        Assert.Equal(before, State());
        Assert.Contains("running", before[0], StringComparison.Ordinal);
        (status, output, error) = Program.Run(["doctor", "--config", libvirt.Configuration]);
        Assert.Contains("ok    lab         libvirt", output, StringComparison.Ordinal);
        (status, _, error) = Program.Run(["scan", "lab/nobody", .. libvirt.Options]);
        Assert.Equal(2, status);
        Assert.Contains("there is no VM \"nobody\"", error, StringComparison.Ordinal);
        libvirt.AssertNothingLeft(name);

        // Metadata stands in the XML, and so do the state of a card's link and every image.
        string[] State() => [libvirt.Rig.Virsh("domstate", name), libvirt.Rig.Virsh("dumpxml", name), libvirt.Rig.Virsh("dumpxml", "--inactive", name), libvirt.Rig.Virsh("domif-getlink", name, "52:54:00:12:34:56")];
    }

    [Fact]
    public void Paused_saved_and_off_are_read_as_they_lie()
    {
        (string name, GuestSerial serial) = libvirt.Guest();
        serial.PlantEicar("x.com");
        libvirt.Rig.Virsh("suspend", name);
        Check("running");
        Assert.Contains("paused", libvirt.Rig.Virsh("domstate", name), StringComparison.Ordinal);

        libvirt.Rig.Virsh("managedsave", name);
        libvirt.Ended();
        JsonElement saved = Check("suspended");
        Assert.Equal("suspended", saved.GetProperty("targets")[0].GetProperty("vm").GetProperty("power").GetString());
        Vm vm = Assert.Single(libvirt.Find(name, null));
        using (IVmView view = vm.Open!())
        {
            Assert.Equal(Path.Combine(libvirt.Rig.Saves, name + ".save"), view.Vm.Memory!.Path);
            Assert.Equal("LibvirtQemudSave"u8.ToArray(), File.ReadAllBytes(view.Vm.Memory.Path)[..16]);
        }

        libvirt.Rig.Virsh("managedsave-remove", name);
        Check("off");
        libvirt.AssertNothingLeft(name);

        JsonElement Check(string power)
        {
            JsonElement report = Program.Scan([$"lab/{name}", .. libvirt.Options]);
            Assert.Equal(["EICAR_Test_File d1v1/x.com"], report.Findings());
            Assert.Equal(power == "suspended", report.GetProperty("targets")[0].TryGetProperty("memory", out JsonElement memory) && memory.GetProperty("bytes").GetProperty("read").GetInt64() > 16 << 20);
            Assert.Empty(report.Gaps());
            Assert.Equal(power, report.GetProperty("targets")[0].GetProperty("vm").GetProperty("power").GetString());
            return report;
        }
    }

    [Fact]
    public void A_VM_that_is_started_while_its_files_are_read_is_a_gap()
    {
        string name = "started";
        libvirt.Rig.Define(name, libvirt.Disks(name));
        Report report = libvirt.ScanWith(name, null, () => libvirt.Rig.Virsh("start", name));
        Assert.Contains(report.Targets[0].Gaps, g => g.Fault == "refused" && g.Detail.Contains("was started", StringComparison.Ordinal));
        libvirt.Rig.Virsh("destroy", name);

        // One that ran for a moment is off as before.
        string disk = Path.Combine(libvirt.Rig.Images, libvirt.Disks("moment")[0]);
        libvirt.Rig.Define("moment", Path.GetFileName(disk));
        Report moment = libvirt.ScanWith("moment", null, () => Tool.Run("qemu-io", "-c", "write -P 1 1M 64k", disk));
        Assert.Contains(moment.Targets[0].Gaps, g => g.Fault == "refused" && g.Detail.Contains("was changed while", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("restart", null)]
    [InlineData("restart", "snapshot")]
    [InlineData("suspend", null)]
    [InlineData("destroy", null)]
    [InlineData("destroy", "snapshot")]
    public void What_happens_in_the_middle_leaves_nothing_behind(string what, string? method)
    {
        (string name, GuestSerial serial) = libvirt.Guest();
        serial.PlantEicar("x.com");
        Report report = libvirt.ScanWith(name, method, () =>
        {
            if (what == "restart")
            {
                libvirt.Rig.RestartDaemon();
            }
            else
            {
                libvirt.Rig.Virsh(what, name);
            }
        });
        TargetReport target = Assert.Single(report.Targets);
        if (what == "destroy" && method is null)
        {
            // Its QEMU served the view.
            Assert.Contains(target.Gaps, g => g.Fault == "transport");
            Assert.Equal("incomplete", report.Verdict);
        }
        else
        {
            Assert.Equal(["EICAR_Test_File d1v1/x.com"], target.Findings.Select(f => $"{f.Rule} {f.Path}"));
            Assert.Empty(target.Gaps);
        }

        if (what == "suspend")
        {
            Assert.Contains("paused", libvirt.Rig.Virsh("domstate", name), StringComparison.Ordinal);

            // And the other way round: what it writes as soon as it goes on is not of the moment.
            target = Assert.Single(libvirt.ScanWith(name, method, () =>
            {
                libvirt.Rig.Virsh("resume", name);
                serial.PlantEicar("resumed.com");
            }).Targets);
            Assert.Equal(["EICAR_Test_File d1v1/x.com"], target.Findings.Select(f => $"{f.Rule} {f.Path}"));
            Assert.Empty(target.Gaps);
            Assert.Equal("running", target.Vm.Power);
            Assert.Contains("running", libvirt.Rig.Virsh("domstate", name), StringComparison.Ordinal);
            Assert.True(serial.Beats > 0);
        }

        libvirt.AssertNothingLeft(name);
        if (what == "destroy")
        {
            libvirt.AssertFileSystemSound(name);
        }
    }

    [Fact]
    public void Another_backup_is_a_gap_and_is_left_alone()
    {
        (string name, GuestSerial serial) = libvirt.Guest();
        string folder = Path.Combine(libvirt.Rig.Folder, "other");
        Directory.CreateDirectory(folder);
        File.WriteAllText(Path.Combine(folder, "b.xml"), $"<domainbackup mode='pull'><server transport='unix' socket='{libvirt.Rig.Images}/other'/></domainbackup>");
        libvirt.Rig.Virsh("backup-begin", name, Path.Combine(folder, "b.xml"));
        JsonElement report = Program.Scan([$"lab/{name}", .. libvirt.Options]);
        JsonElement gap = Assert.Single(report.Gaps());
        Assert.Contains("another backup", gap.GetProperty("detail").GetString(), StringComparison.Ordinal);
        Assert.Contains($"{libvirt.Rig.Images}/other", libvirt.Rig.Virsh("backup-dumpxml", name), StringComparison.Ordinal);
        libvirt.Rig.Virsh("domjobabort", name);
        libvirt.AssertNothingLeft(name);
    }

    [Fact]
    public void Too_little_space_or_a_folder_without_rights_is_a_gap()
    {
        (string name, GuestSerial serial) = libvirt.Guest();
        using var scratch = new Scratch();
        string Configured(string more)
        {
            File.WriteAllText(scratch["c.json"], $$"""{ "connectors": { "lab": { "address": "{{libvirt.Rig.Address}}", {{more}} } } }""");
            return scratch["c.json"];
        }

        JsonElement full = Program.Scan($"lab/{name}", "--state", libvirt.State, "--config", Configured("\"minimumFree\": \"900000G\""));
        Assert.Contains("minimumFree", Assert.Single(full.Gaps()).GetProperty("detail").GetString(), StringComparison.Ordinal);

        // QEMU's account may not pass through a folder of mode 700.
        Directory.CreateDirectory(scratch["locked"], UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        JsonElement denied = Program.Scan($"lab/{name}", "--state", libvirt.State, "--config", Configured($"\"views\": \"{scratch["locked"]}\", \"minimumFree\": \"1M\""));
        Assert.Equal("transport", Assert.Single(denied.Gaps()).GetProperty("fault").GetString());
        Assert.Empty(Directory.GetFileSystemEntries(scratch["locked"]));
        libvirt.AssertNothingLeft(name);
    }

    [Fact]
    public void Acts_are_done_reported_and_undone_by_the_commands_they_name()
    {
        (string name, GuestSerial serial) = libvirt.Guest();
        JsonElement clean = Program.Scan([$"lab/{name}", .. libvirt.Options, "--act", "annotate,suspend,disconnect,keep"]);
        Assert.False(clean.GetProperty("targets")[0].TryGetProperty("acts", out _));
        serial.PlantEicar("<b>&.com");
        JsonElement report = Program.Scan([$"lab/{name}", .. libvirt.Options, "--act", "annotate,suspend,disconnect,keep"]);
        JsonElement[] acts = [.. report.GetProperty("targets")[0].GetProperty("acts").EnumerateArray()];
        Assert.Equal(["annotate", "suspend", "disconnect", "keep"], acts.Select(a => a.GetProperty("act").GetString()));
        Assert.All(acts, a => Assert.True(a.GetProperty("isDone").GetBoolean(), a.ToString()));
        Assert.Contains("paused", libvirt.Rig.Virsh("domstate", name), StringComparison.Ordinal);
        Assert.Contains("EICAR_Test_File", libvirt.Rig.Virsh("metadata", name, "urn:vmsweep:detection:1"), StringComparison.Ordinal);
        Assert.Contains("down", libvirt.Rig.Virsh("domif-getlink", name, "52:54:00:12:34:56"), StringComparison.Ordinal);
        Assert.Contains("vmsweep", libvirt.Rig.Virsh("backup-dumpxml", name), StringComparison.Ordinal);

        // What is kept is not reaped by the next scan, and can be read meanwhile.
        Assert.Contains("another backup", Assert.Single(Program.Scan([$"lab/{name}", .. libvirt.Options]).Gaps()).GetProperty("detail").GetString(), StringComparison.Ordinal);
        (_, string list, _) = Program.Run("leases", "list", "--state", libvirt.State);
        Assert.Contains("kept", list, StringComparison.Ordinal);

        foreach (JsonElement act in acts)
        {
            string[] words = act.GetProperty("undo").GetString()!.Split(' ');
            if (words[0] == "virsh")
            {
                libvirt.Rig.Virsh(words[1..]);
            }
            else
            {
                (int status, _, string error) = Program.Run([.. words[1..], .. libvirt.Options]);
                Assert.True(status == 0, error);
            }
        }

        Assert.Contains("running", libvirt.Rig.Virsh("domstate", name), StringComparison.Ordinal);
        Assert.NotEqual(0, libvirt.Rig.TryVirsh("metadata", name, "urn:vmsweep:detection:1").Status);
        Assert.Contains("up", libvirt.Rig.Virsh("domif-getlink", name, "52:54:00:12:34:56"), StringComparison.Ordinal);
        Assert.True(serial.Beats > 0);
        libvirt.AssertNothingLeft(name);
    }
}
