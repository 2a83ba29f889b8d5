using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Volumes;
using Vmsweep.DiskReaders.Volumes.Lvm2;
using Vmsweep.Golden;
using static Vmsweep.DiskReaders.Tests.Volumes.Lvm2.LvmWriter;

namespace Vmsweep.DiskReaders.Tests.Volumes.Lvm2;

public sealed class LvmHostileTests
{
    public static TheoryData<string, Fault, string> Logicals => new()
    {
        { Logical("a"), Fault.Corrupt, "no segments" },
        { Logical("a", Segment(1, 0, 2, "striped", "stripe_count = 0\nstripes = []")), Fault.Corrupt, "stripes" },
        { Logical("a", Segment(1, 0, 2, "striped", "stripe_count = 3\nstripes = [\"pv0\", 0]")), Fault.Corrupt, "stripe_count" },
        { Logical("a", Segment(1, 0, 2, "striped", "stripe_count = 2\nstripe_size = 0\nstripes = [\"pv0\", 0, \"pv0\", 4]")), Fault.Corrupt, "stripe_size" },
        { Logical("a", Segment(1, 0, 2, "striped", "stripe_count = 2\nstripe_size = 3\nstripes = [\"pv0\", 0, \"pv0\", 4]")), Fault.Corrupt, "stripe_size" },
        { Logical("a", Segment(1, 0, 3, "striped", "stripe_count = 2\nstripe_size = 8\nstripes = [\"pv0\", 0, \"pv0\", 4]")), Fault.Corrupt, "stripe_count" },
        { Logical("a", Segment(1, 0, 2, "striped", "stripe_count = 1\nstripes = [0, \"pv0\"]")), Fault.Corrupt, "stripes" },
        { Logical("a", Segment(1, 0, 2, "striped", "stripe_count = 1\nstripes = [\"pv0\", -1]")), Fault.Corrupt, "stripes" },
        { Logical("a", Linear(2, 0), Linear(2, 8, number: 2, start: 3)), Fault.Corrupt, "hole" },
        { Logical("a", Linear(2, 0), Linear(2, 8, number: 2, start: 1)), Fault.Corrupt, "overlap" },
        { Logical("a", Linear(0, 0)), Fault.Corrupt, "extent_count" },
        { Logical("a", Linear(65, 0)), Fault.Corrupt, "behind the last extent" },
        { Logical("a", Linear(uint.MaxValue, 1)), Fault.Corrupt, "behind the last extent" },
        { Logical("a", Linear(2, uint.MaxValue)), Fault.Corrupt, "behind the last extent" },
        { Logical("a", Linear(2, 0, "pv9")), Fault.Corrupt, "pv9" },
        { Logical("a", Linear(2, 0, "a")), Fault.Corrupt, "made of itself" },
        { Logical("a", Linear(2, 0, "b")) + Hidden("b", Linear(2, 0, "a")), Fault.Corrupt, "made of itself" },
        { Logical("a", Linear(3, 0, "b")) + Hidden("b", Linear(2, 0)), Fault.Truncated, "wanted" },
        { Logical("a", Segment(1, 0, 2, "snapshot", "origin = \"a\"\ncow_store = \"a\"")), Fault.Unsupported, "snapshot" },
        { Logical("a", Linear(2, 0), Segment(2, 2, 2, "snapshot", "origin = \"a\"\ncow_store = \"a\"")), Fault.Unsupported, "snapshot" },
        { Logical("a", Segment(1, 0, 2, "vdo", "vdo_pool = \"p\"")), Fault.Unsupported, "vdo" },
        { Logical("a", Segment(1, 0, 2, "tomorrow+NEW", "")), Fault.Unsupported, "tomorrow" },
        { Logical("a", Segment(1, 0, 2, "error", "")), Fault.MissingParent, "error" },
        { Logical("a", Segment(1, 0, 2, "mirror", "mirrors = []")), Fault.Corrupt, "mirrors" },
        { Logical("a", Segment(1, 0, 2, "mirror", "mirrors = [\"a\", 0, \"a\", 0]")), Fault.Corrupt, "made of itself" },
        { Logical("a", Segment(1, 0, 2, "raid1", "raids = []")), Fault.Corrupt, "raids" },
        { Logical("a", Segment(1, 0, 2, "raid1", "raids = [\"a\", \"a\"]")), Fault.Corrupt, "made of itself" },
        { Logical("a", Segment(1, 0, 2, "raid5_ls", "stripe_size = 8\nraids = [\"m\", \"d\"]")), Fault.Corrupt, "extent_count" },
        { Logical("a", Segment(1, 0, 3, "raid5_ls", "stripe_size = 8\nraids = [\"m\", \"d\", \"m\", \"d\", \"m\", \"d\"]")), Fault.Corrupt, "no volume d" },
        { Logical("a", Segment(1, 0, 2, "raid1", "reshape_count = 2\nraids = [\"m\", \"d\"]")), Fault.Corrupt, "reshape_count" },
        { Logical("a", Segment(1, 0, 2, "raid10", "data_copies = 2\nstripe_size = 8\nraids = [\"m\", \"d\", \"n\", \"e\"]")), Fault.Corrupt, "no volume d" },
        { Logical("a", Segment(1, 0, 2, "thin", "thin_pool = \"p\"\ndevice_id = 1")), Fault.Corrupt, "thin-pool" },
        { Logical("a", Segment(1, 0, 2, "thin", "thin_pool = \"a\"\ndevice_id = 1")), Fault.Corrupt, "thin-pool" },
        { Logical("a", Segment(1, 0, 2, "cache", "cache_pool = \"c\"\norigin = \"a\"")), Fault.Corrupt, "made of itself" },
        { Logical("a", Segment(1, 0, 2, "writecache", "writecache = \"c\"\norigin = \"a\"")), Fault.Corrupt, "made of itself" },
        { Logical("a", Segment(1, 0, 2, "integrity", "origin = \"d\"\nmode = \"J\"")), Fault.Unsupported, "integrity" },
        { Deep(40), Fault.Limit, "deep" },
    };

