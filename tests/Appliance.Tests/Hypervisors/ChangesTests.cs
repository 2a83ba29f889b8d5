using System.Diagnostics;
using System.Text.Json;
using Vmsweep.Appliance.Tests.EndToEnd;
using Vmsweep.Golden;
using Vmsweep.Rigs;

namespace Vmsweep.Appliance.Tests.Hypervisors;

/// <summary>Scans of a running VM that read only what changed, by checkpoints of a real libvirt.</summary>
[Collection(LibvirtCollection.Name)]
[Trait("Category", "Slow")]
public sealed class ChangesTests(LibvirtFixture libvirt)
{
    /// <summary>Of the guest's ten large files together.</summary>
    private const long LargeBytes = 30_000_000;

    [Fact]
    public void A_second_scan_reads_what_changed_finds_what_came_and_still_tells_of_what_was_there()
    {
        (string name, GuestSerial serial) = libvirt.Guest();
        serial.PlantEicar("first.com");
        serial.PlantEicar("same.com");
        serial.Run("tr 'A-Z' 'B-ZA' < /mnt/same.com > /mnt/other.com && sync");
        JsonElement first = Scan(name, "first.com", "same.com");
        Assert.Equal(0, Total(first, "filesUnchanged"));
        Assert.True(Total(first, "bytesRead") > LargeBytes);
        Assert.True(Changes(first).GetProperty("isKept").GetBoolean(), Changes(first).ToString());
        Assert.False(Changes(first).TryGetProperty("since", out _));
        string lease = Kept();
        Assert.Contains("vmsweep-", libvirt.Rig.Virsh("checkpoint-list", name, "--name"), StringComparison.Ordinal);

        // Two names change their files: what they lead to was not written, and neither size nor time differs.
        serial.PlantEicar("second.com");
        serial.Run("cd /mnt && touch -r same.com other.com && mv same.com x && mv other.com same.com && mv x other.com && sync; cd /");
        JsonElement second = Scan(name, "first.com", "other.com", "second.com");
        Assert.True(Changes(second).TryGetProperty("since", out _), Changes(second).ToString());
        // The first and the last cluster of a large file may be one with something else that was written.
        Assert.True(Total(second, "bytesUnchanged") >= LargeBytes * 2 / 3, second.GetProperty("totals").ToString());
        Assert.True(Total(second, "bytesRead") < LargeBytes / 3, second.GetProperty("totals").ToString());
        Assert.Equal(Total(second, "bytesSeen"), Total(second, "bytesUnchanged") + Total(second, "bytesRead"));
        Assert.NotEqual(lease, Kept());

        // What an earlier scan found is said to be from there; a guest that only beats leaves it alone, and no sample has it read again.
        serial.Run("dd if=/dev/zero of=/mnt/apart bs=64k count=64 2>/dev/null && sync");
        JsonElement third = ScanWith(["--recheck", "0"], name, "first.com", "other.com", "second.com");
        Assert.Contains(third.GetProperty("targets")[0].GetProperty("findings").EnumerateArray(), f => f.TryGetProperty("unchanged", out JsonElement unchanged) && unchanged.GetBoolean());
        End(name);
    }

    [Fact]
    public void Killed_at_any_step_a_scan_loses_no_change()
    {
        (string name, GuestSerial serial) = libvirt.Guest();
        Scan(name);
        List<string> planted = [];
        int built = 0;
        foreach (string step in (string[])["worker", "ending", "kept"])
        {
            string before = Kept();
            planted.Add(step + ".com");
            serial.PlantEicar(step + ".com");
            using (Process scan = Program.Start(["scan", $"lab/{name}", "--changed", "--no-progress", .. libvirt.Options]))
            {
                WaitFor(step, before, scan);
                scan.Kill();
                scan.WaitForExit();
            }

            (int status, string output, string error) = Program.Run(["leases", "reap", .. libvirt.Options]);
            Assert.True(status == 0, $"{step}: {output}{error}");
            JsonElement report = Scan(name, [.. planted]);
            built += Changes(report).TryGetProperty("since", out _) ? 1 : 0;
        }

        Assert.True(built >= 2, $"only {built} scans could build on an earlier one");
        End(name);
    }

