using System.Text.Json;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.VSphere;
using Vmsweep.Appliance.Tests.EndToEnd;
using Vmsweep.Golden;
using Vmsweep.Rigs;

namespace Vmsweep.Appliance.Tests.Hypervisors.VSphere;

/// <summary>The program against a simulated vCenter with real disks.</summary>
[Collection(VSphereCollection.Name)]
[Trait("Category", "Slow")]
public sealed class VSphereTests(VSphereFixture vsphere)
{
    [Theory]
    [InlineData("poweredOn", "running")]
    [InlineData("poweredOff", "off")]
    public void What_is_on_its_disk_is_found_and_nothing_is_left_behind(string power, string shown)
    {
        VSphereRig rig = vsphere.Fresh(power);
        JsonElement report = Program.Scan([$"lab/{VSphereRig.Machine}", .. vsphere.Options()]);
        JsonElement target = report.GetProperty("targets")[0];
        Assert.Empty(report.Gaps());
        Assert.Equal(["EICAR_Test_File v1/x.com", "EICAR_Test_File v2/x.com"], report.Findings().Order());
        Assert.Equal(shown, target.GetProperty("vm").GetProperty("power").GetString());
        Assert.Equal("[LocalDS_0] " + VSphereFixture.Disk, target.GetProperty("disks")[0].GetProperty("path").GetString());
        Assert.Equal("full", report.GetProperty("sandbox").GetString());
        JsonElement log = rig.Control("log");
        Assert.Equal(power == "poweredOn" ? 1 : 0, log.GetProperty("calls").TryGetProperty("CreateSnapshot_Task", out JsonElement made) ? made.GetInt32() : 0);
        Assert.InRange(log.GetProperty("most").GetInt32(), 1, 4);
        Assert.Equal(log.GetProperty("calls").GetProperty("Login").GetInt32(), log.GetProperty("calls").GetProperty("Logout").GetInt32());
        vsphere.AssertNothingLeft();
    }

    [Fact]
    public void The_doctor_tries_everything_and_touches_no_VM()
    {
        VSphereRig rig = vsphere.Fresh("poweredOff");
        (int status, string output, string error) = Program.Run(["doctor", "--connector", "lab", "--dry-run", "--config", vsphere.Configuration()]);
        Assert.True(status == 0, output + error);
        foreach (string step in (string[])["log in", "inventory", "privilege VirtualMachine.State.CreateSnapshot", "a file by range"])
        {
            Assert.Contains("ok    " + step, output, StringComparison.Ordinal);
        }

        Assert.DoesNotContain(rig.Control("log").GetProperty("calls").EnumerateObject(), c => c.Name.EndsWith("_Task", StringComparison.Ordinal));
        (status, output, error) = Program.Run(["doctor", "--connector", "lab", "--dry-run", "--config", vsphere.Configuration($", \"certificate\": \"sha256:{new string('0', 64)}\"")]);
        Assert.Equal(3, status);
        Assert.Contains("not the pinned one", output, StringComparison.Ordinal);
    }

    [Fact]
    public void What_keeps_a_VM_from_being_read_is_a_gap_of_the_report()
    {
        VSphereRig rig = vsphere.Fresh();
        rig.Arm("soap", "fault:InsufficientResourcesFault", "CreateSnapshot_Task");
        JsonElement report = Program.Scan([$"lab/{VSphereRig.Machine}", .. vsphere.Options()]);
        Assert.Equal("incomplete", report.GetProperty("verdict").GetString());
        Assert.Contains("InsufficientResourcesFault", Assert.Single(report.Gaps()).GetProperty("detail").GetString(), StringComparison.Ordinal);
        vsphere.AssertNothingLeft();

        // A file that cannot be read any more in the middle.
        rig.Arm("folder", "status:404", times: 1000, skip: 4);
        report = Program.Scan([$"lab/{VSphereRig.Machine}", .. vsphere.Options()]);
        Assert.NotEqual("clean", report.GetProperty("verdict").GetString());
        Assert.Contains(report.Gaps(), g => g.GetProperty("fault").GetString() == "transport");
        rig.Reset();
        vsphere.AssertNothingLeft();
    }

    [Fact]
    public void Acts_are_done_and_reported()
    {
        VSphereRig rig = vsphere.Fresh();
        JsonElement report = Program.Scan([$"lab/{VSphereRig.Machine}", .. vsphere.Options(), "--act", "annotate,disconnect,suspend,keep"]);
        JsonElement[] acts = [.. report.GetProperty("targets")[0].GetProperty("acts").EnumerateArray()];
        Assert.Equal(["annotate", "disconnect", "suspend", "keep"], acts.Select(a => a.GetProperty("act").GetString()));
        Assert.All(acts, a => Assert.True(a.GetProperty("isDone").GetBoolean(), a.ToString()));
        JsonElement vm = rig.Vm(VSphereRig.Machine);
        Assert.Contains("EICAR_Test_File", vm.GetProperty("annotation").GetString(), StringComparison.Ordinal);
        Assert.Equal("suspended", vm.GetProperty("power").GetString());
        Assert.False(vm.GetProperty("cards")[0].GetBoolean());
        Assert.Equal(1, vm.GetProperty("snapshots").GetArrayLength());

        // What is kept goes by the command that the report names.
        string[] words = acts[3].GetProperty("undo").GetString()!.Split(' ');
        (int status, string output, string error) = Program.Run([.. words[1..], .. vsphere.Options()]);
        Assert.True(status == 0, output + error);
        vsphere.AssertNothingLeft();
    }

