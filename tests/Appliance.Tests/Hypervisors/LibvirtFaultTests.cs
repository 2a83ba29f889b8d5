namespace Vmsweep.Appliance.Tests.Hypervisors;

/// <summary>What goes wrong before a view of a VM that runs is open.</summary>
[Collection(LibvirtCollection.Name)]
[Trait("Category", "Slow")]
public sealed class LibvirtFaultTests(LibvirtFixture libvirt)
{
    [Fact]
    public void A_socket_without_rights_is_said_with_its_path()
    {
        libvirt.Guest();
        UnixFileMode open = File.GetUnixFileMode(libvirt.Rig.Socket);
        File.SetUnixFileMode(libvirt.Rig.Socket, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        try
        {
            foreach (string[] command in (string[][])[["inventory", libvirt.Rig.Address], ["scan", libvirt.Rig.Address + "&vm=shared", "--state", "none"]])
            {
                (int status, string output, string error) = Program.RunAsNobody(command);
                Assert.Equal((2, ""), (status, output));
                Assert.Contains(libvirt.Rig.Socket, error, StringComparison.Ordinal);
                Assert.Contains("Permission denied", error, StringComparison.Ordinal);
                Assert.DoesNotContain("   at ", error, StringComparison.Ordinal);
            }
        }
        finally
        {
            File.SetUnixFileMode(libvirt.Rig.Socket, open);
        }
    }
}
