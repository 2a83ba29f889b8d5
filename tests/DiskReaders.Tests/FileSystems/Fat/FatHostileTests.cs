using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.FileSystems.Fat;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Fat;

public sealed class FatHostileTests
{
    private const string Name = "FILE    BIN";
    private const byte Folder = 0x10;

    [Theory]
    [InlineData(11, 0, 0)]
    [InlineData(11, 0, 1)]
    [InlineData(11, 0, 0x20)]
    [InlineData(11, 1, 2)]
    [InlineData(13, 0)]
    [InlineData(13, 3)]
    [InlineData(14, 0, 0)]
    [InlineData(14, 0xFF, 0xFF)]
    [InlineData(16, 0)]
    [InlineData(16, 255)]
    [InlineData(17, 0xFF, 0xFF)]
    [InlineData(19, 0, 0)]
    [InlineData(19, 4, 0)]
    [InlineData(21, 0)]
    [InlineData(22, 0xFF, 0xFF)]
    public void A_bad_parameter_block_is_no_fat(int at, params int[] bytes)
    {
        byte[] image = new FatBuilder().Image;
        bytes.Select(b => (byte)b).ToArray().CopyTo(image, at);
        using var source = new MemorySource(image);
        Assert.False(new FatFormat().Probe(source));
        Assert.Throws<DiskFormatException>(() => new FatFormat().Open(source, new ReadContext(new ScanBudget(1 << 20), new GapList())));
    }

    [Fact]
    public void A_volume_shorter_than_a_sector_is_no_fat()
    {
        using var source = new MemorySource(new byte[100]);
        Assert.False(new FatFormat().Probe(source));
    }

    [Theory]
    [InlineData(0x0FFF_FFFFu)]
    [InlineData(0u)]
    [InlineData(1u)]
    public void A_fat32_whose_root_is_nowhere_cannot_be_listed(uint root)
    {
        using var scratch = new Scratch();
        byte[] image = File.ReadAllBytes(FatImages.Make(scratch, 40, null, "-F", "32"));
        BitConverter.TryWriteBytes(image.AsSpan(44), root);
        DiskFormatException e = Assert.Throws<DiskFormatException>(() => FatImages.List(image));
        Assert.Equal(44, e.Offset);
    }

    [Fact]
    public void A_chain_shorter_than_its_file_gives_what_is_there_and_then_fails()
    {
        byte[] image = Chained([5, 6], 4 * 512);
        using var source = new MemorySource(image);
        using IFileSystem fat = new FatFormat().Open(source, new ReadContext(new ScanBudget(1 << 20), new GapList()));
        using IBlockSource content = fat.OpenContent(fat.Walk().Single(f => f.Kind == GuestFileKind.Regular));
        byte[] part = new byte[1024];
        content.Read(0, part);
        Assert.Equal((5, 6), (part[0], part[1023]));
        Assert.Equal(Fault.Truncated, Assert.Throws<DiskFormatException>(() => content.Read(1024, new byte[1])).Fault);
        Assert.Equal(Fault.Truncated, Assert.Throws<DiskFormatException>(() => content.Read(0, new byte[1025])).Fault);
    }

    [Theory]
    [InlineData(new[] { 5, 5 })]
    [InlineData(new[] { 5, 6, 5 })]
    [InlineData(new[] { 5, 6, 7, 8, 9, 7 })]
    [InlineData(new[] { 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 6 })]
    public void A_chain_that_loops_is_read_once_around(int[] chain)
    {
        var builder = new FatBuilder();
        builder.Root(Name, 5, 40 * 512);
        for (int i = 0; i + 1 < chain.Length; i++)
        {
            builder.Next(chain[i], chain[i + 1]);
        }

        using var source = new MemorySource(builder.Image);
        using IFileSystem fat = new FatFormat().Open(source, new ReadContext(new ScanBudget(1 << 20), new GapList()));
        using IBlockSource content = fat.OpenContent(fat.Walk().Single(f => f.Kind == GuestFileKind.Regular));
        byte[] whole = new byte[(chain.Length - 1) * 512];
        content.Read(0, whole);
        Assert.Equal(chain[^2], whole[^1]);
        Assert.Contains("comes back", Assert.Throws<DiskFormatException>(() => content.Read(whole.Length, new byte[1])).Detail, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(62)]
    [InlineData(0xFFFF)]
    public void A_file_that_begins_nowhere_is_listed_and_cannot_be_read(int first) =>
        Assert.Equal(["FILE.BIN\t100\tTruncated"], FatImages.List(new FatBuilder().Root(Name, first, 100).Image).Files);

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(0xFF7)]
    [InlineData(62)]
    [InlineData(0xFF0)]
    public void A_chain_that_runs_into_no_cluster_ends_there(int entry) =>
        Assert.Equal(["FILE.BIN\t1000\tTruncated"], FatImages.List(new FatBuilder().Root(Name, 5, 1000).Next(5, entry).Image).Files);

