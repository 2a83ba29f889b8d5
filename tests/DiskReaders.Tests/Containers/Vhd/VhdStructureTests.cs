using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.DiskReaders.Tests.Containers.Vhd;

/// <summary>Damaged and odd VHD files, and those of old products.</summary>
public sealed class VhdStructureTests
{
    private const int Block = 64 << 10;

    private static readonly byte[] First = VhdWriter.Noise(1, Block);
    private static readonly byte[] Last = VhdWriter.Noise(2, Block);
    private static readonly byte[] Expected = [.. First, .. new byte[2 * Block], .. Last[..(8 << 10)]];

    public static TheoryData<string, int, byte[], Fault> Hostile => new()
    {
        { "footer: another version", -512 + 12, [0, 2, 0, 0], Fault.Unsupported },
        { "footer: no type", -512 + 60, [0, 0, 0, 0], Fault.Unsupported },
        { "footer: type 5", -512 + 60, [0, 0, 0, 5], Fault.Unsupported },
        { "footer: size 0", -512 + 48, new byte[8], Fault.Corrupt },
        { "footer: size of half a sector", -512 + 54, [1, 0], Fault.Corrupt },
        { "footer: size beyond 2 TiB", -512 + 48, [0, 0, 2, 0, 0, 0, 0, 0], Fault.Corrupt },
        { "footer: size above 2^63", -512 + 48, [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE, 0], Fault.Corrupt },
        { "footer: more blocks than the table", -512 + 48, [0, 0, 0, 0xFF, 0, 0, 0, 0], Fault.Corrupt },
        { "footer: header beyond the end", -512 + 16, [0, 0, 0, 1, 0, 0, 0, 0], Fault.Truncated },
        { "footer: header above 2^63", -512 + 16, [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], Fault.Corrupt },
        { "header: cookie", 512, "cxspares"u8.ToArray(), Fault.Corrupt },
        { "header: another version", 512 + 24, [0, 2, 0, 0], Fault.Unsupported },
        { "header: table beyond the end", 512 + 16, [0, 0, 0, 1, 0, 0, 0, 0], Fault.Truncated },
        { "header: table at an odd place", 512 + 23, [1], Fault.Corrupt },
        { "header: too few entries", 512 + 28, [0, 0, 0, 3], Fault.Corrupt },
        { "header: block size 0", 512 + 32, [0, 0, 0, 0], Fault.Corrupt },
        { "header: block size no power of two", 512 + 32, [0, 3, 0, 0], Fault.Corrupt },
        { "header: block size 2 GiB", 512 + 32, [0x80, 0, 0, 0], Fault.Corrupt },
        { "table: a block over the header", VhdWriter.TableAt, [0, 0, 0, 1], Fault.Corrupt },
        { "table: a block over the table", VhdWriter.TableAt, [0, 0, 0, 11], Fault.Corrupt },
        { "table: a block in the footer's copy", VhdWriter.TableAt, [0, 0, 0, 0], Fault.Corrupt },
        { "table: a block beyond the end", VhdWriter.TableAt, [0, 0, 0x40, 0], Fault.Truncated },
        { "table: a block that ends beyond the end", VhdWriter.TableAt, [0, 0, 1, 0], Fault.Truncated },
        { "table: the last sector there may be", VhdWriter.TableAt, [0xFF, 0xFF, 0xFF, 0xFE], Fault.Truncated },
    };

    [Theory]
    [MemberData(nameof(Hostile))]
    public void A_bad_field_is_a_fault(string why, int at, byte[] value, Fault fault)
    {
        byte[] image = Image().Build();
        value.CopyTo(image, at < 0 ? image.Length + at : at);
        VhdWriter.Repair(image);
        Assert.True(Vhd.Fault(("disk.vhd", image)).Fault == fault, why);
    }

    [Fact]
    public void Blocks_bitmaps_and_holes_are_read()
    {
        Assert.Equal(Expected, Vhd.Read(out IReadOnlyList<CoverageGap> gaps, ("disk.vhd", Image().Build())));
        Assert.Empty(gaps);
    }

