using System.Security.Cryptography;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.HyperV;
using Vmsweep.Appliance.Connectors.HyperV.Wmi;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Tests.Hypervisors.VSphere;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Inspection;
using Vmsweep.Rigs.HyperV;

namespace Vmsweep.Appliance.Tests.Hypervisors.HyperV;

/// <summary>Views of VMs in this process: what they hold, what is left alone, and what becomes of them when something happens meanwhile.</summary>
[Collection(HyperVCollection.Name)]
[Trait("Category", "Slow")]
public sealed class HyperVViewTests(HyperVFixture hyperV)
{
    [Theory]
    [InlineData("2", false)]
    [InlineData("2", true)]
    [InlineData("9", false)]
    public void A_view_of_a_running_VM_has_every_byte_of_the_moment_and_never_the_live_file(string state, bool takesNames)
    {
        HyperVMachine machine = hyperV.Fresh(state);
        hyperV.Rig.TakesNames = takesNames;
        using HyperVConnector connector = hyperV.Connector();
        using (IVmView view = hyperV.Open(connector))
        {
            Assert.Null(view.MustClose());
            Assert.Empty(view.Vm.Gaps);
            Assert.StartsWith("vmsweep-", Assert.Single(machine.Checkpoints).Name, StringComparison.Ordinal);
            Assert.EndsWith(".avhdx", Assert.Single(machine.Disks), StringComparison.Ordinal);
            Assert.Equal([HyperVFixture.Disk], view.Vm.Disks[0].Plan.Files.Select(f => f.Name));
            AssertContent(view);
            Assert.Empty(view.Conclude());
        }

        hyperV.AssertNothingLeft();
    }

    [Fact]
    public void With_a_checkpoint_of_somebody_the_chain_is_read_and_his_stays()
    {
        HyperVMachine machine = hyperV.Fresh();
        machine.Next = (0, []);
        machine.Checkpoint("before the update", isRecovery: false);
        string his = machine.Disks[0];
        machine.Next = (0, new byte[64 << 10]);
        using HyperVConnector connector = hyperV.Connector();
        using (IVmView view = hyperV.Open(connector))
        {
            Assert.Equal([his, HyperVFixture.Disk], view.Vm.Disks[0].Plan.Files.Select(f => f.Name));
            AssertContent(view);
        }

        Assert.Equal("before the update", Assert.Single(machine.Checkpoints).Name);
        using (HyperVConnector careful = hyperV.Connector(", \"maximumSnapshots\": 1"))
        {
            Assert.Contains("maximumSnapshots", Assert.Throws<ConnectorException>(() => hyperV.Open(careful)).Message, StringComparison.Ordinal);
        }

        hyperV.AssertNothingLeft(his);
    }

    [Theory]
    [InlineData("VM - Backup", null, "another product")]
    [InlineData("vmsweep-0123", null, "another scan")]
    [InlineData(null, "32768", "checkpoint is being made")]
    [InlineData(null, "32772", "being merged")]
    [InlineData(null, "32774", "being migrated")]
    public void A_VM_with_a_job_of_others_is_left_alone(string? checkpoint, string? operation, string why)
    {
        HyperVMachine machine = hyperV.Fresh();
        machine.Operation = operation;
        HyperVCheckpoint? theirs = checkpoint is null ? null : machine.Checkpoint(checkpoint, isRecovery: true);
        using HyperVConnector connector = hyperV.Connector();
        Assert.Contains(why, Assert.Throws<ConnectorException>(() => hyperV.Open(connector)).Message, StringComparison.Ordinal);
        Assert.False(hyperV.Rig.Calls.ContainsKey("CreateSnapshot"));
        Assert.Equal(theirs is null ? 0 : 1, machine.Checkpoints.Count);
        if (theirs is not null)
        {
            machine.Remove(theirs);
        }

        hyperV.AssertNothingLeft();
    }

