using System.Globalization;
using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.FileSystems.Btrfs;
using Vmsweep.DiskReaders.Tests.FileSystems.Ext;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Btrfs;

/// <summary>Listings in the form of <see cref="ExtListing"/>: ours, and the kernel's over one or several loop devices.</summary>
internal static class BtrfsListing
{
    public static List<string> Ours(IReadOnlyList<string> images, IGapSink gaps, out FileSystemFacts facts, long budgetBytes = 256 << 20)
    {
        IBlockSource[] sources = [.. images.Select(i => new FileSource(i))];
        try
        {
            return Ours(sources, gaps, out facts, budgetBytes);
        }
        finally
        {
            Array.ForEach(sources, s => s.Dispose());
        }
    }

    public static List<string> Ours(IReadOnlyList<IBlockSource> sources, IGapSink gaps, out FileSystemFacts facts, long budgetBytes = 256 << 20)
    {
        var budget = new ScanBudget(budgetBytes);
        var format = new BtrfsFormat();
        Assert.True(format.Probe(sources[0]) || format.ProbeCopy(sources[0]));
        List<string> lines = [];
        using (IFileSystem system = format.Open(sources, new ReadContext(budget, gaps)))
        {
            foreach (GuestFile file in system.Walk())
            {
                foreach (GuestLink link in file.Links)
                {
                    if (Line(system, file, link) is { } line)
                    {
                        lines.Add(line);
                    }
                }
            }

            facts = system.Facts;
        }

        Assert.Equal(0, budget.InUse);
        lines.Sort(StringComparer.Ordinal);
        return lines;
    }

    /// <summary>Ours, where nothing may be amiss.</summary>
    public static List<string> OursWithoutGaps(IReadOnlyList<string> images, out FileSystemFacts facts)
    {
        var gaps = new GapList();
        List<string> lines = Ours(images, gaps, out facts);
        Assert.Empty(gaps.ToList());
        return lines;
    }

    /// <summary>What the kernel says of the top level: on copies, as a mount replays logs and counts.</summary>
    public static List<string> Kernel(IReadOnlyList<string> images, string options = "ro")
    {
        using var scratch = new Scratch();
        Directory.CreateDirectory(scratch["mnt"]);
        List<string> loops = [];
        try
        {
            for (int i = 0; i < images.Count; i++)
            {
                string copy = scratch[$"copy{i}"];
                Tool.Run("cp", "--sparse=always", images[i], copy);
                loops.Add(Tool.Run("losetup", "--show", "-f", copy).Trim());
            }

            Tool.Try("btrfs", null, ["device", "scan", "--forget"]);
            string devices = string.Concat(loops.Skip(1).Select(l => $",device={l}"));
            Tool.Run("mount", "-t", "btrfs", "-o", $"{options},subvolid=5{devices}", loops[0], scratch["mnt"]);
            try
            {
                return ExtListing.OfFolder(scratch["mnt"]);
            }
            finally
            {
                Tool.Run("umount", scratch["mnt"]);
            }
        }
        finally
        {
            loops.ForEach(l => Tool.Try("losetup", null, "-d", l));
        }
    }

    private static string? Line(IFileSystem system, GuestFile file, GuestLink link)
    {
        string path = Encoding.Latin1.GetString(link.Path());
        switch (file.Kind)
        {
            case GuestFileKind.Folder:
                return "D " + path;
            case GuestFileKind.Device:
                return "V " + path;
            case GuestFileKind.Link:
                using (IBlockSource target = system.OpenContent(file))
                {
                    return $"L {Encoding.Latin1.GetString(target.ReadAll())} {path}";
                }

            case GuestFileKind.Regular:
                try
                {
                    using IBlockSource content = system.OpenContent(file);
                    Assert.Equal(file.SizeBytes, content.Length);
                    return string.Create(CultureInfo.InvariantCulture, $"F {file.SizeBytes} {content.SparseSha256()} {path}");
                }
                catch (DiskFormatException e)
                {
                    return $"F {file.SizeBytes} {e.Fault} {path}";
                }

            default:
                return null;
        }
    }
}