    public static TheoryData<string, Fault> Texts => new()
    {
        { "", Fault.Corrupt },
        { "a", Fault.Corrupt },
        { "a {", Fault.Corrupt },
        { "a { b = }", Fault.Corrupt },
        { "a { b = [1 2] }", Fault.Corrupt },
        { "a { b = [1, }", Fault.Corrupt },
        { "a { b = [", Fault.Corrupt },
        { "a { b = \"x }", Fault.Corrupt },
        { "a { b = \"x\\", Fault.Corrupt },
        { "a { b = 1234567890123456789 }", Fault.Corrupt },
        { "a { b = - }", Fault.Corrupt },
        { "a { b = 1 b = 2 }", Fault.Corrupt },
        { "a { b { } b { } }", Fault.Corrupt },
        { "a { } }", Fault.Corrupt },
        { "= 1", Fault.Corrupt },
        { "[", Fault.Corrupt },
        { string.Concat(Enumerable.Repeat("a {", 1000)), Fault.Limit },
        { string.Concat(Enumerable.Repeat("{", 1000)), Fault.Corrupt },
    };

    [Theory]
    [MemberData(nameof(Logicals))]
    public void A_volume_that_cannot_be_is_a_fault_and_the_next_is_read(string logicals, Fault fault, string detail)
    {
        using Assembled assembled = LvmImages.Assemble(Disk(0, Text(logicals + Logical("sound", Linear(2, 60)))));
        AssembledVolume volume = assembled["vg/a"];
        Assert.Null(volume.Content);
        Assert.Equal(fault, volume.Fault!.Fault);
        Assert.Contains(detail, volume.Fault.Detail, StringComparison.Ordinal);
        Assert.Equal(8192, assembled["vg/sound"].Content!.ReadAll().Length);
    }

    [Theory]
    [MemberData(nameof(Texts))]
    public void A_text_that_is_none_is_refused(string text, Fault fault)
    {
        DiskFormatException e = Assert.Throws<DiskFormatException>(() => new GroupText(ConfigText.Parse(Encoding.UTF8.GetBytes(text))));
        Assert.Equal(fault, e.Fault);
    }