    [Fact]
    public void A_saved_VM_is_read_as_it_lies_and_its_memory_is_a_named_gap()
    {
        HyperVMachine machine = hyperV.Fresh("6");
        using HyperVConnector connector = hyperV.Connector();
        using IVmView view = hyperV.Open(connector);
        AssertContent(view);
        GapReport gap = Assert.Single(view.Vm.Gaps);
        Assert.Equal(("unsupported", $@"{HyperVRig.Volume}\Virtual Machines\{machine.Id}.VMRS"), (gap.Fault, gap.Path));
        Assert.Equal("suspended", view.Vm.Identity.Power);
        Assert.False(hyperV.Rig.Calls.ContainsKey("CreateSnapshot"));
        machine.State = "2";
        Assert.Contains("was suspended and is running", Assert.Single(view.Conclude()).Detail, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(@"D:\VMs\x.vhdx", "unsupported", "\"paths\"")]
    [InlineData(HyperVRig.Volume + @"\VMs\none.vhdx", "transport", "GetVirtualHardDiskSettingData")]
    [InlineData(HyperVRig.Volume + @"\..\..\etc\passwd.vhdx", "refused", "no path")]
    [InlineData(HyperVRig.Volume + @"\VMs\web01\link.vhdx", "refused", "a link")]
    [InlineData(HyperVRig.Volume + @"\VMs\away\web01.vhdx", "refused", "a link")]
    [InlineData(HyperVRig.Volume + @"\VMs\web01\shared.vhds", "unsupported", "several VMs")]
    [InlineData("/etc/passwd", "refused", "no path")]
    public void A_disk_that_cannot_be_read_is_a_gap_and_the_others_are_read(string path, string fault, string why)
    {
        HyperVMachine machine = hyperV.Fresh("3");
        machine.Disks.Add(path);
        machine.Physical.Add(@"\\HV1\root\virtualization\v2:Msvm_DiskDrive.DeviceID=""1""");
        string folder = Path.GetDirectoryName(hyperV.Rig.FileOf(HyperVFixture.Disk))!;
        File.Delete(Path.Combine(folder, "link.vhdx"));
        File.CreateSymbolicLink(Path.Combine(folder, "link.vhdx"), hyperV.Rig.FileOf(HyperVFixture.Disk));
        if (!Directory.Exists(Path.Combine(folder, "../away")))
        {
            Directory.CreateSymbolicLink(Path.Combine(folder, "../away"), folder);
        }

        if (path.StartsWith("D:", StringComparison.Ordinal))
        {
            // The host can tell of it; it is this machine that cannot reach it.
            hyperV.Rig.Elsewhere.Add(path);
        }

        using HyperVConnector connector = hyperV.Connector();
        using IVmView view = hyperV.Open(connector);
        GapReport gap = Assert.Single(view.Vm.Gaps, g => g.Path == path);
        Assert.Equal(fault, gap.Fault);
        Assert.Contains(why, gap.Detail, StringComparison.Ordinal);
        Assert.Contains(view.Vm.Gaps, g => g.Detail.Contains("a disk of the host itself", StringComparison.Ordinal));
        AssertContent(view);
    }

    [Fact]
    public void Names_in_an_image_open_nothing_else()
    {
        HyperVMachine machine = hyperV.Fresh("3");
        string top = HyperVRig.Volume + @"\VMs\web01\top_1.avhdx";
        hyperV.Rig.Machines[0].Next = (0, []);
        machine.Checkpoint("c", isRecovery: false);
        string named = machine.Disks[0];
        File.Move(hyperV.Rig.FileOf(named), hyperV.Rig.FileOf(top));
        machine.Disks[0] = top;

        // The host has another image below it than the one that it names itself.
        machine.Linked.Add((top, HyperVRig.Volume + @"\VMs\web01\other.vhdx"));
        File.Copy(hyperV.Rig.FileOf(HyperVFixture.Disk), hyperV.Rig.FileOf(HyperVRig.Volume + @"\VMs\web01\other.vhdx"), overwrite: true);
        using HyperVConnector connector = hyperV.Connector();
        using IVmView view = hyperV.Open(connector);
        PlannedReference refused = Assert.Single(view.Vm.Disks[0].Plan.References);
        Assert.Equal((-1, Fault.Refused), (refused.To, refused.Fault));
        Assert.Single(view.Vm.Disks[0].Refused);
    }

    [Fact]
    public void A_guest_that_cannot_write_out_is_read_as_it_is()
    {
        HyperVMachine machine = hyperV.Fresh();
        hyperV.Rig.IsGuestDeaf = true;
        using HyperVConnector connector = hyperV.Connector();
        using (IVmView view = hyperV.Open(connector))
        {
            AssertContent(view);
            Assert.Equal(2, hyperV.Rig.Calls["CreateSnapshot"]);
            Assert.Single(machine.Checkpoints);
        }

        using (HyperVConnector without = hyperV.Connector(", \"quiesce\": false"))
        using (hyperV.Open(without))
        {
            Assert.Equal(3, hyperV.Rig.Calls["CreateSnapshot"]);
        }

        hyperV.AssertNothingLeft();
    }

    [Theory]
    [InlineData("CreateSnapshot", "lost")]
    [InlineData("CreateSnapshot", "status:503")]
    [InlineData("CreateSnapshot", "status:401")]
    [InlineData("DestroySnapshot", "lost")]
    [InlineData("DestroySnapshot", "status:503")]
    [InlineData("ModifySystemSettings", "fault:AccessDenied")]
    [InlineData("Get", "close")]
    public void An_answer_that_is_lost_changes_nothing(string method, string action)
    {
        hyperV.Fresh();
        using HyperVConnector connector = hyperV.Connector();
        hyperV.Rig.Arm(method, action);
        using (IVmView view = hyperV.Open(connector))
        {
            AssertContent(view);
            Assert.Empty(view.Conclude());
        }

        hyperV.AssertNothingLeft();
    }

    [Fact]
    public void A_checkpoint_that_cannot_be_made_is_an_error_and_one_that_cannot_be_removed_stays_a_lease()
    {
        HyperVMachine machine = hyperV.Fresh();
        using HyperVConnector connector = hyperV.Connector();
        hyperV.Rig.Arm("CreateSnapshot", "job", times: 2);
        Assert.Contains("as it was armed", Assert.Throws<WsManFaultException>(() => hyperV.Open(connector)).Message, StringComparison.Ordinal);
        hyperV.AssertNothingLeft();
        hyperV.Rig.Arm("CreateSnapshot", "fault:AccessDenied");
        Assert.Throws<WsManFaultException>(() => hyperV.Open(connector));
        hyperV.AssertNothingLeft();

        // A request that never arrived.
        hyperV.Rig.Arm("CreateSnapshot", "close");
        Assert.Contains("there is none", Assert.Throws<ConnectorException>(() => hyperV.Open(connector)).Message, StringComparison.Ordinal);
        hyperV.AssertNothingLeft();

        IVmView view = hyperV.Open(connector);
        hyperV.Rig.Arm("DestroySnapshot", "job");
        Assert.Throws<WsManFaultException>(view.Dispose);
        (LeaseRecord record, bool isHeld) = Assert.Single(hyperV.Journal.List());
        Assert.False(isHeld);
        Assert.Equal((HyperVConnector.ViewKind, HyperVFixture.Machine), (record.Kind, record.VmName));
        Assert.Null(Assert.Single(new LeaseReaper(hyperV.Journal, _ => hyperV.Connector(), new VSphereKillTests.Later()).Run()).Failure);
        hyperV.AssertNothingLeft();
        Assert.Equal("2", machine.State);
    }

    [Fact]
    public void What_happens_to_the_VM_meanwhile_is_a_gap()
    {
        HyperVMachine machine = hyperV.Fresh("3");
        using HyperVConnector connector = hyperV.Connector();
        using (IVmView view = hyperV.Open(connector))
        {
            Assert.Empty(view.Conclude());
            machine.State = "2";
            Assert.Contains("was off and is running", Assert.Single(view.Conclude()).Detail, StringComparison.Ordinal);
        }

        using (IVmView view = hyperV.Open(connector))
        {
            machine.Remove(machine.Checkpoints[0]);
            Assert.Contains("somebody removed the checkpoint", Assert.Single(view.Conclude()).Detail, StringComparison.Ordinal);
        }

        // It moves to another node with its checkpoint, and is left clean there.
        using (IVmView view = hyperV.Open(connector))
        {
            machine.Node = "HV2";
            AssertContent(view);
            Assert.Empty(view.Conclude());
        }

        hyperV.AssertNothingLeft();
        using (IVmView view = hyperV.Open(connector))
        {
            hyperV.Rig.Machines.Remove(machine);
            Assert.Contains("was removed while it was read", Assert.Single(view.Conclude()).Detail, StringComparison.Ordinal);
        }

        Assert.Empty(hyperV.Journal.List());
    }

    [Fact]
    public void A_killed_scan_takes_no_checkpoint_of_others_for_its_own()
    {
        HyperVMachine machine = hyperV.Fresh();
        using HyperVConnector connector = hyperV.Connector();
        VmFacts vm = connector.Find(machine.Id, "HV1")!;
        hyperV.Journal.Begin(HyperVConnector.ViewKind, "lab", vm.Id, vm.Name, key => Checkpoints.Describe(vm, key)).Dispose();
        HyperVCheckpoint one = machine.Checkpoint("web01 - Backup", isRecovery: true), two = machine.Checkpoint("web01 - Backup", isRecovery: true);
        Assert.Contains("cannot be told which", Assert.Single(new LeaseReaper(hyperV.Journal, _ => hyperV.Connector(), new VSphereKillTests.Later()).Run()).Failure, StringComparison.Ordinal);
        Assert.Equal([one, two], machine.Checkpoints);
        machine.Remove(two);
        machine.Remove(one);
        Assert.Null(Assert.Single(new LeaseReaper(hyperV.Journal, _ => hyperV.Connector(), new VSphereKillTests.Later()).Run()).Failure);
        hyperV.AssertNothingLeft();
    }

    [Fact]
    public void No_view_where_space_is_short()
    {
        hyperV.Fresh();
        using HyperVConnector connector = hyperV.Connector(", \"minimumFree\": \"900000G\"");
        Assert.Contains("minimumFree", Assert.Throws<ConnectorException>(() => hyperV.Open(connector)).Message, StringComparison.Ordinal);
        hyperV.AssertNothingLeft();
    }

    private void AssertContent(IVmView view)
    {
        using var chain = new ChainOpener(view.Vm.Disks[0].Plan, new ReadContext(new ScanBudget(256 << 20), new GapList()));
        using DiskReaders.Containers.VirtualDisk disk = chain.OpenDisk();
        byte[] read = new byte[disk.Content.Length];
        disk.Content.Read(0, read);
        Assert.Equal(SHA256.HashData(hyperV.Original), SHA256.HashData(read));
    }
}
