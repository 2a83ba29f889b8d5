using System.Text;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Inspection;
using Vmsweep.DiskReaders.Tests.Containers.Parallels;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Connectors;

/// <summary>Earlier states of VMs: which are found, and what each holds.</summary>
public sealed class SnapshotTests : IDisposable
{
    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void A_VMware_tree_names_the_images_of_each_state_in_the_order_of_the_buses()
    {
        IReadOnlyList<NamedSnapshot> tree = VmsdFile.Parse(
            """
            .encoding = "UTF-8"
            snapshot.lastUID = "7"
            snapshot.current = "7"
            snapshot0.uid = "7"
            snapshot0.parent = "3"
            snapshot0.displayName = "with |22quotes|22"
            snapshot0.createTimeHigh = "310912"
            snapshot0.createTimeLow = "-1123456"
            snapshot0.numDisks = "2"
            snapshot0.disk0.fileName = "data-000001.vmdk"
            snapshot0.disk0.node = "scsi0:10"
            snapshot0.disk1.fileName = "root-000001.vmdk"
            snapshot0.disk1.node = "scsi0:2"
            snapshot1.uid = "3"
            snapshot1.displayName = "first"
            snapshot1.createTimeHigh = "310911"
            snapshot1.createTimeLow = "5"
            snapshot1.disk0.fileName = "root.vmdk"
            snapshot1.disk0.node = "scsi0:2"
            snapshot2.displayName = "no uid: removed"
            """u8,
            "x.vmsd");
        Assert.Equal(["3", "7"], tree.Select(s => s.Id));
        Assert.Equal(["first", "with \"quotes\""], tree.Select(s => s.Name));
        Assert.Equal([null, "3"], tree.Select(s => s.ParentId));
        Assert.Equal([false, true], tree.Select(s => s.IsCurrent));
        Assert.Equal(["root-000001.vmdk", "data-000001.vmdk"], tree[1].Disks.Select(d => d.Display));
        Assert.Equal(new DateTimeOffset(2012, 4, 21, 7, 20, 11, TimeSpan.Zero), tree[1].Created!.Value, TimeSpan.FromDays(20));
    }

    [Theory]
    [InlineData("2147483647", "-1")]
    [InlineData("-1", "0")]
    [InlineData("x", "0")]
    [InlineData("99999999999", "0")]
    public void A_time_that_cannot_be_is_none(string high, string low) =>
        Assert.Null(Assert.Single(VmsdFile.Parse(Encoding.UTF8.GetBytes($"snapshot0.uid = \"1\"\nsnapshot0.createTimeHigh = \"{high}\"\nsnapshot0.createTimeLow = \"{low}\"\n"), "x")).Created);

    [Fact]
    public void A_VMware_VM_is_read_as_it_was_in_each_of_its_states()
    {
        Tool.Shell(
            """
            for d in root data; do qemu-img create -q -f vmdk $d.vmdk 1M; done
            for n in 1 2; do
              qemu-img create -q -f vmdk -b root${last:-}.vmdk -F vmdk root-00000$n.vmdk; last=-00000$n
            done
            """,
            _scratch.Folder);
        File.WriteAllText(_scratch["vm.vmx"], "config.version = \"8\"\nscsi0:0.fileName = \"root-000002.vmdk\"\nscsi0:1.fileName = \"data.vmdk\"\n");
        File.WriteAllText(_scratch["vm.vmsd"], """
            snapshot.current = "2"
            snapshot0.uid = "1"
            snapshot0.displayName = "a"
            snapshot0.createTimeHigh = "310911"
            snapshot0.createTimeLow = "0"
            snapshot0.disk0.fileName = "root.vmdk"
            snapshot0.disk0.node = "scsi0:0"
            snapshot0.disk1.fileName = "data.vmdk"
            snapshot0.disk1.node = "scsi0:1"
            snapshot1.uid = "2"
            snapshot1.parent = "1"
            snapshot1.displayName = "b"
            snapshot1.createTimeHigh = "310912"
            snapshot1.createTimeLow = "0"
            snapshot1.disk0.fileName = "root-000001.vmdk"
            snapshot1.disk0.node = "scsi0:0"
            snapshot1.disk1.fileName = "../../etc/shadow"
            """);
        Vm vm = Assert.Single(new TargetFinder([]).Find(_scratch["vm.vmx"]));
        Assert.Empty(vm.Gaps);
        Assert.Equal(["a", "b"], vm.Snapshots.Select(s => s.Name));

        Vm first = vm.Snapshots[0].Of(vm, []);
        Assert.Equal([_scratch["root.vmdk"], _scratch["data.vmdk"]], first.Disks.Select(d => d.Path));
        Assert.Empty(first.Gaps);

        Vm second = vm.Snapshots[1].Of(vm, []);
        Assert.Equal([_scratch["root-000001.vmdk"], _scratch["root.vmdk"]], Assert.Single(second.Disks).Plan.Files.Select(f => f.Path));
        Assert.Equal(["refused", "missing-parent"], second.Gaps.Select(g => g.Fault));
        Assert.Equal(["../../etc/shadow", _scratch["data.vmdk"]], second.Gaps.Select(g => g.Path));
    }

