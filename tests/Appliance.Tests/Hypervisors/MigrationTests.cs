using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Leases;
using Vmsweep.Golden;
using Vmsweep.Rigs;

namespace Vmsweep.Appliance.Tests.Hypervisors;

/// <summary>A VM that is moved to another host while it is read: two daemons on this machine that take each other for strangers, and a real migration.</summary>
[Collection(LibvirtCollection.Name)]
[Trait("Category", "Slow")]
public sealed class MigrationTests(LibvirtFixture libvirt)
{
    private const string Name = "moving";

    [Fact]
    public void It_stays_while_a_backup_serves_it_and_what_it_wrote_over_a_snapshot_is_kept_where_it_goes()
    {
        using var other = new LibvirtRig("elsewhere");
        LibvirtRig rig = libvirt.Rig;
        string[] disks = libvirt.Disks(Name);
        using GuestSerial serial = rig.Start(Name, disks);
        serial.PlantEicar("x.com");

        // While QEMU serves a view, libvirt moves nothing; the scan is not disturbed, and afterwards the VM is free again.
        using (IConnector connector = Open(null))
        {
            using (IVmView view = Target(connector).Open!())
            {
                (int refused, _, string why) = Migrate(other);
                Assert.True(refused != 0, "it was moved under a backup");
                Assert.NotEmpty(why);
                Assert.Empty(view.Conclude());
                Assert.Contains("running", rig.Virsh("domstate", Name), StringComparison.Ordinal);
                Assert.Contains(InProcess.Run(new Worker.ListJob("", true, true, false, 1) { Limits = InProcess.Limits, Disks = [.. view.Vm.Disks.Select(d => d.Plan)] }).Lines(), l => l.StartsWith("d1v1/x.com\t", StringComparison.Ordinal));
            }
        }

        libvirt.AssertNothingLeft(Name);

        // Over an external snapshot it goes, and its disks with it.
        string overlay;
        using (IConnector connector = Open("snapshot"))
        {
            IVmView view = Target(connector).Open!();
            (int status, _, string error) = Migrate(other);
            Assert.True(status == 0, error);
            Assert.Contains("another host", Assert.Single(view.Conclude()).Detail, StringComparison.Ordinal);
            Assert.Throws<ConnectorException>(view.Dispose);
            overlay = Assert.Single(Directory.GetFiles(rig.Images, "vmsweep-*-vda.qcow2"));
        }

        Assert.Contains(overlay, other.Virsh("domblklist", Name), StringComparison.Ordinal);
        AssertReaped(false);

        // Nor is it taken from a VM that this host has forgotten.
        rig.Virsh("undefine", Name);
        AssertReaped(false);
        Assert.True(File.Exists(overlay));
        foreach (string disk in (string[])["vda", "vdb"])
        {
            other.Virsh("blockcommit", Name, disk, "--active", "--shallow", "--pivot", "--wait");
        }

        Assert.Contains("running", other.Virsh("domstate", Name), StringComparison.Ordinal);
        other.Virsh("destroy", Name);
        other.TryVirsh("undefine", Name);
        foreach (string left in Directory.GetFiles(rig.Images, "vmsweep-*.qcow2"))
        {
            File.Delete(left);
        }

        AssertReaped(true);
        rig.Define(Name, disks);
        libvirt.AssertNothingLeft(Name);
        libvirt.AssertFileSystemSound(Name);
    }

    private (int Status, byte[] Output, string Error) Migrate(LibvirtRig to) => libvirt.Rig.TryVirsh(
        "migrate", "--live", "--unsafe", "--persistent", Name, $"qemu:///system?socket={to.Socket}", "--migrateuri", $"unix://{libvirt.Rig.Images}/move");

    private void AssertReaped(bool isEnded)
    {
        (int status, string output, string error) = Program.Run(["leases", "reap", .. libvirt.Options]);
        Assert.True((status == 0) == isEnded, output + error);
        Assert.Equal(isEnded, Directory.GetFiles(Path.Combine(libvirt.State, "leases"), "*.json").Length == 0);
    }

    private IConnector Open(string? method)
    {
        ConnectorSettings lab = ApplianceConfiguration.Read(libvirt.Configuration).Connectors["lab"];
        lab = method is null ? lab : lab with { Address = new Uri(lab.Address + "&view=" + method) };
        return new ConnectorCatalog(new ApplianceConfiguration(new Dictionary<string, ConnectorSettings> { ["lab"] = lab }), TimeProvider.System).Open("lab");
    }

    private Vm Target(IConnector connector) =>
        connector.Target(connector.List().Single(v => v.Name == Name), "lab/" + Name, new ViewRequest(new LeaseJournal(Path.Combine(libvirt.State, "leases"), TimeProvider.System), []));
}
