using System.Globalization;
using System.Text;
using CsCheck;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.FileSystems.Fat;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Fat;

public sealed class FatDifferentialTests
{
    [Theory]
    [InlineData("fat12", 2, "-F", "12")]
    [InlineData("fat12", 8, "-F", "12", "-s", "16", "-f", "1")]
    [InlineData("fat12", 2, "-F", "12", "-S", "1024")]
    [InlineData("fat16", 12, "-F", "16", "-s", "1", "-R", "8")]
    [InlineData("fat16", 40, "-F", "16", "-S", "2048", "-r", "1000")]
    [InlineData("fat16", 40, "-F", "16", "-S", "4096", "-s", "1")]
    [InlineData("fat32", 40, "-F", "32", "-s", "1")]
    [InlineData("fat32", 300, "-F", "32", "-S", "4096", "-s", "1")]
    [InlineData("fat16", 300, "-F", "16", "-s", "128", "-a")]
    [InlineData("fat32", 4200, "-F", "32", "-s", "128")]
    public void Files_equal_what_mtools_put_in(string kind, int mebibytes, params string[] mkfs)
    {
        using var scratch = new Scratch();
        string content = FatImages.Fill(scratch);
        using var image = new FileSource(FatImages.Make(scratch, mebibytes, content, ["-n", "LABEL 1", .. mkfs]));
        (List<string> files, IReadOnlyList<CoverageGap> gaps, FileSystemFacts facts) = FatImages.List(image);
        Assert.Equal(FatImages.ListFolder(content), files);
        Assert.Empty(gaps);
        Assert.Equal(kind, facts.Kind);
        Assert.Equal("LABEL 1", facts.Label);
        Assert.InRange(facts.SizeBytes, image.Length - (1 << 20), image.Length);
    }

    [Theory]
    [InlineData("-F", "12")]
    [InlineData("-F", "16", "-s", "1")]
    [InlineData("-F", "32", "-s", "1")]
    public void Fragmented_files_equal_what_mtools_put_in(params string[] mkfs)
    {
        using var scratch = new Scratch();
        string content = scratch["content"];
        Directory.CreateDirectory(content);
        var random = new Random(7);
        for (int i = 0; i < 60; i++)
        {
            byte[] bytes = new byte[random.Next(1, 9000)];
            random.NextBytes(bytes);
            File.WriteAllBytes(Path.Combine(content, $"small {i}"), bytes);
        }

        byte[] large = new byte[900_000];
        random.NextBytes(large);
        File.WriteAllBytes(scratch["large file"], large);
        int mebibytes = mkfs[1] switch { "12" => 2, "16" => 9, _ => 40 };
        string path = FatImages.Make(scratch, mebibytes, content, mkfs);

        // mtools takes the first free cluster, so that a file written after every second small one was deleted lies in pieces.
        Tool.Shell(string.Join('\n', Enumerable.Range(0, 30).Select(i => $"mdel -i fat.raw '::/small {2 * i}'; rm 'content/small {2 * i}'"))
            + "\nmcopy -i fat.raw 'large file' ::/\ncp 'large file' content/", scratch.Folder);
        (List<string> files, IReadOnlyList<CoverageGap> gaps, _) = FatImages.List(File.ReadAllBytes(path));
        Assert.Equal(FatImages.ListFolder(content), files);
        Assert.Empty(gaps);
    }

    [Theory]
    [InlineData("-F", "12")]
    [InlineData("-F", "32", "-s", "1")]
    public void Files_equal_sleuth_kit(params string[] mkfs)
    {
        using var scratch = new Scratch();
        string path = FatImages.Make(scratch, mkfs[1] == "12" ? 2 : 40, FatImages.Fill(scratch, isAscii: true), mkfs);
        List<string> expected = [];
        foreach (string line in Tool.Run("fls", "-r", "-p", "-F", "-u", path).Split('\n'))
        {
            if (line.StartsWith("r/r ", StringComparison.Ordinal))
            {
                int colon = line.IndexOf(':', StringComparison.Ordinal);
                string inode = line[4..colon];
                byte[] bytes = Tool.RunRaw("icat", null, path, inode);
                expected.Add(string.Create(CultureInfo.InvariantCulture, $"{line[(colon + 1)..].Trim()}\t{bytes.Length}\t{Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(bytes))}"));
            }
        }

        Assert.Equal(expected.Order(StringComparer.Ordinal), FatImages.List(File.ReadAllBytes(path)).Files);
    }

    [Fact]
    public void Any_slicing_of_a_fragmented_file_equals_one_read()
    {
        byte[] image = FatHostileTests.Chained([5, 6, 9, 7, 20, 21, 22], 7 * 512 - 100);
        using var source = new MemorySource(image);
        using IFileSystem fat = new FatFormat().Open(source, new ReadContext(new ScanBudget(1 << 24), new GapList()));
        using IBlockSource content = fat.OpenContent(fat.Walk().Single(f => f.Kind == GuestFileKind.Regular));
        byte[] whole = content.ReadAll();
        Gen.Select(Gen.Int[0, whole.Length], Gen.Int[0, whole.Length]).Sample((a, b) =>
        {
            byte[] part = new byte[Math.Abs(a - b)];
            content.Read(Math.Min(a, b), part);
            return part.AsSpan().SequenceEqual(whole.AsSpan(Math.Min(a, b), part.Length));
        });
    }

    [Fact]
    [Trait("Category", "Slow")]
    public void Twenty_thousand_files_equal_what_mtools_put_in()
    {
        using var scratch = new Scratch();
        string content = scratch["content"];
        for (int i = 0; i < 20_000; i++)
        {
            // mtools takes time with the square of a folder's files.
            string folder = Path.Combine(content, $"folder {i / 50}");
            if (i % 50 == 0)
            {
                Directory.CreateDirectory(folder);
            }

            File.WriteAllText(Path.Combine(folder, $"file number {i}.txt"), string.Create(CultureInfo.InvariantCulture, $"{i}"), Encoding.ASCII);
        }

        using var source = new FileSource(FatImages.Make(scratch, 256, content, "-F", "32", "-s", "1"));
        (List<string> files, IReadOnlyList<CoverageGap> gaps, _) = FatImages.List(source);
        Assert.Equal(FatImages.ListFolder(content), files);
        Assert.Empty(gaps);
    }
}
