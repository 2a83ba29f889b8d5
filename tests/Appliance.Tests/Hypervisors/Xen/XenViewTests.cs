using System.Text.Json.Nodes;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Xen;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Tests.Hypervisors.VSphere;
using Vmsweep.Rigs.Xen;

namespace Vmsweep.Appliance.Tests.Hypervisors.Xen;

/// <summary>Views of VMs in this process: what they hold, what is left alone, and what becomes of them when something happens meanwhile.</summary>
[Collection(XenCollection.Name)]
[Trait("Category", "Slow")]
public sealed class XenViewTests(XenFixture xen)
{
    private const string Machine = XenRig.Machine;

    private string Spooled => $", \"spool\": \"{xen.Spool}\"";

    [Theory]
    [InlineData("Running", "qemu-nbd")]
    [InlineData("Running", "nbdkit")]
    [InlineData("Running", "front")]
    [InlineData("Halted", "qemu-nbd")]
    [InlineData("Paused", "front")]
    public void A_view_has_every_byte_of_the_moment_and_never_the_live_disk(string power, string server)
    {
        XenRig rig = xen.Fresh(power);
        rig.NbdWay = server;
        using XenConnector connector = xen.Connector();
        using (IVmView view = xen.Open(connector))
        {
            Assert.Null(view.MustClose());
            Assert.Empty(view.Vm.Gaps);
            Assert.StartsWith("vmsweep-", Assert.Single(rig.Left().Snapshots), StringComparison.Ordinal);
            Assert.Equal($"[{XenRig.Repository}] {rig.Disks(Machine)[0]}", Assert.Single(view.Vm.Disks).Path);

            // What the guest writes from now on is not of this moment.
            rig.Write(rig.Disks(Machine)[0], f => f.Write(new byte[1 << 20]));
            xen.AssertContent(view);
            Assert.Empty(view.Conclude());
        }

        xen.AssertNothingLeft();
        Assert.Equal(0, rig.Calls("export"));
    }

    [Theory]
    [InlineData("Running", "", 1, 0)]
    [InlineData("Halted", "", 0, 1)]
    [InlineData("Running", "task:VM_SNAPSHOT_WITH_QUIESCE_TIMEOUT", 1, 1)]
    [InlineData("Running", "task:VM_SNAPSHOT_WITH_QUIESCE_NOT_SUPPORTED", 1, 1)]
    [InlineData("Running", "error:MESSAGE_METHOD_UNKNOWN", 1, 1)]
    [InlineData("Running", "error:MESSAGE_REMOVED", 1, 1)]
    [InlineData("Running", "task:SR_BACKEND_FAILURE_44", 1, -1)]
    public void A_guest_is_quiesced_where_that_is_asked_for_and_read_as_it_is_where_it_cannot_be(string power, string fault, int quiesced, int plain)
    {
        XenRig rig = xen.Fresh(power);
        using XenConnector connector = xen.Connector(", \"quiesce\": true");
        if (fault.Length > 0)
        {
            rig.Arm("Async.VM.snapshot_with_quiesce", fault);
        }

        int before = rig.Calls("Async.VM.snapshot"), beforeQuiesced = rig.Calls("Async.VM.snapshot_with_quiesce");
        if (plain < 0)
        {
            // What would fail without quiescing too.
            Assert.Throws<XapiException>(() => xen.Open(connector));
        }
        else
        {
            using IVmView view = xen.Open(connector);
            xen.AssertContent(view);
            Assert.Equal(fault.Length > 0, view.Vm.Notes.Any(n => n.Contains("not quiesced", StringComparison.Ordinal) && n.Contains(fault.Split(':')[1], StringComparison.Ordinal)));
        }

        Assert.Equal((quiesced, Math.Max(0, plain)), (rig.Calls("Async.VM.snapshot_with_quiesce") - beforeQuiesced, rig.Calls("Async.VM.snapshot") - before));
        xen.AssertNothingLeft();
    }

