using System.Diagnostics;
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
        List<string> reached = [];
        foreach (string step in steps)
        {
            using Process scan = Program.Start("scan", target, "--no-progress", "--config", Configuration(), "--state", libvirt.State);
            bool isThere = WaitFor(step, name, scan);
            scan.Kill();
            scan.WaitForExit();
            if (isThere)
            {
                reached.Add(step);
            }

            (int status, string output, string error) = Program.Run(["leases", "reap", "--config", Configuration(), "--state", libvirt.State]);
            Assert.True(status == 0, $"{step}: {output}{error}");
            libvirt.AssertNothingLeft(name);
            Assert.Contains("running", libvirt.Rig.Virsh("domstate", name), StringComparison.Ordinal);
        }

        // The short ones may be over before they are seen; the lasting ones may not.
        Assert.Contains("lease", reached);
        Assert.Contains("worker", reached);
        Assert.True(reached.Count >= steps.Length - 3, $"only {string.Join(", ", reached)} of {string.Join(", ", steps)}");
        Assert.True(serial.Beats > 0);

        libvirt.AssertFileSystemSound(name);
    }

    /// <summary>The target is named by its address, so that a lease must be undone from what it records alone.</summary>
    private string Configuration()
    {
        string path = Path.Combine(libvirt.State, "empty.json");
        File.WriteAllText(path, "{}");
        return path;
    }

    private bool WaitFor(string step, string name, Process scan)
    {
        string leases = Path.Combine(libvirt.State, "leases");
        bool wasThere = false;
        bool wasWorker = false;
        bool wasInUse = false;
        while (!scan.HasExited)
        {
            // Often enough for the short steps, and the scan needs a processor too.
            Thread.Sleep(1);
            string? key = Directory.Exists(leases) ? Directory.GetFiles(leases, "*.json").Select(f => Path.GetFileNameWithoutExtension(f)).FirstOrDefault() : null;
            if (key is null)
            {
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
                "ending" => wasThere && isOpen && wasWorker && !HasWorker(scan),
                "removed" => wasThere && ours.Length == 0,
                "merging" => libvirt.Rig.TryVirsh("blockjob", name, "vda").Output.Length > 0,
                "merged" => wasInUse && !isInUse,
                _ => throw new ArgumentOutOfRangeException(nameof(step)),
            };
            wasWorker |= isOpen && HasWorker(scan);
            if (isReached)
            {
                return true;
            }
        }

        return false;
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
}
