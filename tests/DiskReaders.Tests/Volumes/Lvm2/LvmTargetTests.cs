using System.Buffers.Binary;
using CsCheck;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Volumes;
using Vmsweep.Golden;
using static Vmsweep.DiskReaders.Tests.Volumes.Lvm2.LvmWriter;

namespace Vmsweep.DiskReaders.Tests.Volumes.Lvm2;

/// <summary>Volumes that lie in structures of the kernel's own.</summary>
public sealed class LvmTargetTests
{
    private static readonly string[] Parity = ["raid4", "raid5_la", "raid5_ls", "raid5_n", "raid5_ra", "raid5_rs", "reshaped"];
    private static readonly string[] Copies = ["mirror", "raid1", "raid10"];
    private static readonly string[] Plain = ["raid0", "raid0_meta"];

    [Fact]
    public void Everything_lies_where_its_metadata_say()
    {
        byte[] disk = LvmEverything.Disk;
        using Assembled assembled = LvmImages.Assemble(disk);
        Assert.Empty(assembled.Gaps);
        Assert.Equal(
            ["cached", "cow", "linear", "mirror", "raid5", "striped", "thin1", "thin2", "written"],
            assembled.All.Volumes.Select(v => v.Fault is null ? v.Name[3..] : v.Fault.Message));
        byte[] origin = Extents(disk, 150, 8);
        byte[] cached = [.. origin];
        foreach ((int block, int cache) in LvmEverything.CachedBlocks)
        {
            Extents(disk, LvmEverything.CacheData + cache, 1).CopyTo(cached, block * ExtentBytes);
        }

        Assert.Equal(cached, assembled["vg/cached"].Content!.ReadAll());
        byte[] linear = [.. Extents(disk, 0, 2), .. Extents(disk, 4, 1), .. new byte[ExtentBytes]];
        Assert.Equal(linear, assembled["vg/linear"].Content!.ReadAll());
        byte[] snapshot = [.. Extents(disk, 0, 1), .. Extents(disk, LvmEverything.Store + 2, 1), .. Extents(disk, 4, 1), .. Extents(disk, LvmEverything.Store + 3, 1)];
        Assert.Equal(snapshot, assembled["vg/cow"].Content!.ReadAll());
        byte[] written = Extents(disk, 160, 8);
        Extents(disk, LvmEverything.WriteCache + 2, 1).CopyTo(written, 2 * ExtentBytes);
        Extents(disk, LvmEverything.WriteCache + 5, 1).CopyTo(written, 7 * ExtentBytes);
        Assert.Equal(written, assembled["vg/written"].Content!.ReadAll());
        byte[] first = new byte[96 * ExtentBytes];
        Extents(disk, LvmEverything.ThinData + 16, 16).CopyTo(first, 0);
        Assert.Equal(first, assembled["vg/thin1"].Content!.ReadAll());
        byte[] second = new byte[80 * ExtentBytes];
        linear.CopyTo(second, 0);
        Extents(disk, LvmEverything.ThinData, 16).CopyTo(second, 48 * ExtentBytes);
        Assert.Equal(second, assembled["vg/thin2"].Content!.ReadAll());
    }

    [Fact]
    public void Any_damage_gives_data_or_a_format_exception() =>
        Mutations.Check(LvmEverything.Disk, LvmEverything.Read, LvmEverything.Regions, repair: LvmEverything.Repair);

