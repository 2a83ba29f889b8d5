using System.Text;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Tests.GuestMemory;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Connectors;

/// <summary>Which memory belongs to which VM.</summary>
public sealed class MemoryTargetTests : IDisposable
{
    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void A_suspended_VMware_VM_has_the_state_that_its_configuration_names()
    {
        WriteVmx("web-1a2b.vmss");
        File.WriteAllBytes(_scratch["web-1a2b.vmss"], VmwareWriter.Sample().ToArray());
        File.WriteAllBytes(_scratch["web-1a2b.vmem"], VmwareWriter.Memory());
        Vm vm = Assert.Single(new TargetFinder([]).Find(_scratch.Folder));
        Assert.Equal("suspended", vm.Identity.Power);
        Assert.Empty(vm.Gaps);
        Assert.Equal([_scratch["web-1a2b.vmss"], _scratch["web-1a2b.vmem"]], vm.Memory!.Plan.Files.Select(f => f.Path));
    }

    [Theory]
    [InlineData("gone.vmss", "missing-parent")]
    [InlineData("../other.vmss", "refused")]
    [InlineData("/etc/passwd", "refused")]
    public void A_state_that_is_not_there_or_not_the_VMs_is_a_gap(string name, string fault)
    {
        File.WriteAllText(Path.Combine(Path.GetDirectoryName(_scratch.Folder)!, "other.vmss"), "x");
        WriteVmx(name);
        Vm vm = Assert.Single(new TargetFinder([]).Find(_scratch["web.vmx"]));
        Assert.Null(vm.Memory);
        Assert.Equal(fault, Assert.Single(vm.Gaps).Fault);
    }

    [Fact]
    public void A_snapshot_has_the_memory_it_was_taken_with()
    {
        WriteVmx("");
        File.WriteAllText(_scratch["web.vmsd"], """
            snapshot.current = "2"
            snapshot0.uid = "1"
            snapshot0.displayName = "with"
            snapshot0.filename = "web-Snapshot1.vmsn"
            snapshot1.uid = "2"
            snapshot1.parent = "1"
            snapshot1.displayName = "without"
            snapshot1.filename = "web-Snapshot2.vmsn"
            """);
        File.WriteAllBytes(_scratch["web-Snapshot1.vmsn"], VmwareWriter.Sample().ToArray());
        File.WriteAllBytes(_scratch["web-Snapshot1.vmem"], VmwareWriter.Memory());
        File.WriteAllBytes(_scratch["web-Snapshot2.vmsn"], new VmwareWriter().Group("Snapshot").ToArray());
        Vm vm = Assert.Single(new TargetFinder([]).Find(_scratch.Folder));
        Assert.Null(vm.Memory);
        Vm with = Assert.Single(SnapshotChoice.Choose([vm], "with", []));
        Assert.Equal(2, with.Memory!.Plan.Files.Count);
        Assert.False(with.Memory.Plan.MayBeEmpty);
        Vm without = Assert.Single(SnapshotChoice.Choose([vm], "without", []));
        Assert.True(without.Memory!.Plan.MayBeEmpty);
    }

    [Theory]
    [InlineData("web.vmem", 2)]
    [InlineData("web.vmss", 2)]
    [InlineData("alone.vmem", 1)]
    [InlineData("lost.sav", 1)]
    [InlineData("state.vsv", 2)]
    [InlineData("state.bin", 2)]
    [InlineData("any.save", 1)]
    [InlineData("core.1", 1)]
    public void Files_of_memory_are_targets(string name, int files)
    {
        WriteAll();
        Vm vm = Assert.Single(new TargetFinder([]).Find(_scratch[name]));
        Assert.Empty(vm.Disks);
        Assert.Equal(files, vm.Memory!.Plan.Files.Count);
        Assert.Equal("suspended", vm.Identity.Power);
    }

    [Fact]
    public void In_a_folder_each_memory_comes_once()
    {
        WriteAll();
        Assert.Equal(
            ["alone.vmem", "any.save", "core.1", "lost.sav", "state.vsv", "web.vmss"],
            new TargetFinder([]).Find(_scratch.Folder).Select(v => Path.GetFileName(v.Target)));
    }

    [Fact]
    public void A_save_image_tells_its_domain()
    {
        byte[] xml = Encoding.ASCII.GetBytes("<domain type='qemu'><name>web 01</name><uuid>11112222-3333-4444-5555-666677778888</uuid></domain>\0\0");
        File.WriteAllBytes(_scratch["any.save"], Save(xml));
        Vm vm = Assert.Single(new TargetFinder([]).Find(_scratch["any.save"]));
        Assert.Equal(("web 01", "11112222333344445555666677778888"), (vm.Identity.Name, vm.Identity.Id));

        // Whatever stands there instead, the image is still scanned under its own name.
        foreach (string hostile in (string[])["<domain", "<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><domain><name>&b;</name></domain>", "<other/>", ""])
        {
            File.WriteAllBytes(_scratch["any.save"], Save(Encoding.ASCII.GetBytes(hostile)));
            Assert.Equal("any.save", Assert.Single(new TargetFinder([]).Find(_scratch["any.save"])).Identity.Name);
        }
    }

    [Fact]
    public void A_managed_save_belongs_to_the_domain_of_its_name()
    {
        File.WriteAllText(_scratch["web.xml"], "<domain type='qemu'><name>web 01</name></domain>");
        File.WriteAllBytes(_scratch["web 01.save"], Save([]));
        Vm vm = Assert.Single(new TargetFinder([]).Find(_scratch.Folder));
        Assert.Equal(("suspended", _scratch["web 01.save"]), (vm.Identity.Power, vm.Memory!.Path));

        // A name that leads elsewhere opens nothing.
        File.WriteAllText(_scratch["web.xml"], "<domain type='qemu'><name>../../etc/x</name></domain>");
        Assert.Null(Assert.Single(new TargetFinder([]).Find(_scratch["web.xml"])).Memory);
    }

    private void WriteAll()
    {
        File.WriteAllBytes(_scratch["web.vmss"], VmwareWriter.Sample().ToArray());
        File.WriteAllBytes(_scratch["web.vmem"], VmwareWriter.Memory());
        File.WriteAllBytes(_scratch["alone.vmem"], VmwareWriter.Memory());
        File.WriteAllBytes(_scratch["lost.sav"], [.. "\x7FVirtualBox SavedState V2.0\n"u8, .. new byte[100]]);
        File.WriteAllBytes(_scratch["state.vsv"], new byte[100]);
        File.WriteAllBytes(_scratch["state.bin"], new byte[100]);
        File.WriteAllBytes(_scratch["any.save"], Save([]));
        byte[] core = new byte[100_000];
        byte[] start = [0x7F, (byte)'E', (byte)'L', (byte)'F', 2, 1, 1];
        start.CopyTo(core, 0);
        core[16] = 4;
        File.WriteAllBytes(_scratch["core.1"], core);
    }

    private static byte[] Save(byte[] xml)
    {
        byte[] head = new byte[92];
        "LibvirtQemudSave"u8.CopyTo(head);
        head[16] = 2;
        head[20] = (byte)xml.Length;
        return [.. head, .. xml, .. QemuStreamWriter.Sample()];
    }

    private void WriteVmx(string state) => File.WriteAllText(_scratch["web.vmx"], $"""
        config.version = "8"
        displayName = "web"
        checkpoint.vmState = "{state}"
        """);
}
