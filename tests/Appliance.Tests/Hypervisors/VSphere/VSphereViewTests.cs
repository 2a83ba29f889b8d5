using System.Security.Cryptography;
using System.Text.Json;
using System.Text.RegularExpressions;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.VSphere;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Inspection;
using Vmsweep.Golden;
using Vmsweep.Rigs;

namespace Vmsweep.Appliance.Tests.Hypervisors.VSphere;

/// <summary>Views of VMs in this process: what they hold, what is left alone, and what becomes of them when something happens meanwhile.</summary>
[Collection(VSphereCollection.Name)]
[Trait("Category", "Slow")]
public sealed partial class VSphereViewTests(VSphereFixture vsphere)
{
    private const string Machine = VSphereRig.Machine;

    [Fact]
    public void A_view_of_a_running_VM_has_every_byte_of_the_moment_and_never_the_live_file()
    {
        VSphereRig rig = vsphere.Fresh();
        using VSphereConnector connector = vsphere.Connector();
        using (IVmView view = vsphere.Open(connector))
        {
            Assert.Null(view.MustClose());
            Assert.Empty(view.Vm.Gaps);
            JsonElement vm = rig.Vm(Machine);
            Assert.StartsWith("vmsweep-", vm.GetProperty("snapshots")[0].GetString(), StringComparison.Ordinal);
            string live = vm.GetProperty("disks")[0].GetString()!;
            Assert.Contains("-000001.vmdk", live, StringComparison.Ordinal);
            Assert.DoesNotContain(view.Vm.Disks[0].Plan.Files, f => f.Name.Contains("-000001", StringComparison.Ordinal));
            AssertContent(view);
            Assert.Empty(view.Conclude());
        }

        vsphere.AssertNothingLeft();
    }

    [Fact]
    public void With_a_snapshot_of_somebody_the_chain_is_read_and_his_stays()
    {
        VSphereRig rig = vsphere.Fresh();
        using VSphereConnector connector = vsphere.Connector();
        MoRef reference = Reference(connector);
        MoRef his = connector.Tasks.CreateSnapshot(reference, "before the update", "", quiesce: false);
        using (IVmView view = vsphere.Open(connector))
        {
            Assert.Equal(4, view.Vm.Disks[0].Plan.Files.Count);
            Assert.Empty(view.Vm.Gaps);
            AssertContent(view);
        }

        Assert.Equal(["before the update"], rig.Vm(Machine).GetProperty("snapshots").EnumerateArray().Select(s => s.GetString()));
        using (VSphereConnector careful = vsphere.Connector(", \"maximumSnapshots\": 1"))
        {
            Assert.Contains("maximumSnapshots", Assert.Throws<ConnectorException>(() => vsphere.Open(careful)).Message, StringComparison.Ordinal);
        }

        connector.Tasks.RemoveSnapshot(his);
        vsphere.AssertNothingLeft();
    }

    [Theory]
    [InlineData("VEEAM BACKUP TEMPORARY SNAPSHOT", "another product")]
    [InlineData("vmsweep-0123", "another scan")]
    public void A_VM_with_a_job_of_others_is_left_alone(string snapshot, string why)
    {
        VSphereRig rig = vsphere.Fresh();
        using VSphereConnector connector = vsphere.Connector();
        MoRef theirs = connector.Tasks.CreateSnapshot(Reference(connector), snapshot, "", quiesce: false);
        rig.Reset();
        Assert.Contains(why, Assert.Throws<ConnectorException>(() => vsphere.Open(connector)).Message, StringComparison.Ordinal);
        Assert.False(rig.Control("log").GetProperty("calls").TryGetProperty("CreateSnapshot_Task", out _));
        connector.Tasks.RemoveSnapshot(theirs);
        vsphere.AssertNothingLeft();
    }

