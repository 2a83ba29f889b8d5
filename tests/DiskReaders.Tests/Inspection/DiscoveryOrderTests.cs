using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Containers.Raw;
using Vmsweep.DiskReaders.Inspection;
using Vmsweep.DiskReaders.Tests.Volumes;
using Vmsweep.DiskReaders.Tests.Volumes.BitLocker;
using Vmsweep.DiskReaders.Tests.Volumes.Ldm;
using Vmsweep.DiskReaders.Tests.Volumes.Luks;
using Vmsweep.DiskReaders.Tests.Volumes.Lvm2;
using Vmsweep.DiskReaders.Tests.Volumes.Md;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Inspection;

/// <summary>Membership is believed before a partition table, whatever that says, and nothing that holds itself is followed for ever.</summary>
public sealed class DiscoveryOrderTests
{
    private static readonly (int, byte, uint, uint)[] Lie = [(0, 0x83, 1, 100), (1, 0x0E, 300, 200)];

    public static TheoryData<string> Members => ["lvm2", "luks", "bitlocker", "md"];

    [Theory]
    [MemberData(nameof(Members))]
    public void A_partition_table_on_a_member_is_not_believed(string scheme)
    {
        byte[] disk = scheme switch
        {
            "lvm2" => LvmWriter.Disk(0, LvmWriter.Text(LvmWriter.Logical("data", LvmWriter.Linear(8, 2)))),
            "luks" => LuksWriter.Luks1(),
            "bitlocker" => new BitLockerWriter().Make(),
            _ => MdImages.V1(0, 1, 1),
        };
        TableImages.BootRecord(disk, 0, Lie);
        using InspectedVm vm = Inspect(out _, disk);
        InspectedVolume volume = Assert.Single(vm.Volumes);
        Assert.Equal(scheme, volume.Partition.Scheme);
        Assert.Equal("none", vm.Disks[0].Scheme);
    }

    /// <summary>A dynamic disk has a table of its own, in which one partition is the whole disk. What else that names is no partition where a volume lies.</summary>
    [Fact]
    public void A_partition_table_on_a_dynamic_disk_is_not_believed()
    {
        var images = new LdmImages();
        foreach (byte[] disk in images.Disks)
        {
            TableImages.BootRecord(disk, 0, (1, 0x83, LdmImages.DataAt, 100), (2, 0x0E, LdmImages.DataAt + 10, 20));
        }

        using InspectedVm vm = Inspect(out GapList gaps, images.Disks);
        Assert.All(vm.Disks, d => Assert.Equal("none", d.Scheme));
        Assert.Equal(images.Contents.Keys.Select(n => "ScanDg0/" + n).Order(StringComparer.Ordinal), vm.Volumes.Select(v => v.Name).Order(StringComparer.Ordinal));
        Assert.All(vm.Volumes, v => Assert.Equal("ldm", v.Partition.Scheme));
        Assert.All(vm.Volumes, v => Assert.Equal(images.Contents[v.Name["ScanDg0/".Length..]], v.Content.ReadAll()));
        Assert.Equal(6, gaps.ToList().Count(g => g.Detail.Contains("overlaps", StringComparison.Ordinal)));
    }

    [Fact]
    public void What_a_dynamic_disk_holds_is_looked_at_again()
    {
        var images = new LdmImages();
        LuksWriter.Luks1().CopyTo(images.Disks[0], LdmImages.DataAt * TableImages.Sector);
        using InspectedVm vm = Inspect(out GapList gaps, images.Disks);
        Assert.Single(vm.Volumes, v => v.Partition.Scheme == "luks");
        Assert.Single(gaps.ToList(), g => g.Fault == Fault.Encrypted);
        Assert.DoesNotContain(vm.Volumes, v => v.Name == "ScanDg0/Simple" && v.Partition.Scheme == "ldm");
    }