    [Fact]
    public void A_guest_with_disks_that_no_snapshot_can_hold_is_read_without_quiescing()
    {
        XenRig rig = xen.Fresh();
        rig.AddDisk(Machine, xen.Raw);
        rig.SetDisk(rig.Disks(Machine)[1], "sharable", true);
        using XenConnector connector = xen.Connector(", \"quiesce\": true");
        using (IVmView view = xen.Open(connector))
        {
            Assert.Single(view.Vm.Gaps);
            Assert.Contains("leaves disks out", Assert.Single(view.Vm.Notes), StringComparison.Ordinal);
        }

        xen.AssertNothingLeft();
    }

    [Fact]
    public void All_disks_are_of_one_snapshot_and_one_that_none_can_hold_is_a_gap()
    {
        XenRig rig = xen.Fresh();
        for (int i = 0; i < 4; i++)
        {
            rig.AddDisk(Machine, xen.Raw);
        }

        string[] disks = rig.Disks(Machine);
        rig.SetDisk(disks[1], "sharable", true);
        rig.SetDisk(disks[2], "allowed_operations", new JsonArray("clone"));
        rig.SetDisk(disks[3], "on_boot", "reset");
        using XenConnector connector = xen.Connector();
        using (IVmView view = xen.Open(connector))
        {
            Assert.Equal(1, rig.Calls("Async.VM.snapshot"));
            Assert.Equal([disks[0], disks[4]], view.Vm.Disks.Select(d => d.Path.Split(' ')[^1]));
            Assert.Equal(["xvdb: several VMs may", "xvdc: the pool allows", "xvdd: this disk is"], view.Vm.Gaps.Select(g => string.Join(' ', g.Detail.Split(' ').Take(4))));
            Assert.All(view.Vm.Gaps, g => Assert.Equal(("unsupported", XenFixture.SmallBytes), (g.Fault, g.Bytes)));
            xen.AssertContent(view, 1);
        }

        xen.AssertNothingLeft();

        // Before a snapshot could leave disks out.
        rig.Arm("Async.VM.snapshot", "error:MESSAGE_PARAMETER_COUNT_MISMATCH");
        Assert.Contains("leaves disks out", Assert.Throws<ConnectorException>(() => xen.Open(connector)).Message, StringComparison.Ordinal);
        xen.AssertNothingLeft();
    }

    [Fact]
    public void A_VM_whose_disks_no_snapshot_can_hold_is_all_gaps()
    {
        XenRig rig = xen.Fresh();
        rig.SetDisk(rig.Disks(Machine)[0], "missing", true);
        using XenConnector connector = xen.Connector();
        using (IVmView view = xen.Open(connector))
        {
            Assert.Empty(view.Vm.Disks);
            Assert.Equal("transport", Assert.Single(view.Vm.Gaps).Fault);
            Assert.Null(view.Keep());
        }

        Assert.Equal(0, rig.Calls("Async.VM.snapshot"));
        xen.AssertNothingLeft();
    }

    [Fact]
    public void The_memory_of_a_suspended_VM_is_a_gap_that_names_its_disk()
    {
        XenRig rig = xen.Fresh("Suspended");
        rig.Set("VM", Machine, "suspend_VDI", "OpaqueRef:gone");
        using XenConnector connector = xen.Connector();
        using (IVmView view = xen.Open(connector))
        {
            GapReport gap = Assert.Single(view.Vm.Gaps);
            Assert.Equal(("unsupported", "guest memory"), (gap.Fault, gap.Structure));
            xen.AssertContent(view);
        }

        xen.AssertNothingLeft();
    }

