using System.Text;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Tests.EndToEnd;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Connectors;

public sealed class VmxFileTests
{
    [Fact]
    public void Disks_come_in_the_order_of_their_buses_and_drives_for_CDs_are_none()
    {
        VmxFile vmx = Parse("""
            config.version = "8"
            nvme0:0.fileName = "n.vmdk"
            scsi1:0.fileName = "s10.vmdk"
            scsi0:10.fileName = "s0-10.vmdk"
            scsi0:2.fileName = "s0-2.vmdk"
            scsi0:3.fileName = "off.vmdk"
            scsi0:3.present = "FALSE"
            ide1:0.fileName = "/usr/lib/vmware/isoimages/linux.iso"
            ide1:0.deviceType = "cdrom-image"
            sata0:1.fileName = "emptyBackingString"
            sata0:0.fileName = "q|22uoted.vmdk"
            """);
        Assert.Equal(["s0-2.vmdk", "s0-10.vmdk", "s10.vmdk", "q\"uoted.vmdk", "n.vmdk"], vmx.Disks);
    }

    [Fact]
    public void The_last_line_of_a_key_counts_and_keys_have_no_case()
    {
        VmxFile vmx = Parse("config.version = \"8\"\r\nDISPLAYNAME = \"one\"\r\ndisplayName = \"two\"\r\n# displayName = \"three\"\r\n");
        Assert.Equal("two", vmx.DisplayName);
    }

    [Theory]
    [InlineData("")]
    [InlineData("just text")]
    [InlineData("<xml/>")]
    public void What_is_no_configuration_is_refused(string text) => Assert.Throws<InvalidDataException>(() => Parse(text));

    [Fact]
    public void An_encrypted_configuration_is_recognised() =>
        Assert.True(Parse("encryption.keySafe = \"vmware:key/list/...\"\nencryption.data = \"xyz\"\n").IsEncrypted);

    [Fact]
    public void A_VM_whose_configuration_is_encrypted_is_a_gap_and_what_it_still_names_is_read()
    {
        using var scratch = new Scratch();
        File.WriteAllBytes(scratch["disk.raw"], new byte[4096]);
        File.WriteAllText(scratch["vm.vmx"], ".encoding = \"UTF-8\"\ndisplayName = \"secret\"\nencryption.keySafe = \"vmware:key/list/x\"\nencryption.data = \"xyz\"\n");
        Vm vm = Assert.Single(new TargetFinder([]).Find(scratch["vm.vmx"]));
        Assert.Equal("secret", vm.Identity.Name);
        Assert.Empty(vm.Disks);
        Assert.Equal(("encrypted", scratch["vm.vmx"]), Assert.Single(vm.Gaps) is var gap ? (gap.Fault, gap.Path) : default);

        // What stands outside of the encrypted part counts.
        File.AppendAllText(scratch["vm.vmx"], "scsi0:0.fileName = \"disk.raw\"\n");
        vm = Assert.Single(new TargetFinder([]).Find(scratch["vm.vmx"]));
        Assert.Equal(scratch["disk.raw"], Assert.Single(vm.Disks).Path);
        Assert.Equal("encrypted", Assert.Single(vm.Gaps).Fault);
        Assert.Equal(3, Launcher.Run("scan", "--state", "none", scratch["vm.vmx"]).Status);
    }

    private static VmxFile Parse(string text) => VmxFile.Parse(Encoding.UTF8.GetBytes(text), "test.vmx");
}