    [Fact]
    public void Files_that_share_clusters_are_both_read()
    {
        var builder = new FatBuilder().Chain(5, 6).Root("A          ", 5, 1024).Root("B          ", 6, 512);
        (List<string> files, IReadOnlyList<CoverageGap> gaps, _) = FatImages.List(builder.Image);
        Assert.Equal(2, files.Count);
        Assert.DoesNotContain(files, f => f.EndsWith("Truncated", StringComparison.Ordinal));
        Assert.Empty(gaps);
    }

    [Fact]
    public void A_folder_in_itself_is_entered_once()
    {
        var builder = new FatBuilder().Chain(5).Root("LOOP       ", 5, 0, Folder)
            .Folder(5, (".          ", 5, Folder), ("..         ", 0, Folder), ("AGAIN      ", 5, Folder), (Name, 0, 0x20));
        (List<string> files, IReadOnlyList<CoverageGap> gaps, _) = FatImages.List(builder.Image);
        Assert.Single(files);
        Assert.Equal(("LOOP/AGAIN", Fault.Corrupt), (Assert.Single(gaps).Path, gaps[0].Fault));
    }

    [Fact]
    public void A_folder_whose_chain_loops_is_read_once()
    {
        var builder = new FatBuilder().Root("LOOP       ", 5, 0, Folder).Next(5, 6).Next(6, 5).Folder(5, (Name, 0, 0x20)).Folder(6, ("OTHER      ", 0, 0x20));
        (List<string> files, IReadOnlyList<CoverageGap> gaps, _) = FatImages.List(builder.Image);
        Assert.Equal(2, files.Count);
        Assert.Equal(("LOOP", Fault.Corrupt), (Assert.Single(gaps).Path, gaps[0].Fault));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(99)]
    public void A_folder_that_begins_nowhere_is_reported(int cluster) =>
        Assert.Equal("GONE", Assert.Single(FatImages.List(new FatBuilder().Root("GONE       ", cluster, 0, Folder).Image).Gaps).Path);

    [Fact]
    public void Folders_in_each_other_without_end_are_limited()
    {
        const int Depth = 5000;
        var builder = new FatBuilder(Depth + 10).Root("D          ", 2, 0, Folder);
        for (int cluster = 2; cluster < Depth; cluster++)
        {
            builder.Chain(cluster).Folder(cluster, ("D          ", cluster + 1, Folder));
        }

        Assert.Equal(Fault.Limit, Assert.Single(FatImages.List(builder.Image).Gaps).Fault);
    }

    [Theory]
    [InlineData("..")]
    [InlineData(".")]
    [InlineData("")]
    [InlineData("a/b")]
    [InlineData("../../etc")]
    public void A_long_name_that_would_change_the_path_gives_way_to_the_short_one(string name) =>
        Assert.Equal(["FILE.BIN"], Names(new FatBuilder().Long(name, Name).Root(Name, 0, 0)));

    [Theory]
    [InlineData("emoji \U0001F600")]
    [InlineData("\u202Eexe.txt")]
    [InlineData("a\nb\tc\u001B[2J")]
    public void A_long_name_is_given_as_the_guest_has_it(string name) =>
        Assert.Equal([name], Names(new FatBuilder().Long(name, Name).Root(Name, 0, 0)));

