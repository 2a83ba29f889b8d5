using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.HyperV;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Tests.Hypervisors.VSphere;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Inspection;
using Vmsweep.Rigs.HyperV;

namespace Vmsweep.Appliance.Tests.Hypervisors.HyperV;

/// <summary>What is lost in the middle of a view: bytes that cannot be had are never zeros, bytes of another moment are told of, and nothing stays behind.</summary>
[Collection(HyperVCollection.Name)]
[Trait("Category", "Slow")]
public sealed class HyperVFaultTests(HyperVFixture hyperV)
{
    [Theory]
    [InlineData("ran", "was changed while it was read")]
    [InlineData("reverted", "was changed while it was read")]
    [InlineData("gone", "was changed while it was read")]
    [InlineData("checkpoint", null)]
    public void A_VM_that_is_off_again_is_not_taken_for_one_that_was_off_all_the_time(string what, string? why)
    {
        HyperVMachine machine = hyperV.Fresh("3");
        string disk = hyperV.Rig.FileOf(HyperVFixture.Disk);
        byte[] before = File.ReadAllBytes(disk);
        using HyperVConnector connector = hyperV.Connector();
        using (IVmView view = hyperV.Open(connector))
        {
            switch (what)
            {
                case "ran":
                    using (FileStream file = File.OpenWrite(disk))
                    {
                        file.Write(before.AsSpan(0, 512));
                    }

                    break;
                case "reverted":
                    File.Delete(disk);
                    File.WriteAllBytes(disk, before);
                    break;
                case "gone":
                    File.Delete(disk);
                    break;
                default:
                    // It lies over what is read, which stands still.
                    machine.Next = (0, []);
                    machine.Remove(machine.Checkpoint("before the update", isRecovery: false));
                    break;
            }

            Assert.Equal(why is null ? 0 : 1, view.Conclude().Count(g => g.Fault == "refused" && g.Detail.Contains(why ?? "", StringComparison.Ordinal)));
        }

        File.WriteAllBytes(disk, before);
        hyperV.AssertNothingLeft();
    }

    [Fact]
    public void A_host_that_goes_away_in_the_middle_is_lost_and_what_is_left_there_is_removed_when_it_is_back()
    {
        hyperV.Fresh();
        using HyperVConnector connector = hyperV.Connector();
        IVmView view = hyperV.Open(connector);
        hyperV.Rig.Down.Add("HV1");
        Assert.True(HostLoss.Is(Assert.ThrowsAny<IOException>(() => view.Conclude())));
        Assert.ThrowsAny<IOException>(view.Dispose);
        (LeaseRecord record, bool isHeld) = Assert.Single(hyperV.Journal.List());
        Assert.False(isHeld);

        // It stays one while the host is away.
        using (HyperVConnector away = hyperV.Connector())
        {
            Assert.NotNull(Assert.Single(new LeaseReaper(hyperV.Journal, _ => away, new VSphereKillTests.Later()).Run()).Failure);
        }

        Assert.Equal(record.Id, Assert.Single(hyperV.Journal.List()).Record.Id);
        hyperV.Rig.Down.Clear();
        Assert.Null(Assert.Single(new LeaseReaper(hyperV.Journal, _ => hyperV.Connector(), new VSphereKillTests.Later()).Run()).Failure);
        hyperV.AssertNothingLeft();
    }

    [Theory]
    [InlineData("short")]
    [InlineData("gone")]
    public void Storage_that_is_lost_in_the_middle_is_an_error_and_no_zeros(string what)
    {
        hyperV.Fresh();
        string disk = hyperV.Rig.FileOf(HyperVFixture.Disk);
        byte[] before = File.ReadAllBytes(disk);
        using HyperVConnector connector = hyperV.Connector();
        using (IVmView view = hyperV.Open(connector))
        {
            if (what == "gone")
            {
                File.Delete(disk);
            }
            else
            {
                using FileStream file = File.OpenWrite(disk);
                file.SetLength(before.Length / 2);
            }

            Exception? failed = Record.Exception(() =>
            {
                using var chain = new ChainOpener(view.Vm.Disks[0].Plan, new ReadContext(new ScanBudget(256 << 20), new GapList()));
                using DiskReaders.Containers.VirtualDisk opened = chain.OpenDisk();
                opened.Content.Read(0, new byte[opened.Content.Length]);
            });
            Assert.True(failed is IOException or DiskFormatException, $"{failed}");
        }

        File.WriteAllBytes(disk, before);
        hyperV.AssertNothingLeft();
    }

    [Fact]
    public void Another_product_that_comes_meanwhile_keeps_its_checkpoint_and_a_second_scan_waits()
    {
        HyperVMachine machine = hyperV.Fresh();
        using HyperVConnector connector = hyperV.Connector();
        HyperVCheckpoint theirs;
        using (IVmView view = hyperV.Open(connector))
        {
            Assert.Contains("another scan", Assert.Throws<ConnectorException>(() => hyperV.Open(connector)).Message, StringComparison.Ordinal);
            machine.Next = (0, []);
            theirs = machine.Checkpoint("web01 - Backup", isRecovery: true);
            Assert.Empty(view.Conclude());
        }

        Assert.Equal([theirs], machine.Checkpoints);
        Assert.Empty(hyperV.Journal.List());
    }
}
