using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.FileSystems.Xfs;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Xfs;

/// <summary>What a hostile guest writes into an XFS: each ends soon, in a gap, a fault or data, and all else is still read.</summary>
public sealed class XfsHostileTests(XfsHostileTests.Sample sample) : IClassFixture<XfsHostileTests.Sample>
{
    private const int BlockBytes = 1024;
    private const long BudgetBytes = 64 << 20;

    [Theory]
    [InlineData(4, 4, 3000, "sb_blocksize")]
    [InlineData(8, 8, ulong.MaxValue, "sb_dblocks")]
    [InlineData(8, 8, 1, "sb_dblocks")]
    [InlineData(84, 4, 0, "sb_agblocks")]
    [InlineData(84, 4, 0xFFFF_FFFF, "sb_agblocks")]
    [InlineData(88, 4, 0, "sb_agcount")]
    [InlineData(88, 4, 0xFFFF_FFFF, "sb_dblocks")]
    [InlineData(102, 2, 77, "sb_sectsize")]
    [InlineData(104, 2, 0, "sb_inodesize")]
    [InlineData(120, 1, 63, "sb_blocksize")]
    [InlineData(123, 1, 9, "sb_inopblog")]
    [InlineData(124, 1, 200, "sb_agblocks")]
    [InlineData(126, 1, 1, "sb_inprogress")]
    [InlineData(192, 1, 20, "sb_dirblklog")]
    public void A_superblock_that_contradicts_itself_is_reported_by_its_field(int at, int width, ulong value, string field)
    {
        byte[] image = sample.Copy();
        Put(image, at, width, value);
        XfsRepair.At(image, 0);
        List<GuestFile> files = Read(image, out IReadOnlyList<CoverageGap> gaps);
        Assert.Contains(gaps, g => g.Structure == "xfs_dsb" && g.Detail.Contains(field, StringComparison.Ordinal));
        Assert.Equal(sample.Files, files.Count);
    }

