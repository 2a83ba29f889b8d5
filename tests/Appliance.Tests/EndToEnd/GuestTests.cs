using System.Text.Json;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.Inspection.Guest;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.EndToEnd;

/// <summary>What <c>info</c> says of a guest, through the launcher.</summary>
public sealed class GuestTests : IDisposable
{
    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void Info_names_the_system_and_where_it_shows_each_volume()
    {
        string disk = TestDisks.Raw(_scratch, new Dictionary<string, string>
        {
            ["etc/os-release"] = "PRETTY_NAME=\"Escape\u001b[31m Linux 3\"\nVERSION_ID=3\n",
            ["etc/hostname"] = "web01\n",
            ["etc/fstab"] = "/dev/sda1 / ext4 defaults 0 0\n/dev/sda2 /boot/efi vfat defaults 0 0\n",
            ["usr/bin/vmtoolsd"] = "",
        });
        (int status, string text, string error) = Launcher.Run("info", disk);
        Assert.True(status == 0, error);
        Assert.Contains("  guest Escape\\x1B[31m Linux 3, 3 on v1\n    host name web01\n    hypervisor tools VMware Tools\n", text, StringComparison.Ordinal);
        string[] volumes = [.. text.Split('\n').Where(l => l.StartsWith("    v", StringComparison.Ordinal))];
        Assert.EndsWith(", /", volumes[0], StringComparison.Ordinal);
        Assert.EndsWith(", /boot/efi", volumes[1], StringComparison.Ordinal);

        JsonElement guest = JsonDocument.Parse(Launcher.Run("info", disk, "--format", "json").Output).RootElement.GetProperty("targets")[0].GetProperty("guest");
        Assert.Equal(("v1", "web01"), (guest.GetProperty("volume").GetString(), guest.GetProperty("hostName").GetString()));
        Assert.Equal(["v1 /", "v2 /boot/efi"], guest.GetProperty("mountPoints").EnumerateArray().Select(m => $"{m.GetProperty("volume").GetString()} {m.GetProperty("path").GetString()}"));
        Assert.False(guest.TryGetProperty("lastBoot", out _));
    }

    [Fact]
    public void A_finding_carries_the_path_by_which_its_owner_knows_it()
    {
        string disk = TestDisks.Raw(_scratch, new Dictionary<string, string>
        {
            ["etc/os-release"] = "PRETTY_NAME=\"A Linux\"\n",
            ["etc/fstab"] = "/dev/sda1 / ext4 defaults 0 0\n/dev/sda2 /srv/share vfat defaults 0 0\n",
            ["home/anna/x.com"] = TestDisks.Eicar,
            ["srv/share/hidden.com"] = TestDisks.Eicar,
        });
        JsonElement target = Launcher.Scan(disk).GetProperty("targets")[0];
        Assert.Equal("A Linux", target.GetProperty("guest").GetProperty("operatingSystem").GetString());
        Assert.Equal(
            ["/", "/srv/share"],
            target.GetProperty("disks")[0].GetProperty("volumes").EnumerateArray().Select(v => v.GetProperty("mountPoints")[0].GetString()));
        Dictionary<string, string?> shown = target.GetProperty("findings").EnumerateArray().ToDictionary(
            f => f.GetProperty("path").GetString()!,
            f => f.TryGetProperty("guestPath", out JsonElement path) ? path.GetString() : null);
        Assert.Contains(shown, f => f.Value is "/home/anna/x.com" or "/srv/share/home/anna/x.com");
        Assert.All(shown, f => Assert.Equal(f.Key.StartsWith("v1/srv/share/", StringComparison.Ordinal) ? null : (f.Key.StartsWith("v2/", StringComparison.Ordinal) ? "/srv/share/" : "/") + f.Key[3..], f.Value));
    }

