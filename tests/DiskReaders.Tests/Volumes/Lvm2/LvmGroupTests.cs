using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Volumes;
using Vmsweep.Golden;
using static Vmsweep.DiskReaders.Tests.Volumes.Lvm2.LvmWriter;

namespace Vmsweep.DiskReaders.Tests.Volumes.Lvm2;

/// <summary>Which text counts, and which members belong together.</summary>
public sealed class LvmGroupTests
{
    private static readonly string Old = Text(Logical("old", Linear(2, 0)), seqno: 7, physicals: 2);
    private static readonly string New = Text(Logical("new", Linear(3, 0)), seqno: 8, physicals: 2);

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void The_highest_number_of_all_members_counts_and_older_texts_are_reported(bool isFirst)
    {
        using Assembled assembled = LvmImages.Assemble(Disk(0, isFirst ? New : Old), Disk(1, isFirst ? Old : New));
        Assert.Equal("vg/new", Assert.Single(assembled.All.Volumes).Name);
        CoverageGap gap = Assert.Single(assembled.Gaps);
        Assert.Equal((Fault.Corrupt, isFirst ? "disk2" : "disk1"), (gap.Fault, gap.Path));
    }

    [Fact]
    public void A_text_that_goes_round_its_area_is_read()
    {
        using Assembled assembled = LvmImages.Assemble(Disk(0, New, textAt: AreaBytes - 100), Disk(1, New, textAt: AreaBytes - 512));
        Assert.Equal("vg/new", Assert.Single(assembled.All.Volumes).Name);
        Assert.Empty(assembled.Gaps);
    }

    [Fact]
    public void A_damaged_area_is_a_gap_and_the_second_area_is_read()
    {
        byte[] disk = Disk(0, null);
        Label(disk, 0, true, (AreaAt, 8192), (AreaAt + 8192, 8192));
        Area(disk, AreaAt, 8192, Text(Logical("new", Linear(3, 0))));
        Area(disk, AreaAt + 8192, 8192, Text(Logical("new", Linear(3, 0))));
        disk[AreaAt + 600] ^= 1;
        using Assembled assembled = LvmImages.Assemble(disk);
        Assert.Equal("vg/new", Assert.Single(assembled.All.Volumes).Name);
        Assert.Equal(("disk1", "LVM2 metadata"), (Assert.Single(assembled.Gaps).Path, assembled.Gaps[0].Structure));
    }

    [Fact]
    public void A_member_without_a_text_is_found_by_its_id()
    {
        string text = Text(Logical("two", Linear(2, 0), Linear(2, 5, "pv1", 2, 2)), physicals: 2);
        byte[] second = Disk(1, null);
        using Assembled assembled = LvmImages.Assemble(second, Disk(0, text));
        AssembledVolume volume = Assert.Single(assembled.All.Volumes);
        Assert.Equal(("vg/two", 0, "linear"), (volume.Name, volume.Place, volume.Layout));
        Assert.Equal(second.AsSpan(DataAt + (5 * ExtentBytes), 2 * ExtentBytes), volume.Content!.ReadAll().AsSpan(2 * ExtentBytes));
        Assert.Empty(assembled.Gaps);
    }

    [Fact]
    public void A_volume_on_a_missing_member_is_a_fault_and_the_others_are_read()
    {
        string text = Text(Logical("both", Linear(2, 0), Linear(2, 5, "pv1", 2, 2)) + Logical("one", Linear(2, 8)), physicals: 2);
        using Assembled assembled = LvmImages.Assemble(Disk(0, text), null);
        Assert.Equal(Fault.MissingParent, assembled["vg/both"].Fault!.Fault);
        Assert.NotNull(assembled["vg/one"].Content);
        Assert.Contains("pv1", Assert.Single(assembled["vg/one"].Notes), StringComparison.Ordinal);
    }

    [Fact]
    public void A_copy_of_a_member_is_a_gap_and_the_first_is_read()
    {
        byte[] disk = Disk(0, Text(Logical("a", Linear(2, 0))));
        using Assembled assembled = LvmImages.Assemble(disk, (byte[])disk.Clone());
        Assert.Equal(0, Assert.Single(assembled.All.Volumes).Place);
        Assert.Equal((Fault.Refused, "disk2", (long)disk.Length), (Assert.Single(assembled.Gaps).Fault, assembled.Gaps[0].Path, assembled.Gaps[0].Bytes));
    }