    [Fact]
    public void No_view_where_space_is_short_or_disks_wait_for_consolidation()
    {
        VSphereRig rig = vsphere.Fresh();
        using VSphereConnector connector = vsphere.Connector();
        rig.Vm(Machine, ("free", "1000"));
        Assert.Contains("minimumFree", Assert.Throws<ConnectorException>(() => vsphere.Open(connector)).Message, StringComparison.Ordinal);
        rig.Vm(Machine, ("free", "100000000000"), ("consolidate", "1"));
        Assert.Contains("consolidation", Assert.Throws<ConnectorException>(() => vsphere.Open(connector)).Message, StringComparison.Ordinal);
        rig.Vm(Machine, ("consolidate", "0"));
        vsphere.AssertNothingLeft();
    }

    [Theory]
    [InlineData("mode", "independent_persistent", "unsupported", "independent")]
    [InlineData("sharing", "sharingMultiWriter", "unsupported", "multi-writer")]
    [InlineData("rdm", "physicalMode", "unsupported", "raw device mapping")]
    public void A_disk_that_no_snapshot_holds_is_a_gap_and_the_others_are_read(string what, string value, string fault, string why)
    {
        VSphereRig rig = vsphere.Fresh();
        string second = $"{Machine}/second-{what}.vmdk";
        rig.MakeDisk(vsphere.Raw, second);
        rig.Vm(Machine, ("disk", "1"), ("file", "[LocalDS_0] " + second));
        rig.Vm(Machine, ("disk", "1"), (what, value));
        try
        {
            using VSphereConnector connector = vsphere.Connector();
            using IVmView view = vsphere.Open(connector);
            GapReport gap = Assert.Single(view.Vm.Gaps);
            Assert.Equal((fault, $"[LocalDS_0] {second}"), (gap.Fault, gap.Path));
            Assert.Contains(why, gap.Detail, StringComparison.Ordinal);
            Assert.Single(view.Vm.Disks);
            AssertContent(view);
        }
        finally
        {
            rig.Vm(Machine, ("removedisk", "1"));
        }

        vsphere.AssertNothingLeft();
    }

    [Fact]
    public void A_suspended_VM_is_read_with_its_memory()
    {
        VSphereRig rig = vsphere.Fresh("suspended");
        string[] names = [$"{Machine}/a.vmss", $"{Machine}/a.vmem"];
        foreach (string name in names)
        {
            File.WriteAllBytes(Path.Combine(rig.Datastore, name), RandomNumberGenerator.GetBytes(70_000));
            rig.Vm(Machine, ("layout", $"[LocalDS_0] {name}"));
        }

        using VSphereConnector connector = vsphere.Connector();
        using (IVmView view = vsphere.Open(connector))
        {
            AssertContent(view);
            Assert.Equal(names.Select(n => "[LocalDS_0] " + n), view.Vm.Memory!.Plan.Files.Select(f => f.Name));
            foreach (PlannedFile file in view.Vm.Memory.Plan.Files)
            {
                using IBlockSource source = PlannedFiles.Open(file, 0, Context());
                byte[] read = new byte[source.Length];
                source.Read(0, read);
                Assert.Equal(File.ReadAllBytes(Path.Combine(rig.Datastore, file.Name["[LocalDS_0] ".Length..])), read);
            }
        }

        rig.Vm(Machine, ("keyId", "k"));
        using (IVmView view = vsphere.Open(connector))
        {
            Assert.Null(view.Vm.Memory);
            Assert.Equal("encrypted", Assert.Single(view.Vm.Gaps).Fault);
        }

        vsphere.AssertNothingLeft();
    }

    [Fact]
    public void A_mounted_datastore_is_read_as_files()
    {
        VSphereRig rig = vsphere.Fresh();
        using (VSphereConnector connector = vsphere.Connector($", \"mounts\": {{ \"LocalDS_0\": \"{rig.Datastore}\" }}"))
        using (IVmView view = vsphere.Open(connector))
        {
            Assert.All(view.Vm.Disks[0].Plan.Files, f => Assert.Null(f.Export));
            AssertContent(view);
            Assert.Equal(0, rig.Control("log").GetProperty("folder").GetInt32());
        }

        using var scratch = new Scratch();
        using (VSphereConnector connector = vsphere.Connector($", \"mounts\": {{ \"LocalDS_0\": \"{scratch.Folder}\" }}"))
        using (IVmView view = vsphere.Open(connector))
        {
            Assert.Contains("is the datastore mounted", Assert.Single(view.Vm.Gaps).Detail, StringComparison.Ordinal);
        }

        vsphere.AssertNothingLeft();
    }

