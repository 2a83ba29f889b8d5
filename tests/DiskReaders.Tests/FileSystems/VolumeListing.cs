using System.Globalization;
using CsCheck;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems;

/// <summary>What a reader says of a volume, in the form that other tools' listings are brought to.</summary>
internal sealed record VolumeListing(IReadOnlyList<string> Files, IReadOnlyList<CoverageGap> Gaps, FileSystemFacts Facts, IReadOnlyList<string> Links)
{
    public static VolumeListing Of(IFileSystemFormat format, byte[] image)
    {
        using var source = new MemorySource(image);
        return Of(format, source);
    }

    public static VolumeListing Of(IFileSystemFormat format, IBlockSource source)
    {
        var budget = new ScanBudget(256 << 20);
        var gaps = new GapList();
        List<string> files = [];
        List<string> links = [];
        FileSystemFacts facts;
        using (IFileSystem system = format.Open(source, new ReadContext(budget, gaps)))
        {
            facts = system.Facts;
            foreach (GuestFile file in system.Walk())
            {
                string path = GuestName.Escape(file.Links[0].Path(file.StreamName), controls: false);
                if (file.Kind == GuestFileKind.Regular)
                {
                    files.Add(string.Create(CultureInfo.InvariantCulture, $"{path}\t{file.SizeBytes}\t{Hash(system, file)}"));
                }
                else if (file.Kind == GuestFileKind.Link)
                {
                    using IBlockSource target = system.OpenContent(file);
                    links.Add($"{path} -> {System.Text.Encoding.UTF8.GetString(target.ReadAll())}");
                }
            }
        }

        Assert.Equal(0, budget.InUse);
        return new VolumeListing(Sorted(files), gaps.ToList(), facts, Sorted(links));
    }

    /// <summary>The files below a folder of this machine.</summary>
    public static List<string> OfFolder(string folder) => Sorted(Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories)
        .Where(path => new FileInfo(path).LinkTarget is null)
        .Select(path => string.Create(CultureInfo.InvariantCulture, $"{Path.GetRelativePath(folder, path)}\t{new FileInfo(path).Length}\t{Content.Sha256OfFile(path)}")));

    /// <summary>Opens, walks and reads all; for damaged volumes.</summary>
    public static void ReadAll(IFileSystemFormat format, byte[] image, ReadContext context)
    {
        using var source = new MemorySource(image);
        if (!format.Probe(source) && !format.ProbeCopy(source))
        {
            return;
        }

        byte[] buffer = new byte[4096];
        using IFileSystem system = format.Open(source, context);
        foreach (GuestFile file in system.Walk())
        {
            Assert.NotEmpty(file.Links);
            Assert.DoesNotContain((byte)'/', file.Links[0].Name);
            Assert.NotEmpty(file.Links[0].Name);
            if (file.Kind is not (GuestFileKind.Regular or GuestFileKind.System or GuestFileKind.Link))
            {
                continue;
            }

            try
            {
                using IBlockSource content = system.OpenContent(file);
                Assert.Equal(file.SizeBytes, content.Length);
                for (long at = 0; at < Math.Min(content.Length, 64 << 10); at += buffer.Length)
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

    /// <summary>Any slicing of each file equals one read of it.</summary>
    public static void CheckSlices(IFileSystemFormat format, byte[] image, Func<GuestFile, bool> which)
    {
        using var source = new MemorySource(image);
        using IFileSystem system = format.Open(source, new ReadContext(new ScanBudget(256 << 20), new GapList()));
        List<GuestFile> files = [.. system.Walk().Where(f => f.Kind == GuestFileKind.Regular && which(f))];
        Assert.NotEmpty(files);
        foreach (GuestFile file in files)
        {
            using IBlockSource content = system.OpenContent(file);
            byte[] whole = content.ReadAll();
            Gen.Select(Gen.Int[0, whole.Length], Gen.Int[0, whole.Length]).Sample((a, b) =>
            {
                byte[] part = new byte[Math.Abs(a - b)];
                content.Read(Math.Min(a, b), part);
                return part.AsSpan().SequenceEqual(whole.AsSpan(Math.Min(a, b), part.Length));
            });
        }
    }

    private static string Hash(IFileSystem system, GuestFile file)
    {
        try
        {
            using IBlockSource content = system.OpenContent(file);
            return content.Sha256();
        }
        catch (DiskFormatException e)
        {
            return e.Fault.ToString();
        }
    }

    private static List<string> Sorted(IEnumerable<string> lines) => [.. lines.OrderBy(l => l, StringComparer.Ordinal)];
}