    [Theory]
    [InlineData("operation", "is being done to it: migrate_send")]
    [InlineData("snapshots", "maximumSnapshots")]
    [InlineData("ours", "another scan")]
    [InlineData("full", "minimumFree")]
    public void A_VM_that_a_snapshot_could_harm_is_left_alone(string what, string why)
    {
        XenRig rig = xen.Fresh();
        switch (what)
        {
            case "operation":
                rig.Set("VM", Machine, "current_operations", new JsonObject { ["OpaqueRef:task"] = "migrate_send" });
                break;
            case "full":
                rig.Set("SR", XenRig.Repository, "physical_utilisation", (1L << 40) - 1000);
                break;
            default:
                rig.Snapshot(Machine, what == "ours" ? "vmsweep-0123" : "before the update");
                break;
        }

        using XenConnector connector = xen.Connector(what == "snapshots" ? ", \"maximumSnapshots\": 1" : "");
        Assert.Contains(why, Assert.Throws<ConnectorException>(() => xen.Open(connector)).Message, StringComparison.Ordinal);
        Assert.Equal(0, rig.Calls("Async.VM.snapshot"));
        Assert.Empty(xen.Journal.List());
        Assert.Equal(what is "snapshots" or "ours" ? 1 : 0, rig.Left().Snapshots.Length);
    }

    [Fact]
    public void Without_a_network_for_it_disks_are_exported_into_a_bounded_sparse_spool()
    {
        XenRig rig = xen.Fresh();
        rig.NbdWay = "none";
        using (XenConnector connector = xen.Connector())
        using (IVmView view = xen.Open(connector))
        {
            Assert.Contains("\"spool\" is needed", Assert.Single(view.Vm.Gaps).Detail, StringComparison.Ordinal);
        }

        using (XenConnector connector = xen.Connector(Spooled))
        {
            using (IVmView view = xen.Open(connector))
            {
                Assert.Empty(view.Vm.Gaps);
                xen.AssertContent(view);
                string file = view.Vm.Disks[0].Plan.Files[0].Path;
                string blocks = Golden.Tool.Run("stat", "-c", "%b", file);
                Assert.True(long.Parse(blocks, System.Globalization.CultureInfo.InvariantCulture) * 512 < new FileInfo(file).Length / 2, $"{blocks} blocks");
            }

            Assert.Empty(Directory.GetFileSystemEntries(xen.Spool));

            // One that breaks off once, and a session that is gone, cost nothing but another try.
            foreach (string once in (string[])["short", "status:401"])
            {
                rig.Arm("export", once);
                using IVmView view = xen.Open(connector);
                Assert.Empty(view.Vm.Gaps);
                xen.AssertContent(view);
            }

            foreach (string always in (string[])["short", "long", "close", "status:500", "status:404", "status:401"])
            {
                rig.Arm("export", always, times: 9);
                using IVmView view = xen.Open(connector);
                Assert.Equal("transport", Assert.Single(view.Vm.Gaps).Fault);
                rig.Disarm();
            }
        }

        rig.Reset(xen.Raw);
        rig.NbdWay = "none";
        using (XenConnector connector = xen.Connector(Spooled + ", \"spoolSize\": \"1K\""))
        using (IVmView view = xen.Open(connector))
        {
            Assert.Contains("spoolSize", Assert.Single(view.Vm.Gaps).Detail, StringComparison.Ordinal);
        }

        xen.AssertNothingLeft(sessions: true);
    }

    [Fact]
    public void An_export_is_followed_to_a_host_of_the_pool_and_nowhere_else()
    {
        XenRig rig = xen.Fresh();
        rig.NbdWay = "none";
        rig.ExportsAt = "127.0.0.9:1";
        using XenConnector connector = xen.Connector(Spooled);
        using (IVmView view = xen.Open(connector))
        {
            Assert.Contains("none of the pool's hosts", Assert.Single(view.Vm.Gaps).Detail, StringComparison.Ordinal);
        }

        // The host is one of the pool's; that it is it tells its certificate.
        using var member = new XenRig("127.0.0.2");
        rig.ExportsAt = member.Address;
        rig.Set("host", "xen-1", "address", "127.0.0.2");
        using (IVmView view = xen.Open(connector))
        {
            Assert.Contains("not the pinned one", Assert.Single(view.Vm.Gaps).Detail, StringComparison.Ordinal);
        }

        Assert.Empty(member.Called);
        rig.ServerCertificate = member.Certificate;
        using (IVmView view = xen.Open(connector))
        {
            // It knows no such session, but it was asked.
            Assert.Contains("401", Assert.Single(view.Vm.Gaps).Detail, StringComparison.Ordinal);
        }

        Assert.Equal(["export"], member.Called);
        rig.ServerCertificate = rig.Certificate;
        xen.AssertNothingLeft();
    }

