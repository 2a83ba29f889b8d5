using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text.Json;
using Vmsweep.Appliance.Tests.EndToEnd;
using Vmsweep.Rigs;

namespace Vmsweep.Appliance.Tests.Hypervisors;

/// <summary>A scan that is killed at any of its steps leaves nothing on the host once the next one has started.</summary>
[Collection(LibvirtCollection.Name)]
[Trait("Category", "Slow")]
public sealed partial class KillTests(LibvirtFixture libvirt)
{
    private const int MostTries = 10;

    // SIGSTOP, SIGCONT.
    private const int Stop = 19, Continue = 18;

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

    /// <summary>Kills a scan at a step, with another scan where one was over before it was seen there.</summary>
    /// <returns>The key of its lease.</returns>
    private string KillAt(string step, string name, string target)
    {
        for (int tries = 0; tries < MostTries; tries++)
        {
            using Process scan = Program.Start("scan", target, "--no-progress", "--config", Configuration(), "--state", libvirt.State);
            string? lease = WaitFor(step, name, scan);
            scan.Kill();
            scan.WaitForExit();
            if (lease is not null)
            {
                return lease;
            }
        }

        throw new InvalidOperationException($"{step} was not met in {MostTries} scans");
    }

    /// <summary>The target is named by its address, so that a lease must be undone from what it records alone.</summary>
    private string Configuration()
    {
        string path = Path.Combine(libvirt.State, "empty.json");
        File.WriteAllText(path, "{}");
        return path;
    }

    /// <returns>The key of its lease; null where it ended before it was seen there.</returns>
    private string? WaitFor(string step, string name, Process scan)
    {
        string leases = Path.Combine(libvirt.State, "leases");
        bool wasThere = false;
        bool wasWorker = false;
        bool wasInUse = false;
        while (!scan.HasExited)
        {
            // Often enough for the short steps, and the scan needs a processor too.
            Thread.Sleep(1);

            // The steps at the end are short. There it is looked at while it stands still, and goes on for a moment only.
            bool isEnding = wasWorker && !HasWorker(scan);
            if (isEnding)
            {
                _ = Kill(scan.Id, Stop);
            }

            string? key = Directory.Exists(leases) ? Directory.GetFiles(leases, "*.json").Select(f => Path.GetFileNameWithoutExtension(f)).FirstOrDefault() : null;
            if (key is null)
            {
                _ = Kill(scan.Id, Continue);
                continue;
            }

            string folder = "/run/vmsweep/views/" + key;
            string[] ours = Directory.GetFiles(libvirt.Rig.Images, $"vmsweep-{key}-*");
            bool isOpen = ours.Length > 0 && (File.Exists(folder + "/nbd") || ours[0].EndsWith(".qcow2", StringComparison.Ordinal));
            wasThere |= isOpen;
            bool isInUse = step is "in use" or "merged" && libvirt.Rig.Virsh("domblklist", name).Contains("vmsweep-" + key, StringComparison.Ordinal);
            wasInUse |= isInUse;
            bool isReached = step switch
            {
                "lease" => true,
                "folder" => Directory.Exists(folder),
                "scratch" or "overlay" => ours.Length > 0,
                "socket" => File.Exists(folder + "/nbd"),
                "taken" => File.Exists(folder + "/nbd") && (File.GetUnixFileMode(folder + "/nbd") & UnixFileMode.OtherRead) == 0,
                "in use" => isInUse,
                "worker" => isOpen && HasWorker(scan),
                "later" => isOpen && HasWorker(scan) && Later(),
                "ending" => wasThere && isOpen && isEnding,
                "removed" => wasThere && ours.Length == 0,
                "merging" => libvirt.Rig.TryVirsh("blockjob", name, "vda").Output.Length > 0,
                "merged" => wasInUse && !isInUse,
                _ => throw new ArgumentOutOfRangeException(nameof(step)),
            };
            wasWorker |= isOpen && HasWorker(scan);
            if (isReached)
            {
                return key;
            }

            _ = Kill(scan.Id, Continue);
        }

        return null;
    }

    private static bool Later()
    {
        Thread.Sleep(150);
        return true;
    }

    /// <summary>It has a child that is a sandbox.</summary>
    internal static bool HasWorker(Process scan)
    {
        try
        {
            string children = File.ReadAllText($"/proc/{scan.Id}/task/{scan.Id}/children");
            return Directory.GetDirectories($"/proc/{scan.Id}/task").Any(t => File.ReadAllText(t + "/children").Length > 0) || children.Length > 0;
        }
        catch (IOException)
        {
            return false;
        }
    }

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int Kill(int process, int signal);
}
