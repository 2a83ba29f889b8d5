using System.Text.Json;
using Vmsweep.Appliance.Tests.EndToEnd;
using Vmsweep.Golden;
using Vmsweep.Rigs.HyperV;

namespace Vmsweep.Appliance.Tests.Hypervisors.HyperV;

/// <summary>The program against stand-ins of a cluster's nodes, with real disks.</summary>
[Collection(HyperVCollection.Name)]
[Trait("Category", "Slow")]
public sealed class HyperVTests(HyperVFixture hyperV)
{
    private const string Second = "second.com";

    [Theory]
    [InlineData("2", "running")]
    [InlineData("3", "off")]
    public void What_is_on_its_disk_is_found_and_nothing_is_left_behind(string state, string shown)
    {
        hyperV.Fresh(state);
        JsonElement report = Program.Scan([$"lab/{HyperVFixture.Machine}", .. hyperV.Options()]);
        JsonElement target = report.GetProperty("targets")[0];
        Assert.Empty(report.Gaps());
        Assert.Equal(["EICAR_Test_File v1/x.com", "EICAR_Test_File v2/x.com"], report.Findings().Order());
        Assert.Equal(shown, target.GetProperty("vm").GetProperty("power").GetString());
        Assert.Equal("Windows Server 2022", target.GetProperty("vm").GetProperty("guestOs").GetString());
        Assert.Equal(HyperVFixture.Disk, target.GetProperty("disks")[0].GetProperty("path").GetString());
        Assert.Equal("full", report.GetProperty("sandbox").GetString());
        Assert.Equal(shown == "running" ? 1 : 0, hyperV.Rig.Calls.GetValueOrDefault("CreateSnapshot"));
        hyperV.AssertNothingLeft();
    }

    [Fact]
    public void The_doctor_tries_everything_and_touches_no_VM()
    {
        hyperV.Fresh("3");
        (int status, string output, string error) = Program.Run(["doctor", "--connector", "lab", "--dry-run", "--config", hyperV.Configuration()]);
        Assert.True(status == 0, output + error);
        foreach (string step in (string[])["log in", "nodes", "services of HV2", "inventory", "storage", "a file"])
        {
            Assert.Contains("ok    " + step, output, StringComparison.Ordinal);
        }

        Assert.Equal(["Enumerate", "GetSummaryInformation", "GetVirtualHardDiskSettingData"], hyperV.Rig.Calls.Keys.Order(StringComparer.Ordinal));
        (status, output, error) = Program.Run(["doctor", "--connector", "lab", "--dry-run", "--config", hyperV.Configuration(", \"paths\": { \"D:\": \"/mnt\" }")]);
        Assert.Equal(3, status);
        Assert.Contains("1 of 1 disks are below no path of \"paths\", such as " + HyperVFixture.Disk, output, StringComparison.Ordinal);
    }

    [Fact]
    public void Acts_are_done_and_reported()
    {
        HyperVMachine machine = hyperV.Fresh();
        machine.Notes = "of the owner";
        JsonElement report = Program.Scan([$"lab/{HyperVFixture.Machine}", .. hyperV.Options(), "--act", "annotate,disconnect,suspend,keep"]);
        JsonElement[] acts = [.. report.GetProperty("targets")[0].GetProperty("acts").EnumerateArray()];
        Assert.Equal(["annotate", "disconnect", "suspend", "keep"], acts.Select(a => a.GetProperty("act").GetString()));
        Assert.All(acts, a => Assert.True(a.GetProperty("isDone").GetBoolean(), a.ToString()));
        Assert.StartsWith("of the owner\n[vmsweep ", machine.Notes, StringComparison.Ordinal);
        Assert.Contains("EICAR_Test_File", machine.Notes, StringComparison.Ordinal);
        Assert.Equal(("6", false), (machine.State, machine.IsConnected));
        Assert.StartsWith("vmsweep-", Assert.Single(machine.Checkpoints).Name, StringComparison.Ordinal);

        // What is kept goes by the command that the report names.
        string[] words = acts[3].GetProperty("undo").GetString()!.Split(' ');
        (int status, string output, string error) = Program.Run([.. words[1..], .. hyperV.Options()]);
        Assert.True(status == 0, output + error);
        hyperV.AssertNothingLeft();
    }

    [Fact]
    public void A_second_scan_reads_what_changed_and_finds_what_came()
    {
        HyperVMachine machine = hyperV.Fresh();
        JsonElement first = Changed();
        Assert.True(Changes(first).GetProperty("isKept").GetBoolean(), Changes(first).ToString());
        Assert.False(Changes(first).TryGetProperty("since", out _));
        string point = Assert.Single(machine.References).Id;
        Assert.Empty(machine.Checkpoints);

        Write(machine, Second);
        hyperV.Rig.MostProcessed = 5 << 20;
        JsonElement second = Changed();
        Assert.True(Changes(second).TryGetProperty("since", out _), Changes(second).ToString());
        Assert.Equal(["EICAR_Test_File v1/x.com", "EICAR_Test_File v2/second.com", "EICAR_Test_File v2/x.com"], second.Findings().Order(StringComparer.Ordinal));
        Assert.True(second.GetProperty("totals").GetProperty("filesUnchanged").GetInt64() > 0, second.GetProperty("totals").ToString());
        Assert.NotEqual(point, Assert.Single(machine.References).Id);
        Assert.True(hyperV.Rig.Calls["GetVirtualDiskChanges"] >= 10);

        // What others took away cannot be compared to: all is read.
        machine.References.Clear();
        JsonElement third = Changed();
        Assert.False(Changes(third).TryGetProperty("since", out _), Changes(third).ToString());
        Assert.Equal(3, third.Findings().Count);
        (int status, string output, string error) = Program.Run(["leases", "reap", Assert.Single(hyperV.Journal.List()).Record.Id.ToString(), .. hyperV.Options()]);
        Assert.True(status == 0, output + error);
        hyperV.AssertNothingLeft();
    }

    private JsonElement Changed()
    {
        JsonElement report = Program.Scan([$"lab/{HyperVFixture.Machine}", "--changed", "--recheck", "0", .. hyperV.Options()]);
        Assert.Empty(report.Gaps());
        return report;
    }

    private static JsonElement Changes(JsonElement report) => report.GetProperty("targets")[0].GetProperty("changes");

    /// <summary>The guest writes a file; the host has noted where.</summary>
    private void Write(HyperVMachine machine, string name)
    {
        File.WriteAllText(hyperV[name], TestDisks.Eicar);
        byte[] before = File.ReadAllBytes(hyperV.Raw);
        string copy = hyperV["copy.raw"];
        File.WriteAllBytes(copy, before);
        Tool.Run("mcopy", "-i", copy + "@@25M", hyperV[name], "::");
        byte[] after = File.ReadAllBytes(copy);
        for (int at = 0; at < after.Length; at += 64 << 10)
        {
            if (!after.AsSpan(at, 64 << 10).SequenceEqual(before.AsSpan(at, 64 << 10)))
            {
                machine.Written.Add((at, 64 << 10));
            }
        }

        hyperV.SetDisk(after);
    }
}
