using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Containers.Raw;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.Inspection;
using Vmsweep.DiskReaders.Tests.FileSystems.Ntfs;
using Vmsweep.DiskReaders.Tests.FileSystems.Ntfs.Vss;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Inspection;

/// <summary>Shadow copies of a volume as volumes of the disk.</summary>
public sealed class EarlierVolumeTests
{
    [Fact]
    public void A_volume_tells_its_shadow_copies_and_shows_none_unless_asked_for()
    {
        using InspectedVm vm = Inspect(VolumeStates.Present, out GapList gaps);
        InspectedVolume volume = Assert.Single(vm.Volumes);
        Assert.Equal("v1", volume.Id);
        Assert.Contains(volume.Notes, n => n.StartsWith($"keeps a shadow copy {VssImage.IdOf(1)} of 2022-", StringComparison.Ordinal));
        Assert.Empty(gaps.ToList());
    }

    [Fact]
    public void All_states_are_volumes_beside_each_other()
    {
        using InspectedVm vm = Inspect(VolumeStates.All, out GapList gaps);
        Assert.Equal(["v1", $"v1@{VssImage.IdOf(1)}"], vm.Volumes.Select(v => v.Id));
        Assert.Equal((byte)'b', FirstByte(vm.Volumes.First(), "file"));
        Assert.Equal((byte)'a', FirstByte(vm.Volumes.Last(), "file"));
        Assert.DoesNotContain(Paths(vm.Volumes.First()), p => p == "gone");
        Assert.Contains("gone", Paths(vm.Volumes.Last()));
        Assert.Empty(gaps.ToList());
    }

    [Fact]
    public void One_state_alone_is_the_volume_as_it_was()
    {
        using InspectedVm vm = Inspect(VolumeStates.Only(VssImage.IdOf(1)), out _);
        Assert.Equal($"v1@{VssImage.IdOf(1)}", Assert.Single(vm.Volumes).Id);
        Assert.Equal((byte)'a', FirstByte(vm.Volumes.Single(), "file"));
        Assert.Empty(vm.Disks[0].Areas);
        using InspectedVm none = Inspect(VolumeStates.Only(VssImage.IdOf(7)), out _);
        Assert.Empty(none.Volumes);
    }

    private static List<string> Paths(InspectedVolume volume) =>
        [.. volume.FileSystem!.Walk().Where(f => f.Kind == GuestFileKind.Regular).Select(f => NtfsImage.PathOf(f.Links[0], f))];

    private static byte FirstByte(InspectedVolume volume, string path)
    {
        GuestFile file = volume.FileSystem!.Walk().Single(f => NtfsImage.PathOf(f.Links[0], f) == path);
        using IBlockSource content = volume.FileSystem.OpenContent(file);
        byte[] bytes = content.ReadAll();
        Assert.Equal(50_000, bytes.Length);
        Assert.False(bytes.AsSpan().ContainsAnyExcept(bytes[0]));
        return bytes[0];
    }

    private static InspectedVm Inspect(VolumeStates states, out GapList gaps)
    {
        gaps = new GapList();
        var context = new ReadContext(new ScanBudget(64 << 20), gaps) { VolumeStates = states };
        using var chain = new FolderChain((_, _) => null, [], context);
        VirtualDisk disk = new RawFormat().Open(new ImageFile("disk.raw", 0, new MemorySource(VssNtfs.Disk.Value)), chain, context);
        return DiskInspector.Inspect([new OpenedDisk(disk, "disk.raw", "")], context);
    }
}