    [Fact]
    public void A_tag_is_made_once_attached_and_taken_off_as_the_report_says()
    {
        VSphereRig rig = vsphere.Fresh("poweredOff");

        // Of a test that had all acts done.
        rig.Untag(VSphereRig.Machine, "vmsweep");
        using VSphereConnector connector = vsphere.Connector();
        InventoryVm vm = connector.List().Single(v => v.Name == VSphereRig.Machine);
        Assert.DoesNotContain("vmsweep-detection", vm.Tags);
        rig.Arm("rest", "status:403", "POST", match: "tag-association");
        Assert.Contains("403", Assert.Throws<ConnectorException>(() => connector.Act(vm, VmAct.Tag, "note")).Message, StringComparison.Ordinal);
        foreach (string broken in (string[])["garbage", "status:500", "close"])
        {
            rig.Arm("rest", broken, "GET", match: "tagging/category", times: 9);
            Assert.Contains("does not tag", Assert.Throws<ConnectorException>(() => connector.Act(vm, VmAct.Tag, "note")).Message, StringComparison.Ordinal);
            rig.Reset();
        }

        // By a scan, and once more: there is one category and one tag of these names.
        JsonElement report = Program.Scan([$"lab/{VSphereRig.Machine}", .. vsphere.Options(), "--act", "tag"]);
        JsonElement done = Assert.Single(report.GetProperty("targets")[0].GetProperty("acts").EnumerateArray());
        Assert.True(done.GetProperty("isDone").GetBoolean(), done.ToString());
        Assert.Contains("vmsweep-detection", done.GetProperty("detail").GetString(), StringComparison.Ordinal);
        Assert.True(connector.Act(vm, VmAct.Tag, "note").IsDone);
        Assert.Single(connector.List().Single(v => v.Name == VSphereRig.Machine).Tags, t => t == "vmsweep-detection");
        Assert.Equal(["vmsweep/vmsweep-detection"], rig.Tags(VSphereRig.Machine).Where(t => t.StartsWith("vmsweep", StringComparison.Ordinal)));

        // What the command that the report names does.
        string machine = rig.Vm(VSphereRig.Machine).GetProperty("id").GetString()!;
        Assert.Equal($"Get-TagAssignment -Category vmsweep -Entity (Get-VM -Id VirtualMachine-{machine}) | Remove-TagAssignment -Confirm:$false", done.GetProperty("undo").GetString());
        rig.Untag(VSphereRig.Machine, "vmsweep");
        Assert.DoesNotContain("vmsweep-detection", connector.List().Single(v => v.Name == VSphereRig.Machine).Tags);
        vsphere.AssertNothingLeft();
    }

    [Fact]
    public void Ten_thousand_VMs_are_listed_in_pages()
    {
        using var rig = new VSphereRig("-copies", "10000");
        using var scratch = new Scratch();
        File.WriteAllText(scratch["secret"], VSphereRig.Password);
        File.SetUnixFileMode(scratch["secret"], UnixFileMode.UserRead);
        File.WriteAllText(scratch["c.json"], $$"""{ "connectors": { "lab": { "address": "vsphere://{{rig.Address}}", "account": "{{VSphereRig.Account}}", "secret": { "file": "{{scratch["secret"]}}" }, "certificate": "{{rig.Fingerprint}}" } } }""");
        (int status, string output, string error) = Program.Run(["inventory", "lab", "--format", "json", "--config", scratch["c.json"]]);
        Assert.True(status == 0, error);
        JsonElement[] vms = [.. JsonDocument.Parse(output).RootElement.GetProperty("vms").EnumerateArray()];
        Assert.Equal(10_001, vms.Length);
        Assert.Equal(10_001, vms.Select(v => v.GetProperty("id").GetString()).Distinct().Count());
        JsonElement copy = vms.Single(v => v.GetProperty("name").GetString() == "copy 09999");
        Assert.Equal(("F0/DC0/F0", "DC0_C0_H0", "off"), (copy.GetProperty("folder").GetString(), copy.GetProperty("host").GetString(), copy.GetProperty("power").GetString()));
        Assert.Equal($"[LocalDS_0] {VSphereRig.Machine}/disk1.vmdk", copy.GetProperty("disks")[0].GetProperty("source").GetString());
        int pages = rig.Control("log").GetProperty("calls").GetProperty("ContinueRetrievePropertiesEx").GetInt32();
        Assert.InRange(pages, 50, 60);
    }

    [Fact]
    public void Tags_and_attributes_are_listed()
    {
        VSphereRig rig = vsphere.Fresh();
        rig.Tag(VSphereRig.Machine, "prod <&>");
        rig.Vm(VSphereRig.Machine, ("attribute", "owner"), ("value", "alice"));
        (int status, string output, string error) = Program.Run(["inventory", "lab", "--format", "json", "--config", vsphere.Configuration()]);
        Assert.True(status == 0, error);
        JsonElement vm = JsonDocument.Parse(output).RootElement.GetProperty("vms").EnumerateArray().Single(v => v.GetProperty("name").GetString() == VSphereRig.Machine);
        string[] tags = [.. vm.GetProperty("tags").EnumerateArray().Select(t => t.GetString()!)];
        Assert.Contains("prod <&>", tags);
        Assert.Contains("owner=alice", tags);
        Assert.Contains("pool:F0/DC0/host/F0/DC0_C0", tags);

        // Without its tags an inventory is still one.
        rig.Arm("rest", "garbage", times: 9);
        (status, output, error) = Program.Run(["inventory", "lab", "--config", vsphere.Configuration()]);
        Assert.True(status == 0, error);
        Assert.Contains(VSphereRig.Machine, output, StringComparison.Ordinal);
    }
}
