using Vmsweep.Appliance.Reports;
using Vmsweep.Rigs;

namespace Vmsweep.Appliance.Tests.Hypervisors;

/// <summary>What goes wrong around a view of a VM that runs: space, age, rights. The VM goes on and nothing is left.</summary>
[Collection(LibvirtCollection.Name)]
[Trait("Category", "Slow")]
public sealed class LibvirtFaultTests(LibvirtFixture libvirt)
{
    [Fact]
    public void A_view_that_is_too_old_or_takes_too_much_space_is_closed_and_what_was_not_read_is_a_gap()
    {
        (string name, GuestSerial serial) = libvirt.Guest();
        serial.PlantEicar("x.com");

        string filler = Path.Combine(libvirt.Rig.Small, "filler");
        TargetReport target = Scan(name, 10 << 20, () => File.WriteAllBytes(filler, new byte[8 << 20]));
        Assert.Contains(target.Gaps, g => g.Fault == "limit" && g.Detail.Contains("minimumFree", StringComparison.Ordinal));
        File.Delete(filler);
        AssertGoesOn(name, serial);

        var time = new HurriedTime();
        target = Scan(name, 1 << 20, () => time.Ahead = TimeSpan.FromHours(25), time);
        Assert.Contains(target.Gaps, g => g.Fault == "limit" && g.Detail.Contains("more than 24 hours", StringComparison.Ordinal));
        AssertGoesOn(name, serial);
    }

    [Fact]
    public void A_guest_whose_scratch_file_is_full_goes_on_and_what_was_not_read_is_a_gap()
    {
        (string name, GuestSerial serial) = libvirt.Guest();
        TargetReport target = Scan(name, 0, () => Fill(name, serial));
        Assert.Contains(target.Gaps, g => g.Fault == "limit" && g.Detail.Contains("stands still", StringComparison.Ordinal));
        serial.WaitUntilOverwritten();
        AssertGoesOn(name, serial);

        // Nobody is left who looks.
        string configuration = Path.Combine(libvirt.State, "small.json");
        File.WriteAllText(configuration, $$"""{ "connectors": { "lab": { "address": "{{libvirt.Rig.Address}}", "views": "{{libvirt.Rig.Views}}", "scratch": "{{libvirt.Rig.Small}}", "minimumFree": "1M" } } }""");
        string[] options = ["--config", configuration, "--state", libvirt.State];
        bool IsOpen(string key) => File.Exists(Path.Combine(libvirt.Rig.Views, key, "nbd"));
        KilledScan.At("worker", Path.Combine(libvirt.State, "leases"), () => Program.Start(["scan", "lab/" + name, "--no-progress", .. options]), IsOpen, s => s is { IsOpen: true, HasWorker: true });
        Fill(name, serial);
        (int status, string output, string error) = Program.Run(["leases", "reap", .. options]);
        Assert.True(status == 0, output + error);
        serial.WaitUntilOverwritten();
        AssertGoesOn(name, serial);
    }

    [Fact]
    public void A_socket_without_rights_is_said_with_its_path()
    {
        libvirt.Guest();
        UnixFileMode open = File.GetUnixFileMode(libvirt.Rig.Socket);
        File.SetUnixFileMode(libvirt.Rig.Socket, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        try
        {
            foreach (string[] command in (string[][])[["inventory", libvirt.Rig.Address], ["scan", libvirt.Rig.Address + "&vm=shared", "--state", "none"]])
            {
                (int status, string output, string error) = Program.RunAsNobody(command);
                Assert.Equal((2, ""), (status, output));
                Assert.Contains(libvirt.Rig.Socket, error, StringComparison.Ordinal);
                Assert.Contains("Permission denied", error, StringComparison.Ordinal);
                Assert.DoesNotContain("   at ", error, StringComparison.Ordinal);
            }
        }
        finally
        {
            File.SetUnixFileMode(libvirt.Rig.Socket, open);
        }
    }

    /// <summary>Has the guest overwrite more than the small file system holds; returns when it stands still.</summary>
    private void Fill(string name, GuestSerial serial)
    {
        serial.Overwrite();
        Assert.True(SpinWait.SpinUntil(() => libvirt.Rig.Virsh("domstate", "--reason", name).Contains("paused (I/O error)", StringComparison.Ordinal), TimeSpan.FromSeconds(180)), "the scratch files are never full");
    }

    private TargetReport Scan(string name, long floor, Action meanwhile, HurriedTime? time = null) => Assert.Single(libvirt.ScanWith(
        name, null, meanwhile, lab => lab with { Scratch = libvirt.Rig.Small, MinimumFreeBytes = floor }, time ?? new HurriedTime()).Targets);

    private void AssertGoesOn(string name, GuestSerial serial)
    {
        int beats = serial.Beats;
        Assert.True(SpinWait.SpinUntil(() => serial.Beats > beats, TimeSpan.FromSeconds(120)), "the guest stands still");
        Assert.Empty(Directory.GetFileSystemEntries(libvirt.Rig.Small));
        libvirt.AssertNothingLeft(name);
    }
}
