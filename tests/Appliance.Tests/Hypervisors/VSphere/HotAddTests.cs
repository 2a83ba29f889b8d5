using System.Diagnostics;
using System.Text.Json;
using System.Xml.Linq;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.VSphere;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Tests.EndToEnd;
using Vmsweep.Golden;
using Vmsweep.Rigs;

namespace Vmsweep.Appliance.Tests.Hypervisors.VSphere;

/// <summary>Disks of snapshots that are attached to the appliance's own VM: what the simulator attaches becomes a loop device of this machine.</summary>
[Collection(VSphereCollection.Name)]
[Trait("Category", "Slow")]
public sealed class HotAddTests(VSphereFixture vsphere) : IDisposable
{
    private const string Machine = VSphereRig.Machine;
    private const string Own = "DC0_C0_RP0_VM1";
    private const string Ways = ", \"ways\": [\"hotadd\", \"ranges\"]";
    private const string Named = Ways + $", \"appliance\": \"{Own}\"";
    private const string Usual = "/dev/disk/by-id";

    private readonly Scratch _machine = new();

    [Fact]
    public void What_is_on_an_attached_disk_is_found_and_nothing_is_left_behind()
    {
        VSphereRig rig = Ready(links: Usual);
        JsonElement report = Program.Scan([$"lab/{Machine}", .. vsphere.Options(Named)]);
        Assert.Empty(report.Gaps());
        Assert.Equal(["EICAR_Test_File v1/x.com", "EICAR_Test_File v2/x.com"], report.Findings().Order());
        Assert.Equal("[LocalDS_0] " + VSphereFixture.Disk, report.GetProperty("targets")[0].GetProperty("disks")[0].GetProperty("path").GetString());
        Assert.Equal("full", report.GetProperty("sandbox").GetString());
        JsonElement log = rig.Control("log"), calls = log.GetProperty("calls");
        Assert.Equal((0, 2), (log.GetProperty("folder").GetInt32(), calls.GetProperty("ReconfigVM_Task").GetInt32()));
        Assert.All(calls.EnumerateObject().Select(c => c.Name).Where(n => !n.Contains(' ', StringComparison.Ordinal)), m => Assert.Contains(m, Privileges.OfMethods.Keys));
        AssertNothingLeft();
    }

    [Theory]
    [InlineData("")]
    [InlineData("late")]
    [InlineData("scsi")]
    public void A_view_has_every_byte_of_the_attached_disk(string how)
    {
        VSphereRig rig = Ready(how);
        using VSphereConnector connector = Connector(Named);
        using (IVmView view = vsphere.Open(connector))
        {
            Assert.Empty(view.Vm.Gaps);
            Assert.Empty(view.Vm.Notes);
            Assert.Equal(["[LocalDS_0] " + VSphereFixture.Disk], rig.Control("appliance").GetProperty("attached").EnumerateArray().Select(a => a.GetString()));
            Assert.Equal("raw", view.Vm.Disks[0].Plan.Declared);
            vsphere.AssertContent(view);
            Assert.Equal(0, rig.Control("log").GetProperty("folder").GetInt32());
            Assert.Empty(view.Conclude());
        }

        AssertNothingLeft();
    }

    [Theory]
    [InlineData("never", "does not appear within 1 s")]
    [InlineData("short", "it is another")]
    [InlineData("uuid", "has the uuid")]
    public void A_disk_that_is_not_the_one_that_was_attached_is_detached_and_read_by_the_next_way(string how, string why)
    {
        VSphereRig rig = Ready(how);
        using VSphereConnector connector = Connector(Named, patience: TimeSpan.FromSeconds(1));
        using (IVmView view = vsphere.Open(connector))
        {
            Assert.Contains(why, Assert.Single(view.Vm.Notes), StringComparison.Ordinal);
            Assert.Equal(JsonValueKind.Null, rig.Control("appliance").GetProperty("attached").ValueKind);
            Assert.Empty(view.Vm.Gaps);
            vsphere.AssertContent(view);
        }

        AssertNothingLeft();
        if (how == "never")
        {
            using VSphereConnector alone = Connector(Named.Replace(", \"ranges\"", "", StringComparison.Ordinal), patience: TimeSpan.FromMilliseconds(1));
            using (IVmView view = vsphere.Open(alone))
            {
                GapReport gap = Assert.Single(view.Vm.Gaps);
                Assert.Equal("transport", gap.Fault);
                Assert.Contains(why.Replace("1 s", "0.001 s", StringComparison.Ordinal), gap.Detail, StringComparison.Ordinal);
                Assert.Empty(view.Vm.Disks);
            }

            AssertNothingLeft();
        }
    }