    [Theory]
    [InlineData(4096)]
    [InlineData(512 << 10)]
    [InlineData(2 << 20)]
    [InlineData(16 << 20)]
    public void Blocks_may_have_any_size(int blockBytes)
    {
        byte[] content = VhdWriter.Noise(3, blockBytes);
        byte[] image = new VhdWriter { BlockBytes = blockBytes, DiskBytes = 2L * blockBytes }.Block(1, content, i => i % 5 != 0 && i > 3).Build();
        byte[] expected = [.. new byte[blockBytes], .. content];
        for (int i = 0; i < blockBytes / 512; i++)
        {
            if (i % 5 == 0 || i <= 3)
            {
                expected.AsSpan(blockBytes + (i * 512), 512).Clear();
            }
        }

        Assert.Equal(expected, Vhd.Read(("disk.vhd", image)));
    }

    [Fact]
    public void Bytes_in_sectors_that_were_never_written_read_as_zeros_and_are_reported_once()
    {
        byte[] image = new VhdWriter().Block(0, First, i => i < 8 || i > 20).Block(1, Last, i => i % 2 == 0).Block(2, new byte[Block], _ => false).Build();
        byte[] content = Vhd.Read(out IReadOnlyList<CoverageGap> gaps, ("disk.vhd", image));
        Assert.Equal(-1, content.AsSpan(8 * 512, 13 * 512).IndexOfAnyExcept((byte)0));
        Assert.Equal("VHD sector bitmap", Assert.Single(gaps).Structure);
        Vhd.Read(out gaps, ("disk.vhd", new VhdWriter().Block(2, new byte[Block], _ => false).Build()));
        Assert.Empty(gaps);
    }

    [Fact]
    public void A_raw_disk_whose_last_sector_is_a_footer_is_not_what_it_is_called()
    {
        byte[] image = new VhdWriter { DiskBytes = Block }.BuildFixed(First);
        Assert.Equal("vhd", ContainerFormats.Disagreement(Vhd.File(image), ContainerFormats.Raw));
        Assert.Null(ContainerFormats.Disagreement(Vhd.File(image), Vhd.Format));
        Assert.Null(ContainerFormats.Disagreement(Vhd.File(First), ContainerFormats.Raw));
    }

    [Fact]
    public void The_copy_serves_where_the_footer_is_damaged_and_that_is_reported()
    {
        byte[] image = Image().Build();
        image[^500] ^= 1;
        Assert.Equal(Expected, Vhd.Read(out IReadOnlyList<CoverageGap> gaps, ("disk.vhd", image)));
        Assert.Equal(Fault.Corrupt, Assert.Single(gaps).Fault);
        Assert.Equal(Expected, Vhd.Read(out gaps, ("disk.vhd", Image().Build()[..^512])));
        Assert.Equal(Fault.Corrupt, Assert.Single(gaps).Fault);
    }

    [Fact]
    public void Wrong_checksums_everywhere_are_reported_and_the_disk_is_read()
    {
        byte[] image = Image().Build();
        image[64] ^= 1;
        image[^448] ^= 1;
        image[512 + 36] ^= 1;
        Assert.Equal(Expected, Vhd.Read(out IReadOnlyList<CoverageGap> gaps, ("disk.vhd", image)));
        Assert.Equal(2, gaps.Count);
    }

    [Fact]
    public void A_footer_that_differs_from_its_copy_counts_and_is_reported()
    {
        byte[] image = Image().Build();
        image[70] ^= 1;
        VhdWriter.Checksum(image.AsSpan(0, 512), 64);
        Vhd.Read(out IReadOnlyList<CoverageGap> gaps, ("disk.vhd", image));
        Assert.Equal(Fault.Corrupt, Assert.Single(gaps).Fault);
    }

    [Fact]
    public void A_file_cut_within_a_block_is_truncated_and_not_zeros()
    {
        // From the middle of block 0, which comes second.
        byte[] image = new VhdWriter().Block(3, Last).Block(0, First).Build()[..^(Block / 2)];
        Assert.Equal(Fault.Truncated, Vhd.Fault(("disk.vhd", image)).Fault);
    }