    [Theory]
    [InlineData(0x200, "zoned")]
    [InlineData(0x4000_0000, "bit 30")]
    public void An_unknown_feature_is_named(uint bit, string name)
    {
        byte[] image = sample.Copy();
        Put(image, 216, 4, BinaryPrimitives.ReadUInt32BigEndian(image.AsSpan(216)) | bit);
        XfsRepair.At(image, 0);
        DiskFormatException e = Assert.Throws<DiskFormatException>(() => Read(image, out _));
        Assert.Equal(Fault.Unsupported, e.Fault);
        Assert.Contains(name, e.Detail, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(3)]
    [InlineData(1)]
    public void An_old_version_is_not_guessed_at(int version)
    {
        byte[] image = sample.Copy();
        Put(image, 100, 2, (ulong)version);
        DiskFormatException e = Assert.Throws<DiskFormatException>(() => Read(image, out _));
        Assert.Equal(Fault.Unsupported, e.Fault);
    }

    [Theory]
    [InlineData("")]
    [InlineData("XFSB")]
    [InlineData("short")]
    public void Nothing_is_no_file_system(string content)
    {
        using var source = new MemorySource(Encoding.ASCII.GetBytes(content));
        Assert.False(new XfsFormat().ProbeCopy(source));
        Assert.Throws<DiskFormatException>(() => new XfsFormat().Open(source, Context(out _)));
    }

    [Theory]
    [InlineData(0, 4, 0)]
    [InlineData(8, 4, 7)]
    [InlineData(20, 4, 0)]
    [InlineData(20, 4, 0xFFFF_FFFF)]
    [InlineData(20, 4, 5000)]
    [InlineData(24, 4, 0)]
    [InlineData(24, 4, 2)]
    [InlineData(24, 4, 0xFFFF_FFFF)]
    public void Without_its_tree_a_groups_inodes_are_found_by_their_names(int at, int width, ulong value)
    {
        byte[] image = sample.Copy();
        Put(image, 1024 + at, width, value);
        XfsRepair.At(image, 1024);
        List<GuestFile> files = Read(image, out IReadOnlyList<CoverageGap> gaps);
        Assert.Contains(gaps, g => g.Detail.Contains("allocation group 0", StringComparison.Ordinal));
        Assert.Equal(sample.Files, files.Count);
    }

    [Fact]
    public void A_tree_that_leads_back_to_itself_ends()
    {
        byte[] image = sample.Copy();
        uint root = BinaryPrimitives.ReadUInt32BigEndian(image.AsSpan(1024 + 20));
        int block = (int)root * BlockBytes;
        Put(image, 1024 + 24, 4, 3);
        Put(image, block + 4, 2, 2);
        Put(image, block + 6, 2, 100);
        for (int at = 56; at < BlockBytes; at += 4)
        {
            Put(image, block + at, 4, root);
        }

        XfsRepair.At(image, 1024);
        XfsRepair.At(image, block);
        List<GuestFile> files = Read(image, out IReadOnlyList<CoverageGap> gaps);
        Assert.NotEmpty(gaps);
        Assert.Equal(sample.Files, files.Count);
    }

    [Theory]
    [InlineData(76, 4, 0xFFFF_FFFF, "di_nextents")]
    [InlineData(76, 4, 500, "di_nextents")]
    [InlineData(56, 8, 0x8000_0000_0000_0000, "di_size")]
    [InlineData(82, 1, 0xFF, "di_forkoff")]
    [InlineData(5, 1, 9, "di_format")]
    [InlineData(5, 1, 3, "bb_level")]
    [InlineData(5, 1, 1, "do not fit the inode")]
    public void A_file_whose_inode_lies_has_a_fault(int at, int width, ulong value, string detail)
    {
        GuestFile file = Patched("large", inode => Put(inode, at, width, value), out _);
        Assert.Contains(detail, file.Fault?.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public void An_absurd_count_of_extents_in_its_wide_field_is_a_fault()
    {
        GuestFile file = Patched("large", inode => { Put(inode, 120, 8, 0x10); Put(inode, 24, 8, 1UL << 60); }, out _);
        Assert.Contains("di_nextents", file.Fault?.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public void A_file_of_exabytes_is_holes_and_ends()
    {
        GuestFile file = Patched("large", inode => Put(inode, 56, 8, long.MaxValue), out IFileSystem system);
        using (system)
        {
            using IBlockSource content = system.OpenContent(file);
            Assert.Equal(long.MaxValue, content.Length);
            Assert.True(content.HoleLength(1 << 20, long.MaxValue - (1 << 20)) > 1L << 61);
            content.Read(long.MaxValue - 100, new byte[100]);
        }
    }

    [Theory]
    [InlineData(0x000F_FFFF_FFFF_FFFFUL, 3, "outside the file system")]
    [InlineData(100, 0x1F_FFFF, "outside the file system")]
    [InlineData(32000, 2000, "outside the file system")]
    public void An_extent_outside_the_file_system_is_a_fault(ulong block, ulong count, string detail)
    {
        GuestFile file = Patched("large", inode => { Put(inode, 176, 8, block >> 43); Put(inode, 184, 8, unchecked(block << 21) | count); }, out _);
        Assert.Contains(detail, file.Fault?.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public void Extents_over_each_other_are_a_fault_when_they_are_read()
    {
        GuestFile file = Patched(
            "large",
            inode =>
            {
                Put(inode, 76, 4, 2);
                inode.AsSpan(176, 16).CopyTo(inode.AsSpan(192));
            },
            out IFileSystem system);
        using (system)
        {
            using IBlockSource content = system.OpenContent(file);
            Assert.Throws<DiskFormatException>(() => content.Sha256());
        }
    }

    [Fact]
    public void A_mapping_tree_that_leads_back_to_itself_is_a_fault()
    {
        byte[] image = sample.Copy();
        int at = sample.InodeAt("large");

        // Its first data block becomes a node all of whose pointers lead to itself; the inode's fork is the root above it.
        ulong block = new BmbtRecord(image.AsSpan(at + 176, 16)).FsBlock;
        int node = sample.BlockOf("large");
        const int PointersOfRoot = 180 + ((512 - 180) / 16 * 8);
        const int PointersOfNode = 72 + ((BlockBytes - 72) / 16 * 8);
        Put(image, at + 5, 1, 3);
        Put(image, at + 82, 1, 0);
        Put(image, at + 76, 4, 400);
        Put(image, at + 176, 4, 0x0002_0001);
        Put(image, at + 180, 8, 0);
        Put(image, at + PointersOfRoot, 8, block);
        image.AsSpan(node, BlockBytes).Clear();
        Put(image, node, 8, 0x424D_4133_0001_0003);
        Put(image, node + 8, 8, ulong.MaxValue);
        Put(image, node + 16, 8, ulong.MaxValue);
        Put(image, node + 24, 8, (ulong)node / 512);
        image.AsSpan(32, 16).CopyTo(image.AsSpan(node + 40));
        Put(image, node + 56, 8, sample.Number("large"));
        for (int i = 0; i < 3; i++)
        {
            Put(image, node + 72 + (i * 8), 8, (ulong)i * 10);
            Put(image, node + PointersOfNode + (i * 8), 8, block);
        }

        XfsRepair.At(image, at);
        XfsRepair.At(image, node);
        using IFileSystem system = new XfsFormat().Open(new MemorySource(image), Context(out _));
        GuestFile file = system.Walk().Single(f => PathOf(f) == "large");
        DiskFormatException e = file.Fault ?? Assert.Throws<DiskFormatException>(() =>
        {
            using IBlockSource content = system.OpenContent(file);
            content.Sha256();
        });
        Assert.Equal("xfs_bmbt_block", e.Structure);
        Assert.Contains("bb_level", e.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public void Folders_in_a_circle_stand_below_the_orphans()
    {
        byte[] image = sample.Copy();
        int outer = sample.InodeAt("outer");
        // outer/inner becomes outer itself.
        int entry = outer + 176 + 6;
        Assert.Equal(5, image[entry]);
        Put(image, entry + 3 + 5 + 1, 4, sample.Number("outer"));
        XfsRepair.At(image, outer);
        List<GuestFile> files = Read(image, out _);
        Assert.All(files, f => Assert.True(f.Links[0].Path().Length < 1000));
        Assert.Contains(files, f => PathOf(f).StartsWith("$OrphanFiles/#", StringComparison.Ordinal));
    }

    [Fact]
    public void A_name_with_a_separator_cannot_leave_its_folder()
    {
        byte[] image = sample.Copy();
        int outer = sample.InodeAt("outer");
        "../a"u8.CopyTo(image.AsSpan(outer + 176 + 6 + 3));
        XfsRepair.At(image, outer);
        List<GuestFile> files = Read(image, out IReadOnlyList<CoverageGap> gaps);
        Assert.Contains(files, f => PathOf(f) == "outer/..%2Far");
        Assert.DoesNotContain(files, f => PathOf(f).Contains("/../", StringComparison.Ordinal));
        _ = gaps;
    }

    [Fact]
    public void A_folder_that_claims_the_blocks_of_another_is_a_gap()
    {
        byte[] image = sample.Copy();
        int many = sample.InodeAt("many"), more = sample.InodeAt("more");
        image.AsSpan(many + 176, 16).CopyTo(image.AsSpan(more + 176));
        XfsRepair.At(image, more);
        List<GuestFile> files = Read(image, out IReadOnlyList<CoverageGap> gaps);
        Assert.Contains(gaps, g => g.Path == "more");
        Assert.Equal(sample.Files, files.Count);
        Assert.Contains(files, f => PathOf(f).StartsWith("$OrphanFiles/#", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(64, 0xFFFF, 3)]
    [InlineData(64, 0xFFFF, 0)]
    public void Entries_of_impossible_length_end_their_block(int at, uint tag, uint length)
    {
        byte[] image = sample.Copy();
        int block = sample.BlockOf("many");
        Put(image, block + at, 2, tag);
        Put(image, block + at + 2, 2, length);
        XfsRepair.At(image, block);
        List<GuestFile> files = Read(image, out IReadOnlyList<CoverageGap> gaps);
        Assert.Contains(gaps, g => g.Path == "many");
        Assert.Equal(sample.Files, files.Count);
    }

    [Fact]
    public void A_wrong_checksum_is_a_gap_and_the_content_is_read()
    {
        byte[] image = sample.Copy();
        image[sample.InodeAt("large") + 40] ^= 1;
        image[sample.BlockOf("many") + 5] ^= 1;
        List<GuestFile> files = Read(image, out IReadOnlyList<CoverageGap> gaps);
        Assert.Equal(sample.Files, files.Count);
        Assert.Contains(gaps, g => g.Path == "large" && g.Detail.Contains("di_crc", StringComparison.Ordinal));
        Assert.Contains(gaps, g => g.Path == "many" && g.Detail.Contains("checksum", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(600)]
    [InlineData(70_000)]
    [InlineData(9_000_000)]
    [InlineData(20_000_000)]
    public void A_volume_that_ends_early_is_a_gap_or_refused(int length)
    {
        try
        {
            _ = Read(sample.Copy()[..length], out IReadOnlyList<CoverageGap> gaps);
            Assert.Contains(gaps, g => g.Fault == Fault.Truncated);
        }
        catch (DiskFormatException)
        {
        }
    }

    [Theory]
    [InlineData(1 << 20)]
    [InlineData(3 << 20)]
    public void Too_little_memory_is_a_limit(long budgetBytes)
    {
        var budget = new ScanBudget(budgetBytes);
        using var source = new MemorySource(sample.Copy());
        try
        {
            using IFileSystem system = new XfsFormat().Open(source, new ReadContext(budget, new GapList()));
            _ = system.Walk().Count();
        }
        catch (DiskFormatException e)
        {
            Assert.Equal(Fault.Limit, e.Fault);
        }

        Assert.Equal(0, budget.InUse);
    }

    private static string PathOf(GuestFile file) => Encoding.Latin1.GetString(file.Links[0].Path());

    private static ReadContext Context(out GapList gaps) => new(new ScanBudget(BudgetBytes), gaps = new GapList());

    private static void Put(byte[] image, int at, int width, ulong value)
    {
        for (int i = 0; i < width; i++)
        {
            image[at + i] = (byte)(value >> (8 * (width - 1 - i)));
        }
    }

    private static List<GuestFile> Read(byte[] image, out IReadOnlyList<CoverageGap> gaps)
    {
        ReadContext context = Context(out GapList list);
        List<GuestFile> files = XfsMutationTests.ReadAll(new MemorySource(image), context);
        Assert.Equal(0, context.Budget.InUse);
        gaps = list.ToList();
        return files;
    }

    private GuestFile Patched(string name, Action<byte[]> patch, out IFileSystem system)
    {
        byte[] image = sample.Copy();
        int at = sample.InodeAt(name);
        byte[] inode = image[at..(at + 512)];
        patch(inode);
        inode.CopyTo(image, at);
        XfsRepair.At(image, at);
        system = new XfsFormat().Open(new MemorySource(image), Context(out _));
        return system.Walk().Single(f => PathOf(f) == name);
    }

    /// <summary>One small image for all rows: blocks of 1 KiB, inodes of 512 bytes, two groups.</summary>
    public sealed class Sample
    {
        private readonly byte[] _image;
        private readonly Dictionary<string, ulong> _numbers;

        public Sample()
        {
            using var scratch = new Scratch();
            string listed = Tool.Shell("""
                truncate -s 32M image; mkfs.xfs --unsupported -q -f -b size=1024 -d agcount=2 image >/dev/null; mkdir mnt; mount -o loop image mnt; trap 'umount mnt' EXIT
                mkdir -p mnt/outer/inner mnt/many mnt/more; head -c 30000 /dev/urandom > mnt/large; printf x > mnt/outer/inner/x
                for i in $(seq 1 12); do printf $i > "mnt/many/a rather long name to fill the block $i"; printf $i > "mnt/more/another rather long name to fill it $i"; done
                ( cd mnt; stat -c '%i %n' * )
                """, scratch.Folder);
            _numbers = listed.Split('\n', StringSplitOptions.RemoveEmptyEntries).ToDictionary(l => l.Split(' ')[1], l => ulong.Parse(l.Split(' ')[0], CultureInfo.InvariantCulture));
            _image = File.ReadAllBytes(scratch["image"]);
            Files = XfsMutationTests.ReadAll(new MemorySource(_image), Context(out GapList gaps)).Count;
            Assert.Empty(gaps.ToList());
        }

        public int Files { get; }

        public byte[] Copy() => (byte[])_image.Clone();

        public ulong Number(string name) => _numbers[name];

        public int InodeAt(string name)
        {
            int log = _image[124] + _image[123];
            ulong number = _numbers[name];
            int group = (int)BinaryPrimitives.ReadUInt32BigEndian(_image.AsSpan(84)) * BlockBytes;
            return ((int)(number >> log) * group) + ((int)(number & ((1UL << log) - 1)) * 512);
        }

        /// <summary>The first block of a folder's data.</summary>
        public int BlockOf(string name)
        {
            var record = new BmbtRecord(_image.AsSpan(InodeAt(name) + 176, 16));
            int log = _image[124];
            int group = (int)BinaryPrimitives.ReadUInt32BigEndian(_image.AsSpan(84)) * BlockBytes;
            return ((int)(record.FsBlock >> log) * group) + ((int)(record.FsBlock & ((1UL << log) - 1)) * BlockBytes);
        }
    }
}
