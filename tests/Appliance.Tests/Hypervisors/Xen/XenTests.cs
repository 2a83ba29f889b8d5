using System.Text.Json;
using System.Text.Json.Nodes;
using Vmsweep.Appliance.Tests.EndToEnd;
using Vmsweep.Rigs.Xen;

namespace Vmsweep.Appliance.Tests.Hypervisors.Xen;

/// <summary>The program against a stand-in of a pool with real disks.</summary>
[Collection(XenCollection.Name)]
[Trait("Category", "Slow")]
public sealed class XenTests(XenFixture xen)
{
    [Fact]
    public void What_is_on_the_disk_of_a_VM_that_is_off_is_found_by_an_export_and_nothing_is_left_behind()
    {
        XenRig rig = xen.Fresh("Halted", isFull: true);
        rig.NbdWay = "none";
        JsonElement report = Program.Scan([$"lab/{XenRig.Machine}", .. xen.Options($", \"spool\": \"{xen.Spool}\"")]);
        AssertFound(report, "off");
        Assert.Equal(1, rig.Calls("export"));
        xen.AssertNothingLeft(sessions: true);
    }

    [Fact]
    public void What_is_on_the_disk_of_a_running_VM_is_found_by_NBD_and_acts_are_done_and_reported()
    {
        XenRig rig = xen.Fresh(isFull: true);
        rig.NbdWay = "front";
        JsonElement report = Program.Scan([$"lab/{XenRig.Machine}", .. xen.Options(), "--act", "annotate,tag,disconnect,suspend,keep"]);
        AssertFound(report, "running");
        Assert.Equal(0, rig.Calls("export"));
        JsonElement[] acts = [.. report.GetProperty("targets")[0].GetProperty("acts").EnumerateArray()];
        Assert.Equal(["annotate", "tag", "disconnect", "suspend", "keep"], acts.Select(a => a.GetProperty("act").GetString()));
        Assert.All(acts, a => Assert.True(a.GetProperty("isDone").GetBoolean(), a.ToString()));
        Assert.Contains("EICAR_Test_File", (string?)rig.Get("VM", XenRig.Machine, "other_config")!["vmsweep_detection"], StringComparison.Ordinal);
        Assert.Equal("vmsweep-detection", (string?)rig.Get("VM", XenRig.Machine, "tags")![0]);
        Assert.Equal("Suspended", (string?)rig.Get("VM", XenRig.Machine, "power_state"));
        Assert.Equal("disabled", (string?)rig.Get("VIF", "", "locking_mode"));
        Assert.Single(rig.Left().Snapshots);

        // What is kept goes by the command that the report names.
        string[] words = acts[4].GetProperty("undo").GetString()!.Split(' ');
        (int status, string output, string error) = Program.Run([.. words[1..], .. xen.Options()]);
        Assert.True(status == 0, output + error);
        xen.AssertNothingLeft(sessions: true);
    }

    [Fact]
    public void The_doctor_tries_everything_and_touches_no_VM()
    {
        XenRig rig = xen.Fresh();
        (int status, string output, string error) = Program.Run(["doctor", "--connector", "lab", "--dry-run", "--config", xen.Configuration($", \"spool\": \"{xen.Spool}\"")]);
        Assert.True(status == 0, output + error);
        foreach (string step in (string[])["log in", "inventory", "role", "disks"])
        {
            Assert.Contains("ok    " + step, output, StringComparison.Ordinal);
        }

        Assert.DoesNotContain(rig.Called, c => c.StartsWith("Async.", StringComparison.Ordinal) || c == "VDI.get_nbd_info");
        rig.Set("network", "storage net", "purpose", new JsonArray());
        rig.Arm("session.get_rbac_permissions", "error:RBAC_PERMISSION_DENIED");
        (status, output, error) = Program.Run(["doctor", "--connector", "lab", "--dry-run", "--config", xen.Configuration()]);
        Assert.Equal(3, status);
        Assert.Contains("param-key=nbd", output, StringComparison.Ordinal);
        Assert.Contains("vm-power-admin", output, StringComparison.Ordinal);
    }

    private void AssertFound(JsonElement report, string power)
    {
        JsonElement target = report.GetProperty("targets")[0];
        Assert.Empty(report.Gaps());
        Assert.Equal(["EICAR_Test_File v1/x.com", "EICAR_Test_File v2/x.com"], report.Findings().Order());
        Assert.Equal(power, target.GetProperty("vm").GetProperty("power").GetString());
        Assert.Equal("Debian GNU/Linux 12", target.GetProperty("vm").GetProperty("guestOs").GetString());
        Assert.Equal($"[{XenRig.Repository}] {xen.Rig.Disks(XenRig.Machine)[0]}", target.GetProperty("disks")[0].GetProperty("path").GetString());
        Assert.Equal("full", report.GetProperty("sandbox").GetString());
    }
}
