using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.VSphere;
using Vmsweep.Rigs;

namespace Vmsweep.Appliance.Tests.Hypervisors.VSphere;

/// <summary>What becomes of a view when something happens to its VM meanwhile.</summary>
[Collection(VSphereCollection.Name)]
[Trait("Category", "Slow")]
public sealed class VSphereFaultTests(VSphereFixture vsphere)
{
    private const string Machine = VSphereRig.Machine;

    [Fact]
    public void What_happens_to_the_VM_meanwhile_is_a_gap()
    {
        VSphereRig rig = vsphere.Fresh("poweredOff");
        using VSphereConnector connector = vsphere.Connector();
        using (IVmView view = vsphere.Open(connector))
        {
            Assert.Empty(view.Conclude());
            rig.Vm(Machine, ("power", "poweredOn"));
            Assert.Contains("was off and is running", Assert.Single(view.Conclude()).Detail, StringComparison.Ordinal);
        }

        using (IVmView view = vsphere.Open(connector))
        {
            connector.Tasks.RemoveSnapshot(connector.Tasks.Find(connector.Locate(connector.List().Single(v => v.Name == Machine).Id, "gone")!.Value, rig.Vm(Machine).GetProperty("snapshots")[0].GetString()!)!.Reference);
            Assert.Contains("somebody removed the snapshot", Assert.Single(view.Conclude()).Detail, StringComparison.Ordinal);
        }

        // A session that ends while bytes are read is begun anew.
        using (IVmView view = vsphere.Open(connector))
        {
            rig.Control("expire");
            vsphere.AssertContent(view);
            Assert.Empty(view.Conclude());
        }

        vsphere.AssertNothingLeft();
    }

    [Theory]
    [InlineData("content", "beef")]
    [InlineData("file", "[LocalDS_0] DC0_C0_RP0_VM0/disk-000009.vmdk")]
    public void A_VM_that_is_off_again_is_not_taken_for_one_that_was_off_all_the_time(string what, string now)
    {
        // Its disk's content has another name once anything was written; a revert has it go on in another file.
        VSphereRig rig = vsphere.Fresh("poweredOff");
        rig.Vm(Machine, ("disk", "0"), ("content", "cafe"));
        string disk = rig.Vm(Machine).GetProperty("disks")[0].GetString()!;
        using VSphereConnector connector = vsphere.Connector();
        using (IVmView view = vsphere.Open(connector))
        {
            vsphere.AssertContent(view);
            Assert.Empty(view.Conclude());
            rig.Vm(Machine, ("disk", "0"), (what, now));
            Assert.Contains("is not what it was", Assert.Single(view.Conclude()).Detail, StringComparison.Ordinal);
        }

        rig.Vm(Machine, ("disk", "0"), ("file", disk), ("content", ""));
        vsphere.AssertNothingLeft();
    }

    [Fact]
    public void A_VM_that_is_removed_meanwhile_is_a_gap_and_its_lease_ends()
    {
        VSphereRig rig = vsphere.Fresh();
        using VSphereConnector connector = vsphere.Connector();
        using (IVmView view = vsphere.Open(connector))
        {
            rig.Vm(Machine, ("gone", "1"));
            Assert.Contains("was removed while it was read", Assert.Single(view.Conclude()).Detail, StringComparison.Ordinal);
        }

        Assert.Empty(vsphere.Journal.List());
        vsphere.Fresh();
        vsphere.AssertNothingLeft();
    }
}
