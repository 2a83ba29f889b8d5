using System.IO.Compression;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Btrfs;

/// <summary>The corpus' raw Btrfs images: every checksum and profile that mkfs offers.</summary>
public sealed class BtrfsCorpusTests
{
    [Fact]
    public void Every_image_of_the_corpus_equals_its_listing()
    {
        string corpus = Environment.GetEnvironmentVariable("VMSWEEP_CORPUS") is { Length: > 0 } set ? set : Path.Combine(Root(), "../shared/corpus");
        string sweep = Path.Combine(corpus, "images/mkfs-sweep");
        Assert.SkipUnless(Directory.Exists(sweep), $"no corpus at {corpus}; set VMSWEEP_CORPUS");
        List<string> wrong = [];
        foreach (string packed in Directory.EnumerateFiles(sweep, "btrfs_*.img.gz").Order(StringComparer.Ordinal))
        {
            using var scratch = new Scratch();
            using (FileStream image = File.Create(scratch["image"]))
            using (var gzip = new GZipStream(File.OpenRead(packed), CompressionMode.Decompress))
            {
                gzip.CopyTo(image);
            }

            var gaps = new GapList();
            string name = Path.GetFileName(packed)[..^".img.gz".Length];
            List<string> lines = BtrfsListing.Ours([scratch["image"]], gaps, out FileSystemFacts facts);
            string[] ours = [.. lines.Where(l => l[0] == 'F').Select(l => l.Split(' ', 4)).Select(l => $"v1/{l[3]}\t{l[1]}\t{l[2]}").Order(StringComparer.Ordinal)];
            string[] theirs = [.. File.ReadAllLines(Path.Combine(corpus, "listings", $"sweep-{name}.tsv")).Where(l => l.Length > 0).Order(StringComparer.Ordinal)];
            if (!ours.SequenceEqual(theirs) || gaps.Count > 0)
            {
                wrong.Add($"{name}: missing {string.Join(" | ", theirs.Except(ours).Take(3))} surplus {string.Join(" | ", ours.Except(theirs).Take(3))} gaps {string.Join(" | ", gaps.ToList().Take(3))} {string.Join(", ", facts.Notes)}");
            }
        }

        Assert.True(wrong.Count == 0, string.Join('\n', wrong));
    }

    private static string Root()
    {
        string? folder = AppContext.BaseDirectory;
        while (folder is not null && !File.Exists(Path.Combine(folder, "appliance.sln")))
        {
            folder = Path.GetDirectoryName(folder);
        }

        return folder ?? ".";
    }
}