    [Fact]
    public void The_table_that_shows_through_a_mirror_is_read_once_and_inside_of_the_array()
    {
        byte[][] disks = [.. Enumerable.Range(0, 2).Select(role => MdImages.V090(role, 2, 1, change: member =>
        {
            member.AsSpan(0, 64 << 10).Clear();
            TableImages.BootRecord(member, 0, (0, 0x83, 8, 40), (1, 0x83, 48, 60));
            member[(8 * 512) + 1] = 1;
            member[(48 * 512) + 1] = 1;
        }))];
        using InspectedVm vm = Inspect(out _, disks);
        Assert.Equal(["d1v1", "d1v2"], vm.Volumes.Select(v => v.Id));
        Assert.Equal([40 * 512L, 60 * 512L], vm.Volumes.Select(v => v.Partition.SizeBytes));
        Assert.All(vm.Volumes, v => Assert.Equal("mbr", v.Partition.Scheme));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void A_partition_that_holds_its_own_table_is_one_volume(uint start)
    {
        byte[] disk = TableImages.Mbr(2048, (0, 0x83, start, 2047));
        TableImages.BootRecord(disk, 1, (0, 0x83, 0, 2047));
        disk[1000] = 1;
        using InspectedVm vm = Inspect(out GapList gaps, disk);
        Assert.Equal(start * 512, Assert.Single(vm.Volumes).Partition.OffsetBytes);
        Assert.Equal(Fault.Unsupported, Assert.Single(gaps.ToList()).Fault);
    }

    [Fact]
    public void A_member_inside_of_a_partition_is_found()
    {
        byte[] member = LvmWriter.Disk(0, LvmWriter.Text(LvmWriter.Logical("data", LvmWriter.Linear(8, 2))));
        byte[] disk = TableImages.Mbr(8 + ((member.Length + 511) / 512), (0, 0x8E, 8, (uint)((member.Length + 511) / 512)));
        member.CopyTo(disk, 8 * 512);
        using InspectedVm vm = Inspect(out _, disk);
        InspectedVolume volume = Assert.Single(vm.Volumes);
        Assert.Equal(("lvm2", "vg/data", 8 * 512L), (volume.Partition.Scheme, volume.Name, volume.Partition.OffsetBytes));
    }

    [Fact]
    public void A_logical_volume_over_its_own_physical_volume_ends_in_a_fault()
    {
        string text = LvmWriter.Text(LvmWriter.Logical("self", LvmWriter.Linear(64, 0))).Replace($"pe_start = {LvmWriter.DataAt / 512}\n", "pe_start = 0\n", StringComparison.Ordinal);
        using InspectedVm vm = Inspect(out GapList gaps, LvmWriter.Disk(0, text));
        Assert.InRange(vm.Volumes.Count(), 1, 20);
        Assert.NotEmpty(gaps.ToList());
    }

    [Fact]
    public void An_array_over_its_own_superblock_ends_in_a_fault()
    {
        byte[] member = MdImages.V1(0, 1, 1, change: m =>
        {
            MdImages.Put64(m.AsSpan(4096), 80, MdImages.SmallBytes / 512);
            MdImages.Put64(m.AsSpan(4096), 128, 0);
            MdImages.Put64(m.AsSpan(4096), 136, MdImages.SmallBytes / 512);
        });
        using InspectedVm vm = Inspect(out GapList gaps, member);
        Assert.InRange(vm.Volumes.Count(), 1, 20);
        Assert.NotEmpty(gaps.ToList());
    }

    private static InspectedVm Inspect(out GapList gaps, params byte[][] images)
    {
        gaps = new GapList();
        var context = new ReadContext(new ScanBudget(64 << 20), gaps);
        using var chain = new FolderChain((_, _) => null, [], context);
        List<OpenedDisk> disks = [];
        for (int i = 0; i < images.Length; i++)
        {
            VirtualDisk disk = new RawFormat().Open(new ImageFile($"disk{i}.raw", i, new MemorySource(images[i])), chain, context);
            disks.Add(new OpenedDisk(disk, $"disk{i}.raw", images.Length > 1 ? $"d{i + 1}" : ""));
        }

        return DiskInspector.Inspect(disks, context);
    }
}
