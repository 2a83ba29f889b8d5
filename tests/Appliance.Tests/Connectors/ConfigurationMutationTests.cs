using System.Text;
using System.Text.RegularExpressions;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Connectors.HyperV;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Connectors;

/// <summary>Configurations, damaged thousands of times, mostly in their values, so that most of them are still read: values or <see cref="InvalidDataException"/>.</summary>
public sealed partial class ConfigurationMutationTests
{
    private const string Disk = "11111111-1111-4111-8111-111111111111";
    private const string Leaf = "22222222-2222-4222-8222-222222222222";

    [Fact]
    public void A_damaged_vmx_gives_values_or_is_refused() => Check(
        """
        .encoding = "UTF-8"
        config.version = "8"
        displayName = "web |22one|22"
        guestOS = "debian12-64"
        uuid.bios = "56 4d 11 22 33 44 55 66-77 88 99 aa bb cc dd ee"
        checkpoint.vmState = "web.vmss"
        scsi0:10.fileName = "b.vmdk"
        scsi0:2.fileName = "a.vmdk"
        scsi0:3.present = "FALSE"
        scsi0:3.fileName = "off.vmdk"
        ide1:0.deviceType = "cdrom-image"
        ide1:0.fileName = "/isos/linux.iso"
        encryption.data = "x"
        """,
        bytes => VmxFile.Parse(bytes, "x.vmx") is var vmx ? [vmx.DisplayName, vmx.Uuid, vmx.GuestOs, vmx.SuspendState, vmx.IsEncrypted, .. vmx.Disks, .. vmx.Discs] : []);

    [Fact]
    public void A_damaged_tree_of_snapshots_gives_values_or_is_refused() => Check(
        """
        .encoding = "UTF-8"
        snapshot.lastUID = "7"
        snapshot.current = "7"
        snapshot0.uid = "7"
        snapshot0.parent = "3"
        snapshot0.displayName = "second"
        snapshot0.createTimeHigh = "310912"
        snapshot0.createTimeLow = "-1123456"
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
        """,
        bytes => [.. VmsdFile.Parse(bytes, "x.vmsd").SelectMany(Values)]);

    [Fact]
    public void A_damaged_vbox_gives_values_or_is_refused() => Check(
        $$"""
        <?xml version="1.0"?>
        <VirtualBox xmlns="http://www.virtualbox.org/" version="1.19-linux">
          <Machine uuid="01234567-89ab-4def-8123-456789abcdef" name="a vm" OSType="Debian_64" currentSnapshot="{{{Disk}}}" stateFile="Snapshots/x.sav">
            <MediaRegistry><HardDisks><HardDisk uuid="{{{Disk}}}" location="vm.vdi" format="VDI" type="Normal"><HardDisk uuid="{{{Leaf}}}" location="C:\VMs\Snapshots\x.vdi" format="VDI"/></HardDisk></HardDisks>
            <DVDImages><Image uuid="{{{Leaf}}}" location="/isos/a.iso"/></DVDImages></MediaRegistry>
            <Snapshot uuid="{{{Disk}}}" name="first" timeStamp="2026-01-02T03:04:05Z"><Hardware><StorageControllers><StorageController name="SATA"><AttachedDevice type="HardDisk" port="1" device="0"><Image uuid="{{{Disk}}}"/></AttachedDevice></StorageController></StorageControllers></Hardware><Snapshots/></Snapshot>
            <Hardware><StorageControllers><StorageController name="SATA"><AttachedDevice type="DVD" port="0" device="0"><Image uuid="{{{Leaf}}}"/></AttachedDevice><AttachedDevice type="HardDisk" port="1" device="0"><Image uuid="{{{Leaf}}}"/></AttachedDevice></StorageController></StorageControllers></Hardware>
          </Machine>
        </VirtualBox>
        """,
        bytes => VboxFile.Of(ConfigurationXml.Parse(bytes, "x.vbox"), "x.vbox") is var vbox
            ? [vbox.Name, vbox.Uuid, vbox.GuestOs, vbox.StateFile, vbox.IsEncrypted, .. vbox.Disks.Select(d => d.Display), .. vbox.Discs, .. vbox.Snapshots.SelectMany(Values)]
            : []);

    [Fact]
    public void A_damaged_vmc_gives_values_or_is_refused() => Check(
        """
        <?xml version="1.0"?>
        <preferences><version type="string">2.0</version><hardware><pci_bus><ide_adapter>
        <ide_controller id="1"><location id="0"><drive_type type="integer">2</drive_type></location></ide_controller>
        <ide_controller id="0">
        <location id="1"><drive_type type="integer">1</drive_type><pathname><absolute type="string">D:\data.vhd</absolute><relative type="string">.\data.vhd</relative></pathname></location>
        <location id="0"><drive_type type="integer">1</drive_type><pathname><absolute type="string">C:\x\xp.vhd</absolute><relative type="string">.\xp.vhd</relative></pathname>
        <undo_pathname><absolute type="string"/><relative type="string">.\VirtualPCUndo_x_0_0.vud</relative></undo_pathname></location>
        </ide_controller></ide_adapter></pci_bus></hardware></preferences>
        """,
        bytes => [.. VmcFile.Of(ConfigurationXml.Parse(bytes, "x.vmc"), "x.vmc").Disks.SelectMany(d => new[] { d.Disk?.Display, d.Undo?.Display })]);

