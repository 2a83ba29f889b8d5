using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Xen;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Tests.Hypervisors.VSphere;
using Vmsweep.Rigs.Xen;

namespace Vmsweep.Appliance.Tests.Hypervisors.Xen;

/// <summary>What is lost in the middle of a view: bytes that cannot be had are never zeros, and nothing stays behind.</summary>
[Collection(XenCollection.Name)]
[Trait("Category", "Slow")]
public sealed class XenFaultTests(XenFixture xen)
{
    [Fact]
    public void A_pool_that_goes_away_in_the_middle_is_lost_and_what_is_left_there_is_removed_when_it_is_back()
    {
        XenRig rig = xen.Fresh();
        using XenConnector connector = xen.Connector();
        IVmView view = xen.Open(connector);
        rig.IsDown = true;
        rig.StopServers();
        Assert.ThrowsAny<IOException>(() => xen.AssertContent(view));
        Assert.True(HostLoss.Is(Assert.ThrowsAny<IOException>(() => view.Conclude())));
        Assert.ThrowsAny<IOException>(view.Dispose);
        (LeaseRecord record, bool isHeld) = Assert.Single(xen.Journal.List());
        Assert.False(isHeld);

        // It stays one while the pool is away.
        using (XenConnector away = xen.Connector())
        {
            Assert.NotNull(Assert.Single(new LeaseReaper(xen.Journal, _ => away, new VSphereKillTests.Later()).Run()).Failure);
        }

        Assert.Equal(record.Id, Assert.Single(xen.Journal.List()).Record.Id);
        rig.IsDown = false;
        Assert.Null(Assert.Single(new LeaseReaper(xen.Journal, _ => xen.Connector(), new VSphereKillTests.Later()).Run()).Failure);
        xen.AssertNothingLeft();
    }

    [Theory]
    [InlineData("error:SR_BACKEND_FAILURE_46", 99)]
    [InlineData("status:500", 99)]
    [InlineData("garbage", 99)]
    public void A_disk_that_is_served_no_more_is_an_error_and_no_zeros(string action, int times)
    {
        XenRig rig = xen.Fresh();
        using XenConnector connector = xen.Connector();
        using (IVmView view = xen.Open(connector))
        {
            rig.Arm("VDI.get_nbd_info", action, times);
            rig.StopServers();
            Assert.ThrowsAny<IOException>(() => xen.AssertContent(view));

            // The VM's snapshot is there all the same: once it is served again it is read on.
            rig.Disarm();
            xen.AssertContent(view);
            Assert.Empty(view.Conclude());
        }

        xen.AssertNothingLeft();
    }

    [Fact]
    public void A_disk_that_comes_back_with_another_length_is_not_read_on()
    {
        XenRig rig = xen.Fresh();
        using XenConnector connector = xen.Connector();
        using (IVmView view = xen.Open(connector))
        {
            string disk = Assert.Single(rig.Left().Disks);
            rig.StopServers();
            rig.Write(disk, f => f.SetLength(XenFixture.SmallBytes / 2));
            Assert.Contains("bytes, and exported", Assert.ThrowsAny<IOException>(() => xen.AssertContent(view)).GetBaseException().Message, StringComparison.Ordinal);
        }

        xen.AssertNothingLeft();
    }

    [Fact]
    public void A_VM_that_is_reverted_or_moved_to_other_storage_leaves_the_snapshot_or_a_gap_and_nothing_behind()
    {
        XenRig rig = xen.Fresh();
        using XenConnector connector = xen.Connector();
        using (IVmView view = xen.Open(connector))
        {
            string changed = Path.GetTempFileName();
            File.WriteAllBytes(changed, new byte[XenFixture.SmallBytes]);
            rig.Revert(XenRig.Machine, changed);
            File.Delete(changed);
            xen.AssertContent(view);
            Assert.Empty(view.Conclude());
        }

        xen.AssertNothingLeft();
        rig = xen.Fresh();
        using (IVmView view = xen.Open(connector))
        {
            // The snapshot's disk lies elsewhere now, as another: what was opened is gone.
            rig.Move(Assert.Single(rig.Left().Disks));
            Assert.ThrowsAny<IOException>(() => xen.AssertContent(view));
        }

        xen.AssertNothingLeft();
    }

    [Fact]
    public void Another_product_that_comes_meanwhile_keeps_its_snapshot_and_a_second_scan_waits()
    {
        XenRig rig = xen.Fresh();
        using XenConnector connector = xen.Connector();
        using (IVmView view = xen.Open(connector))
        {
            Assert.Contains("another scan", Assert.Throws<ConnectorException>(() => xen.Open(connector)).Message, StringComparison.Ordinal);
            rig.Snapshot(XenRig.Machine, "Xen Orchestra backup");
            xen.AssertContent(view);
            Assert.Empty(view.Conclude());
        }

        Assert.Equal(["Xen Orchestra backup"], rig.Left().Snapshots);
        Assert.Single(rig.Left().Disks);
        Assert.Empty(xen.Journal.List());
    }
}
