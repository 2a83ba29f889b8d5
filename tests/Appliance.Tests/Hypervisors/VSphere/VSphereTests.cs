using System.Text.Json;
using Vmsweep.Appliance.Tests.EndToEnd;
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
        vsphere.AssertNothingLeft();
    }
}