    [Fact]
    public void Where_nothing_can_be_attached_the_next_way_is_taken_and_why_is_said()
    {
        VSphereRig rig = Ready();
        string Why(string more)
        {
            using VSphereConnector connector = Connector(more);
            Assert.Equal(more.Contains("unknown", StringComparison.Ordinal), connector.Rehearse().Any(c => c is { Name: "hotadd", IsGood: false } && c.Found.Contains("no VM of the inventory", StringComparison.Ordinal)));
            using IVmView view = vsphere.Open(connector);
            Assert.Empty(view.Vm.Gaps);
            Assert.Equal("vmdk", Assert.Single(view.Vm.Disks).Plan.Declared);
            return Assert.Single(view.Vm.Notes);
        }

        Assert.Contains("no VM of the inventory has the name or uuid \"unknown\"", Why(Ways + ", \"appliance\": \"unknown\""), StringComparison.Ordinal);
        Assert.Contains("product_uuid", Why(Ways), StringComparison.Ordinal);
        Assert.Contains("is a disk of this appliance", Why(Ways + $", \"appliance\": \"{Machine}\""), StringComparison.Ordinal);
        rig.Vm(Own, ("fill", "1"));
        Assert.Contains("none of its SCSI controllers has a free unit", Why(Named), StringComparison.Ordinal);
        rig.Vm(Own, ("fill", "0"), ("option", "disk.EnableUUID"), ("value", "FALSE"));
        Assert.Contains("without disk.EnableUUID", Why(Named), StringComparison.Ordinal);
        rig.Vm(Own, ("option", "disk.EnableUUID"), ("value", "TRUE"));
        rig.Vm(Machine, ("disk", "0"), ("uuid", "../../../etc/passwd"));
        Assert.Contains("no uuid that it could be known by", Why(Named), StringComparison.Ordinal);
        Assert.False(rig.Control("log").GetProperty("calls").TryGetProperty("ReconfigVM_Task", out _));
        Ready();
        rig.Arm("soap", "fault:NoPermission", "ReconfigVM_Task");
        Assert.Contains("NoPermission", Why(Named), StringComparison.Ordinal);

        // A link of before, whosever it is, makes it impossible to tell which disk is which.
        string uuid = Guid.NewGuid().ToString();
        rig.Vm(Machine, ("disk", "0"), ("uuid", uuid));
        File.CreateSymbolicLink(Path.Combine(_machine.Folder, "by-id", "wwn-0x" + uuid.Replace("-", "", StringComparison.Ordinal)), "/dev/null");
        Assert.Contains("is attached to this appliance already", Why(Named), StringComparison.Ordinal);
        AssertNothingLeft();
    }

    [Fact]
    public void The_appliance_is_found_by_the_uuid_of_its_firmware_in_either_byte_order()
    {
        VSphereRig rig = Ready();
        var bios = Guid.NewGuid();
        rig.Vm(Own, ("bios", bios.ToString()));
        foreach (Guid shown in (Guid[])[bios, new Guid(bios.ToByteArray(), bigEndian: true)])
        {
            File.WriteAllText(_machine["product_uuid"], shown.ToString().ToUpperInvariant() + "\n");
            using VSphereConnector connector = Connector(Ways);
            Assert.Contains(connector.Rehearse(), c => c is { Name: "hotadd", IsGood: true } && c.Found.Contains($"this appliance is the VM {Own}", StringComparison.Ordinal));
        }

        // A copy of the appliance.
        string before = rig.Vm(Machine).GetProperty("bios").GetString()!;
        rig.Vm(Machine, ("bios", bios.ToString()));
        using (VSphereConnector connector = Connector(Ways))
        using (IVmView view = vsphere.Open(connector))
        {
            Assert.Contains("2 VMs have", Assert.Single(view.Vm.Notes), StringComparison.Ordinal);
        }

        rig.Vm(Machine, ("bios", before));
        AssertNothingLeft();
    }

    [Theory]
    [InlineData("lost", 0)]
    [InlineData("lost", 1)]
    [InlineData("fault:NotAuthenticated", 0)]
    [InlineData("fault:TaskInProgress", 0)]
    [InlineData("fault:ConcurrentAccess", 1)]
    public void An_answer_that_is_lost_or_another_change_at_the_same_time_changes_nothing(string action, int skip)
    {
        VSphereRig rig = Ready();
        using VSphereConnector connector = Connector(Named);
        rig.Arm("soap", action, "ReconfigVM_Task", skip: skip);
        using (IVmView view = vsphere.Open(connector))
        {
            Assert.Equal("raw", view.Vm.Disks[0].Plan.Declared);
            vsphere.AssertContent(view);
        }

        AssertNothingLeft();
    }