    [Fact]
    public void An_unpaired_surrogate_becomes_three_bytes()
    {
        using var source = new MemorySource(new FatBuilder().Long("a\uD800", Name).Root(Name, 0, 0).Image);
        using IFileSystem fat = new FatFormat().Open(source, new ReadContext(new ScanBudget(1 << 20), new GapList()));
        Assert.Equal("61EDA080", Convert.ToHexString(fat.Walk().Last().Links[0].Name));
    }

    [Theory]
    [InlineData("A/B     C/D", "A\u2215B.C\u2215D")]
    [InlineData("A\0B        ", "A\u2400B")]
    [InlineData("           ", "\u2420")]
    [InlineData("..         ", "\u2024\u2024")]
    [InlineData(".          ", "\u2024")]
    [InlineData("        EXT", ".EXT")]
    [InlineData("\u0005BC        ", "\u03C3BC")]
    [InlineData("\u008E\u0081       ", "\u00C4\u00FC")]
    [InlineData("\u001B[31m     ", "\u001B[31m")]
    [InlineData("A B C   D E", "A B C.D E")]
    public void A_short_name_says_what_the_guest_sees_and_never_a_path(string name, string shown) =>
        Assert.Equal([shown], Names(new FatBuilder().Root(name.PadRight(11)[..11], 0, 0)));

    [Theory]
    [InlineData(0x00, "NAME.EXT")]
    [InlineData(0x08, "name.EXT")]
    [InlineData(0x10, "NAME.ext")]
    [InlineData(0x18, "name.ext")]
    public void Lower_case_flags_of_windows_nt_count(byte flags, string shown) =>
        Assert.Equal([shown], Names(new FatBuilder().Root("NAME    EXT", 0, 0, ntRes: flags)));

    [Fact]
    public void Parts_of_long_names_that_do_not_fit_are_passed_over()
    {
        Assert.Equal(["FILE.BIN"], Names(new FatBuilder().Long("wrong sum", Name, checksumOff: 1).Root(Name, 0, 0)));
        Assert.Equal(["FILE.BIN"], Names(new FatBuilder().Long("first lost", Name, order: 0x42).Root(Name, 0, 0)));
        Assert.Equal(["FILE.BIN"], Names(new FatBuilder().Long("no last", Name, order: 0x01).Root(Name, 0, 0)));
        Assert.Equal(["FILE.BIN"], Names(new FatBuilder().Long("interrupted", Name).Skip(0xE5).Root(Name, 0, 0)));
        Assert.Equal(["FILE.BIN"], Names(new FatBuilder().Long("order 0", Name, order: 0x40).Root(Name, 0, 0)));
        Assert.Equal(["FILE.BIN"], Names(new FatBuilder().Long("order 63", Name, order: 0x7F).Root(Name, 0, 0)));
        Assert.Equal(["right"], Names(new FatBuilder().Long("orphan", "OTHER   BIN").Long("right", Name).Root(Name, 0, 0)));
    }

    [Fact]
    public void Deleted_entries_are_not_listed_and_the_label_is_no_file()
    {
        var builder = new FatBuilder().Root("\u00E5DEL    BIN", 5, 10).Root("MY LABEL   ", 0, 0, 0x08).Root(Name, 0, 0);
        (List<string> files, _, FileSystemFacts facts) = FatImages.List(builder.Image);
        Assert.Single(files);
        Assert.Equal("MY LABEL", facts.Label);
    }

    [Fact]
    public void Sound_entries_behind_the_end_of_a_folder_are_listed_as_linux_does_and_noise_is_not()
    {
        var builder = new FatBuilder().Root("A          ", 0, 0).Skip(0).Root("HIDDEN  EXE", 5, 10).Root("\u0001\u0002noise\u0003\u0004\u0006\u0007", 7, 3);
        Assert.Equal(["A", "HIDDEN.EXE"], Names(builder));
    }

    [Fact]
    public void When_the_copies_of_the_table_differ_the_first_sound_one_is_read_and_that_is_reported()
    {
        var builder = new FatBuilder().Chain(5, 6, 7).Root(Name, 5, 1536);
        string sound = FatImages.List(builder.Image).Files[0];
        builder.Next(5, 0x300, onlyCopy: 0);
        (List<string> files, IReadOnlyList<CoverageGap> gaps, _) = FatImages.List(builder.Image);
        Assert.Equal(sound, Assert.Single(files));
        Assert.Contains("copy 2 is read", Assert.Single(gaps).Detail, StringComparison.Ordinal);
    }