    [Fact]
    public void Disks_without_files_are_streamed_into_a_bounded_spool()
    {
        VSphereRig rig = vsphere.Fresh();
        rig.Vm(Machine, ("free", "100000000000"), ("type", "vsan"));
        using var spool = new Scratch();
        using (VSphereConnector connector = vsphere.Connector())
        using (IVmView view = vsphere.Open(connector))
        {
            Assert.Contains("with \"spool\"", Assert.Single(view.Vm.Gaps).Detail, StringComparison.Ordinal);
        }

        string spooled = $", \"spool\": \"{spool.Folder}\"";
        using (VSphereConnector connector = vsphere.Connector(spooled))
        {
            using (IVmView view = vsphere.Open(connector))
            {
                Assert.Empty(view.Vm.Gaps);
                AssertContent(view);
                JsonElement log = rig.Control("log");
                Assert.Equal(0, log.GetProperty("folder").GetInt32());
                Assert.All(log.GetProperty("calls").EnumerateObject().Select(c => c.Name).Where(n => !n.Contains(' ', StringComparison.Ordinal)), m => Assert.Contains(m, Privileges.OfMethods.Keys));
            }

            Assert.Empty(Directory.GetFileSystemEntries(spool.Folder));
            foreach ((string what, string action) in ((string, string)[])[("export", "status:500"), ("export", "close"), ("soap", "fault:NoPermission")])
            {
                rig.Arm(what, action, what == "soap" ? "ExportSnapshot" : "", times: 9);
                using (IVmView view = vsphere.Open(connector))
                {
                    Assert.Equal("transport", Assert.Single(view.Vm.Gaps).Fault);
                }

                rig.Reset();
            }

            // One that ends too early, and says nothing of its length, is no disk with zeros at its end.
            rig.Arm("export", "half");
            using (IVmView view = vsphere.Open(connector))
            {
                Assert.True(view.Vm.Gaps.Count == 1 || Record.Exception(() => AssertContent(view)) is DiskFormatException or IOException);
            }
        }

        using (VSphereConnector connector = vsphere.Connector(spooled + ", \"spoolSize\": \"1K\""))
        using (IVmView view = vsphere.Open(connector))
        {
            Assert.Contains("spoolSize", Assert.Single(view.Vm.Gaps).Detail, StringComparison.Ordinal);
        }

        Assert.Empty(Directory.GetFileSystemEntries(spool.Folder));
        vsphere.AssertNothingLeft();
    }

    [Theory]
    [InlineData("RW 98304 VMFS \"/etc/passwd\"")]
    [InlineData("RW 98304 VMFS \"../other/secret.vmdk\"")]
    [InlineData("RW 98304 VMFSSPARSE \"hostile.vmdk\"\nparentCID=12345678\nparentFileNameHint=\"/vmfs/volumes/LocalDS_0/other/secret.vmdk\"")]
    public void Names_in_a_descriptor_open_nothing_else(string extent)
    {
        VSphereRig rig = vsphere.Fresh("poweredOff");
        string name = $"{Machine}/hostile.vmdk";
        Directory.CreateDirectory(Path.Combine(rig.Datastore, "other"));
        File.WriteAllText(Path.Combine(rig.Datastore, "other/secret.vmdk"), "secret");
        File.WriteAllText(Path.Combine(rig.Datastore, name), $"# Disk DescriptorFile\nversion=1\nCID=fffffffe\n{(extent.Contains("parentCID", StringComparison.Ordinal) ? "" : "parentCID=ffffffff\n")}createType=\"vmfs\"\n{extent}\n");
        rig.Vm(Machine, ("disk", "0"), ("file", "[LocalDS_0] " + name));
        try
        {
            using VSphereConnector connector = vsphere.Connector();
            using IVmView view = vsphere.Open(connector);
            PlannedReference refused = Assert.Single(view.Vm.Disks[0].Plan.References, r => r.To < 0);
            Assert.Equal(Fault.Refused, refused.Fault);
            Assert.Single(view.Vm.Disks[0].Refused);
            Assert.DoesNotContain(view.Vm.Disks[0].Plan.Files, f => f.Name.Contains("secret", StringComparison.Ordinal) || f.Name.Contains("passwd", StringComparison.Ordinal));
        }
        finally
        {
            rig.Vm(Machine, ("disk", "0"), ("file", "[LocalDS_0] " + VSphereFixture.Disk));
        }

        vsphere.AssertNothingLeft();
    }

