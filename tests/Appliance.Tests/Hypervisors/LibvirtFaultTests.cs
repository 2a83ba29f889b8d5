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

        var time = new Hurried();
        target = Scan(name, 1 << 20, () => time.Ahead = TimeSpan.FromHours(25), time);
        Assert.Contains(target.Gaps, g => g.Fault == "limit" && g.Detail.Contains("more than 24 hours", StringComparison.Ordinal));
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

    private TargetReport Scan(string name, long floor, Action meanwhile, Hurried? time = null) => Assert.Single(libvirt.ScanWith(
        name, null, meanwhile, lab => lab with { Scratch = libvirt.Rig.Small, MinimumFreeBytes = floor }, time ?? new Hurried()).Targets);

    private void AssertGoesOn(string name, GuestSerial serial)
    {
        int beats = serial.Beats;
        Assert.True(SpinWait.SpinUntil(() => serial.Beats > beats, TimeSpan.FromSeconds(120)), "the guest stands still");
        Assert.Empty(Directory.GetFileSystemEntries(libvirt.Rig.Small));
        libvirt.AssertNothingLeft(name);
    }

    /// <summary>Views are looked at often, and time may be ahead.</summary>
    private sealed class Hurried : TimeProvider
    {
        public TimeSpan Ahead { get; set; }

        public override DateTimeOffset GetUtcNow() => base.GetUtcNow() + Ahead;

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period) =>
            period == TimeSpan.FromSeconds(5) ? base.CreateTimer(callback, state, TimeSpan.FromMilliseconds(50), TimeSpan.FromMilliseconds(50)) : base.CreateTimer(callback, state, dueTime, period);
    }
}
