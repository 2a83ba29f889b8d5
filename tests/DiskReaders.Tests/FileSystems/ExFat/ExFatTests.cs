using System.Buffers.Binary;
using System.Globalization;
using System.Security.Cryptography;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems.ExFat;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.ExFat;

public sealed class ExFatTests
{
    private const string Script = """
        mkdir -p 'Sub Folder/deeper' many; for i in $(seq 1 300); do echo $i > "many/a rather long name, so that there are several entries, of number $i"; done
        for i in $(seq 1 60); do head -c $((i * 137)) /dev/urandom > f$i; done; for i in $(seq 1 2 60); do rm f$i; done
        head -c 900000 /dev/urandom > 'Sub Folder/pieces ü 日本語'; : > empty; head -c 50000 /dev/urandom > 'Sub Folder/deeper/😀'
        """;

    [Theory]
    [InlineData(8, "-c", "512")]
    [InlineData(8, "-c", "4K")]
    [InlineData(140, "-c", "128K")]
    public void Files_equal_what_exfat_fuse_put_in(int mebibytes, params string[] mkfs)
    {
        using var scratch = new Scratch();
        string path = ExFatImages.Make(scratch, mebibytes << 10, Script, [.. mkfs, "-L", "A LABEL ü"]);
        VolumeListing ours = ExFatImages.List(File.ReadAllBytes(path));
        Assert.Equal(VolumeListing.OfFolder(scratch["content"]), ours.Files);
        Assert.Empty(ours.Gaps);
        Assert.Equal(("exfat", "A LABEL ü"), (ours.Facts.Kind, ours.Facts.Label));
        Assert.Equal(Tool.Run("blkid", "-p", "-o", "value", "-s", "UUID", path).Trim(), ours.Facts.Id);
    }

    [Fact]
    public void Files_equal_sleuth_kit()
    {
        using var scratch = new Scratch();
        string path = ExFatImages.Make(scratch, 4096, "mkdir d; for i in $(seq 1 9); do head -c $((i * 999)) /dev/urandom > d/f$i; done; rm d/f3 d/f5; head -c 60000 /dev/urandom > p", "-c", "1K");
        List<string> expected = [];
        foreach (string line in Tool.Run("fls", "-r", "-p", "-F", "-u", path).Split('\n').Where(l => l.StartsWith("r/r ", StringComparison.Ordinal)))
        {
            string name = line[(line.IndexOf(':', StringComparison.Ordinal) + 1)..].Trim();
            if (!name.StartsWith('$') && !name.Contains("Volume Label", StringComparison.Ordinal))
            {
                byte[] bytes = Tool.RunRaw("icat", null, path, line[4..line.IndexOf(':', StringComparison.Ordinal)]);
                expected.Add(string.Create(CultureInfo.InvariantCulture, $"{name}\t{bytes.Length}\t{Convert.ToHexStringLower(SHA256.HashData(bytes))}"));
            }
        }

        Assert.Equal(expected.Order(StringComparer.Ordinal), ExFatImages.List(File.ReadAllBytes(path)).Files);
    }

    [Fact]
    public void Any_slicing_equals_one_read() => VolumeListing.CheckSlices(new ExFatFormat(), ExFatImages.Small(), f => f.SizeBytes > 600);

    [Fact]
    public void What_lies_behind_the_valid_length_reads_as_zeros()
    {
        byte[] image = ExFatImages.Small();
        int set = ExFatImages.SetOf(image, "contiguous");
        BinaryPrimitives.WriteInt64LittleEndian(image.AsSpan(set + 32 + 8), 100);
        ExFatRepair.Checksums(image);
        using var source = new MemorySource(image);
        using var system = new ExFatFormat().Open(source, new ReadContext(new ScanBudget(1 << 24), new GapList()));
        using IBlockSource content = system.OpenContent(system.Walk().Single(f => f.Links[0].Name.AsSpan().SequenceEqual("contiguous"u8)));
        byte[] bytes = content.ReadAll();
        Assert.Equal(600, bytes.Length);
        Assert.True(bytes.AsSpan(0, 100).ContainsAnyExcept((byte)0));
        Assert.False(bytes.AsSpan(100).ContainsAnyExcept((byte)0));
    }

    [Fact]
    public void A_lost_boot_sector_is_read_from_its_copy()
    {
        byte[] image = ExFatImages.Small();
        IReadOnlyList<string> files = ExFatImages.List(image).Files;
        image.AsSpan(0, 512).Clear();
        using var source = new MemorySource(image);
        Assert.False(new ExFatFormat().Probe(source));
        Assert.True(new ExFatFormat().ProbeCopy(source));
        VolumeListing ours = ExFatImages.List(image);
        Assert.Equal(files, ours.Files);
        Assert.Contains(ours.Gaps, g => g.Structure == "exFAT boot sector" && g.Detail.Contains("copy", StringComparison.Ordinal));
    }