    [Theory]
    [InlineData("plain", "plain/striped")]
    [InlineData("plain", "plain/linear")]
    [InlineData("raid", "raid/raid6_ls_6")]
    [InlineData("thin", "thin/three")]
    [InlineData("cow", "cow/snap1")]
    [InlineData("cache", "cache/back")]
    [InlineData("cache", "cache/write")]
    public void Any_slicing_of_reads_equals_one_read(string group, string name)
    {
        using Assembled assembled = LvmImages.Assemble(LvmImages.Disks(group));
        IBlockSource content = assembled[name].Content!;
        byte[] all = content.ReadAll();
        Gen.Select(Gen.Int[0, all.Length - 1], Gen.Int[1, 200_000]).Sample(
            (at, count) =>
            {
                byte[] part = new byte[Math.Min(count, all.Length - at)];
                content.Read(at, part);
                return part.AsSpan().SequenceEqual(all.AsSpan(at, part.Length)) && content.Locate(at, part.Length).Length <= part.Length;
            },
            iter: 300,
            threads: 2);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public void Whatever_member_is_missing_redundant_volumes_read_as_before(int missing)
    {
        byte[]?[] disks = [.. LvmImages.Disks("raid")];
        disks[missing] = null;
        using Assembled assembled = LvmImages.Assemble(disks);
        foreach (AssembledVolume volume in assembled.All.Volumes)
        {
            string name = volume.Name["raid/".Length..];
            if (volume.Fault is not null)
            {
                Assert.Contains(name, Plain);
                Assert.Equal(Fault.MissingParent, volume.Fault.Fault);
                continue;
            }

            Assert.Equal(LvmImages.Sums("raid")[volume.Name].Sha256, volume.Content!.Sha256());
            if (missing == 0 && (Parity.Contains(name) || Copies.Contains(name)))
            {
                Assert.EndsWith(", degraded", volume.Layout, StringComparison.Ordinal);
                Assert.Contains(volume.Notes, n => n.StartsWith("degraded: ", StringComparison.Ordinal));
            }
        }
    }

    [Fact]
    public void Two_missing_members_leave_raid6_and_three_way_mirrors()
    {
        byte[]?[] disks = [.. LvmImages.Disks("raid")];
        disks[0] = disks[1] = null;
        using Assembled assembled = LvmImages.Assemble(disks);
        foreach (AssembledVolume volume in assembled.All.Volumes)
        {
            bool isReadable = volume.Name.StartsWith("raid/raid6", StringComparison.Ordinal) || volume.Name == "raid/raid1";
            Assert.Equal(isReadable ? null : Fault.MissingParent, volume.Fault?.Fault);
            Assert.Equal(isReadable ? LvmImages.Sums("raid")[volume.Name].Sha256 : null, volume.Content?.Sha256());
        }
    }

    [Fact]
    public void A_mirror_that_had_failed_is_not_believed()
    {
        // raid1 has its data one extent behind its superblocks; the first mirror missed what the others hold.
        byte[][] disks = [.. LvmImages.Disks("raid").Select(d => (byte[])d.Clone())];
        foreach ((byte[] disk, int i) in disks.Take(3).Select((d, i) => (d, i)))
        {
            int at = Superblocks(disk).Single(s => BinaryPrimitives.ReadInt32LittleEndian(disk.AsSpan(s + 48)) == 1);
            if (i == 0)
            {
                disk.AsSpan(at + (512 << 10), 1 << 20).Fill(0xEE);
            }
            else
            {
                disk[at + 16]++;
                disk[at + 24] |= 1;
            }
        }

        using Assembled assembled = LvmImages.Assemble(disks);
        Assert.Equal(LvmImages.Sums("raid")["raid/raid1"].Sha256, assembled["raid/raid1"].Content!.Sha256());
        Assert.Contains("had failed", assembled["raid/raid1"].Notes[0], StringComparison.Ordinal);
    }

    [Fact]
    public void A_write_back_cache_that_is_missing_is_a_gap_and_a_write_through_one_a_note()
    {
        using Assembled assembled = LvmImages.Assemble(LvmImages.Disks("cache")[0], null);
        Assert.Equal(["cache/back", "cache/volume", "cache/write"], assembled.Gaps.Select(g => g.Path).Order(StringComparer.Ordinal));
        Assert.All(assembled.Gaps, g => Assert.Equal(Fault.MissingParent, g.Fault));
        Assert.Equal(LvmImages.Sums("cache")["cache/through"].Sha256, assembled["cache/through"].Content!.Sha256());
        Assert.Contains("without its cache", assembled["cache/through"].Notes[1], StringComparison.Ordinal);
    }

    [Fact]
    public void A_volume_that_is_being_moved_is_read_where_it_was()
    {
        string moved = Segment(1, 0, 2, "mirror", "mirror_count = 2\nextents_moved = 0\nmirrors = [\"pv0\", 5, \"pv0\", 20]") + Linear(2, 40, number: 2, start: 2);
        byte[] disk = Disk(0, Text(Logical("a", Linear(1, 0), Linear(3, 1, "pvmove0", 2, 1)) + Hidden("pvmove0", moved)));
        using Assembled assembled = LvmImages.Assemble(disk);
        Assert.Equal([.. Extents(disk, 0, 1), .. Extents(disk, 6, 1), .. Extents(disk, 40, 2)], assembled["vg/a"].Content!.ReadAll());
        Assert.Empty(assembled.Gaps);
    }

    [Fact]
    public void A_cache_of_more_blocks_than_can_be_is_not_looked_through()
    {
        byte[] disk = Disk(0, Text(
            Logical("a", Segment(1, 0, 2, "writecache", "writecache = \"c\"\norigin = \"o\""))
            + Hidden("o", Linear(2, 0)) + Hidden("c", Linear(1, 8), Segment(2, 1, 1 << 28, "zero", ""))));
        Span<byte> header = disk.AsSpan(DataAt + (8 * ExtentBytes), 64);
        BinaryPrimitives.WriteUInt32LittleEndian(header, 0x2348_9321);
        BinaryPrimitives.WriteInt32LittleEndian(header[4..], 1);
        BinaryPrimitives.WriteInt64LittleEndian(header[8..], 4096);
        BinaryPrimitives.WriteInt64LittleEndian(header[16..], 1 << 27);
        using Assembled assembled = LvmImages.Assemble(disk);
        Assert.Equal((Fault.Limit, "vg/a"), (Assert.Single(assembled.Gaps).Fault, assembled.Gaps[0].Path));
        Assert.Equal(Extents(disk, 0, 2), assembled["vg/a"].Content!.ReadAll());
    }

    [Fact]
    public void A_snapshot_that_was_given_up_is_a_fault_and_its_origin_is_read()
    {
        byte[] disk = [.. LvmEverything.Disk];
        disk[DataAt + (LvmEverything.Store * ExtentBytes) + 4] = 0;
        using Assembled assembled = LvmImages.Assemble(disk);
        Assert.Contains("filled up", assembled["vg/cow"].Fault!.Detail, StringComparison.Ordinal);
        Assert.NotNull(assembled["vg/linear"].Content);
    }

    [Fact]
    public void A_pool_at_another_transaction_than_its_group_expects_is_a_gap()
    {
        byte[] disk = [.. LvmEverything.Disk];
        disk[DataAt + (LvmEverything.ThinMetadata * ExtentBytes) + 48]++;
        LvmEverything.Repair(disk);
        using Assembled assembled = LvmImages.Assemble(disk);
        Assert.Equal("vg/pool", Assert.Single(assembled.Gaps).Path);
        Assert.NotNull(assembled["vg/thin1"].Content);
    }

    private static byte[] Extents(byte[] disk, int first, int count) => disk.AsSpan(DataAt + (first * ExtentBytes), count * ExtentBytes).ToArray();

    private static IEnumerable<int> Superblocks(byte[] disk)
    {
        for (int at = 0; at < disk.Length; at += 512)
        {
            if (disk.AsSpan(at).StartsWith("DmRd"u8))
            {
                yield return at;
            }
        }
    }
}