    [Fact]
    public void The_layers_of_a_chain_are_states_where_no_configuration_tells_of_any()
    {
        Tool.Shell(
            """
            qemu-img create -q -f raw base.img 1M
            qemu-img create -q -f qcow2 -b base.img -F raw one.qcow2
            qemu-img create -q -f qcow2 -b one.qcow2 -F qcow2 two.qcow2
            qemu-img create -q -f qcow2 tmp.img 1M; dd if=tmp.img of=base.img conv=notrunc status=none; rm tmp.img
            """,
            _scratch.Folder);
        Vm vm = Assert.Single(new TargetFinder([]).Find(_scratch["two.qcow2"]));
        Assert.Equal(["base.img", "one.qcow2"], vm.Snapshots.Select(s => s.Name));
        Assert.Equal([null, vm.Snapshots[0].Id], vm.Snapshots.Select(s => s.ParentId));
        Assert.Equal([false, true], vm.Snapshots.Select(s => s.IsCurrent));
        Vm then = vm.Snapshots[0].Of(vm, []);

        // What the overlay declares raw stays raw, whatever a guest wrote into it.
        Assert.Equal("raw", Assert.Single(then.Disks).Plan.Declared);
        Assert.Empty(then.Gaps);
        Assert.Equal(2, Assert.Single(vm.Snapshots[1].Of(vm, []).Disks).Plan.Files.Count);
    }

    [Fact]
    public void States_inside_an_image_are_read_as_they_were()
    {
        Tool.Shell(
            """
            qemu-img create -q -f qcow2 disk.qcow2 4M
            qemu-io -c 'write -P 1 0 1M' disk.qcow2 > /dev/null; qemu-img snapshot -c 'before update' disk.qcow2
            qemu-io -c 'write -P 2 512k 2M' disk.qcow2 > /dev/null; qemu-img snapshot -c second disk.qcow2
            qemu-io -c 'write -P 3 0 4M' disk.qcow2 > /dev/null
            qemu-img convert -l snapshot.name='before update' -O raw disk.qcow2 expected
            """,
            _scratch.Folder);
        Vm vm = Assert.Single(new TargetFinder([]).Find(_scratch["disk.qcow2"]));
        Assert.Equal(["before update", "second"], vm.Snapshots.Select(s => s.Name));
        Assert.All(vm.Snapshots, s => Assert.Equal(TimeProvider.System.GetUtcNow(), s.Created!.Value, TimeSpan.FromMinutes(5)));
        VmDisk then = Assert.Single(vm.Snapshots[0].Of(vm, []).Disks);
        var context = new ReadContext(new ScanBudget(64 << 20), new GapList());
        using var opener = new ChainOpener(then.Plan, context);
        using var disk = opener.OpenDisk();
        Assert.Equal(Content.Sha256OfFile(_scratch["expected"]), disk.Content.Sha256());
    }