    [Fact]
    public void The_second_table_is_read_when_it_is_the_active_one()
    {
        byte[] image = ExFatImages.Small();
        IReadOnlyList<string> files = ExFatImages.List(image).Files;

        // The table has room for two where mkfs.exfat left it: the second is the first one's end.
        int sectors = BinaryPrimitives.ReadInt32LittleEndian(image.AsSpan(84));
        int needed = (((BinaryPrimitives.ReadInt32LittleEndian(image.AsSpan(92)) + 2) * 4) + 511) / 512;
        int room = (ExFatImages.HeapAt(image) - ExFatImages.FatAt(image)) / 512;
        Assert.True(sectors >= needed && room >= 2 * needed, $"{room} sectors for {needed}");
        int fat = ExFatImages.FatAt(image);
        image.AsSpan(fat, needed * 512).CopyTo(image.AsSpan(fat + (needed * 512)));
        image.AsSpan(fat, needed * 512).Clear();
        foreach (int region in (int[])[0, 12 * 512])
        {
            BinaryPrimitives.WriteInt32LittleEndian(image.AsSpan(region + 84), needed);
            image[region + 110] = 2;
            image[region + 106] |= 1;
        }

        int bitmap = ExFatImages.RootAt(image);
        while (image[bitmap] != 0x81)
        {
            bitmap += 32;
        }

        image[bitmap + 1] = 1;
        ExFatRepair.Checksums(image);
        VolumeListing ours = ExFatImages.List(image);
        Assert.Equal(files, ours.Files);
        Assert.Empty(ours.Gaps);
    }

    [Theory]
    [InlineData("SetChecksum", 2, (byte)0xFF, false)]
    [InlineData("NameLength", 32 + 3, (byte)0, true)]
    [InlineData("File Name", 32 + 3, (byte)200, true)]
    [InlineData("entries are there", 1, (byte)18, true)]
    public void A_damaged_entry_set_is_reported(string detail, int at, byte value, bool repair)
    {
        byte[] image = ExFatImages.Small();
        int set = ExFatImages.SetOf(image, "f20");
        image[set + at] ^= repair ? (byte)(image[set + at] ^ value) : value;
        if (repair)
        {
            ExFatRepair.Checksums(image);
        }

        Assert.Contains(ExFatImages.List(image).Gaps, g => g.Detail.Contains(detail, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(20, 1, "Corrupt")]
    [InlineData(20, 0x00FF_FFFF, "Corrupt")]
    [InlineData(24, 0x7FFF_FFFF, "Corrupt")]
    [InlineData(8, 5000, "Corrupt")]
    public void An_impossible_allocation_is_a_fault_of_the_file(int at, int value, string fault)
    {
        byte[] image = ExFatImages.Small();
        int set = ExFatImages.SetOf(image, "f20");
        BinaryPrimitives.WriteInt32LittleEndian(image.AsSpan(set + 32 + at), value);
        ExFatRepair.Checksums(image);
        string line = ExFatImages.List(image).Files.Single(f => f.StartsWith("f20\t", StringComparison.Ordinal));
        Assert.EndsWith(fault, line, StringComparison.Ordinal);
    }

    [Fact]
    public void A_chain_that_comes_back_to_itself_ends_there()
    {
        byte[] image = ExFatImages.Small();
        int first = BinaryPrimitives.ReadInt32LittleEndian(image.AsSpan(ExFatImages.SetOf(image, "pieces ü") + 32 + 20));
        int second = BinaryPrimitives.ReadInt32LittleEndian(image.AsSpan(ExFatImages.FatAt(image) + (4 * first)));
        BinaryPrimitives.WriteInt32LittleEndian(image.AsSpan(ExFatImages.FatAt(image) + (4 * second)), first);
        string line = ExFatImages.List(image).Files.Single(f => f.StartsWith("pieces", StringComparison.Ordinal));
        Assert.EndsWith("Truncated", line, StringComparison.Ordinal);
    }

    [Fact]
    public void A_folder_in_itself_is_entered_once()
    {
        byte[] image = ExFatImages.Small();
        int outer = BinaryPrimitives.ReadInt32LittleEndian(image.AsSpan(ExFatImages.SetOf(image, "d") + 32 + 20));
        BinaryPrimitives.WriteInt32LittleEndian(image.AsSpan(ExFatImages.SetOf(image, "e") + 32 + 20), outer);
        ExFatRepair.Checksums(image);
        Assert.Contains(ExFatImages.List(image).Gaps, g => g.Detail.Contains("read as a folder before", StringComparison.Ordinal));
    }

    [Fact]
    public void Files_in_free_clusters_are_reported()
    {
        byte[] image = ExFatImages.Small();
        int bitmap = ExFatImages.RootAt(image);
        while (image[bitmap] != 0x81)
        {
            bitmap += 32;
        }

        image.AsSpan(ExFatImages.ClusterAt(image, BinaryPrimitives.ReadInt32LittleEndian(image.AsSpan(bitmap + 20))), 64).Clear();
        Assert.Contains(ExFatImages.List(image).Gaps, g => g.Structure == "exFAT Allocation Bitmap");
    }

    [Fact]
    public void A_volume_cut_short_is_a_gap() =>
        Assert.Contains(ExFatImages.List(ExFatImages.Small()[..(900 << 10)]).Gaps, g => g.Fault == Fault.Truncated);

    [Fact]
    public void A_damaged_volume_gives_data_or_a_format_exception()
    {
        byte[] image = ExFatImages.Small();
        Mutations.Check(
            image,
            ExFatImages.ReadAll,
            [(64, 56), (ExFatImages.FatAt(image), 400), (ExFatImages.RootAt(image), 512), (ExFatImages.SetOf(image, "d"), 400), (ExFatImages.SetOf(image, "hello"), 96)],
            repair: ExFatRepair.Checksums);
    }
}