    [Theory]
    [InlineData("v1/Users/anna/x.exe", @"C:\Users\anna\x.exe")]
    [InlineData("v1/Users/anna/x.exe:stream", @"C:\Users\anna\x.exe:stream")]
    [InlineData("v2/data", @"D:\data")]
    [InlineData("v1@00000000-0000-0000-0000-000000000001/Users/anna/x.exe", null)]
    [InlineData("v1/$OrphanFiles/x", null)]
    [InlineData("v1/$Deleted/x", null)]
    [InlineData("v1/slack@4096", null)]
    [InlineData("v3/x", null)]
    [InlineData("disk/mbr@0", null)]
    [InlineData("web01.vmdk", null)]
    public void A_path_on_a_volume_with_a_letter(string path, string? shown)
    {
        var guest = new GuestFacts { Volume = "v1", MountPoints = [new("v1", "C:", ""), new("v2", "D:", ""), new("v2", "E:", "")] };
        Assert.Equal(shown, GuestPlaces.Of(guest, path));
        Assert.Null(GuestPlaces.Of(null, path));
    }

    [Theory]
    [InlineData("v1/@/etc/x", "/etc/x")]
    [InlineData("v1/@home/anna/x", "/home/anna/x")]
    [InlineData("v1/@/home/anna/x", null)]
    [InlineData("v1/@snapshots/1/x", null)]
    [InlineData("v2/log/x", "/var/log/x")]
    public void A_path_on_a_volume_with_mount_points(string path, string? shown)
    {
        var guest = new GuestFacts { Volume = "v1", MountPoints = [new("v1", "/", "@"), new("v1", "/home", "/@home"), new("v2", "/var", "")] };
        Assert.Equal(shown, GuestPlaces.Of(guest, path));
    }

    [Theory]
    [InlineData("etc/x", "/etc/x")]
    [InlineData("ostree/repo/objects/ab/cd.file", "/usr/bin/x")]
    [InlineData("ostree/repo/objects/ab/ef.file", "/sysroot/ostree/repo/objects/ab/ef.file")]
    [InlineData("ostree/deploy/fedora/var/home/anna/x", "/var/home/anna/x")]
    [InlineData("ostree/deploy/fedora/deploy/b.0/etc/x", "/sysroot/ostree/deploy/fedora/deploy/b.0/etc/x")]
    public void A_path_in_a_system_of_OSTree(string path, string shown)
    {
        const string Root = "ostree/deploy/fedora/deploy/a.0";
        var guest = new GuestFacts { Volume = "v1", MountPoints = [new("v1", "/", Root), new("v1", "/var", "ostree/deploy/fedora/var"), new("v1", "/sysroot", "")] };
        path = path == "etc/x" ? $"{Root}/{path}" : path;
        var finding = new FindingReport { Path = "v1/" + path, AlsoAt = path.EndsWith("cd.file", StringComparison.Ordinal) ? [$"v1/{Root}/usr/bin/x"] : [], SizeBytes = 1, Sha256 = "", Engine = "", Rule = "", Namespace = "", Severity = "low" };
        Assert.Equal(shown, GuestPlaces.Of(guest, finding));
    }

    [Fact]
    public void A_disk_without_a_system_has_no_guest()
    {
        string disk = TestDisks.Raw(_scratch, new Dictionary<string, string> { ["a.txt"] = "abc" });
        Assert.DoesNotContain(InProcess.Run(new InfoJob { Limits = InProcess.Limits, Disks = InProcess.Plans(disk) }), e => e is GuestEvent);
    }

    [Fact]
    public void A_worker_that_says_too_much_of_a_guest_is_not_believed()
    {
        WorkerEvents.Check(new GuestEvent(new GuestFacts { Volume = "d2v1", HostName = new string('x', 1024) }));
        foreach (GuestFacts facts in (GuestFacts[])
        [
            new() { Volume = "v1\n" },
            new() { Volume = "v1", HostName = new string('x', 10_000) },
            new() { Volume = "v1", Kernels = [.. Enumerable.Repeat("x", 300)] },
            new() { Volume = "v1", MountPoints = [new GuestMount("../v1", "/", "")] },
            new() { Volume = "v1", Packages = new GuestPackages("dpkg", -1) },
        ])
        {
            Assert.Throws<InvalidDataException>(() => WorkerEvents.Check(new GuestEvent(facts)));
        }
    }
}