    [Fact]
    public void A_text_of_a_million_assignments_is_refused()
    {
        byte[] text = Encoding.ASCII.GetBytes("a = [" + string.Concat(Enumerable.Repeat("1,", Lvm2Limits.MostTextNodes)) + "1]");
        Assert.Equal(Fault.Limit, Assert.Throws<DiskFormatException>(() => ConfigText.Parse(text)).Fault);
    }

    [Theory]
    [InlineData("status = [\"READ\"]\nextent_size = 0")]
    [InlineData("status = [\"READ\"]\nextent_size = -8")]
    [InlineData("status = [\"READ\"]\nextent_size = 4294967296")]
    [InlineData("status = [\"READ\"]\nextent_size = \"8\"")]
    [InlineData("status = [\"READ\"]")]
    public void A_group_with_impossible_extents_is_a_gap_and_all_its_bytes_are_left_over(string more)
    {
        byte[] disk = Disk(0, Text(Logical("a", Linear(2, 0)), more: more));
        using Assembled assembled = LvmImages.Assemble(disk);
        Assert.Equal(Fault.Corrupt, Assert.Single(assembled.All.Volumes).Fault!.Fault);
        Assert.Equal(new MemberArea(0, "lvm2-unused", 0, disk.Length), Assert.Single(assembled.All.Leftovers));
        Assert.Equal("disk1", Assert.Single(assembled.Gaps).Path);
    }

    [Fact]
    public void A_volume_of_more_bytes_than_there_can_be_is_refused()
    {
        string text = Text(Logical("a", Segment(1, 0, uint.MaxValue, "zero", "")), more: "extent_size = 4294967295");
        using Assembled assembled = LvmImages.Assemble(Disk(0, text));
        Assert.Equal(Fault.Limit, assembled["vg/a"].Fault!.Fault);
    }

    [Fact]
    public void Two_volumes_on_the_same_extents_are_read_and_reported()
    {
        using Assembled assembled = LvmImages.Assemble(Disk(0, Text(Logical("a", Linear(4, 0)) + Logical("b", Linear(4, 2)))));
        Assert.All(assembled.All.Volumes, v => Assert.NotNull(v.Content));
        Assert.Contains("same extents", Assert.Single(assembled.Gaps).Detail, StringComparison.Ordinal);
    }

    [Fact]
    public void A_disk_cut_off_inside_a_volume_is_a_gap_and_reads_beyond_it_are_faults()
    {
        byte[] disk = Disk(0, Text(Logical("a", Linear(64, 0))))[..(DataAt + (32 * ExtentBytes))];
        using Assembled assembled = LvmImages.Assemble(disk);
        Assert.Equal(Fault.Truncated, Assert.Single(assembled.Gaps).Fault);
        IBlockSource content = assembled["vg/a"].Content!;
        Assert.Equal(64 * ExtentBytes, content.Length);
        content.Read(0, new byte[32 * ExtentBytes]);
        Assert.Equal(Fault.Truncated, Assert.Throws<DiskFormatException>(() => content.Read(32 * ExtentBytes, new byte[1])).Fault);
    }

    [Theory]
    [InlineData(16, Fault.Corrupt)]
    [InlineData(8, Fault.Corrupt)]
    [InlineData(21, Fault.Corrupt)]
    public void A_damaged_label_is_a_fault_of_its_member(int at, Fault fault)
    {
        byte[] disk = Disk(0, Text(Logical("a", Linear(2, 0))));
        disk[LabelAt + at] ^= 0xFF;
        using Assembled assembled = LvmImages.Assemble(disk);
        Assert.Equal(fault, Assert.Single(assembled.All.Volumes).Fault!.Fault);
    }

    private static string Deep(int levels)
    {
        var text = new StringBuilder(Logical("a", Linear(1, 0, "l0")));
        for (int i = 0; i < levels; i++)
        {
            text.Append(Hidden("l" + i, Linear(1, 0, i == levels - 1 ? "pv0" : "l" + (i + 1))));
        }

        return text.ToString();
    }
}