    [Fact]
    public void The_folder_of_a_Parallels_disk_is_one_disk_with_its_states()
    {
        Directory.CreateDirectory(_scratch["vm/x.hdd"]);
        Guid root = Guid.NewGuid();
        File.WriteAllText(_scratch["vm/x.hdd/DiskDescriptor.xml"], ParallelsWriter.Descriptor(
            64, [(0, 64, [(root, "Compressed", $"x.hdd.0.{root:B}.hds"), (ParallelsWriter.DefaultTop, "Compressed", "/Users/a/x.hdd/top.hds")])], [(root, Guid.Empty), (ParallelsWriter.DefaultTop, root)]));
        File.WriteAllBytes(_scratch[$"vm/x.hdd/x.hdd.0.{root:B}.hds"], new ParallelsWriter().Cluster(0, ParallelsWriter.Noise(1, 4096)).Build());
        File.WriteAllBytes(_scratch["vm/x.hdd/top.hds"], new ParallelsWriter().Build());
        foreach (string target in (string[])["vm", "vm/x.hdd", "vm/x.hdd/DiskDescriptor.xml"])
        {
            Vm vm = Assert.Single(new TargetFinder([]).Find(_scratch[target]));
            Assert.Empty(vm.Gaps);
            Assert.Equal(3, Assert.Single(vm.Disks).Plan.Files.Count);
            Assert.Equal(root.ToString("D"), Assert.Single(vm.Snapshots).Id);
            var context = new ReadContext(new ScanBudget(64 << 20), new GapList());
            using var opener = new ChainOpener(vm.Snapshots[0].Of(vm, []).Disks[0].Plan, context);
            using var disk = opener.OpenDisk();
            Assert.Equal(ParallelsWriter.Noise(1, 4096), disk.Content.ReadAll()[..4096]);
            Assert.Equal(0, ((GapList)context.Gaps).Count);
        }
    }

    [Fact]
    public void A_damaged_table_of_states_is_a_gap_and_the_disk_is_still_read()
    {
        Tool.Shell("qemu-img create -q -f qcow2 disk.qcow2 4M; qemu-img snapshot -c one disk.qcow2", _scratch.Folder);
        byte[] image = File.ReadAllBytes(_scratch["disk.qcow2"]);
        int table = (int)System.Buffers.Binary.BinaryPrimitives.ReadUInt64BigEndian(image.AsSpan(64));
        image.AsSpan(table + 36, 4).Fill(0xFF);
        File.WriteAllBytes(_scratch["disk.qcow2"], image);
        Vm vm = Assert.Single(new TargetFinder([]).Find(_scratch["disk.qcow2"]));
        Assert.Empty(vm.Snapshots);
        Assert.Equal("corrupt", Assert.Single(vm.Gaps).Fault);
        Assert.Single(vm.Disks);
    }

    [Fact]
    public void A_tree_that_leads_round_is_cut_and_ids_are_made_unique()
    {
        Tool.Shell("qemu-img create -q -f vmdk root.vmdk 1M", _scratch.Folder);
        File.WriteAllText(_scratch["vm.vmx"], "config.version = \"8\"\nscsi0:0.fileName = \"root.vmdk\"\n");
        File.WriteAllText(_scratch["vm.vmsd"], string.Concat(new (string, string)[] { ("1", "2"), ("2", "1"), ("3", "3"), ("4", "9"), ("5", "4"), ("5", "5") }
            .Select((s, i) => $"snapshot{i}.uid = \"{s.Item1}\"\nsnapshot{i}.parent = \"{s.Item2}\"\n")));
        Vm vm = Assert.Single(new TargetFinder([]).Find(_scratch["vm.vmx"]));
        Assert.Equal(["1", "2", "3", "4", "5", "5~2"], vm.Snapshots.Select(s => s.Id));
        Assert.Equal([null, "1", null, null, "4", "5"], vm.Snapshots.Select(s => s.ParentId));
    }
}