    [Fact]
    public void A_footer_of_511_bytes_is_read()
    {
        byte[] image = Image().Build()[..^1];
        Assert.True(Vhd.Format.Probe(Vhd.File(image)));
        Assert.Equal(Expected, Vhd.Read(out IReadOnlyList<CoverageGap> gaps, ("disk.vhd", image)));
        Assert.Empty(gaps);
        Assert.Equal(First, Vhd.Read(("disk.vhd", new VhdWriter { DiskBytes = Block }.BuildFixed(First)[..^1])));
    }

    [Fact]
    public void A_fixed_disk_whose_guest_wrote_a_dynamic_disk_into_it_stays_fixed()
    {
        byte[] inner = Image().Build();
        inner = [.. inner, .. new byte[-inner.Length & 0xFFF]];
        byte[] image = new VhdWriter { DiskBytes = inner.Length }.BuildFixed(inner);
        Assert.Equal(inner, Vhd.Read(out IReadOnlyList<CoverageGap> gaps, ("disk.vhd", image)));
        Assert.Empty(gaps);
    }

    [Fact]
    public void A_fixed_disk_larger_than_its_file_is_truncated() =>
        Assert.Equal(Fault.Truncated, Vhd.Fault(("disk.vhd", new VhdWriter { DiskBytes = 2 * Block }.BuildFixed(First))).Fault);

    [Theory]
    [InlineData("vpc ", 6, 4, 17, 6 * 4 * 17)]
    [InlineData("qemu", 5, 4, 17, 5 * 4 * 17)]
    [InlineData("win ", 5, 4, 17, 400)]
    [InlineData("qem2", 5, 4, 17, 400)]
    [InlineData("vs  ", 5, 4, 17, 400)]
    [InlineData("vpc ", 65535, 16, 255, 400)]
    [InlineData("vpc ", 1, 4, 17, 400)]
    [InlineData("vpc ", 0, 0, 0, 400)]
    public void The_creator_decides_whether_the_geometry_is_the_size(string creator, int cylinders, int heads, int sectors, int expected)
    {
        byte[] image = new VhdWriter { Creator = creator, Geometry = (cylinders, heads, sectors), DiskBytes = 400 * 512, BlockBytes = 256 << 10 }.Build();
        Assert.Equal(expected * 512, Vhd.Read(("disk.vhd", image)).Length);
    }

    [Fact]
    public void What_is_no_vhd_is_not_recognised()
    {
        Assert.True(Vhd.Format.Probe(Vhd.File(Image().Build())));
        Assert.True(Vhd.Format.Probe(Vhd.File(new VhdWriter().BuildFixed(First))));
        Assert.False(Vhd.Format.Probe(Vhd.File("conectix"u8.ToArray())));
        Assert.False(Vhd.Format.Probe(Vhd.File(new byte[4096])));
        Assert.False(Vhd.Format.Probe(Vhd.File([])));
    }

    [Fact]
    public void A_disk_of_2040_GB_opens_in_little_memory()
    {
        const long DiskBytes = 2040L << 30;
        byte[] image = new VhdWriter { DiskBytes = DiskBytes, BlockBytes = 2 << 20 }.Block((DiskBytes >> 21) - 1, new byte[] { 1 }).Build();
        var budget = new ScanBudget(2 << 20);
        using VirtualDisk disk = Vhd.Open(new ReadContext(budget, new GapList()), out Golden.FolderChain chain, ("disk.vhd", image));
        using (chain)
        {
            byte[] sector = new byte[512];
            disk.Content.Read(DiskBytes - (2 << 20), sector);
            Assert.Equal(1, sector[0]);
            long answers = 0;
            for (long at = 0; at < DiskBytes; answers++)
            {
                at += disk.Content.Locate(at, DiskBytes - at).Length;
            }

            Assert.InRange(answers, 1, 200);
        }
    }

    private static VhdWriter Image() => new VhdWriter().Block(3, Last).Block(0, First);
}
