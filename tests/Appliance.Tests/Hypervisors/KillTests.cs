using System.Diagnostics;
using System.Text.Json;
using Vmsweep.Appliance.Tests.EndToEnd;
using Vmsweep.Rigs;

namespace Vmsweep.Appliance.Tests.Hypervisors;

/// <summary>A scan that is killed at any of its steps leaves nothing on the host once the next one has started.</summary>
[Collection(LibvirtCollection.Name)]
[Trait("Category", "Slow")]
public sealed class KillTests(LibvirtFixture libvirt)
{
    /// <summary>A step is known by what it has made.</summary>
    public static TheoryData<string?, string[]> Methods => new()
    {
        { null, ["lease", "folder", "scratch", "socket", "taken", "worker", "later", "ending", "removed"] },
        { "snapshot", ["lease", "overlay", "in use", "worker", "later", "merging", "merged"] },
    };

    [Theory]
    [MemberData(nameof(Methods))]
    public void Killed_at_every_step(string? method, string[] steps)
    {
        (string name, GuestSerial serial) = libvirt.Guest();
        string target = $"{libvirt.Rig.Address}&vm={name}{(method is null ? "" : "&view=" + method)}";
        serial.PlantEicar("x.com");
        foreach (string step in steps)
        {
            string lease = KillAt(step, name, target);
            if (step is "socket" or "later" or "in use" or "merging")
            {
                // The next start is an ordinary scan, which finds nothing of the earlier one in its way.
                JsonElement report = Program.Scan(target, "--config", Configuration(), "--state", libvirt.State);
                Assert.Equal(["EICAR_Test_File d1v1/x.com"], report.Findings());
                Assert.Empty(report.Gaps());
            }
            else
            {
                (int status, string output, string error) = Program.Run(["leases", "reap", "--config", Configuration(), "--state", libvirt.State]);
                Assert.True(status == 0, $"{step}: {output}{error}");
            }

            libvirt.AssertNothingLeft(name, lease);
            Assert.Contains("running", libvirt.Rig.Virsh("domstate", name), StringComparison.Ordinal);
        }

        Assert.True(serial.Beats > 0);
        libvirt.AssertFileSystemSound(name);
    }

    /// <returns>The key of its lease.</returns>
    private string KillAt(string step, string name, string target)
    {
        bool wasInUse = false;
        return KilledScan.At(
            step,
            Path.Combine(libvirt.State, "leases"),
            () =>
            {
                wasInUse = false;
                return Program.Start("scan", target, "--no-progress", "--config", Configuration(), "--state", libvirt.State);
            },
            key => Made(key) is [var made, ..] && (File.Exists(SocketOf(key)) || made.EndsWith(".qcow2", StringComparison.Ordinal)),
            scan =>
            {
                bool isInUse = step is "in use" or "merged" && libvirt.Rig.Virsh("domblklist", name).Contains("vmsweep-" + scan.Key, StringComparison.Ordinal);
                wasInUse |= isInUse;
                return step switch
                {
                    "lease" => true,
                    "folder" => Directory.Exists(Path.GetDirectoryName(SocketOf(scan.Key))),
                    "scratch" or "overlay" => Made(scan.Key).Length > 0,
                    "socket" => File.Exists(SocketOf(scan.Key)),
                    "taken" => File.Exists(SocketOf(scan.Key)) && (File.GetUnixFileMode(SocketOf(scan.Key)) & UnixFileMode.OtherRead) == 0,
                    "in use" => isInUse,
                    "worker" => scan is { IsOpen: true, HasWorker: true },
                    "later" => scan is { IsOpen: true, HasWorker: true } && Later(),
                    "ending" => scan is { IsOpen: true, IsEnding: true },
                    "removed" => scan.WasOpen && Made(scan.Key).Length == 0,
                    "merging" => libvirt.Rig.TryVirsh("blockjob", name, "vda").Output.Length > 0,
                    "merged" => wasInUse && !isInUse,
                    _ => throw new ArgumentOutOfRangeException(nameof(step)),
                };
            });
    }

    /// <summary>Scratch files, or overlays.</summary>
    private string[] Made(string key) => Directory.GetFiles(libvirt.Rig.Images, $"vmsweep-{key}-*");

    private static string SocketOf(string key) => $"/run/vmsweep/views/{key}/nbd";

    /// <summary>The target is named by its address, so that a lease must be undone from what it records alone.</summary>
    private string Configuration()
    {
        string path = Path.Combine(libvirt.State, "empty.json");
        File.WriteAllText(path, "{}");
        return path;
    }

    private static bool Later()
    {
        Thread.Sleep(150);
        return true;
    }
}