    [Fact]
    public void A_disk_that_cannot_be_detached_keeps_its_snapshot_and_its_lease_and_what_is_not_ours_stays()
    {
        VSphereRig rig = Ready();
        using VSphereConnector connector = Connector(Named);
        string other = $"{Machine}/other.vmdk";
        rig.MakeDisk(vsphere.Raw, other);
        Attach(connector, other);
        IVmView view = vsphere.Open(connector);
        Assert.Equal(2, rig.Control("appliance").GetProperty("attached").GetArrayLength());
        vsphere.AssertContent(view);
        rig.Arm("soap", "fault:ResourceInUse", "ReconfigVM_Task", match: "<operation>remove");
        Assert.Contains("ResourceInUse", Assert.Throws<VimFaultException>(view.Dispose).Message, StringComparison.Ordinal);
        Assert.Equal(1, rig.Vm(Machine).GetProperty("snapshots").GetArrayLength());
        Assert.False(rig.Control("log").GetProperty("calls").TryGetProperty("RemoveSnapshot_Task", out _));
        Reap();
        Assert.Equal(["[LocalDS_0] " + other], rig.Control("appliance").GetProperty("attached").EnumerateArray().Select(a => a.GetString()));
        Assert.True(File.Exists(Path.Combine(rig.Datastore, other.Replace(".vmdk", "-flat.vmdk", StringComparison.Ordinal))));
        rig.Vm(Own, ("removedisk", "1"));
        rig.Control("appliance", ("name", ""));
        AssertNothingLeft();
    }

    [Fact]
    public void A_disk_that_another_product_has_attached_is_not_attached_again_and_stays()
    {
        VSphereRig rig = Ready("never");
        using VSphereConnector connector = Connector(Named);
        Attach(connector, VSphereFixture.Disk);
        using (IVmView view = vsphere.Open(connector))
        {
            Assert.Contains("has the disk, or another one with its uuid, already", Assert.Single(view.Vm.Notes), StringComparison.Ordinal);
            Assert.Equal(["[LocalDS_0] " + VSphereFixture.Disk], rig.Control("appliance").GetProperty("attached").EnumerateArray().Select(a => a.GetString()));
            Assert.DoesNotContain("[LocalDS_0] " + VSphereFixture.Disk, Assert.Single(vsphere.Journal.List()).Record.Details.Values);

            // While it is attached its host does not merge it.
            OwnVm own = connector.Own();
            XElement device = own.Attached("[LocalDS_0] " + VSphereFixture.Disk)!.Value.Device;
            connector.Tasks.Reconfigure(own.Reference, new("spec", new XElement("deviceChange", new XAttribute(VimXml.Kind, "VirtualDeviceConfigSpec"), new XElement("operation", "remove"), new XElement("device", device.Attributes(), device.Elements()))));
        }

        AssertNothingLeft();
    }

    [Fact]
    public void A_VM_without_a_snapshot_is_not_attached_and_a_kept_snapshot_is_detached()
    {
        VSphereRig rig = Ready();
        using VSphereConnector connector = Connector(Named);
        IVmView view = vsphere.Open(connector);
        Assert.NotNull(view.Keep());
        view.Dispose();
        Assert.Equal(JsonValueKind.Null, rig.Control("appliance").GetProperty("attached").ValueKind);
        Assert.Equal(1, rig.Vm(Machine).GetProperty("snapshots").GetArrayLength());
        Reap(Assert.Single(vsphere.Journal.List()).Record.Id);
        AssertNothingLeft();

        rig.Reset();
        rig.Vm(Machine, ("power", "poweredOff"));
        using (IVmView off = vsphere.Open(connector))
        {
            Assert.Empty(off.Vm.Notes);
            vsphere.AssertContent(off);
        }

        using VSphereConnector alone = Connector(Named.Replace(", \"ranges\"", "", StringComparison.Ordinal));
        using (IVmView off = vsphere.Open(alone))
        {
            Assert.Contains("disks of snapshots are", Assert.Single(off.Vm.Gaps).Detail, StringComparison.Ordinal);
        }

        Assert.False(rig.Control("log").GetProperty("calls").TryGetProperty("ReconfigVM_Task", out _));
        AssertNothingLeft();
    }