    [Fact]
    public void A_damaged_libvirt_domain_gives_values_or_is_refused() => Check(
        """
        <domstatus state='shutoff'><domain type='kvm'>
          <name>web &amp; db</name><uuid>01234567-89AB-4def-8123-456789abcdef</uuid>
          <metadata><libosinfo:libosinfo xmlns:libosinfo="http://libosinfo.org/xmlns/libvirt/domain/1.0"><libosinfo:os id="http://debian.org/debian/12"/></libosinfo:libosinfo></metadata>
          <devices>
            <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/images/away.qcow2'/></disk>
            <disk type='file'><source file='undeclared'/></disk>
            <disk type='file' device='cdrom'><source file='/isos/a.iso'/></disk>
            <disk type='block' device='lun'><source dev='/dev/sdz'/></disk>
            <disk type='network'><source protocol='rbd' name='pool/image'/></disk>
          </devices>
        </domain></domstatus>
        """,
        bytes => LibvirtXml.Of(ConfigurationXml.Parse(bytes, "x.xml"), "x.xml") is var domain
            ? [domain.Name, domain.Uuid, domain.GuestOs, domain.Power, .. domain.Disks.Select(d => $"{d.Type} {d.Source} {d.Format}"), .. domain.Discs]
            : []);

    [Fact]
    public void A_damaged_configuration_of_Hyper_V_gives_values_or_is_refused() => Check(
        $"""
        <?xml version="1.0"?>
        <configuration><properties><name type="string">a vm</name><global_id type="string">01234567-89ab-4def-8123-456789abcdef</global_id><subtype type="integer">0</subtype><creation_time type="bytes">AIA+1d6xnQE=</creation_time></properties>
        <_83f8638b-8dca-4152-9eda-2ca8b33039b4_><controller0><drive0><pathname type="string">C:\VMs\a.vhdx</pathname><type type="string">VHD</type></drive0>
        <drive1><pathname type="string">C:\isos\a.iso</pathname><type type="string">ISO</type></drive1></controller0></_83f8638b-8dca-4152-9eda-2ca8b33039b4_>
        <manifest><size type="integer">1</size><vdev001><instance type="string">{Leaf}</instance></vdev001></manifest></configuration>
        """,
        bytes => HyperVConfiguration.Parse(bytes, Disk + ".xml") is var vm ? [vm.Id, vm.Name, vm.Generation, vm.Created, .. vm.Drives] : []);

    /// <summary>Digits and letters of other scripts are no numbers and no other spelling of a key.</summary>
    [Fact]
    public void Digits_and_letters_of_other_scripts_stand_for_nothing()
    {
        VmxFile vmx = VmxFile.Parse("config.version = \"8\"\nscsi\u0663:0.fileName = \"a\"\nscsi0:\u0663.fileName = \"b\"\nscs\u01300:0.fileName = \"c\"\n"u8, "x.vmx");
        Assert.Empty(vmx.Disks);
        IReadOnlyList<NamedSnapshot> tree = VmsdFile.Parse(
            "snapshot0.u\u0130d = \"1\"\nsnapshot\u0663.uid = \"2\"\nsnapshot1.uid = \"3\"\nsnapshot1.disk0.fileName = \"a\"\nsnapshot1.disk0.node = \"scsi\u0663:0\"\n"u8, "x.vmsd");
        Assert.Equal("3", Assert.Single(tree).Id);
        byte[] xml = Encoding.UTF8.GetBytes(
            "<configuration><properties><name>x</name></properties><_83f8638b-8dca-4152-9eda-2ca8b33039b4_><controller\u0663><drive0><pathname>a.vhdx</pathname></drive0></controller\u0663></_83f8638b-8dca-4152-9eda-2ca8b33039b4_></configuration>");
        Assert.Empty(HyperVConfiguration.Parse(xml, Disk + ".xml").Drives);
    }

    private static IEnumerable<object?> Values(NamedSnapshot snapshot) =>
        [snapshot.Id, snapshot.Name, snapshot.ParentId, snapshot.Created, snapshot.IsCurrent, .. snapshot.Disks.Select(d => d.Display)];

    private static void Check(string text, Func<byte[], IReadOnlyList<object?>> read)
    {
        byte[] sound = Encoding.ASCII.GetBytes(text);
        Assert.NotEmpty(read(sound));
        int values = 0;
        Mutations.Check(
            sound,
            (bytes, _) =>
            {
                try
                {
                    Interlocked.Add(ref values, read(bytes).Count > 0 ? 1 : 0);
                }
                catch (InvalidDataException)
                {
                    // Refused.
                }
            },
            [.. ValueOf().Matches(text).Select(m => ((long)m.Index, (long)m.Length))]);

        // Damage that only ever made it no configuration at all would show nothing.
        Assert.InRange(values, Mutations.PerFormat / 10, int.MaxValue);
    }

    [GeneratedRegex("""(?<=["'>= ])[^"'<>=\n]+(?=["'<])""")]
    private static partial Regex ValueOf();
}
