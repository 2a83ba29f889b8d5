using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.Tests.FileSystems.Ntfs.Vss;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.EndToEnd;

/// <summary>Jobs on the states that volumes keep of themselves.</summary>
public sealed class VolumeStateTests : IDisposable
{
    private static readonly string Id = VssImage.IdOf(1).ToString();
    private readonly Scratch _scratch = new();
    private readonly string _disk;

    public VolumeStateTests() => File.WriteAllBytes(_disk = _scratch["disk.raw"], VssNtfs.Disk.Value);

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void A_listing_has_the_states_that_were_chosen()
    {
        Assert.DoesNotContain(List(null).Lines(), l => l.Contains('@', StringComparison.Ordinal));
        IReadOnlyList<string> all = List("all").Lines();
        Assert.Contains(all, l => l.StartsWith("v1/file\t", StringComparison.Ordinal));
        Assert.Contains(all, l => l.StartsWith($"v1@{Id}/gone\t4\t", StringComparison.Ordinal));
        Assert.All(List(Id).Lines(), l => Assert.StartsWith($"v1@{Id}/", l, StringComparison.Ordinal));
        Assert.Equal("missing-parent", Assert.Single(List(Guid.Empty.ToString()).Gaps()).Fault);
    }

    [Fact]
    public void A_path_in_a_shadow_copy_needs_no_option()
    {
        IReadOnlyList<string> lines = InProcess.Run(new ListJob($"v1@{Id}", true, true, true, 1) { Limits = InProcess.Limits, Disks = InProcess.Plans(_disk) }).Lines();
        Assert.Contains(lines, l => l.StartsWith($"v1@{Id}/gone\t4\t", StringComparison.Ordinal));
    }

    [Fact]
    public void Events_on_shadow_copies_keep_the_rules_of_events()
    {
        foreach (WorkerEvent message in List("all"))
        {
            WorkerEvents.Check(message);
        }
    }

    [Fact]
    public void An_id_that_no_image_has_is_left_to_the_volumes()
    {
        Vm vm = Assert.Single(SnapshotChoice.Choose([.. new TargetFinder([]).Find(_disk)], Id, []));
        Assert.Equal(Id, vm.VolumeStates);
        Assert.Equal("all", SnapshotChoice.Choose([.. new TargetFinder([]).Find(_disk)], "all", []).First().VolumeStates);
        Assert.Throws<TargetException>(() => SnapshotChoice.Choose([.. new TargetFinder([]).Find(_disk)], "no id", []).ToList());
    }

    private List<WorkerEvent> List(string? states) =>
        InProcess.Run(new ListJob("", true, true, true, 1) { Limits = InProcess.Limits, Disks = InProcess.Plans(_disk), VolumeStates = states });
}