    [Fact]
    public void A_disk_is_read_on_when_its_server_or_the_session_ends()
    {
        XenRig rig = xen.Fresh();
        using XenConnector connector = xen.Connector();
        using (IVmView view = xen.Open(connector))
        {
            rig.StopServers();
            xen.AssertContent(view);
            rig.Expire();
            rig.StopServers();
            xen.AssertContent(view);
            Assert.Empty(view.Conclude());
        }

        xen.AssertNothingLeft();
    }

    [Fact]
    public void An_NBD_server_with_another_certificate_gets_no_session()
    {
        XenRig rig = xen.Fresh();
        using var other = new XenRig();
        using XenConnector connector = xen.Connector();
        foreach (string certificate in (string[])[other.Certificate, "", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
        {
            rig.NbdCertificate = certificate;
            using IVmView view = xen.Open(connector);
            GapReport gap = Assert.Single(view.Vm.Gaps);
            Assert.Equal("transport", gap.Fault);
            Assert.DoesNotContain("session_id", gap.Detail, StringComparison.Ordinal);
        }

        // The other way is left.
        using (XenConnector careful = xen.Connector(Spooled))
        using (IVmView view = xen.Open(careful))
        {
            Assert.Empty(view.Vm.Gaps);
            xen.AssertContent(view);
        }

        xen.AssertNothingLeft();
    }

    [Fact]
    public void A_server_that_exports_less_than_the_disk_is_a_gap()
    {
        XenRig rig = xen.Fresh();
        rig.SetDisk(rig.Disks(Machine)[0], "virtual_size", 1L << 30);
        using XenConnector connector = xen.Connector(Spooled);
        using (IVmView view = xen.Open(connector))
        {
            Assert.Contains("of 1073741824 bytes", Assert.Single(view.Vm.Gaps).Detail, StringComparison.Ordinal);
        }

        xen.AssertNothingLeft();
    }

    [Theory]
    [InlineData("Async.VM.snapshot", "lost")]
    [InlineData("Async.VM.destroy", "lost")]
    [InlineData("Async.VDI.destroy", "lost")]
    [InlineData("Async.VM.snapshot", "error:SESSION_INVALID")]
    [InlineData("Async.VDI.destroy", "error:SESSION_INVALID")]
    [InlineData("Async.VM.snapshot", "status:503")]
    [InlineData("Async.VDI.destroy", "status:503")]
    [InlineData("Async.VDI.destroy", "close")]
    [InlineData("Async.VDI.destroy", "task:VDI_IN_USE")]
    [InlineData("Async.VDI.destroy", "task:OTHER_OPERATION_IN_PROGRESS")]
    [InlineData("task.get_record", "close")]
    [InlineData("task.destroy", "close")]
    public void An_answer_that_is_lost_or_late_changes_nothing(string method, string action)
    {
        XenRig rig = xen.Fresh();
        using XenConnector connector = xen.Connector();
        rig.Arm(method, action);
        using (IVmView view = xen.Open(connector))
        {
            xen.AssertContent(view);
        }

        xen.AssertNothingLeft();
    }

    [Fact]
    public void A_snapshot_that_cannot_be_made_is_an_error_and_one_that_cannot_be_removed_stays_a_lease()
    {
        XenRig rig = xen.Fresh();
        using XenConnector connector = xen.Connector();
        foreach (string fault in (string[])["task:SR_BACKEND_FAILURE_44", "error:RBAC_PERMISSION_DENIED"])
        {
            rig.Arm("Async.VM.snapshot", fault);
            Assert.Contains(fault.Split(':')[1], Assert.Throws<XapiException>(() => xen.Open(connector)).Message, StringComparison.Ordinal);
            xen.AssertNothingLeft();
        }

        // A request that never arrived.
        rig.Arm("Async.VM.snapshot", "close");
        Assert.Contains("there is none called", Assert.Throws<ConnectorException>(() => xen.Open(connector)).Message, StringComparison.Ordinal);
        xen.AssertNothingLeft();

        IVmView view = xen.Open(connector);
        rig.Arm("Async.VDI.destroy", "task:SR_BACKEND_FAILURE_80");
        Assert.Throws<XapiException>(view.Dispose);
        (LeaseRecord record, bool isHeld) = Assert.Single(xen.Journal.List());
        Assert.False(isHeld);
        Assert.Equal((XenConnector.ViewKind, Machine), (record.Kind, record.VmName));
        Assert.Null(Assert.Single(new LeaseReaper(xen.Journal, _ => xen.Connector(), new VSphereKillTests.Later()).Run()).Failure);
        xen.AssertNothingLeft();
    }

    [Fact]
    public void What_happens_to_the_VM_meanwhile_does_not_touch_the_snapshot()
    {
        XenRig rig = xen.Fresh("Halted");
        using XenConnector connector = xen.Connector();
        using (IVmView view = xen.Open(connector))
        {
            rig.Set("VM", Machine, "power_state", "Running");
            Assert.Empty(view.Conclude());
            rig.Remove(Machine);
            xen.AssertContent(view);
            Assert.Empty(view.Conclude());
        }

        xen.AssertNothingLeft();
        rig.Reset(xen.Raw);
        using (IVmView view = xen.Open(connector))
        {
            rig.Remove(rig.Left().Snapshots[0]);
            Assert.Contains("somebody removed the snapshot", Assert.Single(view.Conclude()).Detail, StringComparison.Ordinal);
        }

        xen.AssertNothingLeft();
    }

    [Fact]
    public void Snapshots_of_others_stay()
    {
        XenRig rig = xen.Fresh();
        rig.Snapshot(Machine, "before the update");
        using XenConnector connector = xen.Connector();
        using (IVmView view = xen.Open(connector))
        {
            xen.AssertContent(view);
        }

        Assert.Equal(["before the update"], rig.Left().Snapshots);
        Assert.Single(rig.Left().Disks);
        Assert.Empty(xen.Journal.List());
    }

    [Fact]
    public void Every_method_that_is_called_is_in_the_list()
    {
        XenRig rig = xen.Fresh();
        rig.AddVm("other", "Running");
        using (XenConnector quiescing = xen.Connector(", \"quiesce\": true"))
        {
            xen.Open(quiescing).Dispose();
        }

        using (XenConnector connector = xen.Connector(Spooled))
        {
            InventoryVm vm = connector.List().Single(v => v.Name == Machine);
            connector.Rehearse();
            using (IVmView first = xen.OpenTracked(connector, null))
            {
                first.Changes!.Keep();
            }

            using (IVmView second = xen.OpenTracked(connector, "vmsweep-" + xen.Journal.List()[0].Record.Key))
            {
                Assert.NotNull(second.Changes!.Of(second.Vm.Disks[0]));
            }

            new LeaseReaper(xen.Journal, _ => xen.Connector(), new VSphereKillTests.Later()).Run(xen.Journal.List()[0].Record.Id);
            rig.NbdWay = "none";
            rig.ExportsAt = "127.0.0.1:1";
            using (IVmView third = xen.Open(connector))
            {
                Assert.Single(third.Vm.Gaps);
            }

            rig.Arm("VIF.set_locking_mode", "error:FEATURE_RESTRICTED");
            foreach (VmAct act in (VmAct[])[VmAct.Annotate, VmAct.Tag, VmAct.Disconnect, VmAct.Suspend])
            {
                Assert.True(connector.Act(vm, act, "note").IsDone, act.ToString());
            }
        }

        Assert.Equal(XapiMethods.All.Keys.Append("export").Order(StringComparer.Ordinal), rig.Called.Order(StringComparer.Ordinal));
        xen.AssertNothingLeft(sessions: true);
    }
}