    [Theory]
    [InlineData("CreateSnapshot_Task", "lost")]
    [InlineData("RemoveSnapshot_Task", "lost")]
    [InlineData("CreateSnapshot_Task", "fault:NotAuthenticated")]
    [InlineData("RemoveSnapshot_Task", "fault:NotAuthenticated")]
    [InlineData("CreateSnapshot_Task", "status:503")]
    [InlineData("RemoveSnapshot_Task", "status:503")]
    public void An_answer_that_is_lost_changes_nothing(string method, string action)
    {
        VSphereRig rig = vsphere.Fresh();
        using VSphereConnector connector = vsphere.Connector();
        rig.Arm("soap", action, method);
        using (IVmView view = vsphere.Open(connector))
        {
            AssertContent(view);
        }

        vsphere.AssertNothingLeft();
    }

    [Fact]
    public void A_snapshot_that_cannot_be_made_is_an_error_and_one_that_cannot_be_removed_stays_a_lease()
    {
        VSphereRig rig = vsphere.Fresh();
        using VSphereConnector connector = vsphere.Connector();
        rig.Arm("soap", "fault:NoPermission", "CreateSnapshot_Task");
        Assert.Contains("NoPermission", Assert.Throws<VimFaultException>(() => vsphere.Open(connector)).Message, StringComparison.Ordinal);
        vsphere.AssertNothingLeft();

        // A request that never arrived.
        rig.Arm("soap", "close", "CreateSnapshot_Task");
        Assert.Contains("there is none called", Assert.Throws<ConnectorException>(() => vsphere.Open(connector)).Message, StringComparison.Ordinal);
        vsphere.AssertNothingLeft();

        IVmView view = vsphere.Open(connector);
        rig.Arm("soap", "fault:TaskInProgress", "RemoveSnapshot_Task");
        Assert.Throws<VimFaultException>(view.Dispose);
        (LeaseRecord record, bool isHeld) = Assert.Single(vsphere.Journal.List());
        Assert.False(isHeld);
        Assert.Equal((VSphereConnector.ViewKind, Machine), (record.Kind, record.VmName));
        Assert.Null(Assert.Single(new LeaseReaper(vsphere.Journal, _ => vsphere.Connector(), new VSphereKillTests.Later()).Run()).Failure);
        vsphere.AssertNothingLeft();
    }

    [Fact]
    public void A_guest_that_cannot_be_quiesced_is_read_as_it_is()
    {
        VSphereRig rig = vsphere.Fresh();
        using VSphereConnector connector = vsphere.Connector(", \"quiesce\": true");
        rig.Arm("soap", "fault:ApplicationQuiesceFault", "CreateSnapshot_Task", match: "<quiesce>true");
        using (IVmView view = vsphere.Open(connector))
        {
            AssertContent(view);
            Assert.Contains("not quiesced", Assert.Single(view.Vm.Notes), StringComparison.Ordinal);
            Assert.Equal(2, rig.Control("log").GetProperty("calls").GetProperty("CreateSnapshot_Task").GetInt32());
        }

        vsphere.AssertNothingLeft();
    }