    /// <param name="step">Known by what it has made.</param>
    /// <param name="action">What takes long, so that it can be met.</param>
    /// <param name="skip">Changes before that.</param>
    [Theory]
    [InlineData("asked", "delay:2000", 0)]
    [InlineData("attached", "delayafter:2000", 0)]
    [InlineData("waiting", "", 0)]
    [InlineData("worker", "", 0)]
    [InlineData("ending", "delay:2000", 1)]
    [InlineData("detached", "delayafter:2000", 1)]
    public void Killed_at_every_step(string step, string action, int skip)
    {
        VSphereRig rig = Ready(step == "waiting" ? "never" : "", Usual);
        if (action.Length > 0)
        {
            rig.Arm("soap", action, "ReconfigVM_Task", skip: skip);
        }

        using Process scan = Program.Start(["scan", $"lab/{Machine}", "--no-progress", .. vsphere.Options(Named)]);
        bool isReached = SpinWait.SpinUntil(() => scan.HasExited || Is(step, scan), TimeSpan.FromSeconds(120)) && !scan.HasExited;
        scan.Kill();
        scan.WaitForExit();
        Assert.True(isReached, $"{step} was not met");

        // What was asked for right before the kill the server may still be about to do; everything else can be undone at once.
        if (step is "asked" or "ending")
        {
            Thread.Sleep(2500);
        }

        Reap();
        AssertNothingLeft();
    }

    public void Dispose()
    {
        vsphere.Rig.Control("appliance", ("name", ""));
        _machine.Dispose();
    }

    private bool Is(string step, Process scan)
    {
        JsonElement calls = vsphere.Rig.Control("log").GetProperty("calls");
        int changes = calls.TryGetProperty("ReconfigVM_Task", out JsonElement called) ? called.GetInt32() : 0;
        bool isAttached = step is "asked" or "ending" ? changes > 0 : vsphere.Rig.Control("appliance").GetProperty("attached").ValueKind == JsonValueKind.Array;
        return step switch
        {
            "asked" => changes == 1,
            "attached" or "waiting" => isAttached,
            "worker" => isAttached && KilledScan.HasChild(scan),
            "ending" => changes == 2,
            "detached" => changes == 2 && !isAttached,
            _ => throw new ArgumentOutOfRangeException(nameof(step)),
        };
    }

    /// <summary>By another product, which has the same VM for its proxy.</summary>
    private static void Attach(VSphereConnector connector, string file)
    {
        OwnVm own = connector.Own();
        connector.Tasks.Reconfigure(own.Reference, XElement.Parse("""<spec><deviceChange kind="VirtualDeviceConfigSpec"><operation>add</operation><device kind="VirtualDisk"><key>-1</key><backing kind="VirtualDiskFlatVer2BackingInfo"><fileName>[LocalDS_0] FILE</fileName><diskMode>independent_nonpersistent</diskMode></backing><controllerKey>KEY</controllerKey><unitNumber>9</unitNumber><capacityInKB>1</capacityInKB></device></deviceChange></spec>"""
            .Replace("FILE", System.Security.SecurityElement.Escape(file), StringComparison.Ordinal).Replace("KEY", own.FreeSlot()!.Value.Controller, StringComparison.Ordinal)));
    }

    private void Reap(Guid? only = null)
    {
        foreach ((LeaseRecord record, string? failure) in new LeaseReaper(vsphere.Journal, _ => vsphere.Connector(Named), new VSphereKillTests.Later()).Run(only))
        {
            Assert.True(failure is null, $"{record.Kind}: {failure}");
        }
    }

    /// <summary>The VM runs, and the other one is this machine.</summary>
    private VSphereRig Ready(string how = "", string? links = null)
    {
        VSphereRig rig = vsphere.Fresh();
        rig.Vm(Machine, ("disk", "0"), ("uuid", Guid.NewGuid().ToString().ToUpperInvariant()), ("option", "disk.EnableUUID"), ("value", "TRUE"));
        rig.Vm(Own, ("power", "poweredOn"), ("fill", "0"), ("option", "disk.EnableUUID"), ("value", "TRUE"));
        rig.Control("appliance", ("name", Own), ("links", links ?? _machine["by-id"]), ("how", how));
        return rig;
    }

    private VSphereConnector Connector(string more, TimeSpan? patience = null) =>
        new("lab", ApplianceConfiguration.Read(vsphere.Configuration(more)).Connectors["lab"], TimeProvider.System)
        {
            Machine = new MachinePlaces(_machine["by-id"], _machine["product_uuid"], patience ?? TimeSpan.FromSeconds(20)),
        };

    private void AssertNothingLeft()
    {
        vsphere.AssertNothingLeft();
        Assert.Equal(1, vsphere.Rig.Vm(Own).GetProperty("disks").GetArrayLength());
    }
}