    [Fact]
    public void What_cannot_be_told_is_read()
    {
        (string name, GuestSerial serial) = libvirt.Guest();
        Scan(name);

        // A QEMU that is killed leaves its bitmap open: nobody knows what it missed.
        int qemu = int.Parse(File.ReadAllText(Path.Combine(libvirt.Rig.Folder, $"run/libvirt/qemu/{name}.pid")), System.Globalization.CultureInfo.InvariantCulture);
        serial.PlantEicar("x.com");
        using (var process = Process.GetProcessById(qemu))
        {
            process.Kill();
        }

        Assert.True(SpinWait.SpinUntil(() => libvirt.Rig.Virsh("domstate", name).Contains("shut off", StringComparison.Ordinal), TimeSpan.FromSeconds(60)));
        libvirt.Ended();
        (_, serial) = libvirt.Guest();
        serial.PlantEicar("y.com");
        JsonElement report = Scan(name, "y.com");
        Assert.Equal(0, Total(report, "filesUnchanged"));

        Assert.True(Changes(report).GetProperty("isKept").GetBoolean(), Changes(report).ToString());

        // Its checkpoint was taken away by others.
        libvirt.Rig.Virsh("checkpoint-delete", name, Assert.Single(libvirt.Rig.Virsh("checkpoint-list", name, "--name").Split('\n', StringSplitOptions.RemoveEmptyEntries)));
        report = Scan(name, "y.com");
        Assert.Equal(0, Total(report, "filesUnchanged"));
        Assert.True(Changes(report).GetProperty("isKept").GetBoolean(), Changes(report).ToString());

        // And off: the bitmap goes out of the image too, but for the broken one, of which QEMU alone knows.
        string bitmap = "vmsweep-" + Kept().Replace("-", "", StringComparison.Ordinal);
        libvirt.Rig.Virsh("destroy", name);
        libvirt.Ended();
        string image = Path.Combine(libvirt.Rig.Images, name + "-a.qcow2");
        Assert.Contains(bitmap, Tool.Run("qemu-img", "info", image), StringComparison.Ordinal);
        End(name);
        Assert.DoesNotContain(bitmap, Tool.Run("qemu-img", "info", image), StringComparison.Ordinal);
    }

    private JsonElement Scan(string name, params string[] found) => ScanWith([], name, found);

    private JsonElement ScanWith(string[] options, string name, params string[] found)
    {
        JsonElement report = Program.Scan([$"lab/{name}", "--changed", .. options, .. libvirt.Options]);
        Assert.Equal(found.Select(f => $"EICAR_Test_File d1v1/{f}").Order(StringComparer.Ordinal), report.Findings().Order(StringComparer.Ordinal));
        Assert.Empty(report.Gaps());
        return report;
    }

    private static JsonElement Changes(JsonElement report) => report.GetProperty("targets")[0].GetProperty("changes");

    private static long Total(JsonElement report, string name) => report.GetProperty("totals").GetProperty(name).GetInt64();

    /// <summary>The one lease that is there: a checkpoint that is kept.</summary>
    private string Kept()
    {
        (int status, string output, string error) = Program.Run(["leases", "list", "--state", libvirt.State]);
        Assert.True(status == 0, error);
        string line = Assert.Single(output.Split('\n', StringSplitOptions.RemoveEmptyEntries));
        Assert.Contains("libvirt-checkpoint  kept", line, StringComparison.Ordinal);
        return line.Split(' ')[0];
    }

    /// <summary>The operator removes what was left on purpose.</summary>
    private void End(string name)
    {
        (int status, string output, string error) = Program.Run(["leases", "reap", Kept(), .. libvirt.Options]);
        Assert.True(status == 0, output + error);
        libvirt.AssertNothingLeft(name);
    }

    private void WaitFor(string step, string before, Process scan)
    {
        string leases = Path.Combine(libvirt.State, "leases");
        bool hadWorker = false;
        while (!scan.HasExited)
        {
            // Often enough for the short steps, and the scan needs a processor too.
            Thread.Sleep(1);
            string[] keys = [.. Directory.GetFiles(leases, "*.json").Select(f => Path.GetFileNameWithoutExtension(f)).Where(k => k != before.Replace("-", "", StringComparison.Ordinal))];
            bool isOpen = keys.Any(k => File.Exists(Path.Combine(libvirt.Rig.Views, k, "nbd")));
            bool hasWorker = isOpen && KilledScan.HasChild(scan);
            bool isReached = step switch
            {
                "worker" => hasWorker,
                "ending" => hadWorker && !hasWorker,
                "kept" => hadWorker && keys.Any(k => ReadOrNothing(Path.Combine(leases, k + ".json")).Contains("\"isKept\": true", StringComparison.Ordinal)),
                _ => throw new ArgumentOutOfRangeException(nameof(step)),
            };
            hadWorker |= hasWorker;
            if (isReached)
            {
                return;
            }
        }
    }

    private static string ReadOrNothing(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (IOException)
        {
            return "";
        }
    }
}
