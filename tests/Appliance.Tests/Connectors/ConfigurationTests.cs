using System.Text;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.DiskReaders.Tests.Containers.Vdi;
using Vmsweep.DiskReaders.Tests.Containers.Vhd;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Connectors;

/// <summary>VMs by VirtualBox's and libvirt's configurations.</summary>
public sealed class ConfigurationTests : IDisposable
{
    private static readonly Guid Base = new("11111111-2222-3333-4444-555555555555");
    private static readonly Guid Middle = new("11111111-2222-3333-4444-666666666666");
    private static readonly Guid Leaf = new("11111111-2222-3333-4444-777777777777");

    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Theory]
    [InlineData("vm.vdi", "Snapshots/{0}.vdi", true)]
    [InlineData("C:\\VMs\\vm\\vm.vdi", "C:\\VMs\\vm\\Snapshots\\{0}.vdi", false)]
    [InlineData("/home/u/VirtualBox VMs/vm/vm.vdi", "/home/u/VirtualBox VMs/vm/Snapshots/{0}.vdi", true)]
    [InlineData("", "", false)]
    public void A_VirtualBox_VM_has_its_current_disks_and_the_states_before(string location, string snapshots, bool inHardware)
    {
        WriteChain();
        File.WriteAllText(_scratch["vm.vbox"], Vbox(location, snapshots, inHardware));
        Vm vm = Assert.Single(new TargetFinder([]).Find(_scratch["vm.vbox"]));
        Assert.Empty(vm.Gaps);
        Assert.Equal(("0123456789ab4def8123456789abcdef", "a vm", "suspended", "Debian_64"), (vm.Identity.Id, vm.Identity.Name, vm.Identity.Power, vm.Identity.GuestOs));
        Assert.Equal([Image(Leaf), Image(Middle), _scratch["vm.vdi"]], Assert.Single(vm.Disks).Plan.Files.Select(f => f.Path));
        Assert.Equal(_scratch["Snapshots/x.sav"], vm.Memory!.Path);
        Assert.Equal(["first", "second"], vm.Snapshots.Select(s => s.Name));
        Assert.Equal([null, vm.Snapshots[0].Id], vm.Snapshots.Select(s => s.ParentId));
        Assert.Equal([false, true], vm.Snapshots.Select(s => s.IsCurrent));
        Assert.Equal(new DateTimeOffset(2026, 1, 2, 3, 4, 5, TimeSpan.Zero), vm.Snapshots[0].Created);
        Assert.Equal([_scratch["vm.vdi"]], Assert.Single(vm.Snapshots[0].Of(vm, []).Disks).Plan.Files.Select(f => f.Path));
        Assert.Equal([Image(Middle), _scratch["vm.vdi"]], Assert.Single(vm.Snapshots[1].Of(vm, []).Disks).Plan.Files.Select(f => f.Path));

        // The folder holds this VM and nothing beside it.
        Assert.Equal(_scratch["vm.vbox"], Assert.Single(new TargetFinder([]).Find(_scratch.Folder)).Target);
    }

    [Fact]
    public void A_base_of_any_name_is_found_by_its_UUID()
    {
        WriteChain();
        Vm orphan = Assert.Single(new TargetFinder([]).Find(Image(Leaf)));
        Assert.Equal([Image(Leaf), Image(Middle)], Assert.Single(orphan.Disks).Plan.Files.Select(f => f.Path));

        // With VirtualBox's configuration above it the folder of snapshots belongs to that VM.
        File.WriteAllText(_scratch["vm.vbox"], Vbox("vm.vdi", "Snapshots/{0}.vdi", true));
        orphan = Assert.Single(new TargetFinder([]).Find(Image(Leaf)));
        Assert.Equal(3, Assert.Single(orphan.Disks).Plan.Files.Count);

        // A declared base serves as well.
        File.Delete(_scratch["vm.vbox"]);
        orphan = Assert.Single(new TargetFinder([_scratch.Folder]).Find(Image(Leaf)));
        Assert.Equal(3, Assert.Single(orphan.Disks).Plan.Files.Count);
    }

    [Fact]
    public void A_base_is_never_looked_for_through_links_or_outside_the_folders()
    {
        WriteChain();
        Directory.CreateDirectory(_scratch["vm"]);
        File.Move(Image(Middle), _scratch["vm/leaf.vdi"]);
        File.CreateSymbolicLink(_scratch["vm/base.vdi"], _scratch["vm.vdi"]);
        Directory.CreateSymbolicLink(_scratch["vm/Snapshots"], _scratch.Folder);
        Assert.Single(Assert.Single(Assert.Single(new TargetFinder([]).Find(_scratch["vm/leaf.vdi"])).Disks).Plan.Files);
    }

    [Theory]
    [InlineData("<VirtualBox/>", "corrupt")]
    [InlineData("<other/>", "corrupt")]
    [InlineData("not xml", "corrupt")]
    [InlineData("<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><VirtualBox><Machine name=\"x\">&x;</Machine></VirtualBox>", "corrupt")]
    [InlineData("<!DOCTYPE a [<!ENTITY x \"xxxxxxxx\"><!ENTITY y \"&x;&x;&x;&x;\">]><VirtualBox>&y;</VirtualBox>", "corrupt")]
    [InlineData("<VirtualBox><MachineEncrypted uuid=\"{11111111-2222-3333-4444-555555555555}\"/></VirtualBox>", "encrypted")]
    [InlineData("<VirtualBox><Machine><StorageControllers><StorageController><AttachedDevice type=\"HardDisk\"><Image uuid=\"/etc/shadow\"/></AttachedDevice></StorageController></StorageControllers></Machine></VirtualBox>", "refused")]
    public void A_VirtualBox_configuration_that_lies_is_a_gap(string text, string fault)
    {
        File.WriteAllText(_scratch["vm.vbox"], text);
        Vm vm = Assert.Single(new TargetFinder([]).Find(_scratch["vm.vbox"]));
        Assert.Equal(fault, Assert.Single(vm.Gaps).Fault);
        Assert.Empty(vm.Disks);
    }

    [Fact]
    public void XML_nested_without_end_is_refused() =>
        Assert.Throws<InvalidDataException>(() => ConfigurationXml.Parse(Encoding.UTF8.GetBytes(string.Concat(Enumerable.Repeat("<a>", 100_000))), "x"));

    [Fact]
    public void A_libvirt_domain_declares_its_disks_formats()
    {
        Tool.Shell(
            """
            mkdir images; qemu-img create -q -f qcow2 images/away.qcow2 1M; qemu-img create -q -f qcow2 near.qcow2 1M; cp near.qcow2 undeclared; qemu-img create -q -f vpc x.vhd 1M
            """,
            _scratch.Folder);
        string images = _scratch["images"];
        Directory.CreateDirectory(_scratch["vm"]);
        foreach (string name in (string[])["near.qcow2", "undeclared", "x.vhd"])
        {
            File.Move(_scratch[name], _scratch["vm/" + name]);
        }

        File.WriteAllText(_scratch["vm/domain.xml"], $"""
            <domain type='kvm'>
              <name>web &amp; db</name><uuid>01234567-89AB-4def-8123-456789abcdef</uuid>
              <metadata><libosinfo:libosinfo xmlns:libosinfo="http://libosinfo.org/xmlns/libvirt/domain/1.0"><libosinfo:os id="http://debian.org/debian/12"/></libosinfo:libosinfo></metadata>
              <devices>
                <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{images}/away.qcow2'/></disk>
                <disk type='file'><driver type='qcow2'/><source file='/var/lib/libvirt/images/near.qcow2'/></disk>
                <disk type='file'><source file='undeclared'/></disk>
                <disk type='file'><driver type='vpc'/><source file='x.vhd'/></disk>
                <disk type='file' device='cdrom'><source file='/isos/a.iso'/></disk>
                <disk type='block' device='lun'><source dev='/dev/sdz'/></disk>
                <disk type='network'><source protocol='rbd' name='pool/image'/></disk>
                <disk type='file'/>
              </devices>
            </domain>
            """);
        Vm vm = Assert.Single(new TargetFinder([]).Find(_scratch["vm/domain.xml"]));
        Assert.Equal(("0123456789ab4def8123456789abcdef", "web & db", "http://debian.org/debian/12"), (vm.Identity.Id, vm.Identity.Name, vm.Identity.GuestOs));
        Assert.Equal(["near.qcow2", "undeclared", "x.vhd"], vm.Disks.Select(d => Path.GetFileName(d.Path)));
        Assert.Equal(["qcow2", "raw", "vhd"], vm.Disks.Select(d => d.Plan.Declared));
        Assert.Equal([("unsupported", "/dev/sdz"), ("unsupported", "pool/image"), ("refused", images + "/away.qcow2")], vm.Gaps.Select(g => (g.Fault, g.Path)));
        Assert.Contains("--base", vm.Gaps[2].Detail, StringComparison.Ordinal);
        Assert.Equal(4, Assert.Single(new TargetFinder([images]).Find(_scratch["vm/domain.xml"])).Disks.Count);
        Assert.Equal(_scratch["vm/domain.xml"], Assert.Single(new TargetFinder([]).Find(_scratch["vm"])).Target);
    }

    [Theory]
    [InlineData("<domstatus state='running'><domain><name>x</name></domain></domstatus>", "refused")]
    [InlineData("<network/>", "corrupt")]
    [InlineData("<domstatus/>", "corrupt")]
    public void Other_XML_is_a_gap(string text, string fault)
    {
        File.WriteAllText(_scratch["x.xml"], text);
        Assert.Equal(fault, Assert.Single(Assert.Single(new TargetFinder([]).Find(_scratch["x.xml"])).Gaps).Fault);
    }

    [Theory]
    [InlineData(true, false)]
    [InlineData(false, false)]
    [InlineData(true, true)]
    public void A_Virtual_PC_disk_is_its_undo_disk_over_the_differencing_disk_over_the_base(bool hasUndo, bool isForbidden)
    {
        File.WriteAllBytes(_scratch["Windows XP Mode base.vhd"], new VhdWriter { Id = Base }.Build());
        File.WriteAllBytes(_scratch["Windows XP Mode.vhd"], new VhdWriter { Id = Middle, ParentId = Base, ParentName = "C:\\Program Files\\Windows XP Mode\\Windows XP Mode base.vhd" }.Build());
        File.WriteAllBytes(_scratch["data.vhd"], new VhdWriter().Build());
        if (hasUndo)
        {
            File.WriteAllBytes(_scratch["VirtualPCUndo_x_0_0.vud"], new VhdWriter { ParentId = Middle, ParentName = "Windows XP Mode.vhd" }.Build());
        }

        string undo = isForbidden ? "..\\..\\etc\\shadow" : ".\\VirtualPCUndo_x_0_0.vud";
        string Location(int id, string relative, string absolute, string undo) => $"""
            <location id="{id}"><drive_type type="integer">{(relative.Length > 0 ? 1 : 2)}</drive_type><pathname><absolute type="string">{absolute}</absolute><relative type="string">{relative}</relative></pathname>
            <undo_pathname><absolute type="string"/><relative type="string">{undo}</relative></undo_pathname></location>
            """;
        File.WriteAllText(
            _scratch["Windows XP Mode.vmc"],
            $"""
            <?xml version="1.0" encoding="UTF-16"?>
            <!-- Microsoft Virtual Machine Options and Settings -->
            <preferences><version type="string">2.0</version><hardware><pci_bus><ide_adapter>
            <ide_controller id="1">{Location(0, "", "", "")}</ide_controller>
            <ide_controller id="0">{Location(1, ".\\gone.vhd", "D:\\data.vhd", "")}{Location(0, ".\\Windows XP Mode.vhd", "C:\\x\\Windows XP Mode.vhd", undo)}</ide_controller>
            </ide_adapter></pci_bus></hardware></preferences>
            """,
            Encoding.Unicode);
        Vm vm = Assert.Single(new TargetFinder([]).Find(_scratch["Windows XP Mode.vmc"]));
        Assert.Equal("Windows XP Mode", vm.Identity.Name);
        string[] expected = hasUndo && !isForbidden ? ["VirtualPCUndo_x_0_0.vud", "Windows XP Mode.vhd", "Windows XP Mode base.vhd"] : ["Windows XP Mode.vhd", "Windows XP Mode base.vhd"];
        Assert.Equal([expected, ["data.vhd"]], vm.Disks.Select(d => d.Plan.Files.Select(f => Path.GetFileName(f.Path)).ToArray()));
        Assert.Equal(isForbidden ? ["refused"] : [], vm.Gaps.Select(g => g.Fault));
        Assert.Equal(expected.Skip(1).Reverse(), vm.Snapshots.Select(s => s.Name));

        // With an undo disk that is not the VM's the folder has one orphan more.
        Assert.Equal(isForbidden ? 2 : 1, new TargetFinder([]).Find(_scratch.Folder).Count());
    }

    [Fact]
    public void Of_a_storage_repository_of_Xen_each_leaf_is_a_disk()
    {
        Guid[] ids = [.. Enumerable.Range(0, 6).Select(i => new Guid(i + 1, 2, 3, [4, 5, 6, 7, 8, 9, 10, 11]))];
        void Write(int at, int parent, params (string, byte[])[] locators) => File.WriteAllBytes(_scratch[$"{ids[at]:D}.vhd"], new VhdWriter
        {
            Creator = "tap\0", Id = ids[at], ParentId = parent < 0 ? null : ids[parent], ParentName = parent < 0 ? "" : $"{ids[parent]:D}.vhd", Locators = locators,
        }.Build());
        byte[] Unicode(string text) => Encoding.Unicode.GetBytes(text);
        Write(0, -1);
        Write(1, 0, ("MacX", Encoding.UTF8.GetBytes($"file://./{ids[0]:D}.vhd")), ("W2ku", Unicode($"./{ids[0]:D}.vhd")), ("W2ru", Unicode($".\\{ids[0]:D}.vhd")));
        Write(2, 1, ("MacX", Encoding.UTF8.GetBytes($"file:///var/run/sr-mount/0b8f/{ids[1]:D}.vhd")));
        Write(3, 1, ("W2ku", Unicode($"/var/run/sr-mount/0b8f/{ids[1]:D}.vhd")));
        Write(4, 0);
        Write(5, -1);
        List<Vm> found = [.. new TargetFinder([]).Find(_scratch.Folder)];
        Assert.Equal([ids[2], ids[3], ids[4], ids[5]], found.Select(v => Guid.Parse(Path.GetFileNameWithoutExtension(v.Target))));
        Assert.Equal([3, 3, 2, 1], found.Select(v => Assert.Single(v.Disks).Plan.Files.Count));
        Assert.All(found, v => Assert.Empty(v.Gaps));
        Assert.All(found, v => Assert.Empty(v.Disks[0].Refused));
    }

    private static string Vbox(string location, string snapshots, bool inHardware)
    {
        string Attached(Guid id)
        {
            string controllers = $"""<StorageControllers><StorageController name="SATA"><AttachedDevice type="DVD" port="0" device="0"/><AttachedDevice type="HardDisk" port="1" device="0"><Image uuid="{id:B}"/></AttachedDevice></StorageController></StorageControllers>""";
            return inHardware ? $"<Hardware>{controllers}</Hardware>" : $"<Hardware/>{controllers}";
        }

        string registry = location.Length == 0 ? "" : $"""
            <HardDisk uuid="{Base:B}" location="{location}" format="VDI" type="Normal"><HardDisk uuid="{Middle:B}" location="{string.Format(null, snapshots, Middle.ToString("B"))}" format="VDI">
            <HardDisk uuid="{Leaf:B}" location="{string.Format(null, snapshots, Leaf.ToString("B"))}" format="VDI"/></HardDisk></HardDisk>
            """;
        return $"""
            <?xml version="1.0"?>
            <VirtualBox xmlns="http://www.virtualbox.org/" version="1.19-linux">
              <Machine uuid="01234567-89ab-4def-8123-456789abcdef" name="a vm" OSType="Debian_64" currentSnapshot="{Middle:B}" stateFile="Snapshots/x.sav">
                <MediaRegistry><HardDisks>{registry}</HardDisks></MediaRegistry>
                <Snapshot uuid="{Base:B}" name="first" timeStamp="2026-01-02T03:04:05Z">{Attached(Base)}
                  <Snapshots><Snapshot uuid="{Middle:B}" name="second" timeStamp="2026-01-03T03:04:05Z">{Attached(Middle)}</Snapshot></Snapshots>
                </Snapshot>
                {Attached(Leaf)}
              </Machine>
            </VirtualBox>
            """;
    }

    private string Image(Guid id) => _scratch[$"Snapshots/{id:B}.vdi"];

    /// <summary>A base of its own name, and two images of snapshots over it.</summary>
    private void WriteChain()
    {
        Directory.CreateDirectory(_scratch["Snapshots"]);
        File.WriteAllBytes(_scratch["Snapshots/x.sav"], [.. "\x7FVirtualBox SavedState V2.0\n"u8]);
        File.WriteAllBytes(_scratch["vm.vdi"], new VdiWriter { Id = Base }.Build());
        File.WriteAllBytes(Image(Middle), new VdiWriter { Id = Middle, Type = 4, Parent = Base }.Build());
        File.WriteAllBytes(Image(Leaf), new VdiWriter { Id = Leaf, Type = 4, Parent = Middle }.Build());
    }
}