    [Fact]
    public void Without_mirroring_the_active_table_is_read()
    {
        using var scratch = new Scratch();
        string content = FatImages.Fill(scratch);
        byte[] image = File.ReadAllBytes(FatImages.Make(scratch, 40, content, "-F", "32"));
        int reserved = BitConverter.ToUInt16(image, 14);
        int fatBytes = BitConverter.ToInt32(image, 36) * 512;
        image.AsSpan(reserved * 512, fatBytes).Fill(0xA5);
        image[40] = 0x81;
        (List<string> files, IReadOnlyList<CoverageGap> gaps, _) = FatImages.List(image);
        Assert.Equal(FatImages.ListFolder(content), files);
        Assert.Empty(gaps);
    }

    [Fact]
    public void A_volume_that_was_in_use_says_so()
    {
        using var scratch = new Scratch();
        byte[] image = File.ReadAllBytes(FatImages.Make(scratch, 40, null, "-F", "32"));
        Assert.Empty(FatImages.List(image).Facts.Notes);
        int fat = BitConverter.ToUInt16(image, 14) * 512;
        image[fat + 7] &= 0xF7;
        image.AsSpan(fat, 512).CopyTo(image.AsSpan(fat + (BitConverter.ToInt32(image, 36) * 512)));
        Assert.Single(FatImages.List(image).Facts.Notes);
    }

    [Fact]
    public void A_table_too_large_to_hold_is_read_in_pages()
    {
        using var scratch = new Scratch();
        string content = FatImages.Fill(scratch);
        byte[] image = File.ReadAllBytes(FatImages.Make(scratch, 40, content, "-F", "32", "-s", "1"));
        Assert.Equal(FatImages.ListFolder(content), FatImages.List(image, 1_200_000).Files);
    }

    [Fact]
    public void A_volume_cut_short_gives_the_files_before_the_cut_and_a_gap()
    {
        var builder = new FatBuilder().Chain(5).Chain(50).Root("FIRST      ", 5, 512).Root("LAST       ", 50, 512);
        byte[] cut = builder.Image[..^(20 * 512)];
        (List<string> files, IReadOnlyList<CoverageGap> gaps, _) = FatImages.List(cut);
        Assert.Equal("LAST\t512\tTruncated", files[1]);
        Assert.DoesNotContain("Truncated", files[0], StringComparison.Ordinal);
        Assert.Equal((Fault.Truncated, 20 * 512L), (Assert.Single(gaps).Fault, gaps[0].Bytes));
    }

    [Fact]
    public void Boot_sectors_are_there_to_be_scanned_and_an_abandoned_walk_returns_its_memory()
    {
        var budget = new ScanBudget(1 << 20);
        byte[] image = new FatBuilder().Root(Name, 0, 0).Image;
        using var source = new MemorySource(image);
        using (IFileSystem fat = new FatFormat().Open(source, new ReadContext(budget, new GapList())))
        {
            GuestFile boot = fat.Walk().First();
            Assert.Equal((GuestFileKind.System, 512L), (boot.Kind, boot.SizeBytes));
            using IBlockSource content = fat.OpenContent(boot);
            Assert.Equal(image[..512], content.ReadAll());
            Assert.NotNull(fat.Walk().Skip(1).First());
        }

        Assert.Equal(0, budget.InUse);
    }

    /// <summary>A volume with one file in the given clusters.</summary>
    internal static byte[] Chained(int[] clusters, uint size) => new FatBuilder().Chain(clusters).Root(Name, clusters[0], size).Image;

    private static List<string> Names(FatBuilder builder)
    {
        using var source = new MemorySource(builder.Image);
        using IFileSystem fat = new FatFormat().Open(source, new ReadContext(new ScanBudget(1 << 20), new GapList()));
        return [.. fat.Walk().Where(f => f.Kind == GuestFileKind.Regular).Select(f => Encoding.UTF8.GetString(f.Links[0].Path()))];
    }
}
