using System.Buffers.Binary;
using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.FileSystems.Ext;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Ext;

/// <summary>What a hostile guest writes into an ext: each ends soon, in a gap, a fault or data, and all else is still read.</summary>
public sealed class ExtHostileTests : IDisposable
{
    private const int BlockBytes = 1024;
    private const long BudgetBytes = 64 << 20;
    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Theory]
    [InlineData(0x18, 4, 31, "s_log_block_size")]
    [InlineData(0x18, 4, 7, "s_log_block_size")]
    [InlineData(0x0, 4, 0xFFFF_FFFF, "s_inodes_count")]
    [InlineData(0x4, 4, 0, "s_blocks_count")]
    [InlineData(0x14, 4, 0xFFFF_FFFF, "s_blocks_count")]
    [InlineData(0x20, 4, 0, "s_blocks_per_group")]
    [InlineData(0x20, 4, 0xFFFF_FFFF, "s_blocks_per_group")]
    [InlineData(0x28, 4, 0, "s_inodes_per_group")]
    [InlineData(0x54, 4, 0, "s_first_ino")]
    [InlineData(0x58, 2, 0, "s_inode_size")]
    [InlineData(0x58, 2, 2048, "s_inode_size")]
    [InlineData(0xFE, 2, 1, "s_desc_size")]
    [InlineData(0xFE, 2, 0x8000, "s_desc_size")]
    public void A_superblock_that_contradicts_itself_is_refused_by_its_field(int at, int width, uint value, string field)
    {
        byte[] image = Small();
        Write(image, ExtSuperblock.PrimaryOffset + at, width, value);
        using var source = new MemorySource(image);
        DiskFormatException e = Assert.Throws<DiskFormatException>(() => new ExtFormat().Open(source, Context(out _)));
        Assert.Equal(Fault.Corrupt, e.Fault);
        Assert.Contains(field, e.Detail, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0x1, "Compression")]
    [InlineData(0x1000, "DirData")]
    [InlineData(0x8000_0000, "0x80000000")]
    public void An_unknown_feature_is_named(uint bit, string name)
    {
        byte[] image = Small();
        uint features = BinaryPrimitives.ReadUInt32LittleEndian(image.AsSpan(1024 + 0x60));
        Write(image, 1024 + 0x60, 4, features | bit);
        using var source = new MemorySource(image);
        Assert.True(new ExtFormat().Probe(source));
        DiskFormatException e = Assert.Throws<DiskFormatException>(() => new ExtFormat().Open(source, Context(out _)));
        Assert.Equal(Fault.Unsupported, e.Fault);
        Assert.Contains(name, e.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public void A_journal_device_is_recognised_as_one()
    {
        Tool.Shell("mke2fs -q -F -b 1024 -O journal_dev image 2M", _scratch.Folder);
        using var source = new FileSource(_scratch["image"]);
        Assert.True(new ExtFormat().Probe(source));
        DiskFormatException e = Assert.Throws<DiskFormatException>(() => new ExtFormat().Open(source, Context(out _)));
        Assert.Equal(Fault.Unsupported, e.Fault);
        Assert.Contains("journal", e.Detail, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("")]
    [InlineData("short")]
    public void Nothing_is_no_file_system(string content)
    {
        using var source = new MemorySource(Encoding.ASCII.GetBytes(content));
        Assert.False(new ExtFormat().Probe(source));
        Assert.Throws<DiskFormatException>(() => new ExtFormat().Open(source, Context(out _)));
    }

    [Fact]
    public void Random_bytes_and_zeros_are_no_file_system()
    {
        byte[] bytes = new byte[1 << 20];
        Assert.False(new ExtFormat().Probe(new MemorySource(bytes)));
        new Random(3).NextBytes(bytes);
        Assert.False(new ExtFormat().Probe(new MemorySource(bytes)));
    }

    [Fact]
    public void An_inode_table_outside_the_file_system_is_a_gap()
    {
        byte[] image = Small();
        Write(image, (2 * BlockBytes) + 8, 4, 0xFFFF_FF00);
        Assert.Empty(Paths(image, out IReadOnlyList<CoverageGap> gaps));
        Assert.Contains(gaps, g => g.Structure == "ext4_group_desc" && g.Detail.Contains("bg_inode_table", StringComparison.Ordinal) && g.Bytes > 0);
    }

    [Fact]
    public void A_short_volume_is_a_gap_and_what_is_there_is_read()
    {
        byte[] image = Small()[..(300 * BlockBytes)];
        List<string> paths = Paths(image, out IReadOnlyList<CoverageGap> gaps);
        Assert.Contains("tiny", paths);
        Assert.Contains(gaps, g => g.Fault == Fault.Truncated && g.Bytes > 0);
    }

    [Theory]
    [InlineData(6, 0xFFFF)]   // eh_depth
    [InlineData(6, 6)]
    [InlineData(2, 0xFFFF)]   // eh_entries
    [InlineData(0, 0)]        // eh_magic
    public void An_impossible_extent_header_is_the_files_fault(int at, uint value)
    {
        byte[] image = Small();
        Write(image, InodeAt(image, "large") + 0x28 + at, 2, value);
        GuestFile file = Assert.Single(Files(image, out _), f => Name(f) == "large");
        Assert.Equal(Fault.Corrupt, file.Fault!.Fault);
    }

    [Fact]
    public void An_extent_tree_that_leads_back_to_itself_ends()
    {
        byte[] image = Small();
        // The node, in a free block, claims to be an index whose entry is itself; the depths cannot all fit.
        int block = image.Length - BlockBytes;
        int root = InodeAt(image, "large") + 0x28;
        Header(image, root, 1, 4, 5);
        Index(image, root + 12, 0, block / BlockBytes);
        Header(image, block, 1, 84, 4);
        Index(image, block + 12, 0, block / BlockBytes);
        GuestFile file = Assert.Single(Files(image, out _), f => Name(f) == "large");
        Assert.Equal(Fault.Corrupt, file.Fault!.Fault);
        Assert.Contains("eh_depth", file.Fault.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public void An_extent_outside_the_file_system_is_refused_when_it_is_read()
    {
        byte[] image = Small();
        Write(image, InodeAt(image, "large") + 0x28 + 12 + 8, 4, 0xFFFF_FF00);
        using var source = new MemorySource(image);
        using IFileSystem system = new ExtFormat().Open(source, Context(out _));
        GuestFile file = Assert.Single(system.Walk(), f => Name(f) == "large");
        using IBlockSource content = system.OpenContent(file);
        Assert.Equal(Fault.Corrupt, Assert.Throws<DiskFormatException>(() => content.ReadAll()).Fault);
    }

    [Fact]
    public void A_sparse_file_of_sixteen_tebibytes_is_located_not_read()
    {
        byte[] image = Small();
        int inode = InodeAt(image, "large");
        Write(image, inode + 0x4, 4, 0);
        Write(image, inode + 0x6C, 4, 0x1000);
        using var source = new MemorySource(image);
        using IFileSystem system = new ExtFormat().Open(source, Context(out _));
        GuestFile file = Assert.Single(system.Walk(), f => Name(f) == "large");
        Assert.Equal(1L << 44, file.SizeBytes);
        using IBlockSource content = system.OpenContent(file);
        int extents = 0;
        long stored = 0;
        for (long at = 0; at < content.Length; extents++)
        {
            StoredExtent extent = content.Locate(at, content.Length - at);
            stored += extent.IsStored ? extent.Length : 0;
            at += extent.Length;
        }

        Assert.InRange(extents, 2, 8);
        Assert.InRange(stored, 1, image.Length);
    }

    [Theory]
    [InlineData(0x7FFF_FFFF)]
    [InlineData(0xFFFF_FFFF)]
    public void A_size_beyond_any_offset_does_no_harm(uint high)
    {
        byte[] image = Small();
        Write(image, InodeAt(image, "large") + 0x6C, 4, high);
        Write(image, InodeAt(image, "slow") + 0x6C, 4, high);
        GuestFile[] files = [.. Files(image, out _).Where(f => Name(f) is "large" or "slow")];
        Assert.Equal(2, files.Length);
        Assert.All(files, f => Assert.Equal(high > int.MaxValue, f.Fault is not null));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    [InlineData(11)]
    [InlineData(0xFFFC)]
    public void A_record_of_impossible_length_costs_the_rest_of_its_block_alone(uint length)
    {
        byte[] image = Small();
        int block = DirectoryBlockAt(image, "many");
        Write(image, block + 24 + 4, 2, length);
        List<string> paths = Paths(image, out IReadOnlyList<CoverageGap> gaps);
        Assert.Contains(gaps, g => g.Path == "many" && g.Structure == "ext4_dir_entry" && g.Fault == Fault.Corrupt);
        Assert.Contains("tiny", paths);
        // The names are lost with the block, the files are not.
        Assert.Contains(paths, p => p.StartsWith("$OrphanFiles/#", StringComparison.Ordinal));
    }

    [Fact]
    public void A_folder_that_holds_itself_or_its_parent_ends()
    {
        byte[] image = Small();
        int block = DirectoryBlockAt(image, "many");
        uint folder = NumberOf(image, "many");
        Write(image, block + 24, 4, folder);                                       // a file's name now leads to its own folder
        Write(image, block + 24 + BinaryPrimitives.ReadUInt16LittleEndian(image.AsSpan(block + 28)), 4, NumberOf(image, "a"));
        List<string> paths = Paths(image, out IReadOnlyList<CoverageGap> gaps);
        Assert.Contains("a/b/deep", paths);
        Assert.Contains(paths, p => p.StartsWith("many/", StringComparison.Ordinal));
        Assert.Contains(gaps, g => g.Detail.Contains("a folder with 2 names", StringComparison.Ordinal));
    }

    [Fact]
    public void Folders_that_hold_each_other_stand_below_OrphanFiles()
    {
        byte[] image = Small();
        // /a leads nowhere any more; its own subfolder b leads back to it.
        int root = DirectoryBlockAt(image, "/");
        int entry = EntryAt(image, root, "a");
        uint a = BinaryPrimitives.ReadUInt32LittleEndian(image.AsSpan(entry));
        Write(image, entry, 4, 0);
        int b = DirectoryBlockAt(image, "a/b", fromOriginal: true);
        int deep = EntryAt(image, b, "deep");
        Write(image, deep, 4, a);
        List<string> paths = Paths(image, out _);
        Assert.Contains(paths, p => p.StartsWith("$OrphanFiles/#", StringComparison.Ordinal) && p.EndsWith("/b", StringComparison.Ordinal));
    }

    [Fact]
    public void A_name_that_leads_to_an_unused_reserved_or_impossible_inode_is_a_gap()
    {
        foreach (uint target in (uint[])[0xFFFF_FFFF, 7, 90])
        {
            byte[] image = Small();
            Write(image, EntryAt(image, DirectoryBlockAt(image, "/"), "tiny"), 4, target);
            List<string> paths = Paths(image, out IReadOnlyList<CoverageGap> gaps);
            Assert.NotEmpty(gaps);
            Assert.DoesNotContain("tiny", paths);
            Assert.Contains(paths, p => p.StartsWith("$OrphanFiles/#", StringComparison.Ordinal));
        }
    }

    [Theory]
    [InlineData((byte)'/', "ti%2Fy")]
    [InlineData((byte)0, "ti%00y")]
    public void A_name_that_holds_a_separator_is_written_without_it(byte bad, string shown)
    {
        byte[] image = Small();
        image[EntryAt(image, DirectoryBlockAt(image, "/"), "tiny") + 8 + 2] = bad;
        Assert.Contains(shown, Paths(image, out IReadOnlyList<CoverageGap> gaps));
        Assert.Contains(gaps, g => g.Path == shown);
    }

    [Theory]
    [InlineData(0xFFFF_FFFF)]
    [InlineData(5000)]
    public void A_links_length_beyond_its_target_does_no_harm(uint length)
    {
        byte[] image = Small();
        Write(image, InodeAt(image, "link") + 0x4, 4, length);
        _ = ExtMutationTests.ReadAll(image, Context(out _));
    }

    [Fact]
    public void Inode_tables_that_overlap_are_read_once()
    {
        Tool.Shell("mke2fs -q -F -t ext2 -b 1024 -g 1024 -N 512 image 4M", _scratch.Folder);
        byte[] image = File.ReadAllBytes(_scratch["image"]);
        uint first = BinaryPrimitives.ReadUInt32LittleEndian(image.AsSpan(2048 + 8));
        for (int group = 1; group < 4; group++)
        {
            Write(image, 2048 + (32 * group) + 8, 4, first + (uint)(group % 2));
        }

        _ = Paths(image, out IReadOnlyList<CoverageGap> gaps);
        Assert.Contains(gaps, g => g.Detail.Contains("overlaps", StringComparison.Ordinal));
    }

    [Fact]
    public void Folders_that_share_blocks_are_read_once()
    {
        byte[] image = Small();
        byte[] map = image.AsSpan(InodeAt(image, "many") + 0x28, 60).ToArray();
        map.CopyTo(image, InodeAt(image, "a") + 0x28);
        _ = Paths(image, out IReadOnlyList<CoverageGap> gaps);
        Assert.Contains(gaps, g => g.Detail.Contains("another folder", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(0x10, 4, 0xFFFF_FFFF)]   // s_maxlen
    [InlineData(0x14, 4, 0xFFFF_FFFF)]   // s_first
    [InlineData(0x1C, 4, 0xFFFF_FFFF)]   // s_start
    [InlineData(0xC, 4, 512)]            // s_blocksize
    [InlineData(0x28, 4, 0x8000_0000)]   // s_feature_incompat
    [InlineData(0x0, 4, 0)]              // h_magic
    public void A_journal_that_cannot_be_read_is_a_gap_and_the_rest_is_read(int at, int width, uint value)
    {
        byte[] image = WithJournal(out int journal);
        Write(image, journal + at, width, value, big: true);
        List<string> paths = Paths(image, out IReadOnlyList<CoverageGap> gaps);
        Assert.Contains(gaps, g => g.Detail.Contains("journal was not replayed", StringComparison.Ordinal));
        Assert.Contains("tiny", paths);
    }

    [Fact]
    public void A_journal_of_nothing_but_descriptors_ends()
    {
        byte[] image = WithJournal(out int journal);
        Write(image, journal + 0x18, 4, 1, big: true);
        Write(image, journal + 0x1C, 4, 1, big: true);
        long[] blocks = ExtMutationTests.BlocksOf(_scratch["image"], "<8>");
        for (int block = 1; block < blocks.Length; block++)
        {
            int at = (int)blocks[block] * BlockBytes;
            image.AsSpan(at, BlockBytes).Clear();
            Write(image, at, 4, JournalSuperblock.Magic, big: true);
            Write(image, at + 4, 4, block % 2 == 0 ? 5u : 1u, big: true);
            Write(image, at + 8, 4, 1, big: true);
            Write(image, at + 12 + 4, 4, 8, big: true);
        }

        Assert.Contains("tiny", Paths(image, out _));
    }

    private byte[] Small()
    {
        if (!File.Exists(_scratch["small"]))
        {
            Tool.Shell("""
                mkdir -p tree/a/b tree/many; head -c 200000 /dev/urandom > tree/large; printf tiny > tree/tiny; printf deep > tree/a/b/deep; ln -s target tree/link
                for i in $(seq 1 10); do : > "tree/many/file with a name $i"; done; printf slow > tree/slow
                mke2fs -q -F -t ext4 -b 1024 -N 96 -O ^metadata_csum,^has_journal,64bit,^resize_inode -d tree small 600k
                """, _scratch.Folder);
        }

        return File.ReadAllBytes(_scratch["small"]);
    }

    private byte[] WithJournal(out int journal)
    {
        Tool.Shell("""
            printf tiny > tiny; mke2fs -q -F -t ext4 -b 1024 -N 96 -J size=1 -O ^metadata_csum image 2100k 2>/dev/null
            debugfs -w -R 'write tiny tiny' image 2>/dev/null; debugfs -w -R 'feature needs_recovery' image 2>/dev/null
            """, _scratch.Folder);
        journal = int.Parse(Tool.Run("debugfs", "-R", "bmap <8> 0", _scratch["image"]).Trim(), System.Globalization.CultureInfo.InvariantCulture) * BlockBytes;
        return File.ReadAllBytes(_scratch["image"]);
    }

    private int InodeAt(byte[] image, string file)
    {
        int table = (int)BinaryPrimitives.ReadUInt32LittleEndian(image.AsSpan(2048 + 8)) * BlockBytes;
        return table + ((int)(NumberOf(image, file) - 1) * BinaryPrimitives.ReadUInt16LittleEndian(image.AsSpan(1024 + 0x58)));
    }

    private uint NumberOf(byte[] image, string file)
    {
        _ = image;
        string stat = Tool.Run("debugfs", "-R", $"stat {file}", _scratch["small"]);
        return uint.Parse(stat.Split([' ', '\n'], StringSplitOptions.RemoveEmptyEntries)[1], System.Globalization.CultureInfo.InvariantCulture);
    }

    private int DirectoryBlockAt(byte[] image, string folder, bool fromOriginal = true)
    {
        _ = image;
        Assert.True(fromOriginal);
        return int.Parse(Tool.Run("debugfs", "-R", $"bmap {folder} 0", _scratch["small"]).Trim(), System.Globalization.CultureInfo.InvariantCulture) * BlockBytes;
    }

    private static int EntryAt(byte[] image, int block, string name)
    {
        for (int at = block; at < block + BlockBytes; at += BinaryPrimitives.ReadUInt16LittleEndian(image.AsSpan(at + 4)))
        {
            if (Encoding.ASCII.GetString(image, at + 8, image[at + 6]) == name)
            {
                return at;
            }
        }

        throw new InvalidOperationException($"no {name}");
    }

    private static void Header(byte[] image, int at, int entries, int max, int depth)
    {
        Write(image, at, 2, 0xF30A);
        Write(image, at + 2, 2, (uint)entries);
        Write(image, at + 4, 2, (uint)max);
        Write(image, at + 6, 2, (uint)depth);
    }

    private static void Index(byte[] image, int at, uint first, int block)
    {
        Write(image, at, 4, first);
        Write(image, at + 4, 4, (uint)block);
        Write(image, at + 8, 4, 0);
    }

    private static void Write(byte[] image, int at, int width, uint value, bool big = false)
    {
        for (int i = 0; i < width; i++)
        {
            image[at + (big ? width - 1 - i : i)] = (byte)(value >> (8 * i));
        }
    }

    private static string Name(GuestFile file) => Encoding.UTF8.GetString(file.Links[0].Path());

    private static ReadContext Context(out GapList gaps) => new(new ScanBudget(BudgetBytes), gaps = new GapList());

    private static List<GuestFile> Files(byte[] image, out IReadOnlyList<CoverageGap> found)
    {
        ReadContext context = Context(out GapList gaps);
        List<GuestFile> files = ExtMutationTests.ReadAll(image, context);
        Assert.Equal(0, context.Budget.InUse);
        found = gaps.ToList();
        return files;
    }

    private static List<string> Paths(byte[] image, out IReadOnlyList<CoverageGap> gaps) =>
        [.. Files(image, out gaps).SelectMany(f => f.Links).Select(l => Encoding.UTF8.GetString(l.Path()))];
}
