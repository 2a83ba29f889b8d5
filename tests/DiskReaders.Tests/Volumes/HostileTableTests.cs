using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Volumes;
using Vmsweep.Golden;
using static Vmsweep.DiskReaders.Tests.Volumes.TableImages;

namespace Vmsweep.DiskReaders.Tests.Volumes;

public sealed class HostileTableTests
{
    private const int PrimaryHeader = 512;

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(511)]
    [InlineData(512)]
    [InlineData(4096)]
    public void A_disk_that_is_short_or_blank_has_no_table(int bytes) =>
        Assert.Equal("none", Read(new byte[bytes]).Layout.Scheme);

    [Fact]
    public void A_partition_beyond_the_disk_is_cut_with_a_gap_for_what_is_missing()
    {
        (DiskLayout layout, IReadOnlyList<CoverageGap> gaps) = Read(Mbr(100, (0, 0x83, 10, 1000), (1, 0x83, 5000, 7)));
        Assert.Equal((10 * 512, 90 * 512), (Assert.Single(layout.Partitions).OffsetBytes, layout.Partitions[0].SizeBytes));
        Assert.Equal([(Fault.Truncated, 910 * 512L), (Fault.Truncated, 7 * 512L)], gaps.Select(g => (g.Fault, g.Bytes)));
    }

    [Fact]
    public void Partitions_that_overlap_are_both_kept_and_reported()
    {
        (DiskLayout layout, IReadOnlyList<CoverageGap> gaps) = Read(Mbr(100, (0, 0x83, 10, 50), (1, 0x83, 20, 5), (2, 0x83, 30, 10)));
        Assert.Equal([1, 2, 3], layout.Partitions.Select(p => p.Number));
        Assert.Equal([Fault.Corrupt, Fault.Corrupt], gaps.Select(g => g.Fault));
    }

    [Fact]
    public void Entries_of_no_size_are_ignored()
    {
        (DiskLayout layout, IReadOnlyList<CoverageGap> gaps) = Read(Mbr(100, (0, 0x83, 10, 0), (1, 0x83, 20, 5)));
        Assert.Equal(2, Assert.Single(layout.Partitions).Number);
        Assert.Empty(gaps);
    }

    [Fact]
    public void The_largest_numbers_of_an_mbr_overflow_nothing()
    {
        (DiskLayout layout, IReadOnlyList<CoverageGap> gaps) = Read(Mbr(100, (0, 0x83, uint.MaxValue, uint.MaxValue), (1, 0x05, uint.MaxValue, uint.MaxValue)), 4096);
        Assert.Empty(layout.Partitions);
        Assert.Equal(2, gaps.Count);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(5)]
    public void An_extended_chain_that_loops_ends_with_a_gap(uint back)
    {
        byte[] disk = Mbr(100, (0, 0x0F, 20, 60));
        BootRecord(disk, 20, (0, 0x83, 1, 2), (1, 0x05, 5, 10));
        BootRecord(disk, 25, (0, 0x83, 1, 2), (1, 0x05, back, 10));
        (DiskLayout layout, IReadOnlyList<CoverageGap> gaps) = Read(disk);
        Assert.Equal([5, 6], layout.Partitions.Select(p => p.Number));
        Assert.Contains("comes back", Assert.Single(gaps).Detail, StringComparison.Ordinal);
    }

    [Fact]
    public void An_extended_partition_at_sector_0_is_not_the_mbr_again()
    {
        (DiskLayout layout, IReadOnlyList<CoverageGap> gaps) = Read(Mbr(100, (0, 0x83, 10, 5), (1, 0x05, 0, 60)));
        Assert.Single(layout.Partitions);
        Assert.Equal(Fault.Corrupt, Assert.Single(gaps).Fault);
    }

    [Fact]
    public void An_extended_chain_without_end_is_limited()
    {
        byte[] disk = Mbr(6000, (0, 0x85, 1, 5999));
        for (int i = 1; i < 6000; i++)
        {
            BootRecord(disk, i, (1, 0x85, (uint)i, 1));
        }

        Assert.Equal(Fault.Limit, Assert.Single(Read(disk).Gaps).Fault);
    }

    [Fact]
    public void An_extended_record_that_is_missing_or_blank_is_reported()
    {
        Assert.Equal(Fault.Corrupt, Assert.Single(Read(Mbr(100, (0, 0x05, 20, 60))).Gaps).Fault);
        Assert.Equal(Fault.Truncated, Assert.Single(Read(Mbr(100, (0, 0x05, 200, 60))).Gaps).Fault);
    }

    [Fact]
    public void Code_where_the_table_would_be_is_no_table()
    {
        byte[] disk = Mbr(100, (0, 0x83, 10, 20));
        disk[446 + 32] = 0x4E;
        Assert.Equal("none", Read(disk).Layout.Scheme);
    }

    [Theory]
    [InlineData(12, 91u, "HeaderSize")]
    [InlineData(12, 513u, "HeaderSize")]
    [InlineData(84, 0u, "SizeOfPartitionEntry")]
    [InlineData(84, 64u, "SizeOfPartitionEntry")]
    [InlineData(84, 129u, "SizeOfPartitionEntry")]
    [InlineData(84, 0x8000_0000u, "SizeOfPartitionEntry")]
    [InlineData(80, 0xFFFF_FFFFu, "NumberOfPartitionEntries")]
    [InlineData(80, 65_537u, "NumberOfPartitionEntries")]
    [InlineData(8, 0x0002_0000u, "Revision")]
    [InlineData(24, 2u, "MyLBA")]
    [InlineData(72, 1u, "PartitionEntryLBA")]
    [InlineData(76, 0x8000_0000u, "PartitionEntryLBA")]
    [InlineData(76, 0x7FFF_FFFFu, "PartitionEntryLBA")]
    public void A_bad_primary_header_is_named_and_the_backup_is_read(int at, uint value, string field)
    {
        byte[] disk = Gpt(1, "-n", "1:64:127", "-n", "2:256:511");
        BinaryPrimitives.WriteUInt32LittleEndian(disk.AsSpan(PrimaryHeader + at), value);
        if (at != 12)
        {
            Span<byte> header = disk.AsSpan(PrimaryHeader, 92);
            header[16..20].Clear();
            BinaryPrimitives.WriteUInt32LittleEndian(disk.AsSpan(PrimaryHeader + 16), Crc32.Of(header));
        }

        (DiskLayout layout, IReadOnlyList<CoverageGap> gaps) = Read(disk);
        Assert.Equal("gpt", layout.Scheme);
        Assert.Equal([(64 * 512L, 64 * 512L), (256 * 512L, 256 * 512L)], layout.Partitions.Select(p => (p.OffsetBytes, p.SizeBytes)));
        Assert.Contains(field, Assert.Single(gaps).Detail, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(512 + 60)]
    [InlineData(1024 + 5)]
    [InlineData(512)]
    public void Damage_that_only_the_checksum_shows_leads_to_the_backup(int at)
    {
        byte[] disk = Gpt(1, "-n", "1:64:127");
        disk[at] ^= 1;
        (DiskLayout layout, IReadOnlyList<CoverageGap> gaps) = Read(disk);
        Assert.Equal(64 * 512, Assert.Single(layout.Partitions).OffsetBytes);
        Assert.Equal(Fault.Corrupt, Assert.Single(gaps).Fault);
    }

    [Fact]
    public void A_damaged_primary_still_leads_to_a_backup_that_is_not_at_the_end()
    {
        byte[] disk = [.. Gpt(1, "-n", "1:64:127"), .. new byte[1 << 20]];
        disk[512 + 60] ^= 1;
        Assert.Equal(64 * 512, Assert.Single(Read(disk).Layout.Partitions).OffsetBytes);
    }

    [Fact]
    public void With_both_copies_damaged_nothing_is_a_partition_and_both_are_reported()
    {
        byte[] disk = Gpt(1, "-n", "1:64:127");
        disk[512 + 60] ^= 1;
        disk[^452] ^= 1;
        (DiskLayout layout, IReadOnlyList<CoverageGap> gaps) = Read(disk);
        Assert.Equal("gpt", layout.Scheme);
        Assert.Empty(layout.Partitions);
        Assert.Equal(2, gaps.Count);
    }

    [Fact]
    public void A_protective_mbr_without_a_gpt_is_reported()
    {
        (DiskLayout layout, IReadOnlyList<CoverageGap> gaps) = Read(Mbr(100, (0, 0xEE, 1, 99)));
        Assert.Equal("gpt", layout.Scheme);
        Assert.Equal(2, gaps.Count);
    }

    [Theory]
    [InlineData(0UL, 0xFFFF_FFFF_FFFF_FFFFUL)]
    [InlineData(0x7FFF_FFFF_FFFF_FFFFUL, 0x7FFF_FFFF_FFFF_FFFFUL)]
    [InlineData(0x0040_0000_0000_0000UL, 0x0040_0000_0000_0001UL)]
    [InlineData(70UL, 69UL)]
    public void An_impossible_gpt_entry_is_reported_and_the_others_are_read(ulong first, ulong last)
    {
        byte[] disk = Gpt(1, "-n", "1:64:127", "-n", "2:256:511");
        BinaryPrimitives.WriteUInt64LittleEndian(disk.AsSpan(1024 + 32), first);
        BinaryPrimitives.WriteUInt64LittleEndian(disk.AsSpan(1024 + 40), last);
        RepairGpt(disk);
        (DiskLayout layout, IReadOnlyList<CoverageGap> gaps) = Read(disk);
        Assert.Equal(2, Assert.Single(layout.Partitions).Number);
        Assert.Equal(Fault.Corrupt, Assert.Single(gaps).Fault);
    }

    [Fact]
    public void The_entry_array_is_read_where_the_header_says()
    {
        byte[] disk = Gpt(4, "--move-main-table=1000", "-n", "1:2048:3000");
        (DiskLayout layout, IReadOnlyList<CoverageGap> gaps) = Read(disk);
        Assert.Equal(2048 * 512, Assert.Single(layout.Partitions).OffsetBytes);
        Assert.Contains(layout.Areas, a => a is { Name: "gpt-entries", OffsetBytes: 1000 * 512 });
        Assert.Empty(gaps);
    }

    [Fact]
    public void Without_its_protective_mbr_a_gpt_still_counts()
    {
        byte[] disk = Gpt(1, "-n", "1:64:127");
        disk.AsSpan(0, 512).Clear();
        Assert.Equal("gpt", Read(disk).Layout.Scheme);
    }

    [Fact]
    public void A_hybrid_disk_has_the_partitions_of_both_tables_once()
    {
        byte[] disk = Gpt(1, "-n", "1:64:127", "-n", "2:256:511", "-h", "1:EE");
        BootRecord(disk, 0, (3, 0x83, 1024, 10));
        (DiskLayout layout, IReadOnlyList<CoverageGap> gaps) = Read(disk);
        Assert.Equal([("gpt", 1), ("gpt", 2), ("mbr", 4)], layout.Partitions.Select(p => (p.Scheme, p.Number)));
        Assert.Empty(gaps);
    }

    [Fact]
    public void An_mbr_with_partitions_of_its_own_goes_before_an_unannounced_gpt()
    {
        byte[] disk = Gpt(1, "-n", "1:64:127", "-n", "2:1500:1600");
        disk.AsSpan(446, 64).Clear();
        BootRecord(disk, 0, (0, 0x83, 100, 900));
        (DiskLayout layout, _) = Read(disk);
        Assert.Equal("mbr", layout.Scheme);
        Assert.Equal([("mbr", 1), ("gpt", 2)], layout.Partitions.Select(p => (p.Scheme, p.Number)));
    }

    [Theory]
    [InlineData("mkfs.fat", "-F", "12")]
    [InlineData("mkfs.fat", "-F", "16")]
    [InlineData("mkfs.fat", "-F", "32")]
    [InlineData("mkfs.fat", "--mbr=yes", "-F", "32")]
    [InlineData("mkfs.fat", "-A", "-F", "16")]
    [InlineData("mkfs.ntfs", "-F", "-Q")]
    [InlineData("mkfs.exfat")]
    [InlineData("mke2fs", "-q")]
    public void A_file_system_without_a_table_is_one_volume(params string[] make)
    {
        using var scratch = new Scratch();
        string path = scratch["fs.raw"];
        File.WriteAllBytes(path, new byte[40 << 20]);
        Tool.Run(make[0], [.. make[1..], path]);
        (DiskLayout layout, IReadOnlyList<CoverageGap> gaps) = Read(File.ReadAllBytes(path));
        Assert.Equal("none", layout.Scheme);
        Assert.Empty(gaps);
    }

    [Fact]
    public void A_boot_sector_left_under_a_table_does_not_hide_the_partitions()
    {
        using var scratch = new Scratch();
        string path = scratch["fs.raw"];
        File.WriteAllBytes(path, new byte[4 << 20]);
        Tool.Run("mkfs.fat", path);
        byte[] disk = File.ReadAllBytes(path);
        BootRecord(disk, 0, (0, 0x83, 2048, 1000));
        disk.AsSpan(446, 4).Clear();
        (DiskLayout layout, IReadOnlyList<CoverageGap> gaps) = Read(disk);
        Assert.Equal("mbr", layout.Scheme);
        Assert.Equal("boot sector", Assert.Single(gaps).Structure);
    }
}
