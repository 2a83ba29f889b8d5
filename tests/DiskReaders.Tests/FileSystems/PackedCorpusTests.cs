using System.IO.Compression;
using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.FileSystems.Erofs;
using Vmsweep.DiskReaders.FileSystems.SquashFs;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems;

/// <summary>The packed file systems of the corpus equal their listings.</summary>
public sealed class PackedCorpusTests
{
    [Fact]
    public void Every_image_equals_its_listing()
    {
        string? root = AppContext.BaseDirectory;
        while (root is not null && !File.Exists(Path.Combine(root, "appliance.sln")))
        {
            root = Path.GetDirectoryName(root);
        }

        string corpus = Environment.GetEnvironmentVariable("VMSWEEP_CORPUS") is { Length: > 0 } set ? set : Path.Combine(root ?? ".", "../shared/corpus");
        Assert.SkipUnless(Directory.Exists(corpus), $"no corpus at {corpus}; set VMSWEEP_CORPUS");
        IFileSystemFormat[] formats = [new SquashFsFormat(), new ErofsFormat()];
        int images = 0;
        foreach (string path in Directory.EnumerateFiles(Path.Combine(corpus, "images/mkfs-sweep"), "*.img.gz"))
        {
            string name = Path.GetFileName(path)[..^".img.gz".Length];
            if (formats.FirstOrDefault(f => name.StartsWith(f.Name + "_", StringComparison.Ordinal)) is not { } format)
            {
                continue;
            }

            images++;
            using var bytes = new MemoryStream();
            using (var gzip = new GZipStream(File.OpenRead(path), CompressionMode.Decompress))
            {
                gzip.CopyTo(bytes);
            }

            var gaps = new GapList();
            HashSet<string> ours = [];
            using var source = new MemorySource(bytes.ToArray());
            using IFileSystem system = format.Open(source, new ReadContext(new ScanBudget(64 << 20), gaps));
            foreach (GuestFile file in system.Walk().Where(f => f.Kind == GuestFileKind.Regular))
            {
                using IBlockSource content = system.OpenContent(file);
                ours.UnionWith(file.Links.Select(l => $"v1/{GuestName.Escape(l.Path(), controls: false)}\t{file.SizeBytes}\t{content.Sha256()}"));
            }

            Assert.Empty(gaps.ToList());
            Assert.Equal(File.ReadAllLines(Path.Combine(corpus, "listings", $"sweep-{name}.tsv"), Encoding.UTF8).Order(StringComparer.Ordinal), ours.Order(StringComparer.Ordinal));
        }

        Assert.True(images > 0);
    }
}
