using System.Globalization;
using System.Security.Cryptography;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.FileSystems.Fat;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Fat;

/// <summary>FAT volumes made by mkfs.fat and mtools, and listings of them: ours, and of the folder they were filled from.</summary>
internal static class FatImages
{
    /// <summary>A volume of mkfs.fat, filled with the files of a folder where one is given.</summary>
    public static string Make(Scratch scratch, int mebibytes, string? content, params string[] mkfs) => MakeKib(scratch, mebibytes << 10, content, mkfs);

    public static string MakeKib(Scratch scratch, int kibibytes, string? content, params string[] mkfs)
    {
        string path = scratch["fat.raw"];
        using (FileStream file = File.Create(path))
        {
            file.SetLength((long)kibibytes << 10);
        }

        Tool.Run("mkfs.fat", [.. mkfs, path]);
        if (content is not null)
        {
            Tool.Shell($"mcopy -s -Q -i '{path}' \"{content}\"/* ::/");
        }

        return path;
    }

    /// <summary>Fills a folder with files of many sizes and names.</summary>
    public static string Fill(Scratch scratch, int files = 40, bool isAscii = false)
    {
        string folder = scratch["content"];
        var random = new Random(files);
        string[] names =
        [
            "UPPER.TXT", "lower.txt", "Mixed Case Name.txt", "no extension", "many.dots.in.a.name", ".hidden", "trailing~1.txt", "ünïcödé in a long name.txt", "日本語のファイル名.txt",
            "смешанный Регистр.doc", "ελληνικά.bin", "exactly13char", "exactly12.ch", "a name of more than thirteen characters and of more than twenty-six", "[brackets] +plus, comma;semi=.x",
            new string('n', 150) + ".long", "x", "CAPS.low", "low.CAPS", "0",
        ];
        foreach (string sub in new[] { "", "Sub Folder", "Sub Folder/deeper/deepest", "UPPERDIR", "leer" })
        {
            Directory.CreateDirectory(Path.Combine(folder, sub));
        }

        for (int i = 0; i < files; i++)
        {
            string sub = new[] { "", "Sub Folder", "Sub Folder/deeper/deepest", "UPPERDIR" }[i % 4];
            string name = i < names.Length && !(isAscii && !System.Text.Ascii.IsValid(names[i])) ? names[i] : string.Create(CultureInfo.InvariantCulture, $"file number {i}.dat");
            byte[] bytes = new byte[(i % 7) switch { 0 => 0, 1 => 1, 2 => 512, 3 => 4096, 4 => random.Next(20_000), 5 => random.Next(3000), _ => 2049 }];
            random.NextBytes(bytes);
            File.WriteAllBytes(Path.Combine(folder, sub, name), bytes);
        }

        return folder;
    }

    /// <summary>The files below a folder of this machine: path, size, SHA-256.</summary>
    public static List<string> ListFolder(string folder) => Sorted(Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories)
        .Select(path => string.Create(CultureInfo.InvariantCulture, $"{Path.GetRelativePath(folder, path)}\t{new FileInfo(path).Length}\t{Content.Sha256OfFile(path)}")));

    /// <summary>The files of a volume as the reader sees them, and its gaps.</summary>
    public static (List<string> Files, IReadOnlyList<CoverageGap> Gaps, FileSystemFacts Facts) List(byte[] image, long budgetBytes = 256 << 20)
    {
        using var source = new MemorySource(image);
        return List(source, budgetBytes);
    }

    public static (List<string> Files, IReadOnlyList<CoverageGap> Gaps, FileSystemFacts Facts) List(IBlockSource source, long budgetBytes = 256 << 20)
    {
        var budget = new ScanBudget(budgetBytes);
        var gaps = new GapList();
        List<string> lines = [];
        FileSystemFacts facts;
        Assert.True(new FatFormat().Probe(source));
        using (IFileSystem fat = new FatFormat().Open(source, new ReadContext(budget, gaps)))
        {
            facts = fat.Facts;
            foreach (GuestFile file in fat.Walk().Where(f => f.Kind == GuestFileKind.Regular))
            {
                lines.Add(string.Create(CultureInfo.InvariantCulture, $"{GuestName.Escape(file.Links[0].Path(), controls: false)}\t{file.SizeBytes}\t{Hash(fat, file)}"));
            }
        }

        Assert.Equal(0, budget.InUse);
        return (Sorted(lines), gaps.ToList(), facts);
    }

    /// <summary>Opens, walks and reads all; for damaged volumes. Bounded in what it reads, not in what the reader may do.</summary>
    public static void ReadAll(byte[] image, ReadContext context)
    {
        using var source = new MemorySource(image);
        if (!new FatFormat().Probe(source))
        {
            return;
        }

        byte[] buffer = new byte[4096];
        using IFileSystem fat = new FatFormat().Open(source, context);
        foreach (GuestFile file in fat.Walk())
        {
            Assert.NotEmpty(file.Links);
            Assert.DoesNotContain((byte)'/', file.Links[0].Name);
            Assert.NotEmpty(file.Links[0].Name);
            if (file.Kind is not (GuestFileKind.Regular or GuestFileKind.System))
            {
                continue;
            }

            try
            {
                using IBlockSource content = fat.OpenContent(file);
                Assert.Equal(file.SizeBytes, content.Length);
                for (long at = 0; at < Math.Min(content.Length, 1 << 20); at += buffer.Length)
                {
                    int count = (int)Math.Min(buffer.Length, content.Length - at);
                    content.Locate(at, count);
                    content.Read(at, buffer.AsSpan(0, count));
                }
            }
            catch (DiskFormatException)
            {
                // This file is a gap; the others are still read.
            }
        }
    }

    private static string Hash(IFileSystem fat, GuestFile file)
    {
        try
        {
            using IBlockSource content = fat.OpenContent(file);
            return content.Length == 0 ? Convert.ToHexStringLower(SHA256.HashData([])) : content.Sha256();
        }
        catch (DiskFormatException e)
        {
            return e.Fault.ToString();
        }
    }

    private static List<string> Sorted(IEnumerable<string> lines) => [.. lines.OrderBy(l => l, StringComparer.Ordinal)];
}
