using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.VSphere;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Inspection;
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

        // A suspended one that is resumed, and one whose disks lie elsewhere.
        rig.Vm(Machine, ("power", "suspended"));
        using (IVmView view = vsphere.Open(connector))
        {
            rig.Vm(Machine, ("power", "poweredOn"));
            Assert.Contains("was suspended and is running", Assert.Single(view.Conclude()).Detail, StringComparison.Ordinal);
        }

        rig.Vm(Machine, ("power", "poweredOff"));
        using (IVmView view = vsphere.Open(connector))
        {
            rig.Vm(Machine, ("move", "elsewhere"));
            Assert.Contains("reverted or moved", Assert.Single(view.Conclude()).Detail, StringComparison.Ordinal);
        }

        rig.Vm(Machine, ("move", Machine), ("power", "poweredOn"));

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

    [Fact]
    public void A_running_VM_that_is_moved_to_other_storage_is_a_gap_and_the_next_scan_is_whole()
    {
        const string Elsewhere = "elsewhere";
        string moved = VSphereFixture.Disk.Replace(Machine, Elsewhere, StringComparison.Ordinal);
        VSphereRig rig = vsphere.Fresh();
        var time = new Ahead();
        using VSphereConnector connector = vsphere.Connector(time: time);
        try
        {
            using (IVmView view = vsphere.Open(connector))
            {
                using var chain = new ChainOpener(view.Vm.Disks[0].Plan, new ReadContext(new ScanBudget(256 << 20), new GapList()));
                using DiskReaders.Containers.VirtualDisk disk = chain.OpenDisk();
                byte[] read = new byte[4096];
                disk.Content.Read(0, read);
                Assert.Equal(File.ReadAllBytes(vsphere.Raw)[..read.Length], read);
                rig.Vm(Machine, ("move", Elsewhere));
                Assert.ThrowsAny<IOException>(() => disk.Content.Read(disk.Content.Length - read.Length, read));

                // What was read is of one moment; that no more can be had is seen at the next look.
                Assert.Empty(view.Conclude());
                time.By = TimeSpan.FromMinutes(1);
                Assert.Contains($"is [LocalDS_0] {moved} now", view.MustClose(), StringComparison.Ordinal);
                Assert.Contains("was moved to other storage", Assert.Single(view.Conclude()).Detail, StringComparison.Ordinal);
            }

            vsphere.AssertNothingLeft(moved);
            rig.Vm(Machine, ("move", Machine));

            // The same as a scan sees it: once it is moved away under it, and once there.
            Report cut = LibvirtFixture.ScanWith(vsphere.Target(connector), () => rig.Vm(Machine, ("move", Elsewhere)), new HurriedTime());
            Assert.Equal("incomplete", cut.Verdict);
            Assert.Contains(cut.Targets[0].Gaps, g => g.Fault == "transport");
            vsphere.AssertNothingLeft(moved);
            Report whole = LibvirtFixture.ScanWith(vsphere.Target(connector), () => { }, new HurriedTime());
            Assert.Equal("detected", whole.Verdict);
            Assert.Empty(whole.Targets[0].Gaps);
            vsphere.AssertNothingLeft(moved);
        }
        finally
        {
            rig.Vm(Machine, ("move", Machine));
        }
    }

    [Fact]
    public void A_running_VM_that_is_registered_anew_is_read_on_and_its_snapshot_is_removed()
    {
        VSphereRig rig = vsphere.Fresh();
        string reference = rig.Vm(Machine).GetProperty("id").GetString()!;
        using VSphereConnector connector = vsphere.Connector();
        try
        {
            using IVmView view = vsphere.Open(connector);
            rig.Vm(Machine, ("register", "vm-anew"));
            vsphere.AssertContent(view);
            Assert.Empty(view.Conclude());
        }
        finally
        {
            rig.Vm(Machine, ("register", reference));
        }

        vsphere.AssertNothingLeft();
    }

    [Fact]
    public void A_running_VM_that_is_reverted_leaves_what_is_read_and_the_snapshot_of_others()
    {
        const string Before = "before the update";
        VSphereRig rig = vsphere.Fresh();
        using VSphereConnector connector = vsphere.Connector();
        MoRef his = connector.Tasks.CreateSnapshot(Reference(connector), Before, "", quiesce: false);
        using (IVmView view = vsphere.Open(connector))
        {
            rig.Vm(Machine, ("revert", Before), ("power", "poweredOff"));
            vsphere.AssertContent(view);
            Assert.Empty(view.Conclude());
        }

        Assert.Equal([Before], Snapshots(rig));
        connector.Tasks.RemoveSnapshot(his);
        vsphere.AssertNothingLeft();
    }

    /// <summary>The host refuses the removal for as long as the other product reads, or does it at once.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Another_product_that_comes_meanwhile_keeps_its_snapshot_and_a_second_scan_waits(bool isRefused)
    {
        const string Theirs = "VEEAM BACKUP TEMPORARY SNAPSHOT";
        VSphereRig rig = vsphere.Fresh();
        using VSphereConnector connector = vsphere.Connector();
        MoRef theirs;
        IVmView view = vsphere.Open(connector);
        Assert.Contains("another scan", Assert.Throws<ConnectorException>(() => vsphere.Open(connector)).Message, StringComparison.Ordinal);
        theirs = connector.Tasks.CreateSnapshot(Reference(connector), Theirs, "", quiesce: false);
        IReadOnlyList<string> held = Chain(connector, theirs);
        Assert.Equal(2, held.Count);

        // Theirs lies over ours, and ours is read as before.
        rig.Reset();
        vsphere.AssertContent(view);
        Assert.Empty(view.Conclude());
        if (isRefused)
        {
            rig.Arm("soap", "fault:TaskInProgress", "RemoveSnapshot_Task");
            Assert.Throws<VimFaultException>(view.Dispose);
            Assert.Equal(2, Snapshots(rig).Count);
            Assert.Equal(held, Chain(connector, theirs));
            Assert.Null(Assert.Single(new LeaseReaper(vsphere.Journal, _ => vsphere.Connector(), new VSphereKillTests.Later()).Run()).Failure);
        }
        else
        {
            view.Dispose();
        }

        Assert.Equal([Theirs], Snapshots(rig));
        Assert.Equal(["[LocalDS_0] " + VSphereFixture.Disk], Chain(connector, theirs));
        Assert.Empty(vsphere.Journal.List());
        Assert.Equal(["RemoveSnapshot_Task"], rig.Control("log").GetProperty("calls").EnumerateObject().Select(c => c.Name).Where(n => n.EndsWith("_Task", StringComparison.Ordinal)));
        Assert.Contains("another product", Assert.Throws<ConnectorException>(() => vsphere.Open(connector)).Message, StringComparison.Ordinal);
        connector.Tasks.RemoveSnapshot(theirs);
        vsphere.AssertNothingLeft();
    }

    private static MoRef Reference(VSphereConnector connector) => connector.Locate(connector.List().Single(v => v.Name == Machine).Id, "gone")!.Value;

    private static IReadOnlyList<string> Snapshots(VSphereRig rig) => [.. rig.Vm(Machine).GetProperty("snapshots").EnumerateArray().Select(s => s.GetString()!)];

    /// <summary>Files of the first disk as a snapshot holds it.</summary>
    private static IReadOnlyList<string> Chain(VSphereConnector connector, MoRef snapshot) => VmFacts.DisksOf(connector.Properties.Get(snapshot, "config.hardware.device")["config.hardware.device"])[0].Chain;

    /// <summary>A clock whose next look is due.</summary>
    private sealed class Ahead : TimeProvider
    {
        public TimeSpan By { get; set; }

        public override long GetTimestamp() => base.GetTimestamp() + (long)(By.TotalSeconds * TimestampFrequency);
    }
}