    [Fact]
    public void Disks_that_need_consolidation_afterwards_get_it()
    {
        VSphereRig rig = vsphere.Fresh();
        using VSphereConnector connector = vsphere.Connector();
        IVmView view = vsphere.Open(connector);
        rig.Vm(Machine, ("consolidate", "1"));
        view.Dispose();
        Assert.False(rig.Vm(Machine).GetProperty("consolidate").GetBoolean());
        Assert.Equal(1, rig.Control("log").GetProperty("calls").GetProperty("ConsolidateVMDisks_Task").GetInt32());
        vsphere.AssertNothingLeft();
    }

    [Fact]
    public void Every_method_that_is_called_is_in_the_list_of_privileges()
    {
        VSphereRig rig = vsphere.Fresh();
        using (VSphereConnector connector = vsphere.Connector(", \"quiesce\": true"))
        {
            rig.Control("pages", ("objects", "1"));
            InventoryVm vm = connector.List().Single(v => v.Name == Machine);
            connector.Rehearse();
            IVmView view = vsphere.Open(connector);
            rig.Vm(Machine, ("consolidate", "1"));
            view.Dispose();
            Assert.Throws<VimFaultException>(() => connector.Tasks.QueryChangedDiskAreas(connector.Locate(vm.Id, "gone")!.Value, null, 1, 1 << 20, "*"));
            foreach (VmAct act in (VmAct[])[VmAct.Annotate, VmAct.Disconnect, VmAct.Tag, VmAct.Suspend])
            {
                Assert.True(connector.Act(vm, act, "note").IsDone, act.ToString());
            }
        }

        JsonElement calls = rig.Control("log").GetProperty("calls");
        string[] called = [.. calls.EnumerateObject().Select(c => c.Name).Where(n => !n.Contains(' ', StringComparison.Ordinal))];
        Assert.Equal(Privileges.OfMethods.Where(m => m.Value != "VApp.Export").Select(m => m.Key).Order(StringComparer.Ordinal), called.Order(StringComparer.Ordinal));
        string script = File.ReadAllText(Path.Combine(RepositoryRoot.Path, "docs", "vsphere-role.ps1"));
        foreach (string privilege in Privileges.OfMethods.Values.Where(p => p.Length > 0 && !p.StartsWith("System.", StringComparison.Ordinal)).Concat(Privileges.Needed.Concat(Privileges.OfActs).Concat(Privileges.OfChanges).Concat(Privileges.OfExports).Concat(Privileges.OfHotAdd).Select(p => p.Privilege).Where(p => !p.StartsWith("System.", StringComparison.Ordinal))))
        {
            Assert.Contains($"'{privilege}'", script, StringComparison.Ordinal);
        }

        // Nor does the role have any that nothing is called with.
        string[] known = [.. Privileges.Needed.Concat(Privileges.OfActs).Concat(Privileges.OfChanges).Concat(Privileges.OfExports).Concat(Privileges.OfHotAdd).Select(p => p.Privilege)];
        Assert.All(Quoted().Matches(script).Select(m => m.Groups[1].Value), p => Assert.Contains(p, known));

        // Tags go by another interface: what is asked of it, and nothing else of it.
        string[] asked = [.. calls.EnumerateObject().Select(c => c.Name).Where(n => n.Contains(' ', StringComparison.Ordinal)).Select(n => n.Replace("/rest/com/vmware/cis/", "", StringComparison.Ordinal).Split("/id:")[0].Split("/urn:")[0]).Distinct()];
        string[] listed = ["POST session", "DELETE session", "GET tagging/category", "POST tagging/category", "GET tagging/tag", "POST tagging/tag", "POST tagging/tag-association"];
        Assert.All(asked, a => Assert.Contains(a, listed));

        rig.Vm(Machine, ("power", "poweredOn"));
        vsphere.AssertNothingLeft();
    }

    [GeneratedRegex("'([A-Za-z]+(?:\\.[A-Za-z]+)+)'")]
    private static partial Regex Quoted();

    private static MoRef Reference(VSphereConnector connector) => connector.Locate(connector.List().Single(v => v.Name == Machine).Id, "gone")!.Value;

    private static ReadContext Context() => new(new ScanBudget(256 << 20), new GapList());

    private void AssertContent(IVmView view) => vsphere.AssertContent(view);
}
