using System.Diagnostics;
using System.Text.Json;
using Vmsweep.Appliance.Tests.EndToEnd;
using Vmsweep.Golden;
using Vmsweep.Rigs;

namespace Vmsweep.Appliance.Tests.Hypervisors;

/// <summary>libvirt of a host that is reached by ssh: a real server on loopback, through which both sockets go.</summary>
[Collection(LibvirtCollection.Name)]
[Trait("Category", "Slow")]
public sealed class SshTests(LibvirtFixture libvirt)
{
    [Fact]
    public void A_VM_of_another_host_is_scanned_and_nothing_is_left_on_either()
    {
        (string name, GuestSerial serial) = libvirt.Guest();
        serial.PlantEicar("x.com");
        using var ssh = new SshRig();
        using var scratch = new Scratch();
        string[] options = ["--state", libvirt.State, "--config", Configured(scratch, ssh)];
        JsonElement report = Program.Scan([$"far/{name}", "--changed", .. options]);
        Assert.Equal(["EICAR_Test_File d1v1/x.com"], report.Findings());
        Assert.Empty(report.Gaps());
        Assert.Equal("full", report.GetProperty("sandbox").GetString());
        report = Program.Scan([$"far/{name}", "--changed", .. options]);
        Assert.Equal(["EICAR_Test_File d1v1/x.com"], report.Findings());
        Assert.True(report.GetProperty("totals").GetProperty("filesUnchanged").GetInt64() > 0, report.GetProperty("targets")[0].GetProperty("changes").ToString());
        (_, string output, _) = Program.Run("leases", "list", "--state", libvirt.State);
        (int status, output, string error) = Program.Run(["leases", "reap", output.Split(' ')[0], .. options]);
        Assert.True(status == 0, output + error);
        AssertNoneLeft(ssh);
        libvirt.AssertNothingLeft(name);

        // Killed while it reads: the connections end with it, and what it made there is undone by the next one.
        using (Process scan = Program.Start(["scan", $"far/{name}", "--no-progress", .. options]))
        {
            SpinWait.SpinUntil(() => scan.HasExited || (Directory.GetFileSystemEntries(libvirt.Rig.Views).Length > 0 && KilledScan.HasChild(scan)), TimeSpan.FromSeconds(120));
            scan.Kill();
            scan.WaitForExit();
        }

        AssertNoneLeft(ssh);
        (status, output, error) = Program.Run(["leases", "reap", .. options]);
        Assert.True(status == 0, output + error);
        AssertNoneLeft(ssh);
        libvirt.AssertNothingLeft(name);
    }

    [Fact]
    public void Another_host_key_or_a_key_that_is_not_known_there_ends_without_a_question()
    {
        using var ssh = new SshRig();
        using var scratch = new Scratch();
        string other = string.Join(' ', File.ReadAllText(ssh.Stranger + ".pub").Split(' ').Take(2));
        (int status, _, string error) = Program.Run("inventory", "far", "--config", Configured(scratch, ssh, hostKey: other));
        Assert.Equal(2, status);
        Assert.Contains("Host key verification failed", error, StringComparison.Ordinal);
        (status, _, error) = Program.Run("inventory", "far", "--config", Configured(scratch, ssh, identity: ssh.Stranger));
        Assert.Equal(2, status);
        Assert.Contains("Permission denied", error, StringComparison.Ordinal);
        (status, _, error) = Program.Run("inventory", $"libvirt+ssh://root@127.0.0.1:{ssh.Port}/system");
        Assert.Equal(2, status);
        Assert.Contains("hostKey", error, StringComparison.Ordinal);
        AssertNoneLeft(ssh);
    }

    private string Configured(Scratch scratch, SshRig ssh, string? hostKey = null, string? identity = null)
    {
        File.WriteAllText(scratch["far.json"], $$"""
            { "connectors": { "far": {
                "address": "libvirt+ssh://root@127.0.0.1:{{ssh.Port}}/system?socket={{libvirt.Rig.Socket}}",
                "identity": "{{identity ?? ssh.Identity}}", "hostKey": "{{hostKey ?? ssh.HostKey}}", "views": "{{libvirt.Rig.Views}}", "minimumFree": "10M" } } }
            """);
        return scratch["far.json"];
    }

    /// <summary>No client of this server is left, nor the folder that its sockets lay in.</summary>
    private static void AssertNoneLeft(SshRig ssh)
    {
        string[] left = [];
        Assert.True(
            SpinWait.SpinUntil(
                () =>
                {
                    left = [.. Directory.GetDirectories("/proc").Select(d => Read(d + "/cmdline")).Where(c => c.Contains("vmsweep", StringComparison.Ordinal) && c.Contains($"-p {ssh.Port} ", StringComparison.Ordinal))];
                    return left.Length == 0;
                },
                TimeSpan.FromSeconds(60)),
            string.Join('\n', left));
    }

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