    [Fact]
    public void A_member_that_its_group_no_longer_names_stands_alone()
    {
        using Assembled assembled = LvmImages.Assemble(Disk(0, Text(Logical("a", Linear(2, 0)), seqno: 9)), Disk(1, Old));
        Assert.Equal(["vg/a", ""], assembled.All.Volumes.Select(v => v.Name));
        Assert.Equal(1, assembled.All.Volumes[1].Place);
        Assert.Contains(assembled.All.Leftovers, a => a is { Member: 1, Name: "lvm2-unused", OffsetBytes: 0 });
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_member_of_no_group_that_is_there_is_left_over_whole(bool isUsed)
    {
        byte[] disk = Disk(0, null, isUsed: isUsed);
        using Assembled assembled = LvmImages.Assemble(disk);
        AssembledVolume volume = Assert.Single(assembled.All.Volumes);
        Assert.Equal(isUsed ? Fault.MissingParent : null, volume.Fault?.Fault);
        Assert.Equal(isUsed ? null : 0, volume.Content?.Length);
        Assert.Equal(new MemberArea(0, "lvm2-unused", 0, disk.Length), Assert.Single(assembled.All.Leftovers));
    }

    [Fact]
    public void Groups_of_one_name_are_told_apart_by_their_ids()
    {
        string other = Text(Logical("b", Linear(2, 0)), id: new string('H', 32)).Replace(Id(0), Id(1), StringComparison.Ordinal);
        using Assembled assembled = LvmImages.Assemble(Disk(1, other), Disk(0, Text(Logical("a", Linear(2, 0)))));
        Assert.Equal([("vg/b", 0), ("vg/a", 1)], assembled.All.Volumes.Select(v => (v.Name, v.Place)));
        Assert.Empty(assembled.Gaps);
    }

    [Fact]
    public void A_group_without_volumes_is_left_over_and_keeps_its_place()
    {
        byte[] disk = Disk(0, Text(""));
        using Assembled assembled = LvmImages.Assemble(disk);
        Assert.Equal(("vg", 0L), (Assert.Single(assembled.All.Volumes).Name, assembled.All.Volumes[0].Content!.Length));
        Assert.Equal(["lvm2-metadata", "lvm2-free", "lvm2-tail"], assembled.All.Leftovers.Select(a => a.Name));
        Assert.Equal(disk.Length, assembled.All.Leftovers.Sum(a => a.SizeBytes));
    }

    [Theory]
    [InlineData("status = [\"READ\", \"EXPORTED\"]\nextent_size = 8", "", "exported")]
    [InlineData("status = [\"READ\", \"CLUSTERED\"]\nextent_size = 8", "", "cluster")]
    [InlineData("extent_size = 8\nlock_type = \"sanlock\"", "", "cluster")]
    [InlineData("extent_size = 8", "flags = [\"MISSING\"]", "given up")]
    public void What_is_to_be_known_of_a_group_is_a_note(string more, string flags, string note)
    {
        using Assembled assembled = LvmImages.Assemble(Disk(0, Text(Logical("a", Linear(2, 0)), more: more, flags: flags)));
        Assert.Contains(note, Assert.Single(assembled["vg/a"].Notes), StringComparison.Ordinal);
        Assert.Empty(assembled.Gaps);
    }

    [Fact]
    public void Hidden_volumes_that_nothing_uses_are_left_over()
    {
        using Assembled assembled = LvmImages.Assemble(Disk(0, Text(Logical("a", Linear(2, 4)) + Hidden("spare", Linear(4, 2)))));
        Assert.Equal("vg/a", Assert.Single(assembled.All.Volumes).Name);
        assembled.All.Volumes[0].Content!.Read(0, new byte[8192]);
        using Assembled apart = LvmImages.Assemble(Disk(0, Text(Logical("a", Linear(2, 6)) + Hidden("spare", Linear(4, 2)))));
        Assert.Contains(apart.All.Leftovers, x => x == new MemberArea(0, "lvm2-internal", DataAt + (2 * ExtentBytes), 4 * ExtentBytes));
        Assert.Contains(apart.All.Leftovers, x => x == new MemberArea(0, "lvm2-free", DataAt, 2 * ExtentBytes));
    }

    [Fact]
    public void Volumes_and_leftovers_are_all_bytes_of_the_members()
    {
        byte[][] disks = LvmImages.Disks("plain");
        using Assembled assembled = LvmImages.Assemble(disks);
        Assert.Equal(disks.Sum(d => d.LongLength), assembled.All.Volumes.Sum(v => v.Content!.Length) + assembled.All.Leftovers.Sum(a => a.SizeBytes));
        Assert.Equal(["plain/files", "plain/linear", "plain/striped", ""], assembled.All.Volumes.Select(v => v.Name));
    }
}
